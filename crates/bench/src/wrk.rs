//! Runs wrk, the load generator, and reads its results.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;

const TRAFFIC: &str = include_str!("traffic.lua");
/// The interval of the callback during a run.
const INTERVAL: Duration = Duration::from_millis(100);

/// The results of a run.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Run {
    micros: u64,
    requests: u64,
    p50: u64,
    p99: u64,
    p999: u64,
    /// Requests answered with 4xx or 5xx.
    refused: u64,
    /// Requests without an answer.
    broken: u64,
}

impl Run {
    pub fn seconds(&self) -> f64 {
        self.micros as f64 / 1e6
    }

    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds()
    }

    /// The latencies p50, p99 and p99.9 in milliseconds.
    pub fn latencies(&self) -> [f64; 3] {
        [self.p50, self.p99, self.p999].map(|micros| micros as f64 / 1e3)
    }

    pub fn errors(&self) -> u64 {
        self.refused + self.broken
    }

    /// A run of one second, for tests.
    #[cfg(test)]
    pub fn of_one_second(requests: u64) -> Self {
        Self { micros: 1_000_000, requests, p50: 1, p99: 1, p999: 1, refused: 0, broken: 0 }
    }
}

/// wrk with the script that generates the requests.
#[derive(Debug)]
pub struct Wrk {
    script: PathBuf,
}

impl Wrk {
    /// Writes the script into `folder`.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let script = folder.join("traffic.lua");
        fs::write(&script, TRAFFIC).context("cannot write the script for wrk")?;
        Ok(Self { script })
    }

    /// Sends requests to `port` for `seconds`. `script` has the arguments of the script; `meanwhile` is called
    /// every 100 ms.
    pub fn run(
        &self,
        port: u16,
        connections: usize,
        seconds: u64,
        script: &[String],
        meanwhile: impl FnMut(),
    ) -> anyhow::Result<Run> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(connections);
        let mut wrk = Command::new("wrk");
        wrk.args(["-t", &threads.to_string(), "-c", &connections.to_string(), "-d", &seconds.to_string()]);
        wrk.args(["--timeout", "10", "-s"]).arg(&self.script).arg(format!("http://127.0.0.1:{port}/"));
        // A seed whose last byte is zero: each thread of wrk adds its number.
        let (kind, parameters) = script.split_first().context("the script needs a kind of traffic")?;
        wrk.args(["--", kind, &(fastrand::u32(..) & !0xff).to_string()]).args(parameters);
        let output = complete(&mut wrk, meanwhile)?;
        parse(&output).with_context(|| format!("cannot read the results of wrk: {output}"))
    }
}

fn parse(output: &str) -> anyhow::Result<Run> {
    let line = output.lines().rfind(|line| line.starts_with('{')).context("no line of results")?;
    let run: Run = serde_json::from_str(line)?;
    ensure!(run.micros > 0 && run.requests > 0, "no request was answered");
    Ok(run)
}

/// Runs a program to its end, calling `meanwhile` every 100 ms, and returns its standard output.
pub fn complete(command: &mut Command, mut meanwhile: impl FnMut()) -> anyhow::Result<String> {
    let program = command.get_program().display().to_string();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{program}`; `scripts/bench` installs it"))?;
    while child.try_wait()?.is_none() {
        meanwhile();
        thread::sleep(INTERVAL);
    }
    let Output { status, stdout, .. } = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&stdout).into_owned();
    ensure!(status.success(), "`{program}` ended with {status}: {text}");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_from_the_last_line() {
        let run = parse(
            "Running 2s test @ http://127.0.0.1:8080/\n  2 threads and 64 connections\n  81 requests in 2.00s\n\
             {\"micros\":2000000,\"requests\":81,\"p50\":400,\"p99\":1500,\"p999\":2500,\"refused\":2,\"broken\":1}\n",
        )
        .unwrap();
        assert_eq!((run.per_second(), run.latencies(), run.errors()), (40.5, [0.4, 1.5, 2.5], 3));
    }

    #[test]
    fn a_run_without_an_answer_is_an_error() {
        assert!(parse("unable to connect to 127.0.0.1:8080 Connection refused\n").is_err());
    }
}
