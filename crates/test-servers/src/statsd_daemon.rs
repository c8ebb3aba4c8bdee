//! The original StatsD server by Etsy, the npm package `statsd`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::{eventually, free_port};

/// The path at which `scripts/test` installs the package.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/npm/node_modules/statsd/stats.js");

/// A running StatsD server that never flushes its metrics.
#[derive(Debug)]
pub struct StatsdDaemon {
    /// Its UDP port.
    pub port: u16,
    management: u16,
    child: Child,
    _folder: TempDir,
}

impl StatsdDaemon {
    /// Starts a server.
    pub fn start() -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "StatsD is missing; run `npm install --prefix target/npm statsd@0.9.0` in the root of the repository"
        );
        let (port, management, folder) = (free_port(), free_port(), TempDir::new().expect("temporary folder"));
        let config = folder.path().join("config.js");
        let text = format!(
            "{{ port: {port}, address: '127.0.0.1', mgmt_port: {management}, mgmt_address: '127.0.0.1', \
             backends: [], flushInterval: 2000000000 }}"
        );
        fs::write(&config, text).expect("the folder is writable");
        let child = Command::new("node").arg(PROGRAM).arg(config).stdout(Stdio::null()).spawn();
        let child = child.expect("Node.js is missing; install the Debian package `nodejs`");
        let daemon = Self { port, management, child, _folder: folder };
        eventually("StatsD answers", || daemon.ask("health").is_ok_and(|lines| !lines.is_empty()));
        daemon
    }

    /// Its `counters`, a sum for each name, or its `timers`, the values for each name.
    pub fn metrics(&self, kind: &str) -> Value {
        let text = self.ask(kind).expect("StatsD answers").concat();
        // StatsD prints JavaScript, which quotes names only where it must. All our names contain a dot and are quoted.
        serde_json::from_str(&text.replace('\'', "\"")).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The lines of the reply to a command, without the final `END`. The reply to `health` is one line.
    fn ask(&self, command: &str) -> std::io::Result<Vec<String>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.management))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        writeln!(stream, "{command}")?;
        let mut lines = Vec::new();
        for line in BufReader::new(stream).lines() {
            let line = line?;
            if line == "END" {
                break;
            }
            lines.push(line);
            if command == "health" {
                break;
            }
        }
        Ok(lines)
    }
}

impl Drop for StatsdDaemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
