//! Rounds: engines report while faults are injected, and the oracle judges the outcome.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;

use crate::ledger::Tally;
use crate::oracle::{Kind, Outcome, Verdict};
use crate::stack::{Setup, Stack, Store};
use crate::{Arguments, DRAIN_DEADLINE, Tee, engines, faults};

/// Violations of a round that are printed.
const MAX_PRINTED: usize = 12;
/// Characters of a violation that are printed.
const MAX_LENGTH: usize = 2_000;

/// Runs all rounds. Returns whether there was no violation.
pub fn run(arguments: &Arguments, tee: &mut Tee) -> anyhow::Result<bool> {
    let start = Instant::now();
    let now = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs());
    let seed = arguments.seed.unwrap_or_else(now);
    let mut sum = Sum::default();
    for number in 0..arguments.rounds {
        let round = Round::run(arguments, seed + number);
        tee.line(&format!("round {} of {}, {}", number + 1, arguments.rounds, round.summary))?;
        for violation in round.violations.iter().take(MAX_PRINTED) {
            let text: String = violation.chars().take(MAX_LENGTH).collect();
            tee.line(&format!("  {text}"))?;
        }
        if let Some(more) = round.violations.len().checked_sub(MAX_PRINTED + 1) {
            tee.line(&format!("  and {} more", more + 1))?;
        }
        sum.add(&round);
    }
    let Sum { tally, deployments, elements, kills, violations } = sum;
    tee.line(&format!(
        "all {} rounds on {:?} with {:?}, seed {seed}, {:.0} s: killed {kills} times; {deployments} deployments, \
         {elements} elements; requests: {tally}; {violations} violations",
        arguments.rounds,
        arguments.store,
        arguments.output,
        start.elapsed().as_secs_f64(),
    ))?;
    Ok(violations == 0)
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
        self.violations += round.violations.len();
    }
}

struct Round {
    tally: Tally,
    deployments: usize,
    elements: usize,
    kills: u32,
    /// The violations of the stack, of the engines and of the oracle.
    violations: Vec<String>,
    summary: String,
}

/// Stops the engines when it is dropped, also by a panic: otherwise the scope would wait for them forever.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Round {
    fn run(arguments: &Arguments, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        // A short timeout, so that responses of the output are often lost.
        let Arguments { store, output, .. } = *arguments;
        let setup = Setup { store, output, timeout_millis: 300, redis_delay: None };
        let mut stack = Stack::start(&arguments.server, &setup);
        let (stop, port, engines_seed) = (AtomicBool::new(false), stack.server.port, rng.u64(..));
        let (injected, work) = thread::scope(|scope| {
            let stop_on_drop = StopOnDrop(&stop);
            let engines = scope.spawn(|| engines::run(arguments.engines, port, engines_seed, &stop));
            let duration = Duration::from_secs(arguments.seconds);
            let injected = faults::inject(&mut stack, &mut rng, duration, &arguments.only);
            drop(stop_on_drop);
            (injected, engines.join().expect("engines do not panic"))
        });
        stack.check_server();
        let drained = stack.drain(DRAIN_DEADLINE);
        let outcome = Outcome::read(&stack);
        let verdict = Verdict::on(&work.deployments, &outcome);
        stack.check_server();

        let (deployments, elements) = (outcome.records.len(), outcome.elements.len());
        let acknowledged: usize = work.deployments.iter().map(|deployment| deployment.acknowledged.len()).sum();
        let counts = Kind::ALL.map(|kind| format!("{kind} {}", verdict.count(kind))).join(", ");
        let mut summary = format!(
            "seed {seed}: {deployments} deployments, {acknowledged} elements acknowledged, {elements} on the list; \
             {counts}; requests: {}; drained in {:.1} s; faults:",
            work.tally,
            drained.as_secs_f64(),
        );
        for (fault, times) in injected {
            write!(summary, " {fault:?} {times}").expect("a `String` accepts every write");
        }
        if arguments.store == Store::Sqlite && stack.disk.is_none() {
            summary += " (without DiskFull: mounting a file system needs root)";
        }
        let violations = stack.violations.drain(..).chain(work.violations).chain(verdict.violations).collect();
        Self { tally: work.tally, deployments, elements, kills: stack.kills, violations, summary }
    }
}
