//! The table of cases: starts of deployments at a steady rate, with at most one fault.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Answer, Client, Sending};
use crate::stack::{Output, Setup, Stack, Store};
use crate::{DRAIN_DEADLINE, Tee, oracle};

/// Reports of a case.
const REPORTS: usize = 20_000;
/// Connections of the client.
const CONNECTIONS: usize = 64;
/// How long the client retries a report.
const RETRY_DEADLINE: Duration = Duration::from_secs(60);

struct Case {
    name: &'static str,
    store: Store,
    /// Reports per second.
    rate: u32,
    /// Delay of everything that the server sends to Redis.
    redis_delay: Option<Duration>,
    /// Injects the fault; called when the first report is sent.
    fault: fn(&mut Stack),
}

fn no_fault(_: &mut Stack) {}

fn sleep(seconds: f64) {
    thread::sleep(Duration::from_secs_f64(seconds));
}

fn table() -> Vec<Case> {
    let case = |name, fault| Case { name, store: Store::Sqlite, rate: 2_000, redis_delay: None, fault };
    vec![
        case("all healthy", no_fault),
        Case { rate: 4_000, ..case("all healthy, 4,000/s", no_fault) },
        case("Redis stopped for 5 s", |stack| {
            sleep(2.5);
            stack.redis.kill();
            sleep(5.0);
            stack.redis.restart();
        }),
        case("Redis answers errors for 5 s", |stack| {
            sleep(2.5);
            stack.redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
            sleep(5.0);
            stack.redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
        }),
        Case { redis_delay: Some(Duration::from_millis(50)), ..case("Redis with 50 ms a command", no_fault) },
        Case { store: Store::Postgres, ..case("PostgreSQL, all healthy", no_fault) },
        Case {
            store: Store::Postgres,
            ..case("PostgreSQL stopped for 5 s", |stack| {
                sleep(2.5);
                stop_database(stack);
            })
        },
        Case { store: Store::Mysql, ..case("MariaDB, all healthy", no_fault) },
        Case {
            store: Store::Mysql,
            ..case("MariaDB stopped for 5 s", |stack| {
                sleep(2.5);
                stop_database(stack);
            })
        },
        case("kill -9 after 5 s", |stack| {
            sleep(5.0);
            stack.kill_server();
            restart(stack);
        }),
        case("SIGTERM with Redis away, then a restart", |stack| {
            sleep(4.0);
            stack.redis.kill();
            sleep(1.0);
            stack.terminate_server();
            restart(stack);
            sleep(2.0);
            stack.redis.restart();
        }),
    ]
}

fn stop_database(stack: &mut Stack) {
    let database = stack.database.as_mut().expect("the store is a database server");
    database.stop();
    sleep(5.0);
    database.start();
}

fn restart(stack: &mut Stack) {
    if let Err(error) = stack.restart_server() {
        stack.violations.push(format!("cannot restart the server: {error}"));
    }
}

/// Runs every case; those on MariaDB only if that is `store`. Returns whether each report was acknowledged and
/// delivered once.
pub fn run(binary: &Path, store: Store, tee: &mut Tee) -> anyhow::Result<bool> {
    tee.line("| case | acknowledged | delivered | lost | twice | refused | p99 ms |")?;
    tee.line("|---|---:|---:|---:|---:|---:|---:|")?;
    let mut has_passed = true;
    for case in table().into_iter().filter(|case| case.store != Store::Mysql || store == Store::Mysql) {
        let Row { acknowledged, delivered, lost, twice, refused, p99, violations } = case.run(binary);
        let (name, p99) = (case.name, p99.as_secs_f64() * 1000.0);
        tee.line(&format!("| {name} | {acknowledged} | {delivered} | {lost} | {twice} | {refused} | {p99:.1} |"))?;
        for violation in &violations {
            eprintln!("{name}: {violation}");
        }
        has_passed &= lost == 0 && twice == 0 && acknowledged == REPORTS && violations.is_empty();
    }
    tee.line(
        "\nDelivered: on the Redis list and on record. Refused: answered with 503 or not at all, and retried. \
         p99: time to the response that acknowledged the report.",
    )?;
    Ok(has_passed)
}

struct Row {
    acknowledged: usize,
    delivered: usize,
    lost: usize,
    twice: usize,
    refused: usize,
    p99: Duration,
    violations: Vec<String>,
}

/// The observations of one connection.
#[derive(Default)]
struct Observed {
    acknowledged: Vec<String>,
    delays: Vec<Duration>,
    refused: usize,
}

impl Case {
    fn run(&self, binary: &Path) -> Row {
        let setup =
            Setup { store: self.store, output: Output::Redis, timeout_millis: 2_000, redis_delay: self.redis_delay };
        let mut stack = Stack::start(binary, &setup);
        let (next, port, start) = (AtomicUsize::new(0), stack.server.port, Instant::now());
        let mut all = Observed::default();
        thread::scope(|scope| {
            let report = || self.report(port, start, &next);
            let running: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(report)).collect();
            (self.fault)(&mut stack);
            for running in running {
                let seen = running.join().expect("a connection does not panic");
                all.acknowledged.extend(seen.acknowledged);
                all.delays.extend(seen.delays);
                all.refused += seen.refused;
            }
        });
        let took = start.elapsed().as_secs_f64();
        let rate = REPORTS as f64 / took;
        if rate < 0.95 * f64::from(self.rate) {
            eprintln!("{}: only {rate:.0} of {} reports per second", self.name, self.rate);
        }
        stack.check_server();
        stack.drain(DRAIN_DEADLINE);
        let mut elements = HashMap::<String, usize>::new();
        for element in stack.redis.elements() {
            *elements.entry(element["deployment_id"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        let records: HashSet<_> = oracle::records(&stack.server).into_keys().collect();
        let is_delivered = |id: &&String| elements.contains_key(*id) && records.contains(*id);
        let delivered = all.acknowledged.iter().filter(is_delivered).count();
        all.delays.sort();
        Row {
            acknowledged: all.acknowledged.len(),
            delivered,
            lost: all.acknowledged.len() - delivered,
            twice: elements.values().map(|count| count - 1).sum(),
            refused: all.refused,
            p99: all.delays.get(all.delays.len() * 99 / 100).copied().unwrap_or_default(),
            violations: std::mem::take(&mut stack.violations),
        }
    }

    /// Sends the next report when it is due, and retries it until it is acknowledged; repeats that until none is left.
    fn report(&self, port: u16, start: Instant, next: &AtomicUsize) -> Observed {
        let (mut client, mut seen) = (Client::new(port), Observed::default());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= REPORTS {
                return seen;
            }
            let due = start
                + Duration::from_secs(1) * u32::try_from(number).expect("`REPORTS` fits into 32 bits") / self.rate;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let id = format!("0a0b0c0d-0000-4000-8000-{number:012x}");
            let body = json!({ "engine": "conservation", "environment": "test", "package": "p", "version": id });
            while due.elapsed() < RETRY_DEADLINE {
                let (path, sent) = (format!("/v1/deployments/{id}"), Instant::now());
                let answer = client.send("POST", &path, &body.to_string(), Sending::Complete, Duration::from_secs(10));
                if matches!(answer, Answer::Received(response) if response.status == 201) {
                    seen.delays.push(sent.elapsed());
                    seen.acknowledged.push(id);
                    break;
                }
                seen.refused += 1;
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}
