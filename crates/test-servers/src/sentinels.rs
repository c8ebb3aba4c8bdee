//! A Redis master with replicas, watched by Sentinels.

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Certificates, Redis, eventually, free_port, redis, signal};

/// One master, two replicas, and three Sentinels that call the master `main` and have the password `watchful`. A
/// failover takes about three seconds.
#[derive(Debug)]
pub struct Sentinels {
    /// The Redis servers; the first is the master before any failover.
    pub servers: Vec<Redis>,
    /// The Sentinels.
    pub sentinels: Vec<Sentinel>,
}

impl Sentinels {
    /// The password of the Sentinels.
    pub const PASSWORD: &str = "watchful";

    /// Starts the servers and the Sentinels, which use TLS throughout if there are certificates.
    pub fn start(certificates: Option<&Certificates>) -> Self {
        let server = |master: Option<u16>| {
            let mut options = vec!["--repl-diskless-sync-delay".to_owned(), "0".to_owned()];
            options.extend(master.into_iter().flat_map(|port| ["--replicaof".to_owned(), format!("127.0.0.1 {port}")]));
            let tls = certificates.map(|certificates| (certificates, free_port()));
            options.extend(tls.iter().flat_map(|(certificates, port)| certificates.options(*port)));
            let options: Vec<_> = options.iter().map(String::as_str).collect();
            (Redis::start_with(&options), tls.map(|(_, port)| port))
        };
        let (first, tls_port) = server(None);
        let master = tls_port.unwrap_or(first.port);
        let servers = [first].into_iter().chain((0..2).map(|_| server(Some(master)).0)).collect();
        let sentinels: Vec<_> = (0..3).map(|_| Sentinel::start(master, certificates)).collect();
        let sentinels = Self { servers, sentinels };
        eventually("every Sentinel knows both replicas and the other Sentinels", || {
            let knows_all = |sentinel: &Sentinel| {
                let info = sentinel.command(&["INFO", "sentinel"]);
                info.is_ok_and(|info| info.as_str().is_some_and(|info| info.contains("slaves=2,sentinels=3")))
            };
            sentinels.sentinels.iter().all(knows_all)
        });
        eventually("both replicas are online", || sentinels.servers[0].replicas() == 2);
        sentinels
    }

    /// Waits until another server than the first is master, and returns it.
    pub fn new_master(&self) -> &Redis {
        eventually("a replica is promoted", || {
            self.servers[1..].iter().find(|server| {
                // A server closes its connections while it is promoted.
                server.try_command(&["ROLE"]).is_ok_and(|role| role[0] == "master")
            })
        })
    }
}

/// A Redis Sentinel.
#[derive(Debug)]
pub struct Sentinel {
    /// The port for clients; it expects TLS if there are certificates.
    pub port: u16,
    clear_port: u16,
    child: Child,
    _folder: TempDir,
}

impl Sentinel {
    fn start(master: u16, certificates: Option<&Certificates>) -> Self {
        let (clear_port, tls_port, folder) = (free_port(), free_port(), TempDir::new().expect("temporary folder"));
        let mut text = format!(
            "port {clear_port}\nbind 127.0.0.1\nrequirepass {}\nsentinel monitor main 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 1000\n",
            Sentinels::PASSWORD
        );
        for option in certificates.map(|certificates| certificates.options(tls_port)).unwrap_or_default().chunks(2) {
            text += &format!("{} {}\n", option[0].trim_start_matches('-'), option[1]);
        }
        let file = folder.path().join("sentinel.conf");
        fs::write(&file, text).expect("the folder is writable");
        let mut server = Command::new("redis-server");
        let child =
            server.arg(file).arg("--sentinel").stdout(Stdio::null()).spawn().expect("redis-server is installed");
        let port = if certificates.is_some() { tls_port } else { clear_port };
        Self { port, clear_port, child, _folder: folder }
    }

    /// Suspends the Sentinel with `SIGSTOP`; connections stay open but get no answer.
    pub fn freeze(&self) {
        signal(self.child.id(), "STOP");
    }

    /// Runs a command and returns its reply; an error reply is returned as its text.
    ///
    /// # Errors
    /// If the connection fails, or no reply arrives within ten seconds.
    pub fn command(&self, words: &[&str]) -> std::io::Result<Value> {
        redis::ask(self.clear_port, Some(Sentinels::PASSWORD), words)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
