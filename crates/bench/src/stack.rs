//! The servers that a measured service needs, and the resources that it uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::json;
use tempfile::TempDir;
use test_servers::{Database as _, Postgres, Redis, Server, Statsd, eventually};

use crate::dataset::Dataset;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Store {
    Sqlite,
    Postgres,
}

/// Redis, StatsD and PostgreSQL, which all servers of a run share.
#[derive(Debug)]
pub struct Stack {
    /// The binary to measure; with `--baseline`, the candidate.
    pub binary: PathBuf,
    /// A folder on a disk, for data sets that are kept between runs and for temporary files.
    pub folder: PathBuf,
    pub redis: Redis,
    statsd: Statsd,
    pub postgres: Option<Postgres>,
}

impl Stack {
    pub fn start(binary: PathBuf, folder: PathBuf, store: Store) -> Self {
        let postgres = (store == Store::Postgres).then(|| {
            let mut postgres = Postgres::absent();
            postgres.start();
            postgres
        });
        let redis = Redis::start_with(&["--appendonly", "no"]);
        Self { binary, folder, redis, statsd: Statsd::listen(), postgres }
    }

    /// Starts a server on a data set, or with an empty database.
    pub fn serve(&self, data: Option<Dataset>) -> anyhow::Result<Server> {
        self.serve_build(&self.binary, data)
    }

    /// As [`Stack::serve`], with another binary.
    pub fn serve_build(&self, binary: &Path, data: Option<Dataset>) -> anyhow::Result<Server> {
        let url = data.map(|data| data.url(self)).transpose()?;
        self.serve_on(binary, url.as_deref())
    }

    /// Starts a server on the database at `url`, or with an empty database.
    pub fn serve_on(&self, binary: &Path, url: Option<&str>) -> anyhow::Result<Server> {
        let mut config = json!({
            "redis": { "host": "127.0.0.1", "port": self.redis.port },
            "statsd": { "host": "127.0.0.1", "port": self.statsd.port, "prefix": "deployment-tracker" },
        });
        let empty = self.postgres.as_ref().filter(|_| url.is_none()).map(Postgres::new_database);
        if let Some(url) = url.or(empty.as_deref()) {
            config["database"] = json!({ "url": url });
        }
        let server = Server::start_in(binary, self.scratch()?, config, &[]);
        eventually("the server is ready", || server.get("/readyz").status == 200);
        Ok(server)
    }

    /// A temporary folder on the disk.
    pub fn scratch(&self) -> anyhow::Result<TempDir> {
        TempDir::new_in(&self.folder).with_context(|| format!("cannot create a folder in `{}`", self.folder.display()))
    }

    /// Discards what the outputs have received, as Logstash would take it from Redis.
    pub fn discard_output(&self) {
        self.redis.command(&["UNLINK", "logstash", "mylist"]);
        self.statsd.forget();
    }
}

/// The type of the file system of `folder`, which must not be in memory.
pub fn file_system(folder: &Path) -> anyhow::Result<String> {
    let output =
        Command::new("findmnt").args(["-no", "FSTYPE", "-T"]).arg(folder).output().context("cannot run `findmnt`")?;
    let kind = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(
        !kind.is_empty() && !kind.contains("tmpfs"),
        "`{}` is on file system {kind:?}; measure on a disk",
        folder.display()
    );
    Ok(kind)
}

/// The CPU time that a process has used, in seconds.
pub fn cpu_seconds(process: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("the process has ended")?;
    // The second field is the name, in parentheses. Fields 14 and 15 are user and system time, in units of 1/100 s on
    // every Linux.
    let fields = stat.rsplit_once(')').context("`/proc/<pid>/stat` has no name")?.1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse().unwrap_or(0)).sum();
    Ok(ticks as f64 / 100.0)
}

/// The present (`VmRSS`) or peak (`VmHWM`) resident memory of a process, in MiB.
pub fn memory(process: u32, name: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("the process has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib: f64 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .with_context(|| format!("`/proc/<pid>/status` has no {name}"))?
        .parse()?;
    Ok(kib / 1024.0)
}
