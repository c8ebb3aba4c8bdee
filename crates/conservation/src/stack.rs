//! The server and what stands around it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use test_servers::{Database, Mariadb, Postgres, Redis, Server, Statsd};

use crate::proxy;

/// Longer than the server may take to end on SIGTERM, as it is configured here.
const END: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Store {
    Sqlite,
    Postgres,
    Mysql,
}

/// How a stack is made.
#[derive(Debug)]
pub struct Setup {
    pub store: Store,
    /// How long a push to Redis, or connecting, may take.
    pub timeout_millis: u64,
    /// How long each command to Redis is held back on its way.
    pub redis_delay: Option<Duration>,
}

/// The server, its neighbours, and what was noticed of them.
#[derive(Debug)]
pub struct Stack {
    pub server: Server,
    pub redis: Redis,
    pub statsd: Statsd,
    /// The database's server, where it has one.
    pub database: Option<Box<dyn Database>>,
    url: Option<String>,
    pub disk: Option<Disk>,
    /// What should not have happened to the server.
    pub complaints: Vec<String>,
    pub kills: u32,
}

impl Stack {
    /// Starts everything, with an empty database.
    pub fn start(binary: &Path, &Setup { store, timeout_millis, redis_delay }: &Setup) -> Self {
        let (redis, statsd) = (Redis::start(), Statsd::listen());
        let port = redis_delay.map_or(redis.port, |delay| proxy::start(redis.port, delay));
        let mut config = json!({
            "shutdown_seconds": 3,
            "redis": { "host": "127.0.0.1", "port": port, "timeout_millis": timeout_millis, "connect_timeout_millis": timeout_millis },
            "statsd": { "host": "127.0.0.1", "port": statsd.port, "prefix": "dt" },
        });
        let mut database: Option<Box<dyn Database>> = match store {
            Store::Sqlite => None,
            Store::Postgres => Some(Box::new(Postgres::absent())),
            Store::Mysql => Some(Box::new(Mariadb::absent())),
        };
        let url = database.as_mut().map(|database| {
            database.start();
            database.new_database()
        });
        let disk = if store == Store::Sqlite { Disk::mount() } else { None };
        let file = disk.as_ref().map(|disk| disk.folder.path().join("data.sqlite3").display().to_string());
        if let Some(url) = url.as_ref().or(file.as_ref()) {
            config["database"] = json!({ "url": url });
        }
        let server = Server::start(binary, config);
        Self { server, redis, statsd, database, url, disk, complaints: Vec::new(), kills: 0 }
    }

    /// `kill -9`.
    pub fn kill_server(&mut self) {
        self.look_at_server();
        self.server.kill();
        self.kills += 1;
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate_server(&mut self) {
        self.look_at_server();
        self.server.signal("TERM");
        let begun = Instant::now();
        while self.server.ended().is_none() && begun.elapsed() < END {
            std::thread::sleep(Duration::from_millis(5));
        }
        match self.server.ended() {
            Some(status) if status.success() => {}
            Some(status) => self.complain(&format!("ended on SIGTERM with {status}")),
            None => {
                self.complain(&format!("did not end within {END:?} of SIGTERM"));
                self.server.kill();
            }
        }
    }

    /// Starts the server again; what it says when it does not.
    pub fn restart_server(&mut self) -> Result<(), String> {
        self.server.try_restart()
    }

    /// Notices a server that has ended by itself, or has panicked.
    pub fn look_at_server(&mut self) {
        if let Some(status) = self.server.ended() {
            self.complain(&format!("ended by itself with {status}"));
        }
        if self.server.stderr().contains("panicked") {
            self.complain("panicked");
        }
    }

    fn complain(&mut self, what: &str) {
        let log = self.server.stderr();
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(20)..].join("\n    ");
        self.complaints.push(format!("the server {what}; it wrote:\n    {last}"));
    }

    /// Waits until nothing is owed any more and the list has stopped growing; how long that took.
    pub fn drain(&mut self, deadline: Duration) -> Duration {
        let begun = Instant::now();
        let (mut length, mut quiet_since) = (self.list_length(), Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.list_length();
            if now != length || !self.is_settled() {
                (length, quiet_since) = (now, Instant::now());
            }
            if quiet_since.elapsed() > Duration::from_millis(1_500) {
                return quiet_since - begun;
            }
            if begun.elapsed() > deadline {
                self.complain(&format!(
                    "still owes something after {deadline:?}: {}",
                    self.server.get("/healthcheck").text()
                ));
                return begun.elapsed();
            }
        }
    }

    fn list_length(&self) -> u64 {
        self.redis.command(&["LLEN", "logstash"]).as_u64().unwrap_or_default()
    }

    /// Whether every test passes and nothing is owed, to replicas that are gone neither.
    fn is_settled(&self) -> bool {
        let health = self.server.get("/healthcheck");
        let is_well = health.status == 200 && !health.text().contains("\"backlog\"");
        is_well && self.owed().is_none_or(|owed| owed == "0")
    }

    /// How many batches anybody owes, where the table can be looked into.
    fn owed(&self) -> Option<String> {
        let (database, url) = (self.database.as_ref()?, self.url.as_ref()?);
        Some(database.query(url.rsplit('/').next()?, r#"SELECT count(*) FROM "Outbox""#).unwrap_or_else(|error| error))
    }
}

/// A small disk for the database file, which can be filled.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// A disk in memory, if we may mount one.
    fn mount() -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=256m", "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Self { folder })
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }

    /// Leaves no room on it.
    pub fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("a file");
        for size in [1 << 20, 4096] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("the ballast was there");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}
