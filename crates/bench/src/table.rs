//! The tables of a run: the setting, the measurements, and the bars, which are the results that we want to reach.

use std::fmt::Write as _;
use std::process::Command;
use std::{fs, thread};

use serde_json::{Value, json};

use crate::Setting;
use crate::wrk::Run;

/// The number of connections to which the bars apply.
const BAR_CONNECTIONS: usize = 64;

/// The measurements of a workload at a number of connections.
#[derive(Debug)]
pub struct Row {
    pub workload: String,
    pub connections: usize,
    pub run: Run,
    /// Log messages in each request, where that number is fixed.
    pub messages: Option<u64>,
    /// CPU time of the server, in % of a core.
    pub cpu: f64,
    /// Resident memory of the server in MiB: peak and final.
    pub memory: [f64; 2],
    /// Requests per second of the empty handler for the same requests.
    pub empty: f64,
    /// Messages per second of Redis, or deployments per second of SQLite, without the service.
    pub bare: Option<f64>,
    /// The ratio to the empty handler that we want to reach.
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
        let or_empty =
            |number: Option<f64>, decimals| number.map_or(String::new(), |number| format!("{number:.decimals$}"));
        let [p50, p99, p999] = self.run.latencies();
        let [peak, end] = self.memory;
        format!(
            "| {} | {} | {:.0} | {} | {p50:.2} | {p99:.2} | {p999:.2} | {} | {:.0} | {peak:.0} | {end:.0} | {:.0} | {:.3} | {} | {} |",
            self.workload,
            self.connections,
            self.run.per_second(),
            or_empty(self.messages_per_second(), 0),
            self.run.errors(),
            self.cpu,
            self.empty,
            self.to_empty(),
            or_empty(self.bare, 0),
            or_empty(self.to_bare(), 3),
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

/// The measurements of a run.
#[derive(Debug)]
pub struct Report {
    pub setting: Setting,
    /// Memory of a server that has received no request, in MiB.
    pub idle: f64,
    pub rows: Vec<Row>,
}

impl Report {
    /// The tables in Markdown.
    pub fn text(&self) -> String {
        let mut text = setting_text(&self.setting);
        text += "\n| workload | conn. | req/s | messages/s | p50 ms | p99 ms | p99.9 ms | errors | CPU % | peak MiB | end MiB \
                 | empty req/s | × empty | bare/s | × bare |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
        for row in &self.rows {
            text += &(row.line() + "\n");
        }
        text += &format!("\n| bar, at {BAR_CONNECTIONS} connections | wanted | measured | held |\n|---|--:|--:|---|\n");
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
            writeln!(text, "| {what} | {wanted} | {measured} | {held} |").expect("a `String` accepts every write");
        }
        text
    }

    /// The measurements for a program.
    pub fn json(&self) -> Value {
        let rows: Vec<_> = self.rows.iter().map(Row::json).collect();
        json!({"setting": setting_json(&self.setting), "idle_mib": self.idle, "rows": rows})
    }

    pub fn errors(&self) -> u64 {
        self.rows.iter().map(|row| row.run.errors()).sum()
    }

    fn bars(&self) -> Vec<Bar> {
        let held: Vec<_> = self.rows.iter().filter(|row| row.connections == BAR_CONNECTIONS).collect();
        let rate = |name: &str| held.iter().find(|row| row.workload == name).map(|row| row.run.per_second());
        let cost = |of: Option<f64>, than: Option<f64>| Some(than? / of?);
        let mut bars = Vec::new();
        for row in &held {
            if let Some(least) = row.bar {
                let what = format!("{}: requests/s ÷ empty handler", row.workload);
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
        at_most("peak memory of any row, MiB", 80.0, peak);
        at_most("cost of a page on 1 M rows ÷ on 1 k", 1.2, cost(rate("list-1m"), rate("list-1k")));
        let deep = |size: &str| cost(rate(&format!("list-{size}-cursor")), rate(&format!("list-{size}")));
        at_most("cost of a deep page by cursor ÷ first page", 1.2, deep("1m").or_else(|| deep("100k")));
        bars
    }
}

/// A result that we want to reach.
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

/// A list of the setting in Markdown.
pub fn setting_text(setting: &Setting) -> String {
    setting.iter().map(|(name, value)| format!("- {name}: {value}\n")).collect()
}

pub fn setting_json(setting: &Setting) -> Value {
    setting.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

/// The machine and the versions of the programs, as far as they are known.
pub fn environment() -> Setting {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |(_, name)| name);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![
        ("machine", format!("{cores} cores, {model}, Linux {}; wrk and Redis run on it, too", kernel.trim())),
        ("versions", format!("{}; {}", output_of("redis-server", &["--version"]), output_of("rustc", &["--version"]))),
        ("commit", output_of("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"])),
    ]
}

fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if text.is_empty() { format!("{program} unknown") } else { text }
}
