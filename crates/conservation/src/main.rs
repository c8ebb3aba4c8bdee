//! Shows that the service neither loses nor duplicates what it has acknowledged, whatever breaks around it.
//! `scripts/conservation` builds and runs this program; docs/durability.md describes the guarantees and past results.
//!
//! # A round
//!
//! 1. [`stack`] starts the real service with Redis or NATS, StatsD and a database.
//! 2. [`engines`] report deployments from many threads. They retry, send duplicates and invalid requests, and hang up.
//!    The [`ledger`] keeps everything that they send, and how it was answered.
//! 3. Meanwhile [`faults`] breaks the service and the servers around it: processes are killed, terminated or suspended,
//!    connections are cut, Redis rejects pushes, and the disk fills up.
//! 4. All faults end, and the service delivers its pending batches.
//! 5. The [`oracle`] compares the ledger with the records, the Redis list or NATS stream, and the StatsD counters. Its
//!    documentation lists the invariants.
//!
//! The random numbers of a round come from its seed; threads and timing still differ between two runs. `--cases` runs
//! the [`cases`] instead, in which at most one thing breaks at a steady load. The exit code is 1 if there was a
//! violation.

mod cases;
mod client;
mod engines;
mod faults;
mod ledger;
mod oracle;
mod proxy;
mod rounds;
mod stack;

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

use crate::faults::Fault;
use crate::stack::{Output, Store};

/// How long the service may take to deliver its pending batches once every fault has ended. On a shared database it
/// adopts the batches of a killed instance only after 15 s without a heartbeat.
const DRAIN_DEADLINE: Duration = Duration::from_secs(60);

/// Shows that deployment-tracker neither loses nor duplicates anything, whatever breaks around it.
#[derive(Debug, Parser)]
struct Arguments {
    /// The server's binary
    #[arg(long, value_name = "FILE", default_value = "target/debug/deployment-tracker")]
    server: PathBuf,
    /// Number of rounds; each starts a new server and kills it with SIGKILL at least once
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// How long faults are injected in each round, in seconds
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// The database that stores the records
    #[arg(long, value_enum, default_value = "sqlite")]
    store: Store,
    /// The output that is compared with what the engines sent; `nats` needs a server with the feature `nats`
    #[arg(long, value_enum, default_value = "redis")]
    output: Output,
    /// Inject only these faults
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Fault>,
    /// Number of concurrent engines
    #[arg(long, default_value_t = 24)]
    engines: u64,
    /// Seed of the first round; each further round adds one [default: the time]
    #[arg(long)]
    seed: Option<u64>,
    /// Write the report to this file, too
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Run the table of cases instead of rounds
    #[arg(long)]
    cases: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let server = arguments.server.canonicalize();
    let server = server.with_context(|| format!("no server at `{}`; build it first", arguments.server.display()))?;
    let arguments = Arguments { server, ..arguments };
    let mut tee = Tee::open(&arguments)?;
    let has_passed = if arguments.cases {
        cases::run(&arguments.server, arguments.store, &mut tee)?
    } else {
        rounds::run(&arguments, &mut tee)?
    };
    Ok(if has_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the lines of the report, and writes them to the file of `--report`.
pub struct Tee(Option<File>);

impl Tee {
    fn open(arguments: &Arguments) -> anyhow::Result<Self> {
        let create = |path: &PathBuf| File::create(path).with_context(|| format!("cannot write `{}`", path.display()));
        Ok(Self(arguments.report.as_ref().map(create).transpose()?))
    }

    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        println!("{line}");
        if let Some(file) = &mut self.0 {
            writeln!(file, "{line}").context("cannot write the report")?;
        }
        Ok(())
    }
}
