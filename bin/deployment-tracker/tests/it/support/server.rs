//! The binary under test.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::signal;
use super::{JSON, Response, eventually, exchange, free_port, within};

/// A running server in a folder of its own.
pub struct Server {
    pub port: u16,
    pub folder: TempDir,
    /// Its configuration as it stands in the file.
    pub config: Value,
    child: Child,
    stderr: Arc<Mutex<String>>,
}

/// The binary, without an environment, to be run in `folder`.
pub fn bare(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deployment-tracker"));
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    command
}

impl Server {
    /// Starts it with `config` and a port, and waits until it listens.
    pub fn start(config: Value) -> Self {
        Self::start_in(TempDir::new().expect("a folder"), config, &[])
    }

    /// Starts it in a folder that exists, with `environment`.
    pub fn start_in(folder: TempDir, mut config: Value, environment: &[(&str, &str)]) -> Self {
        let port = free_port();
        config["port"] = json!(port);
        fs::write(folder.path().join("tracker.json"), config.to_string()).expect("the configuration file");
        let (child, stderr) = spawn(folder.path(), environment);
        let mut server = Self { port, folder, config, child, stderr };
        server.wait_until_it_listens();
        server
    }

    /// Starts it again after its end, in the same folder and on the same port.
    pub fn restart(&mut self) {
        (self.child, self.stderr) = spawn(self.folder.path(), &[]);
        self.wait_until_it_listens();
    }

    fn wait_until_it_listens(&mut self) {
        eventually("the server listens", || {
            if let Some(status) = self.child.try_wait().expect("its status") {
                panic!("the server ended with {status}: {}", self.stderr());
            }
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    pub fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn ends_within(&mut self, deadline: Duration) -> ExitStatus {
        within(deadline, "the server ends", || self.child.try_wait().expect("its status"))
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What it wrote to standard error.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request, with the headers that every request needs unless they are given.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        match self.try_send(method, path, headers, body) {
            Ok(response) => response,
            Err(error) => panic!("{method} {path}: {error}; the server wrote: {}", self.stderr()),
        }
    }

    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Response> {
        let host = format!("127.0.0.1:{}", self.port);
        let length = body.len().to_string();
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        let defaults = [("Host", host.as_str()), ("Content-Length", length.as_str())];
        let given = |name: &str| headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
        for (name, value) in defaults.iter().filter(|(name, _)| !given(name)).chain(headers) {
            request += &format!("{name}: {value}\r\n");
        }
        let mut request = (request + "\r\n").into_bytes();
        request.extend_from_slice(body);
        exchange(self.port, &request)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], b"")
    }

    /// The JSON that a GET answers with 200.
    #[track_caller]
    pub fn read(&self, path: &str) -> Value {
        let response = self.get(path);
        assert_eq!(response.status, 200, "GET {path}: {}", response.text());
        response.json()
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.send("POST", path, &[JSON], body.to_string().as_bytes())
    }

    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Response {
        self.send("PUT", path, &[JSON], body.to_string().as_bytes())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the server on port {} wrote:\n{}", self.port, self.stderr());
        }
        self.kill();
    }
}

fn spawn(folder: &Path, environment: &[(&str, &str)]) -> (Child, Arc<Mutex<String>>) {
    let mut command = bare(folder);
    command.args(["--config", "tracker.json"]).envs(environment.iter().copied());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    let stderr = Arc::new(Mutex::new(String::new()));
    let (mut pipe, text) = (child.stderr.take().expect("a pipe"), stderr.clone());
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(size @ 1..) = pipe.read(&mut bytes) {
            let piece = String::from_utf8_lossy(&bytes[..size]);
            text.lock().unwrap_or_else(PoisonError::into_inner).push_str(&piece);
        }
    });
    (child, stderr)
}
