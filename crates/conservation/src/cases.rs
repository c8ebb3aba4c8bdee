//! The table of plain cases: starts with ids of their own at a steady rate, and at most one thing goes wrong.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Answer, Client, Manner};
use crate::stack::{Setup, Stack, Store};
use crate::{DRAIN, Metrics, oracle};

/// How many reports a case has.
const REPORTS: usize = 20_000;
/// How many connections they come over.
const CONNECTIONS: usize = 64;
/// How long the client tries again.
const PATIENCE: Duration = Duration::from_secs(60);

struct Case {
    name: &'static str,
    store: Store,
    /// Reports a second.
    rate: u32,
    /// How long each command to Redis is held back.
    redis_delay: Option<Duration>,
    /// What goes wrong, from the first report on.
    event: fn(&mut Stack),
}

fn nothing(_: &mut Stack) {}

fn seconds(seconds: f64) {
    thread::sleep(Duration::from_secs_f64(seconds));
}

fn table() -> Vec<Case> {
    let case = |name, event| Case { name, store: Store::Sqlite, rate: 2_000, redis_delay: None, event };
    vec![
        case("all healthy", nothing),
        Case { rate: 4_000, ..case("all healthy, 4,000/s", nothing) },
        case("Redis stopped for 5 s", |stack| {
            seconds(2.5);
            stack.redis.kill();
            seconds(5.0);
            stack.redis.restart();
        }),
        case("Redis answers errors for 5 s", |stack| {
            seconds(2.5);
            stack.redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
            seconds(5.0);
            stack.redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
        }),
        Case { redis_delay: Some(Duration::from_millis(50)), ..case("Redis with 50 ms a command", nothing) },
        Case { store: Store::Postgres, ..case("PostgreSQL, all healthy", nothing) },
        Case {
            store: Store::Postgres,
            ..case("PostgreSQL stopped for 5 s", |stack| {
                seconds(2.5);
                stop_database(stack);
            })
        },
        Case { store: Store::Mysql, ..case("MariaDB, all healthy", nothing) },
        Case {
            store: Store::Mysql,
            ..case("MariaDB stopped for 5 s", |stack| {
                seconds(2.5);
                stop_database(stack);
            })
        },
        case("kill -9 after 5 s", |stack| {
            seconds(5.0);
            stack.kill_server();
            restart(stack);
        }),
        case("SIGTERM with Redis away, then a restart", |stack| {
            seconds(4.0);
            stack.redis.kill();
            seconds(1.0);
            stack.terminate_server();
            restart(stack);
            seconds(2.0);
            stack.redis.restart();
        }),
    ]
}

fn stop_database(stack: &mut Stack) {
    let database = stack.database.as_mut().expect("it is the store");
    database.stop();
    seconds(5.0);
    database.start();
}

fn restart(stack: &mut Stack) {
    if let Err(error) = stack.restart_server() {
        stack.complaints.push(error);
    }
}

/// Runs every case, those on MariaDB if that is `store`; whether nothing was lost and nothing came twice.
pub fn run(binary: &Path, store: Store, metrics: &mut Metrics) -> anyhow::Result<bool> {
    metrics.line("| case | acknowledged | delivered | lost | twice | refused | p99 ms |")?;
    metrics.line("|---|---:|---:|---:|---:|---:|---:|")?;
    let mut is_conserved = true;
    for case in table().into_iter().filter(|case| case.store != Store::Mysql || store == Store::Mysql) {
        let Row { acknowledged, delivered, lost, twice, refused, p99, complaints } = case.run(binary);
        let (name, p99) = (case.name, p99.as_secs_f64() * 1000.0);
        metrics
            .line(&format!("| {name} | {acknowledged} | {delivered} | {lost} | {twice} | {refused} | {p99:.1} |"))?;
        for failure_log in &complaints {
            eprintln!("{name}: {failure_log}");
        }
        is_conserved &= lost == 0 && twice == 0 && acknowledged == REPORTS && complaints.is_empty();
    }
    metrics.line(
        "\nDelivered: on the Redis list, and on record. Refused: answered with 503 or not at all, and sent again. p99: of \
         the time to the answer, for those that were acknowledged.",
    )?;
    Ok(is_conserved)
}

struct Row {
    acknowledged: usize,
    delivered: usize,
    lost: usize,
    twice: usize,
    refused: usize,
    p99: Duration,
    complaints: Vec<String>,
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    acknowledged: Vec<String>,
    delays: Vec<Duration>,
    refused: usize,
}

impl Case {
    fn run(&self, binary: &Path) -> Row {
        let setup = Setup { store: self.store, timeout_millis: 2_000, redis_delay: self.redis_delay };
        let mut stack = Stack::start(binary, &setup);
        let (next, port, begun) = (AtomicUsize::new(0), stack.server.port, Instant::now());
        let mut all = Seen::default();
        thread::scope(|scope| {
            let report = || self.report(port, begun, &next);
            let running: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(report)).collect();
            (self.event)(&mut stack);
            for running in running {
                let seen = running.join().expect("a connection does not panic");
                all.acknowledged.extend(seen.acknowledged);
                all.delays.extend(seen.delays);
                all.refused += seen.refused;
            }
        });
        let took = begun.elapsed().as_secs_f64();
        let rate = REPORTS as f64 / took;
        if rate < 0.95 * f64::from(self.rate) {
            eprintln!("{}: {rate:.0} reports a second, of {}", self.name, self.rate);
        }
        stack.look_at_server();
        stack.drain(DRAIN);
        let mut elements = HashMap::<String, usize>::new();
        for element in stack.redis.elements() {
            *elements.entry(element["deployment_id"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        let records: HashSet<_> = oracle::records(&stack.server).into_keys().collect();
        let is_there = |id: &&String| elements.contains_key(*id) && records.contains(*id);
        let delivered = all.acknowledged.iter().filter(is_there).count();
        all.delays.sort();
        Row {
            acknowledged: all.acknowledged.len(),
            delivered,
            lost: all.acknowledged.len() - delivered,
            twice: elements.values().map(|count| count - 1).sum(),
            refused: all.refused,
            p99: all.delays.get(all.delays.len() * 99 / 100).copied().unwrap_or_default(),
            complaints: std::mem::take(&mut stack.complaints),
        }
    }

    /// Reports whatever is due next, each until it is acknowledged.
    fn report(&self, port: u16, begun: Instant, next: &AtomicUsize) -> Seen {
        let (mut client, mut seen) = (Client::new(port), Seen::default());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= REPORTS {
                return seen;
            }
            let due = begun + Duration::from_secs(1) * u32::try_from(number).expect("few reports") / self.rate;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let id = format!("0a0b0c0d-0000-4000-8000-{number:012x}");
            let body = json!({ "engine": "conservation", "environment": "test", "package": "p", "version": id });
            while due.elapsed() < PATIENCE {
                let (path, sent) = (format!("/v1/deployments/{id}"), Instant::now());
                let answer = client.send("POST", &path, &body.to_string(), Manner::Whole, Duration::from_secs(10));
                if matches!(answer, Answer::Given(response) if response.status == 201) {
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
