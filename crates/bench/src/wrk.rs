//! wrk, which sends the traffic, and what it says of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;

const TRAFFIC: &str = include_str!("traffic.lua");
/// How often, while something is measured, what it leaves behind is thrown away.
const TIDY: Duration = Duration::from_millis(100);

/// What was seen of a run.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Run {
    micros: u64,
    requests: u64,
    p50: u64,
    p99: u64,
    p999: u64,
    /// Answered with 4xx or 5xx.
    refused: u64,
    /// Not answered.
    broken: u64,
}

impl Run {
    pub fn seconds(&self) -> f64 {
        self.micros as f64 / 1e6
    }

    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds()
    }

    /// p50, p99 and p99.9 in milliseconds.
    pub fn latencies(&self) -> [f64; 3] {
        [self.p50, self.p99, self.p999].map(|micros| micros as f64 / 1e3)
    }

    pub fn errors(&self) -> u64 {
        self.refused + self.broken
    }
}

/// wrk with the script that makes the traffic.
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

    /// Sends traffic of a kind, given as the script takes it, to `port`.
    pub fn run(
        &self,
        port: u16,
        connections: usize,
        seconds: u64,
        script: &[String],
        tidy: impl FnMut(),
    ) -> anyhow::Result<Run> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(connections);
        let mut wrk = Command::new("wrk");
        wrk.args(["-t", &threads.to_string(), "-c", &connections.to_string(), "-d", &seconds.to_string()]);
        wrk.args(["--timeout", "10", "-s"]).arg(&self.script).arg(format!("http://127.0.0.1:{port}/"));
        // Each thread adds its number.
        let (kind, needs) = script.split_first().context("no kind of traffic")?;
        wrk.args(["--", kind, &(fastrand::u32(..) & !0xff).to_string()]).args(needs);
        let output = complete(&mut wrk, tidy)?;
        parse(&output).with_context(|| format!("wrk said: {output}"))
    }
}

fn parse(output: &str) -> anyhow::Result<Run> {
    let line = output.lines().rfind(|line| line.starts_with('{')).context("there are no figures")?;
    let run: Run = serde_json::from_str(line)?;
    ensure!(run.micros > 0 && run.requests > 0, "nothing was answered");
    Ok(run)
}

/// Runs a program to its end, and calls `tidy` all the while; its standard output.
pub fn complete(command: &mut Command, mut tidy: impl FnMut()) -> anyhow::Result<String> {
    let program = command.get_program().display().to_string();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}; scripts/bench says what to install"))?;
    while child.try_wait()?.is_none() {
        tidy();
        thread::sleep(TIDY);
    }
    let Output { status, stdout, .. } = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&stdout).into_owned();
    ensure!(status.success(), "{program} ended with {status}: {text}");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_last_line() {
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
