//! The server, what stands around it, and what it uses.

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

/// What stands around servers.
#[derive(Debug)]
pub struct Stack {
    pub binary: PathBuf,
    /// On a disk; for what is kept between runs, and for what is not.
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

    /// Starts a server on `data`, or with an empty database.
    pub fn serve(&self, data: Option<Dataset>) -> anyhow::Result<Server> {
        let url = data.map(|data| data.url(self)).transpose()?;
        self.serve_on(url.as_deref())
    }

    /// Starts a server on a database, or with an empty one.
    pub fn serve_on(&self, url: Option<&str>) -> anyhow::Result<Server> {
        let mut config = json!({
            "redis": { "host": "127.0.0.1", "port": self.redis.port },
            "statsd": { "host": "127.0.0.1", "port": self.statsd.port, "prefix": "deployment-tracker" },
        });
        let empty = self.postgres.as_ref().filter(|_| url.is_none()).map(Postgres::new_database);
        if let Some(url) = url.or(empty.as_deref()) {
            config["database"] = json!({ "url": url });
        }
        let server = Server::start_in(&self.binary, self.scratch()?, config, &[]);
        eventually("the server is ready", || (server.get("/readyz").status == 200).then_some(()));
        Ok(server)
    }

    /// A folder of our own on the disk.
    pub fn scratch(&self) -> anyhow::Result<TempDir> {
        TempDir::new_in(&self.folder).with_context(|| format!("cannot write to {}", self.folder.display()))
    }

    /// Throws away what Logstash would take from Redis, and what came to StatsD.
    pub fn tidy(&self) {
        self.redis.command(&["UNLINK", "logstash", "mylist"]);
        self.statsd.forget();
    }
}

/// The kind of the file system that `folder` is on, which must be a disk.
pub fn file_system(folder: &Path) -> anyhow::Result<String> {
    let output = Command::new("findmnt").args(["-no", "FSTYPE", "-T"]).arg(folder).output().context("findmnt")?;
    let kind = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(!kind.is_empty() && !kind.contains("tmpfs"), "{} is on {kind:?}, not on a disk", folder.display());
    Ok(kind)
}

/// How many seconds of CPU a process has used.
pub fn cpu_seconds(process: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("the process has ended")?;
    // The second field is the name, in parentheses; user and system time are the 14th and 15th, in the 1/100 s that
    // Linux shows everywhere.
    let fields = stat.rsplit_once(')').context("no name")?.1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse().unwrap_or(0)).sum();
    Ok(ticks as f64 / 100.0)
}

/// How much memory a process has (`VmRSS`) or has had at the most (`VmHWM`), in MiB.
pub fn memory(process: u32, name: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("the process has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib: f64 = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no such line")?.parse()?;
    Ok(kib / 1024.0)
}
