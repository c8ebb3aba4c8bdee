//! A NATS server with JetStream.

use std::fs;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{eventually, free_port, signal};

/// The server that `scripts/test` unpacks.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/nats/usr/sbin/nats-server");

/// A NATS server that keeps every acknowledged message across [`Nats::kill`] and [`Nats::restart`].
#[derive(Debug)]
pub struct Nats {
    /// Its TCP port.
    pub port: u16,
    dir: TempDir,
    /// The CONNECT message of this struct's own requests, as JSON.
    login: Value,
    child: Option<Child>,
}

/// A message in a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct NatsMessage {
    /// The subject.
    pub subject: String,
    /// The headers, as lines of `name: value`.
    pub headers: String,
    /// The payload, which must be JSON.
    pub payload: Value,
}

impl NatsMessage {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Nats {
    /// Starts a server with the stream `deployments` for all subjects that begin with `deployment-tracker`.
    pub fn start() -> Self {
        let nats = Self::start_with("", json!({}));
        nats.create_stream(json!({}));
        nats
    }

    /// Starts a server with further settings, in the syntax of its configuration file. `login` has the members of
    /// CONNECT for this struct's own requests, such as `{"user": "admin", "pass": "secret"}`. The server has no stream.
    pub fn start_with(settings: &str, login: Value) -> Self {
        let mut nats = Self::absent();
        nats.login = login;
        nats.configure(settings);
        nats.restart();
        nats
    }

    /// A server that is not started yet: its port refuses connections.
    pub fn absent() -> Self {
        let nats =
            Self { port: free_port(), dir: TempDir::new().expect("temporary folder"), login: json!({}), child: None };
        nats.configure("");
        nats
    }

    /// Replaces the settings; [`Nats::restart`] applies them.
    pub fn configure(&self, settings: &str) {
        let config = format!(
            "listen: \"127.0.0.1:{}\"\njetstream {{ store_dir: \"{}\" }}\n{settings}\n",
            self.port,
            self.dir.path().display()
        );
        // A second setting replaces the first one.
        fs::write(self.dir.path().join("nats.conf"), config).expect("the folder is writable");
    }

    /// Starts the server, or restarts it with the data that it had acknowledged.
    pub fn restart(&mut self) {
        self.spawn();
        eventually("nats-server answers", || self.connect().is_ok());
    }

    /// As [`Nats::restart`], with settings that require TLS, which the requests of this struct do not use.
    pub fn restart_with_tls(&mut self) {
        self.spawn();
        eventually("nats-server listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    fn spawn(&mut self) {
        assert!(self.child.is_none(), "nats-server runs already");
        let program = if Path::new(PROGRAM).exists() { PROGRAM } else { "nats-server" };
        let child = Command::new(program)
            .arg("--config")
            .arg(self.dir.path().join("nats.conf"))
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server is missing; install the Debian package `nats-server`, or run `scripts/test`");
        self.child = Some(child);
    }

    /// Kills the server with `SIGKILL`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("nats-server runs");
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Suspends the server with `SIGSTOP`; connections stay open but get no answer.
    pub fn freeze(&self) {
        self.signal("STOP");
        // The signal reaches its threads one by one.
        let threads = format!("/proc/{}/task", self.child.as_ref().expect("nats-server runs").id());
        eventually("every thread is suspended", || {
            let mut threads = fs::read_dir(&threads).expect("the process exists");
            threads.all(|thread| {
                let path = thread.expect("the folder is readable").path().join("status");
                fs::read_to_string(path).is_ok_and(|status| status.contains("State:\tT"))
            })
        });
    }

    /// Resumes the server with `SIGCONT` after [`Nats::freeze`].
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        signal(self.child.as_ref().expect("nats-server runs").id(), name);
    }

    /// Creates the stream `deployments`, with settings that replace the defaults: all subjects that begin with
    /// `deployment-tracker`, in files.
    pub fn create_stream(&self, settings: Value) {
        self.change_stream("CREATE", settings);
    }

    /// Changes the settings of the stream `deployments`, as [`Nats::create_stream`] sets them.
    pub fn update_stream(&self, settings: Value) {
        self.change_stream("UPDATE", settings);
    }

    fn change_stream(&self, verb: &str, settings: Value) {
        let mut config = json!({
            "name": "deployments", "subjects": ["deployment-tracker.>"], "storage": "file", "retention": "limits",
            "discard": "old", "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "num_replicas": 1,
        });
        let Value::Object(settings) = settings else { panic!("the settings are an object") };
        config.as_object_mut().expect("an object").extend(settings);
        // The server may still be starting JetStream.
        eventually("the stream is changed", || {
            let answer = self.request(&format!("$JS.API.STREAM.{verb}.deployments"), &config).ok()?;
            assert!(answer.get("error").is_none(), "{answer}");
            Some(())
        });
    }

    /// Sends a request to the API of JetStream, and returns the answer.
    ///
    /// # Errors
    /// If the connection fails, or no answer arrives within ten seconds.
    pub fn request(&self, subject: &str, body: &Value) -> Result<Value> {
        let mut connection = self.connect()?;
        connection.request(subject, body)
    }

    /// The messages of the stream `deployments`, in order.
    pub fn messages(&self) -> Vec<NatsMessage> {
        self.try_messages().expect("nats-server answers")
    }

    /// As [`Nats::messages`], for a server that may not answer.
    ///
    /// # Errors
    /// If the connection fails, or an answer does not arrive within ten seconds.
    pub fn try_messages(&self) -> Result<Vec<NatsMessage>> {
        let mut connection = self.connect()?;
        // A name of its own: the consumers of earlier connections would go on to send to it.
        let inbox = format!("messages.{}", connection.0.get_ref().local_addr()?.port());
        write!(connection.0.get_mut(), "SUB {inbox} 2\r\n")?;
        let config = json!({
            "deliver_subject": inbox, "deliver_policy": "all", "ack_policy": "none", "replay_policy": "instant",
        });
        let body = json!({ "stream_name": "deployments", "config": config });
        let info = connection.request("$JS.API.STREAM.INFO.deployments", &json!({}))?;
        let count = info["state"]["messages"].as_u64().ok_or_else(|| Error::other(info.to_string()))?;
        connection.request("$JS.API.CONSUMER.CREATE.deployments", &body)?;
        // Messages may precede the answer.
        let mut messages = std::mem::take(&mut connection.1);
        while (messages.len() as u64) < count {
            messages.extend(connection.next()?);
        }
        Ok(messages)
    }

    /// The number of messages in the stream `deployments`.
    pub fn count(&self) -> u64 {
        let info = self.request("$JS.API.STREAM.INFO.deployments", &json!({}));
        info.ok().and_then(|info| info["state"]["messages"].as_u64()).unwrap_or_default()
    }

    fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut stream = BufReader::new(stream);
        let mut info = String::new();
        stream.read_line(&mut info)?;
        let mut login = json!({ "verbose": false, "pedantic": false, "headers": true, "no_responders": true });
        login.as_object_mut().expect("an object").extend(self.login.as_object().cloned().unwrap_or_default());
        write!(stream.get_mut(), "CONNECT {login}\r\nPING\r\n")?;
        let mut pong = String::new();
        stream.read_line(&mut pong)?;
        if pong.trim_end() == "PONG" {
            Ok(Connection(stream, Vec::new()))
        } else {
            Err(Error::new(ErrorKind::PermissionDenied, pong))
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// A connection, and the messages that arrived before an awaited answer.
struct Connection(BufReader<TcpStream>, Vec<NatsMessage>);

impl Connection {
    fn request(&mut self, subject: &str, body: &Value) -> Result<Value> {
        let body = body.to_string();
        let stream = self.0.get_mut();
        write!(stream, "SUB answer 1\r\nPUB {subject} answer {}\r\n{body}\r\n", body.len())?;
        loop {
            match self.next()? {
                Some(message) if message.subject == "answer" => return Ok(message.payload),
                message => self.1.extend(message),
            }
        }
    }

    /// The next message, or `None` after another operation of the protocol.
    fn next(&mut self) -> Result<Option<NatsMessage>> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let words: Vec<_> = line.split_whitespace().collect();
        let number = |back: usize| words[words.len() - back].parse::<usize>().map_err(Error::other);
        let (headers, size) = match words[0] {
            "MSG" => (0, number(1)?),
            "HMSG" => (number(2)?, number(1)?),
            "PING" => {
                self.0.get_mut().write_all(b"PONG\r\n")?;
                return Ok(None);
            }
            "-ERR" => return Err(Error::other(line)),
            _ => return Ok(None),
        };
        let mut bytes = vec![0; size + 2];
        self.0.read_exact(&mut bytes)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let payload = &bytes[headers..size];
        Ok(Some(NatsMessage {
            subject: words[1].to_owned(),
            headers: text(&bytes[..headers]),
            payload: serde_json::from_slice(payload).unwrap_or_else(|_| text(payload).into()),
        }))
    }
}
