//! Configurations, batches and a harness for the tests.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::Value;
use test_servers::{DEADLINE, Redis};
use tokio::runtime::Handle;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::oneshot::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tracker_core::testing::{OutputHarness, logged};
use tracker_core::{Batch, Output, chain};
use tracker_redis::{RedisConfig, RedisOutput};

/// The permissions that the documentation of `username` lists.
pub const PERMISSIONS: [&str; 13] = [
    "+eval", "+rpush", "+llen", "+set", "+del", "+type", "+ping", "+watch", "+mget", "+multi", "+exec", "+discard",
    "+lindex",
];

/// Enough elements to make a push a transaction.
pub const LARGE: usize = 300;

pub fn output(config: RedisConfig) -> RedisOutput {
    RedisOutput::new(config).expect("valid configuration")
}

pub fn config(redis: &Redis) -> RedisConfig {
    let mut config = RedisConfig::default();
    config.port = redis.port;
    config.timeout_millis = 500;
    config.connect_timeout_millis = 500;
    config
}

/// A changed copy of `config`.
pub fn with(config: &RedisConfig, change: impl FnOnce(&mut RedisConfig)) -> RedisConfig {
    let mut config = config.clone();
    change(&mut config);
    config
}

/// The number of connections to Redis, without the one that this query uses.
pub fn connections(redis: &Redis) -> usize {
    let list = redis.command(&["CLIENT", "LIST", "TYPE", "normal"]);
    list.as_str().expect("CLIENT LIST returns a text").lines().count() - 1
}

pub fn markers(redis: &Redis) -> Vec<Value> {
    redis.command(&["KEYS", "{logstash}:delivered:*"]).as_array().expect("KEYS returns a list").clone()
}

pub fn batch(body: &str) -> Arc<Batch> {
    Arc::new(Batch::new(vec![logged(body)]))
}

/// A batch with a numbered log message for each of `numbers`.
pub fn numbered(numbers: Range<usize>) -> Arc<Batch> {
    let messages: Vec<_> = numbers.map(|n| format!("{{\"message\":\"{n}\"}}")).collect();
    batch(&format!("[{}]", messages.join(",")))
}

/// The numbers of the messages on the list.
pub fn pushed(redis: &Redis) -> Vec<usize> {
    numbers(redis.elements())
}

pub fn numbers(elements: Vec<Value>) -> Vec<usize> {
    let number = |element: Value| {
        element["message"].as_str().and_then(|message| message.parse().ok()).expect("a numbered message")
    };
    elements.into_iter().map(number).collect()
}

/// A server that permits transactions, but no scripts.
pub fn without_scripts() -> Redis {
    Redis::start_with(&["--rename-command", "EVAL", ""])
}

/// A server that permits neither scripts nor transactions.
pub fn without_transactions() -> Redis {
    let redis = without_scripts();
    redis.command(&["ACL", "SETUSER", "default", "-watch", "-multi"]);
    redis
}

/// The reaction of a proxy to bytes from the client.
pub enum Reaction {
    Forward,
    /// Sends this text to the client instead.
    Answer(&'static str),
    /// Closes the connection.
    Close,
    /// Drops the bytes, so that the client waits.
    Ignore,
}

/// Starts a proxy in front of `redis` that asks `react` about each piece from the client. Returns its port.
pub fn proxy(redis: &Redis, react: impl Fn(&[u8]) -> Reaction + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let (port, redis) = (listener.local_addr().expect("the socket is bound").port(), redis.port);
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.expect("the output connects");
            let react = react.clone();
            thread::spawn(move || {
                let server = TcpStream::connect(("127.0.0.1", redis)).expect("Redis is running");
                let handle = |stream: &TcpStream| stream.try_clone().expect("sockets can be cloned");
                let (from_server, to_client, mut answers) = (handle(&server), handle(&client), handle(&client));
                thread::spawn(move || pass(from_server, to_client, |_| true));
                pass(client, server, |piece| match react(piece) {
                    Reaction::Forward => true,
                    Reaction::Answer(answer) => {
                        answers.write_all(answer.as_bytes()).expect("the output waits for an answer");
                        false
                    }
                    Reaction::Close => {
                        answers.shutdown(Shutdown::Both).expect("the connection is open");
                        false
                    }
                    Reaction::Ignore => false,
                });
            });
        }
    });
    port
}

/// Forwards each piece that `is_forwarded`, until a side is closed.
pub fn pass(mut from: TcpStream, mut to: TcpStream, mut is_forwarded: impl FnMut(&[u8]) -> bool) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(size @ 1..) = from.read(&mut piece) {
        if is_forwarded(&piece[..size]) && to.write_all(&piece[..size]).is_err() {
            break;
        }
    }
    // Unlike closing the socket, this keeps data that the receiver has not read yet.
    let _ = to.shutdown(Shutdown::Write);
}

/// Whether `piece` has `word`, as a command with a piece of its own.
pub fn has(piece: &[u8], word: &str) -> bool {
    piece.windows(word.len()).any(|part| part == word.as_bytes())
}

/// Delivers numbered batches until it is stopped, and retries each until it is delivered, as a delivery worker does.
pub struct Reports {
    /// Dropping it stops the task.
    stop: Sender<()>,
    task: JoinHandle<usize>,
}

impl Reports {
    pub fn start(output: Arc<RedisOutput>) -> Self {
        let ((stop, stopped), runtime) = (channel(), Handle::current());
        let task = tokio::task::spawn_blocking(move || runtime.block_on(Self::deliver(&output, stopped)));
        Self { stop, task }
    }

    async fn deliver(output: &RedisOutput, mut stopped: Receiver<()>) -> usize {
        let (mut n, mut acknowledged, mut pushes) = (0, Vec::new(), 0);
        while stopped.try_recv() == Err(TryRecvError::Empty) {
            pushes += 1;
            let end = n + if pushes % 10 == 0 { LARGE } else { 1 };
            let (batch, begun) = (numbered(n..end), Instant::now());
            output.forget(&acknowledged);
            while let Err(error) = output.deliver(std::slice::from_ref(&batch)).await {
                // A failover may need a second vote.
                assert!(begun.elapsed() < DEADLINE, "{n} is not delivered: {}", chain(&error));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            acknowledged = vec![batch.id];
            n = end;
        }
        n
    }

    /// Stops the task after its current batch. Returns the number of delivered messages.
    pub async fn end(self) -> usize {
        drop(self.stop);
        self.task.await.expect("every message is delivered")
    }
}

/// How Redis becomes unavailable.
pub enum Outage {
    Killed,
    Frozen,
}

pub struct Harness {
    pub redis: Redis,
    pub output: Arc<RedisOutput>,
    pub outage: Outage,
}

#[async_trait]
impl OutputHarness for Harness {
    fn output(&self) -> Arc<dyn Output> {
        self.output.clone()
    }

    async fn received(&mut self) -> Vec<String> {
        self.redis.elements().iter().map(Value::to_string).collect()
    }

    async fn take_away(&mut self) {
        match self.outage {
            Outage::Killed => self.redis.kill(),
            Outage::Frozen => self.redis.freeze(),
        }
    }

    async fn bring_back(&mut self) {
        match self.outage {
            Outage::Killed => self.redis.restart(),
            Outage::Frozen => self.redis.thaw(),
        }
    }
}
