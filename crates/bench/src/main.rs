//! Measures a release build of the server, as an operator would run it, beside what it is made of: right before each
//! workload the same requests go to a handler that does nothing (the ceiling of HTTP on this machine), and right after it
//! come bare pushes to Redis or bare inserts into SQLite where it consists of these. Machines differ, and differ from one
//! minute to the next: the ratios can be compared. `scripts/bench` builds and runs it; docs/performance.md says how to
//! read what it prints.
//!
//! Each row has a server of its own, and a database of its own unless it only reads. Redis keeps nothing on disk and is
//! emptied all the while, as Logstash would; StatsD is a socket that is read.

mod ceilings;
mod dataset;
mod stack;
mod table;
mod workloads;
mod wrk;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use test_servers::Server;

use crate::ceilings::Empty;
use crate::stack::{Stack, Store};
use crate::table::{Report, Row};
use crate::workloads::{Traffic, Workload};
use crate::wrk::Wrk;

/// How long a new server settles before its memory is looked at, and how long it gets traffic before that counts.
const SETTLE: Duration = Duration::from_secs(1);

/// Measures deployment-tracker beside the ceilings of what it is made of.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Hidden>,
    /// The server of another build, to compare [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Where the records live
    #[arg(long, value_enum, default_value = "sqlite")]
    store: Store,
    /// How long each is measured
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Measure only these, as the table names them
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<String>,
    /// With how many connections
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    connections: Vec<usize>,
    /// How many deployments the largest data set may have: from 1,000,000 on there is one of a million
    #[arg(long, default_value_t = 100_000)]
    rows: u64,
    /// Where the figures go as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Hidden {
    /// Serve nothing
    #[command(hide = true)]
    Empty {
        #[arg(long)]
        port: u16,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(Hidden::Empty { port }) = arguments.command {
        ceilings::serve_nothing(port)?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = measure(&arguments)?;
    print!("{}", report.text());
    if let Some(file) = &arguments.json {
        fs::write(file, format!("{:#}\n", report.json()))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    ensure!(!report.rows.is_empty(), "nothing was measured");
    Ok(if report.errors() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(arguments: &Arguments) -> anyhow::Result<Report> {
    let own = std::env::current_exe().context("we do not know where we are")?;
    let binary = arguments.binary.clone().unwrap_or_else(|| own.with_file_name("deployment-tracker"));
    let binary = binary.canonicalize().with_context(|| format!("no server at {}; build it", binary.display()))?;
    // In the build's folder `target`, above `release`.
    let folder = own.ancestors().nth(2).context("we are in no folder")?.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // PostgreSQL has its files in the folder for temporary ones.
    let disk = match arguments.store {
        Store::Sqlite => stack::file_system(&folder)?,
        Store::Postgres => stack::file_system(&std::env::temp_dir())?,
    };
    let workloads = chosen(arguments)?;
    let stack = Stack::start(binary, folder, arguments.store);
    let mut server = stack.serve_on(None)?;
    thread::sleep(SETTLE);
    let idle = stack::memory(server.id(), "VmRSS")?;
    let element = ceilings::element_size(&stack, &server);
    server.kill();

    let mut setting = table::surroundings();
    if let Some(other) = &arguments.binary {
        setting.push(("server", format!("not of this commit, but {}", other.display())));
    }
    setting.push(("store", format!("{:?} with its defaults, on {disk}, not in memory", arguments.store)));
    setting.push(("measured", format!("{} s each, with Redis and StatsD output", arguments.seconds)));
    let scratch = stack.scratch()?;
    let bench = Bench {
        wrk: Wrk::new(scratch.path())?,
        empty: Empty::start()?,
        paths: scratch.path().join("paths"),
        stack,
        seconds: arguments.seconds,
        element,
    };
    let mut rows = Vec::new();
    for workload in &workloads {
        for &connections in &arguments.connections {
            eprintln!("{} at {connections} connections", workload.name);
            rows.extend(bench.row(workload, connections).with_context(|| workload.name.clone())?);
        }
    }
    Ok(Report { setting, idle, rows })
}

fn chosen(arguments: &Arguments) -> anyhow::Result<Vec<Workload>> {
    let (mut workloads, wanted) = (workloads::all(arguments.rows), &arguments.workloads);
    for name in wanted {
        let names: Vec<_> = workloads.iter().map(|workload| workload.name.as_str()).collect();
        ensure!(names.contains(&name.as_str()), "no workload `{name}` here; choose among {}", names.join(", "));
    }
    workloads.retain(|workload| wanted.is_empty() || wanted.contains(&workload.name));
    Ok(workloads)
}

struct Bench {
    stack: Stack,
    wrk: Wrk,
    empty: Empty,
    /// The file of the paths that are asked for.
    paths: PathBuf,
    seconds: u64,
    /// The size of what the server pushes for a log message.
    element: usize,
}

impl Bench {
    /// Measures a workload between its ceilings; nothing, if the server has no such thing.
    fn row(&self, workload: &Workload, connections: usize) -> anyhow::Result<Option<Row>> {
        let Workload { name, traffic, data, bar } = workload;
        let server = self.stack.serve(*data)?;
        let paths = traffic.paths(&server, *data)?;
        if paths.is_empty() && data.is_some() {
            eprintln!("the server has no such page");
            return Ok(None);
        }
        fs::write(&self.paths, paths.join("\n")).context("cannot write the paths")?;
        let script = traffic.script(&self.paths.to_string_lossy());
        let run = |port, seconds| self.wrk.run(port, connections, seconds, &script, || self.stack.tidy());

        let empty = run(self.empty.port, self.seconds)?;
        run(server.port, SETTLE.as_secs())?;
        let before = stack::cpu_seconds(server.id())?;
        let run = run(server.port, self.seconds)?;
        let row = Row {
            workload: name.clone(),
            connections,
            run,
            messages: traffic.messages(),
            cpu: (stack::cpu_seconds(server.id())? - before) / run.seconds() * 100.0,
            memory: [stack::memory(server.id(), "VmHWM")?, stack::memory(server.id(), "VmRSS")?],
            empty: empty.per_second(),
            bare: self.bare(*traffic, connections)?,
            bar: *bar,
        };
        complain(&row, &server);
        Ok(Some(row))
    }

    /// What bare Redis, or bare SQLite, would do.
    fn bare(&self, traffic: Traffic, connections: usize) -> anyhow::Result<Option<f64>> {
        let Self { stack, seconds, .. } = self;
        match traffic {
            Traffic::Logs(_) => ceilings::pushes_per_second(stack, connections, *seconds, self.element).map(Some),
            Traffic::Starts if stack.postgres.is_none() => {
                ceilings::inserts_per_second(stack, connections, *seconds).map(Some)
            }
            _ => Ok(None),
        }
    }
}

fn complain(row: &Row, server: &Server) {
    if row.run.errors() > 0 {
        let log = server.stderr();
        let last: Vec<_> = log.lines().rev().take(20).collect();
        eprintln!("{:?}; the server wrote, last first:\n{}", row.run, last.join("\n"));
    }
}
