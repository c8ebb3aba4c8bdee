//! Drives a real server with many engines, breaks everything around it, and then asks an oracle that knows what was
//! acknowledged whether all of it is there, once, unaltered and in order. `scripts/conservation` builds and runs it.

mod cases;
mod client;
mod engines;
mod faults;
mod ledger;
mod oracle;
mod proxy;
mod stack;

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use clap::Parser;
use fastrand::Rng;

use crate::faults::Fault;
use crate::ledger::Tally;
use crate::oracle::{Outcome, Verdict};
use crate::stack::{Setup, Stack, Store};

/// How long what is owed may take to arrive when everything is whole again. On a database with several servers
/// one that was killed is taken for gone after 15 s.
const DRAIN: Duration = Duration::from_secs(60);
/// How many violations of a round are printed.
const SHOWN: usize = 12;
/// How many characters of a violation are printed.
const LONGEST: usize = 2_000;

/// Shows that deployment-tracker loses nothing and doubles nothing, whatever breaks around it.
#[derive(Debug, Parser)]
struct Arguments {
    /// The server's binary
    #[arg(long, value_name = "FILE", default_value = "target/debug/deployment-tracker")]
    server: PathBuf,
    /// How many rounds; each has a new server, and kills it at least once with -9
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// How long each round breaks things, in seconds
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Where the records live
    #[arg(long, value_enum, default_value = "sqlite")]
    store: Store,
    /// Break only these
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Fault>,
    /// How many engines report at the same time
    #[arg(long, default_value_t = 24)]
    engines: u64,
    /// What the rounds' chances begin with [default: the time]
    #[arg(long)]
    seed: Option<u64>,
    /// Where the figures go, beside standard output
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    /// The table of plain cases, instead of rounds
    #[arg(long)]
    cases: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let server = arguments.server.canonicalize();
    let server = server.with_context(|| format!("no server at {}; build it", arguments.server.display()))?;
    let arguments = Arguments { server, ..arguments };
    let mut metrics = Metrics::open(&arguments)?;
    let is_conserved = if arguments.cases {
        cases::run(&arguments.server, arguments.store, &mut metrics)?
    } else {
        rounds(&arguments, &mut metrics)?
    };
    Ok(if is_conserved { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Lines for standard output and for the file.
pub struct Metrics(Option<File>);

impl Metrics {
    fn open(arguments: &Arguments) -> anyhow::Result<Self> {
        let create = |path: &PathBuf| File::create(path).with_context(|| format!("cannot write {}", path.display()));
        Ok(Self(arguments.metrics.as_ref().map(create).transpose()?))
    }

    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        println!("{line}");
        if let Some(file) = &mut self.0 {
            writeln!(file, "{line}").context("cannot write the figures")?;
        }
        Ok(())
    }
}

/// Runs the rounds; whether all was conserved.
fn rounds(arguments: &Arguments, metrics: &mut Metrics) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let now = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs());
    let seed = arguments.seed.unwrap_or_else(now);
    let mut sum = Sum::default();
    for number in 0..arguments.rounds {
        let round = round(arguments, seed + number);
        metrics.line(&format!("round {} of {}, {}", number + 1, arguments.rounds, round.line))?;
        for violation in round.verdict.violations.iter().take(SHOWN) {
            let text: String = violation.chars().take(LONGEST).collect();
            metrics.line(&format!("  {text}"))?;
        }
        if let Some(more) = round.verdict.violations.len().checked_sub(SHOWN + 1) {
            metrics.line(&format!("  and {} more", more + 1))?;
        }
        sum.add(&round);
    }
    let Sum { tally, deployments, elements, kills, violations } = sum;
    metrics.line(&format!(
        "all {} rounds on {:?}, seed {seed}, {:.0} s: {kills} times kill -9; {deployments} deployments, \
         {elements} elements; requests: {}; {violations} violations",
        arguments.rounds,
        arguments.store,
        begun.elapsed().as_secs_f64(),
        requests(tally),
    ))?;
    Ok(violations == 0)
}

struct Round {
    tally: Tally,
    deployments: usize,
    elements: usize,
    kills: u32,
    verdict: Verdict,
    line: String,
}

#[derive(Default)]
struct Sum {
    tally: Tally,
    deployments: usize,
    elements: usize,
    kills: u32,
    violations: usize,
}

impl Sum {
    fn add(&mut self, round: &Round) {
        self.tally += round.tally;
        self.deployments += round.deployments;
        self.elements += round.elements;
        self.kills += round.kills;
        self.violations += round.verdict.violations.len();
    }
}

/// Stops the engines when it goes, in a panic, too.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn round(arguments: &Arguments, seed: u64) -> Round {
    let mut rng = Rng::with_seed(seed);
    // Short, so that answers of Redis are lost often.
    let setup = Setup { store: arguments.store, timeout_millis: 300, redis_delay: None };
    let mut stack = Stack::start(&arguments.server, &setup);
    let has_disk = stack.disk.is_some() || arguments.store != Store::Sqlite;
    let (stop, port, engines_seed) = (AtomicBool::new(false), stack.server.port, rng.u64(..));
    let (injected, work) = thread::scope(|scope| {
        let end = End(&stop);
        let engines = scope.spawn(|| engines::run(arguments.engines, port, engines_seed, &stop));
        let injected = faults::inject(&mut stack, &mut rng, Duration::from_secs(arguments.seconds), &arguments.only);
        drop(end);
        (injected, engines.join().expect("engines do not panic"))
    });
    stack.look_at_server();
    let drained = stack.drain(DRAIN);
    let outcome = Outcome {
        records: oracle::records(&stack.server),
        elements: stack.redis.elements(),
        metrics: stack.statsd.lines(),
    };
    let mut verdict = Verdict::on(&work.deployments, &outcome);
    stack.look_at_server();
    verdict.violations.splice(0..0, stack.complaints.drain(..).chain(work.complaints));

    let messages: usize = work.deployments.iter().map(|deployment| deployment.acknowledged.len()).sum();
    let Verdict { lost, twice, altered, unasked, disordered, overcounted, .. } = &verdict;
    let mut line = format!(
        "seed {seed}: {} deployments, {messages} elements acknowledged, {} there; lost {lost}, twice {twice}, \
         altered {altered}, unasked {unasked}, disordered {disordered}, overcounted {overcounted}; requests: {}; \
         drained in {:.1} s; faults:",
        outcome.records.len(),
        outcome.elements.len(),
        requests(work.tally),
        drained.as_secs_f64(),
    );
    for (fault, times) in injected {
        write!(line, " {fault:?} {times}").expect("a string takes it");
    }
    if !has_disk {
        line += " (the disk was not filled: we may not mount one)";
    }
    let (deployments, elements) = (outcome.records.len(), outcome.elements.len());
    Round { tally: work.tally, deployments, elements, kills: stack.kills, verdict, line }
}

fn requests(tally: Tally) -> String {
    let Tally { acknowledged, refused, lost, wrong } = tally;
    format!("{acknowledged} acknowledged, {refused} refused with 503, {wrong} with 4xx, {lost} without an answer")
}
