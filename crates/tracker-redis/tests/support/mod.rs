//! A Redis server of the test's own, which it can kill, freeze and bring back.

use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tracker_redis::{RedisConfig, Secret};
use uuid::Uuid;

pub struct Redis {
    folder: PathBuf,
    port: u16,
    password: Option<&'static str>,
    server: Child,
}

impl Redis {
    /// Starts one on a free port and on a Unix socket.
    pub fn start(password: Option<&'static str>) -> Self {
        let folder = std::env::temp_dir().join(format!("tracker-redis-{}", Uuid::now_v7().simple()));
        std::fs::create_dir(&folder).expect("a temporary folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let server = spawn(&folder, port, password);
        Self { folder, port, password, server }
    }

    pub fn restart(&mut self) {
        self.server = spawn(&self.folder, self.port, self.password);
    }

    pub fn kill(&mut self) {
        self.server.kill().expect("a process to kill");
        self.server.wait().expect("a process that has ended");
        std::fs::remove_file(self.socket()).expect("a socket that nobody listens to");
    }

    /// Makes it stand still: connections stay open, and nothing is answered.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.server.id().to_string()]).status();
        assert!(sent.expect("install `kill`").success());
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }

    pub fn config(&self) -> RedisConfig {
        RedisConfig {
            port: self.port,
            password: self.password.map(Secret::new),
            timeout_millis: 500,
            connect_timeout_millis: 500,
            ..RedisConfig::default()
        }
    }

    /// What `redis-cli` answers, line by line.
    pub fn ask(&self, command: &[&str]) -> Vec<String> {
        let mut cli = Command::new("redis-cli");
        cli.arg("-s").arg(self.socket()).args(command);
        if let Some(password) = self.password {
            cli.env("REDISCLI_AUTH", password);
        }
        let answer = cli.output().expect("install `redis-cli`");
        assert!(answer.status.success(), "{answer:?}");
        let text = String::from_utf8(answer.stdout).expect("UTF-8");
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    pub fn elements(&self) -> Vec<String> {
        self.ask(&["LRANGE", "logstash", "0", "-1"])
    }

    /// How many connections it has, beside the one that asks.
    pub fn connections(&self) -> usize {
        self.ask(&["CLIENT", "LIST", "TYPE", "normal"]).len() - 1
    }

    pub fn markers(&self) -> Vec<String> {
        self.ask(&["KEYS", "{logstash}:delivered:*"])
    }
}

fn spawn(folder: &Path, port: u16, password: Option<&str>) -> Child {
    let mut server = Command::new("redis-server");
    server.args(["--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
    server.args(["--unixsocket", "redis.sock", "--dir"]).arg(folder);
    server.current_dir(folder).stdout(Stdio::null());
    if let Some(password) = password {
        server.args(["--requirepass", password]);
    }
    let server = server.spawn().expect("install `redis-server`");
    let begun = Instant::now();
    while UnixStream::connect(folder.join("redis.sock")).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10), "Redis does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    server
}

impl Drop for Redis {
    fn drop(&mut self) {
        // A test that killed it, or fails, leaves less to clean up.
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
