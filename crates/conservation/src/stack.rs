//! The service under test with Redis or NATS, StatsD and a database.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use test_servers::{Database, Mariadb, Nats, Postgres, Redis, Server, Statsd};

use crate::proxy;

/// How long the server may take to end on SIGTERM; far longer than `shutdown_seconds` below.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Store {
    Sqlite,
    Postgres,
    Mysql,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    Redis,
    Nats,
}

/// The options of a stack.
#[derive(Debug)]
pub struct Setup {
    pub store: Store,
    pub output: Output,
    /// Timeout of deliveries and connections to Redis or NATS.
    pub timeout_millis: u64,
    /// Delay of everything that the server sends to Redis.
    pub redis_delay: Option<Duration>,
}

/// The running servers, and the violations seen so far.
#[derive(Debug)]
pub struct Stack {
    pub server: Server,
    /// Redis; not started with [`Output::Nats`].
    pub redis: Redis,
    /// NATS; `None` with [`Output::Redis`].
    pub nats: Option<Nats>,
    pub statsd: Statsd,
    /// The database server; `None` for SQLite.
    pub database: Option<Box<dyn Database>>,
    url: Option<String>,
    /// The disk of a SQLite database; `None` if it cannot be mounted.
    pub disk: Option<Disk>,
    /// Violations by the server: a panic, an exit on its own, a failed start or shutdown, or undelivered batches.
    pub violations: Vec<String>,
    /// How often the server was killed with SIGKILL.
    pub kills: u32,
}

impl Stack {
    /// Starts all servers, with an empty database.
    pub fn start(binary: &Path, &Setup { store, output, timeout_millis, redis_delay }: &Setup) -> Self {
        let statsd = Statsd::listen();
        let mut config = json!({
            "shutdown_seconds": 3,
            "statsd": { "host": "127.0.0.1", "port": statsd.port, "prefix": "dt" },
        });
        let (redis, nats) = match output {
            Output::Redis => {
                let redis = Redis::start();
                let port = redis_delay.map_or(redis.port, |delay| proxy::start(redis.port, delay));
                config["redis"] = json!({
                    "host": "127.0.0.1", "port": port, "timeout_millis": timeout_millis,
                    "connect_timeout_millis": timeout_millis,
                });
                (redis, None)
            }
            Output::Nats => {
                let nats = Nats::start_with("", json!({}));
                // Far shorter than any outage, so that the server recognizes no duplicate for the service.
                nats.create_stream(json!({ "duplicate_window": 100_000_000 }));
                let url = format!("nats://127.0.0.1:{}", nats.port);
                config["nats"] = json!({ "url": url, "instance": "one", "timeout_millis": timeout_millis });
                (Redis::absent(), Some(nats))
            }
        };
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
            config["database"]["url"] = json!(url);
        }
        let server = Server::start(binary, config);
        Self { server, redis, nats, statsd, database, url, disk, violations: Vec::new(), kills: 0 }
    }

    /// Kills the server with SIGKILL.
    pub fn kill_server(&mut self) {
        self.check_server();
        self.server.kill();
        self.kills += 1;
    }

    /// Sends SIGTERM to the server and waits until it ends.
    pub fn terminate_server(&mut self) {
        self.check_server();
        self.server.signal("TERM");
        let start = Instant::now();
        while self.server.ended().is_none() && start.elapsed() < SHUTDOWN_DEADLINE {
            std::thread::sleep(Duration::from_millis(5));
        }
        match self.server.ended() {
            Some(status) if status.success() => {}
            Some(status) => self.add_violation(&format!("ended on SIGTERM with {status}")),
            None => {
                self.add_violation(&format!("did not end within {SHUTDOWN_DEADLINE:?} of SIGTERM"));
                self.server.kill();
            }
        }
    }

    /// Restarts the server.
    ///
    /// # Errors
    /// The exit status and log, if the server does not start.
    pub fn restart_server(&mut self) -> Result<(), String> {
        self.server.try_restart()
    }

    /// Records a violation if the server has ended on its own or has panicked.
    pub fn check_server(&mut self) {
        if let Some(status) = self.server.ended() {
            self.add_violation(&format!("ended on its own with {status}"));
        }
        if self.server.stderr().contains("panicked") {
            self.add_violation("panicked");
        }
    }

    fn add_violation(&mut self, what: &str) {
        let log = self.server.stderr();
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(20)..].join("\n    ");
        self.violations.push(format!("the server {what}; its last log lines:\n    {last}"));
    }

    /// Waits until no batch is pending and the list has stopped growing, and returns how long that took.
    pub fn drain(&mut self, deadline: Duration) -> Duration {
        let start = Instant::now();
        let (mut length, mut quiet_since) = (self.list_length(), Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.list_length();
            if now != length || !self.is_drained() {
                (length, quiet_since) = (now, Instant::now());
            }
            if quiet_since.elapsed() > Duration::from_millis(1_500) {
                return quiet_since - start;
            }
            if start.elapsed() > deadline {
                self.add_violation(&format!(
                    "still has pending batches after {deadline:?}: {}",
                    self.server.get("/healthcheck").text()
                ));
                return start.elapsed();
            }
        }
    }

    fn list_length(&self) -> u64 {
        match &self.nats {
            Some(nats) => nats.count(),
            None => self.redis.command(&["LLEN", "logstash"]).as_u64().unwrap_or_default(),
        }
    }

    /// Whether every health check passes and no batch is pending, not even one of an earlier instance.
    fn is_drained(&self) -> bool {
        let health = self.server.get("/healthcheck");
        let is_healthy = health.status == 200 && !health.text().contains("\"backlog\"");
        is_healthy && self.pending_batches().is_none_or(|count| count == "0")
    }

    /// The number of rows in the outbox of a database server, or the error of the query.
    fn pending_batches(&self) -> Option<String> {
        let (database, url) = (self.database.as_ref()?, self.url.as_ref()?);
        Some(database.query(url.rsplit('/').next()?, r#"SELECT count(*) FROM "Outbox""#).unwrap_or_else(|error| error))
    }
}

/// A small disk for the database file, which a test can fill.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Mounts a file system in memory, which needs root.
    fn mount() -> Option<Self> {
        let folder = TempDir::new().expect("temporary folder");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=256m", "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Self { folder })
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }

    /// Uses up all free space.
    pub fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("a file needs no space");
        for size in [1 << 20, 4096] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Frees the space that [`Disk::fill`] has used.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("`fill` has created the file");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}
