//! The service under test.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{JSON, Response, eventually, exchange, free_port, signal, within};

/// A running service, in a temporary folder of its own.
#[derive(Debug)]
pub struct Server {
    /// Its TCP port.
    pub port: u16,
    /// Its working directory, with its configuration and, unless configured otherwise, its database.
    pub folder: TempDir,
    /// Its configuration, as written to the file.
    pub config: Value,
    binary: PathBuf,
    child: Child,
    stderr: Arc<Mutex<String>>,
}

/// A command that runs `binary` in `folder`, with an empty environment.
pub fn command(binary: &Path, folder: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    command
}

impl Server {
    /// Starts `binary` with `config` and a free port, and waits until it accepts connections.
    pub fn start(binary: impl Into<PathBuf>, config: Value) -> Self {
        Self::start_in(binary, TempDir::new().expect("temporary folder"), config, &[])
    }

    /// As [`Server::start`], in an existing folder and with environment variables. `{port}` in `config` is replaced
    /// by the port.
    pub fn start_in(
        binary: impl Into<PathBuf>,
        folder: TempDir,
        mut config: Value,
        environment: &[(&str, &str)],
    ) -> Self {
        let (binary, port) = (binary.into(), free_port());
        if config.get("listen").is_none() {
            config["port"] = json!(port);
        }
        let config: Value = serde_json::from_str(&config.to_string().replace("{port}", &port.to_string()))
            .expect("a number does not break JSON");
        fs::write(folder.path().join("tracker.json"), config.to_string()).expect("the folder is writable");
        let (child, stderr) = spawn(&binary, folder.path(), environment);
        let mut server = Self { port, folder, config, binary, child, stderr };
        server.wait_until_it_listens().unwrap_or_else(|error| panic!("{error}"));
        server
    }

    /// Restarts the service after it has ended, in the same folder and on the same port.
    pub fn restart(&mut self) {
        self.try_restart().unwrap_or_else(|error| panic!("{error}"));
    }

    /// As [`Server::restart`], for a service that may refuse to start.
    ///
    /// # Errors
    /// The exit status and standard error, if the service ends instead of accepting connections.
    pub fn try_restart(&mut self) -> Result<(), String> {
        (self.child, self.stderr) = spawn(&self.binary, self.folder.path(), &[]);
        self.wait_until_it_listens()
    }

    fn wait_until_it_listens(&mut self) -> Result<(), String> {
        eventually("the server accepts connections", || match self.ended() {
            Some(status) => Some(Err(format!("the server ended with {status}: {}", self.stderr()))),
            None => TcpStream::connect(("127.0.0.1", self.port)).is_ok().then_some(Ok(())),
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the server is our child")
    }

    /// Sends a signal such as `TERM`.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits until it ends, and returns its exit status.
    #[track_caller]
    pub fn ends_within(&mut self, deadline: Duration) -> ExitStatus {
        within(deadline, "the server ends", || self.ended())
    }

    /// Kills the service with `SIGKILL`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The text that it has written to standard error.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request. Adds `Host` and `Content-Length` unless `headers` has them.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        match self.try_send(method, path, headers, body) {
            Ok(response) => response,
            Err(error) => panic!("{method} {path}: {error}; the server wrote: {}", self.stderr()),
        }
    }

    /// As [`Server::send`], for a service that may not answer.
    ///
    /// # Errors
    /// If the connection fails, or the response is incomplete.
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

    /// Sends a GET request.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], b"")
    }

    /// Sends a GET request, which must succeed with 200, and returns its JSON.
    #[track_caller]
    pub fn read(&self, path: &str) -> Value {
        let response = self.get(path);
        assert_eq!(response.status, 200, "GET {path}: {}", response.text());
        response.json()
    }

    /// Sends a POST request with a JSON body.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.send("POST", path, &[JSON], body.to_string().as_bytes())
    }

    /// Sends a PUT request with a JSON body.
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

fn spawn(binary: &Path, folder: &Path, environment: &[(&str, &str)]) -> (Child, Arc<Mutex<String>>) {
    let mut command = command(binary, folder);
    command.args(["--config", "tracker.json"]).envs(environment.iter().copied());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary is built");
    let stderr = Arc::new(Mutex::new(String::new()));
    let (mut pipe, text) = (child.stderr.take().expect("standard error is a pipe"), stderr.clone());
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(size @ 1..) = pipe.read(&mut bytes) {
            let piece = String::from_utf8_lossy(&bytes[..size]);
            text.lock().unwrap_or_else(PoisonError::into_inner).push_str(&piece);
        }
    });
    (child, stderr)
}
