//! Measures the throughput, latency, CPU time and memory of the service. `scripts/bench` builds and runs this program;
//! docs/performance.md explains its tables.
//!
//! # Method
//!
//! wrk sends each workload to a `dist` build that runs as an operator would run it: SQLite or PostgreSQL on a disk
//! with the service's default settings, and both outputs configured. Each row gets a new server, one second of traffic
//! to warm up, and a new database unless the workload only reads. While wrk runs, the program empties the Redis list
//! ten times a second, as Logstash would; Redis persists nothing, and StatsD is a socket that is read.
//!
//! # Ceilings
//!
//! Throughput differs between machines, and from minute to minute on one machine, so only ratios are comparable. Each
//! row is measured next to its ceilings, the best that the parts of the service could reach:
//!
//! - right before it, the *empty handler*: the same requests, to the same HTTP server with a handler that does nothing;
//! - right after it, for logs, pushes to Redis by `redis-benchmark`;
//! - right after it, for starts on SQLite, inserts into the same tables without a server.
//!
//! # Two builds
//!
//! `--baseline` compares two builds instead. It alternates them within each workload, so that drift of the machine
//! affects both, and prints the median of each build and their ratio.

mod bench;
mod ceilings;
mod comparison;
mod dataset;
mod stack;
mod table;
mod workloads;
mod wrk;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use serde_json::Value;

use crate::bench::{Bench, WARM_UP};
use crate::ceilings::Ceilings;
use crate::comparison::Comparisons;
use crate::stack::{Stack, Store};
use crate::table::Report;
use crate::workloads::Workload;

/// Measures deployment-tracker next to the ceilings of its parts, or compares two builds of it.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Hidden>,
    /// The server to measure [default: the one next to this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Compare with this server: alternate both within each workload, and print the ratio of their medians
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Rounds of each workload with --baseline
    #[arg(long, default_value_t = 3, requires = "baseline", value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// The database that stores the records
    #[arg(long, value_enum, default_value = "sqlite")]
    store: Store,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Measure only these workloads, by their names in the table
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<String>,
    /// Numbers of connections to measure each workload with
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    connections: Vec<usize>,
    /// Most deployments in a data set; 1000000 or more adds the workloads on a million
    #[arg(long, default_value_t = 100_000)]
    rows: u64,
    /// Write the measurements to this file as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Hidden {
    /// Run the empty handler
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
    let program = std::env::current_exe().context("the path of this program is unknown")?;
    let binary = arguments.binary.clone().unwrap_or_else(|| program.with_file_name("deployment-tracker"));
    let binary = existing(&binary)?;
    // This program is in `target/<profile>`.
    let folder = program.ancestors().nth(2).context("this program is not in a build folder")?.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    // PostgreSQL keeps its data in the folder for temporary files.
    let disk = match arguments.store {
        Store::Sqlite => stack::file_system(&folder)?,
        Store::Postgres => stack::file_system(&std::env::temp_dir())?,
    };
    let mut setting = table::environment();
    setting.push(("store", format!("{:?} with its defaults, on {disk}, not in memory", arguments.store)));
    setting.push(("measured", format!("{} s each, with Redis and StatsD output", arguments.seconds)));
    let workloads = selected(&arguments)?;
    let bench = Bench::new(Stack::start(binary, folder, arguments.store), arguments.seconds)?;
    match &arguments.baseline {
        Some(baseline) => {
            let comparisons = compare(&arguments, bench, setting, &workloads, &existing(baseline)?)?;
            finish(&arguments, &comparisons.text(), &comparisons.json(), comparisons.errors())
        }
        None => {
            let report = measure(&arguments, bench, setting, &workloads)?;
            finish(&arguments, &report.text(), &report.json(), report.errors())
        }
    }
}

/// Prints and saves the measurements. The exit code is 1 if any request failed.
fn finish(arguments: &Arguments, text: &str, json: &Value, errors: u64) -> anyhow::Result<ExitCode> {
    print!("{text}");
    if let Some(file) = &arguments.json {
        fs::write(file, format!("{json:#}\n")).with_context(|| format!("cannot write `{}`", file.display()))?;
    }
    ensure!(json["rows"].as_array().is_some_and(|rows| !rows.is_empty()), "no workload could be measured");
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Names and values of the circumstances of a run.
type Setting = Vec<(&'static str, String)>;

fn measure(
    arguments: &Arguments,
    bench: Bench,
    mut setting: Setting,
    workloads: &[Workload],
) -> anyhow::Result<Report> {
    if let Some(binary) = &arguments.binary {
        setting.push(("server", format!("not of this commit, but {}", binary.display())));
    }
    let mut server = bench.stack.serve(None)?;
    thread::sleep(WARM_UP);
    let idle = stack::memory(server.id(), "VmRSS")?;
    let ceilings = Ceilings::start(&bench, &server)?;
    server.kill();
    let mut rows = Vec::new();
    for (workload, connections) in each(arguments, workloads) {
        rows.extend(bench.row(&ceilings, workload, connections).with_context(|| workload.name.clone())?);
    }
    Ok(Report { setting, idle, rows })
}

fn compare(
    arguments: &Arguments,
    bench: Bench,
    mut setting: Setting,
    workloads: &[Workload],
    baseline: &Path,
) -> anyhow::Result<Comparisons> {
    setting.push(("baseline", baseline.display().to_string()));
    setting.push(("candidate", bench.stack.binary.display().to_string()));
    let mut rows = Vec::new();
    for (workload, connections) in each(arguments, workloads) {
        let row = bench.compare(baseline, workload, connections, arguments.rounds);
        rows.extend(row.with_context(|| workload.name.clone())?);
    }
    Ok(Comparisons { setting, rows })
}

/// Each workload with each number of connections; prints the progress.
fn each<'a>(arguments: &'a Arguments, workloads: &'a [Workload]) -> impl Iterator<Item = (&'a Workload, usize)> {
    let all = workloads
        .iter()
        .flat_map(|workload| arguments.connections.iter().map(move |&connections| (workload, connections)));
    all.inspect(|(workload, connections)| eprintln!("{} at {connections} connections", workload.name))
}

fn selected(arguments: &Arguments) -> anyhow::Result<Vec<Workload>> {
    let (mut workloads, wanted) = (workloads::all(arguments.rows), &arguments.workloads);
    for name in wanted {
        let names: Vec<_> = workloads.iter().map(|workload| workload.name.as_str()).collect();
        ensure!(names.contains(&name.as_str()), "no workload `{name}`; choose from {}", names.join(", "));
    }
    workloads.retain(|workload| wanted.is_empty() || wanted.contains(&workload.name));
    Ok(workloads)
}

fn existing(binary: &Path) -> anyhow::Result<PathBuf> {
    binary.canonicalize().with_context(|| format!("no server at `{}`; build it first", binary.display()))
}
