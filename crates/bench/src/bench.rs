//! Runs one workload against one server, with its ceilings or alternating with another build.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use test_servers::Server;

use crate::ceilings::Ceilings;
use crate::comparison::Comparison;
use crate::stack::{self, Stack};
use crate::table::Row;
use crate::workloads::Workload;
use crate::wrk::{Run, Wrk};

/// Time for a new server to settle before its memory is read, and traffic that is not measured.
pub const WARM_UP: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Bench {
    pub stack: Stack,
    pub seconds: u64,
    wrk: Wrk,
    /// The file of the paths that wrk requests.
    paths: PathBuf,
    _scratch: TempDir,
}

impl Bench {
    pub fn new(stack: Stack, seconds: u64) -> anyhow::Result<Self> {
        let scratch = stack.scratch()?;
        Ok(Self {
            wrk: Wrk::new(scratch.path())?,
            paths: scratch.path().join("paths"),
            _scratch: scratch,
            stack,
            seconds,
        })
    }

    /// Measures a workload between its ceilings. `None` if the server does not support it.
    pub fn row(&self, ceilings: &Ceilings, workload: &Workload, connections: usize) -> anyhow::Result<Option<Row>> {
        let server = self.stack.serve(workload.data)?;
        let Some(script) = self.script(workload, &server)? else { return Ok(None) };
        let empty = self.run(ceilings.empty.port, connections, self.seconds, &script)?;
        self.run(server.port, connections, WARM_UP.as_secs(), &script)?;
        let before = stack::cpu_seconds(server.id())?;
        let run = self.run(server.port, connections, self.seconds, &script)?;
        log_errors(&run, &server);
        Ok(Some(Row {
            workload: workload.name.clone(),
            connections,
            messages: workload.traffic.messages(),
            cpu: (stack::cpu_seconds(server.id())? - before) / run.seconds() * 100.0,
            memory: [stack::memory(server.id(), "VmHWM")?, stack::memory(server.id(), "VmRSS")?],
            empty: empty.per_second(),
            bare: ceilings.bare(self, workload.traffic, connections)?,
            bar: workload.bar,
            run,
        }))
    }

    /// Alternates `baseline` and the candidate for `rounds` rounds. `None` if one of them does not support the
    /// workload.
    pub fn compare(
        &self,
        baseline: &Path,
        workload: &Workload,
        connections: usize,
        rounds: u64,
    ) -> anyhow::Result<Option<Comparison>> {
        let name = workload.name.clone();
        let mut comparison = Comparison { workload: name, connections, baseline: Vec::new(), candidate: Vec::new() };
        for round in 0..rounds {
            let mut builds =
                [(baseline, &mut comparison.baseline), (self.stack.binary.as_path(), &mut comparison.candidate)];
            // Each build goes first in turn, so that the order favors neither.
            if round % 2 == 1 {
                builds.reverse();
            }
            for (binary, runs) in builds {
                let server = self.stack.serve_build(binary, workload.data)?;
                let Some(script) = self.script(workload, &server)? else { return Ok(None) };
                self.run(server.port, connections, WARM_UP.as_secs(), &script)?;
                let run = self.run(server.port, connections, self.seconds, &script)?;
                log_errors(&run, &server);
                runs.push(run);
            }
        }
        Ok(Some(comparison))
    }

    /// The arguments of wrk's script. `None` if the server does not support the workload.
    fn script(&self, workload: &Workload, server: &Server) -> anyhow::Result<Option<Vec<String>>> {
        let paths = workload.traffic.paths(server, workload.data)?;
        if paths.is_empty() && workload.data.is_some() {
            eprintln!("{}: this server has no such page", workload.name);
            return Ok(None);
        }
        fs::write(&self.paths, paths.join("\n")).context("cannot write the paths for wrk")?;
        Ok(Some(workload.traffic.script(&self.paths.to_string_lossy())))
    }

    fn run(&self, port: u16, connections: usize, seconds: u64, script: &[String]) -> anyhow::Result<Run> {
        self.wrk.run(port, connections, seconds, script, || self.stack.discard_output())
    }
}

fn log_errors(run: &Run, server: &Server) {
    if run.errors() > 0 {
        let log = server.stderr();
        let last: Vec<_> = log.lines().rev().take(20).collect();
        eprintln!("{run:?}; the server's last log lines, newest first:\n{}", last.join("\n"));
    }
}
