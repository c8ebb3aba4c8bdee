//! What is said of the measurements: the machine, a table, and whether the bars are held.

use std::fmt::Write as _;
use std::process::Command;
use std::{fs, thread};

use serde_json::{Value, json};

use crate::wrk::Run;

/// At how many connections the bars are held.
const HELD_AT: usize = 64;

/// A workload at a number of connections.
#[derive(Debug)]
pub struct Row {
    pub workload: String,
    pub connections: usize,
    pub run: Run,
    /// How many log messages a request has, where all have the same.
    pub messages: Option<u64>,
    /// How busy the server was, in % of a core.
    pub cpu: f64,
    /// In MiB: at the most, and at the end.
    pub memory: [f64; 2],
    /// Requests a second of the empty handler, which got the same.
    pub empty: f64,
    /// What the same would be bare: messages a second of Redis, or deployments a second of SQLite.
    pub bare: Option<f64>,
    /// The least that the ratio to the empty handler may be.
    pub bar: Option<f64>,
}

impl Row {
    fn to_empty(&self) -> f64 {
        self.run.per_second() / self.empty
    }

    fn messages_per_second(&self) -> Option<f64> {
        self.messages.map(|messages| self.run.per_second() * messages as f64)
    }

    fn to_bare(&self) -> Option<f64> {
        self.bare.map(|bare| self.messages_per_second().unwrap_or_else(|| self.run.per_second()) / bare)
    }

    fn line(&self) -> String {
        let or_none =
            |figure: Option<f64>, decimals| figure.map_or(String::new(), |figure| format!("{figure:.decimals$}"));
        let [p50, p99, p999] = self.run.latencies();
        let [peak, end] = self.memory;
        format!(
            "| {} | {} | {:.0} | {} | {p50:.2} | {p99:.2} | {p999:.2} | {} | {:.0} | {peak:.0} | {end:.0} | {:.0} | {:.3} | {} | {} |",
            self.workload,
            self.connections,
            self.run.per_second(),
            or_none(self.messages_per_second(), 0),
            self.run.errors(),
            self.cpu,
            self.empty,
            self.to_empty(),
            or_none(self.bare, 0),
            or_none(self.to_bare(), 3),
        )
    }

    fn json(&self) -> Value {
        let [p50, p99, p999] = self.run.latencies();
        json!({
            "workload": self.workload, "connections": self.connections, "requests_per_second": self.run.per_second(),
            "messages_per_second": self.messages_per_second(), "p50_millis": p50, "p99_millis": p99, "p999_millis": p999,
            "errors": self.run.errors(), "cpu_percent": self.cpu, "memory_mib": {"peak": self.memory[0], "end": self.memory[1]},
            "empty_requests_per_second": self.empty, "bare_per_second": self.bare,
        })
    }
}

/// All that was measured in a run.
#[derive(Debug)]
pub struct Report {
    /// What was measured where: names and what they stand for.
    pub setting: Vec<(&'static str, String)>,
    /// Of a server that nobody has asked for anything, in MiB.
    pub idle: f64,
    pub rows: Vec<Row>,
}

impl Report {
    /// In Markdown.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.setting {
            writeln!(text, "- {name}: {value}").expect("a string takes it");
        }
        text += "\n| workload | conn. | req/s | messages/s | p50 ms | p99 ms | p99.9 ms | errors | CPU % | peak MiB | end MiB \
                 | empty req/s | × empty | bare/s | × bare |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
        for row in &self.rows {
            text += &(row.line() + "\n");
        }
        text += &format!("\n| bar, at {HELD_AT} connections | wanted | measured | held |\n|---|--:|--:|---|\n");
        for Bar { what, wanted, measured } in self.bars() {
            let (measured, held) = match (measured, wanted) {
                (None, _) => ("not measured".to_owned(), ""),
                (Some(measured), Wanted::AtLeast(least)) => (format!("{measured:.3}"), yes_no(measured >= least)),
                (Some(measured), Wanted::AtMost(most)) => (format!("{measured:.3}"), yes_no(measured <= most)),
            };
            let wanted = match wanted {
                Wanted::AtLeast(least) => format!("≥ {least:.2}"),
                Wanted::AtMost(most) => format!("≤ {most:.2}"),
            };
            writeln!(text, "| {what} | {wanted} | {measured} | {held} |").expect("a string takes it");
        }
        text
    }

    /// The figures, for a program.
    pub fn json(&self) -> Value {
        let setting: serde_json::Map<_, _> =
            self.setting.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({"setting": setting, "idle_mib": self.idle, "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>()})
    }

    pub fn errors(&self) -> u64 {
        self.rows.iter().map(|row| row.run.errors()).sum()
    }

    fn bars(&self) -> Vec<Bar> {
        let held: Vec<_> = self.rows.iter().filter(|row| row.connections == HELD_AT).collect();
        let rate = |name: &str| held.iter().find(|row| row.workload == name).map(|row| row.run.per_second());
        let cost = |of: Option<f64>, than: Option<f64>| Some(than? / of?);
        let mut bars = Vec::new();
        for row in &held {
            if let Some(least) = row.bar {
                let what = format!("{}: requests/s ÷ those of the empty handler", row.workload);
                bars.push(Bar { what, wanted: Wanted::AtLeast(least), measured: Some(row.to_empty()) });
            }
        }
        for row in &held {
            let [p50, p99, _] = row.run.latencies();
            let what = format!("{}: p99 ÷ p50", row.workload);
            bars.push(Bar { what, wanted: Wanted::AtMost(5.0), measured: Some(p99 / p50) });
        }
        let peak = self.rows.iter().map(|row| row.memory[0]).reduce(f64::max);
        let mut at_most = |what: &str, most, measured| {
            bars.push(Bar { what: what.into(), wanted: Wanted::AtMost(most), measured });
        };
        at_most("memory when idle, MiB", 25.0, Some(self.idle));
        at_most("memory at the most, in any row, MiB", 80.0, peak);
        at_most("cost of a page on 1 M rows ÷ on 1 k", 1.2, cost(rate("list-1m"), rate("list-1k")));
        let deep = |size: &str| cost(rate(&format!("list-{size}-cursor")), rate(&format!("list-{size}")));
        at_most("cost of a deep page by cursor ÷ of the first", 1.2, deep("1m").or_else(|| deep("100k")));
        bars
    }
}

struct Bar {
    what: String,
    wanted: Wanted,
    measured: Option<f64>,
}

#[derive(Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

fn yes_no(is_held: bool) -> &'static str {
    if is_held { "yes" } else { "**no**" }
}

/// The machine and the programs, as far as they can be told.
pub fn surroundings() -> Vec<(&'static str, String)> {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |(_, name)| name);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![
        ("machine", format!("{cores} cores, {model}, Linux {}; wrk and Redis run on it, too", kernel.trim())),
        ("versions", format!("{}; {}", said("redis-server", &["--version"]), said("rustc", &["--version"]))),
        ("commit", said("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"])),
    ]
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if text.is_empty() { format!("{program} unknown") } else { text }
}
