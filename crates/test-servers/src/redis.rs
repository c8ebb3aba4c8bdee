//! A Redis server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::{eventually, free_port, signal};

/// A Redis server that keeps every acknowledged write across [`Redis::kill`] and [`Redis::restart`].
#[derive(Debug)]
pub struct Redis {
    /// Its TCP port.
    pub port: u16,
    dir: TempDir,
    options: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// Starts a server.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with further options, such as `["--requirepass", "secret"]`.
    pub fn start_with(options: &[&str]) -> Self {
        let mut redis = Self::absent();
        redis.options.extend(options.iter().map(|&option| option.to_owned()));
        redis.restart();
        redis
    }

    /// A server that is not started yet: its port refuses connections.
    pub fn absent() -> Self {
        Self { port: free_port(), dir: TempDir::new().expect("temporary folder"), options: Vec::new(), child: None }
    }

    /// Starts the server, or restarts it with the data that it had acknowledged.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "redis-server runs already");
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(self.dir.path())
            .arg("--unixsocket")
            .arg(self.socket())
            .args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
            .args(&self.options)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is missing; install the Debian package `redis-server`");
        self.child = Some(child);
        eventually("redis-server answers", || match self.try_command(&["PING"]) {
            Ok(Value::String(text)) if !text.contains("LOADING") => Some(()),
            _ => None,
        });
    }

    /// Kills the server with `SIGKILL`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("redis-server runs");
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Suspends the server with `SIGSTOP`; connections stay open but get no answer.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Resumes the server with `SIGCONT` after [`Redis::freeze`].
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        signal(self.child.as_ref().expect("redis-server runs").id(), name);
    }

    /// The path of its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// The elements of the list `logstash`.
    pub fn elements(&self) -> Vec<Value> {
        self.list("logstash")
    }

    /// The elements of the list `key`, each of which must be JSON.
    pub fn list(&self, key: &str) -> Vec<Value> {
        let elements = self.command(&["LRANGE", key, "0", "-1"]);
        let parse = |element: &Value| serde_json::from_str(element.as_str()?).ok();
        let elements = elements.as_array().expect("the key is a list");
        elements.iter().map(|element| parse(element).unwrap_or_else(|| panic!("not JSON: {element}"))).collect()
    }

    /// Waits until the list `logstash` has at least `count` elements, and returns them all.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} elements in Redis"), || {
            let elements = self.elements();
            (elements.len() >= count).then_some(elements)
        })
    }

    /// Runs a command and returns its reply; an error reply is returned as its text.
    pub fn command(&self, words: &[&str]) -> Value {
        self.try_command(words).expect("redis-server answers")
    }

    /// As [`Redis::command`], for a server that may not answer.
    ///
    /// # Errors
    /// If the connection fails, or no reply arrives within ten seconds.
    pub fn try_command(&self, words: &[&str]) -> std::io::Result<Value> {
        let at = self.options.iter().position(|option| option == "--requirepass");
        ask(self.port, at.map(|at| self.options[at + 1].as_str()), words)
    }

    /// The number of replicas that are online.
    pub fn replicas(&self) -> usize {
        let info = self.command(&["INFO", "replication"]);
        info.as_str().expect("INFO replies with text").matches("state=online").count()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// Runs a command on the server on `port` and returns its reply.
pub(crate) fn ask(port: u16, password: Option<&str>, words: &[&str]) -> std::io::Result<Value> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut stream = BufReader::new(stream);
    if let Some(password) = password {
        call(&mut stream, &["AUTH", password])?;
    }
    call(&mut stream, words)
}

fn call(stream: &mut BufReader<TcpStream>, words: &[&str]) -> std::io::Result<Value> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.get_mut().write_all(request.as_bytes())?;
    reply(stream)
}

fn reply(stream: &mut BufReader<TcpStream>) -> std::io::Result<Value> {
    let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let (kind, rest) = line.trim_end().split_at_checked(1).ok_or_else(broken)?;
    let number = || rest.parse::<i64>().map_err(|_| broken());
    Ok(match kind {
        ":" => number()?.into(),
        "$" if rest != "-1" => {
            let mut bytes = vec![0; number()? as usize + 2];
            stream.read_exact(&mut bytes)?;
            bytes.truncate(bytes.len() - 2);
            String::from_utf8(bytes).expect("the tests store only UTF-8").into()
        }
        "*" => (0..number()?).map(|_| reply(stream)).collect::<Result<Vec<_>, _>>()?.into(),
        "$" => Value::Null,
        _ => rest.into(),
    })
}
