//! What the tests need around the server: real neighbours, an HTTP client, and patience with a deadline.

mod http;
mod postgres;
mod process;
mod redis;
mod server;
mod statsd;

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use http::{JSON, Response, exchange};
pub use postgres::Postgres;
pub use redis::Redis;
pub use server::{Server, bare};
pub use statsd::{Statsd, sum as statsd_sum};

/// Long enough for anything that is going to happen at all.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `look` sees something.
#[track_caller]
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// Waits until `look` sees something, for `deadline` at the most.
#[track_caller]
pub fn within<T>(deadline: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A port that nobody listens on. Not one of those that the kernel gives to outgoing connections.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 200) as u16 * 100;
    (0..20_000)
        .map(|_| 10_000 + (first - 10_000 + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000)
        .find(|&port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok())
        .expect("a free port between 10000 and 30000")
}

/// An id that no other test has.
pub fn new_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("0a0b0c0d-0000-4000-8000-{:012x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether `value` is a time as the service writes it: RFC 3339, UTC, milliseconds, `Z`.
pub fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.replace(|c: char| c.is_ascii_digit(), "0") == "0000-00-00T00:00:00.000Z")
}

/// Runs `test` with the configuration of each store.
pub fn on_each_store(test: impl Fn(Value)) {
    eprintln!("on SQLite:");
    test(json!({}));
    eprintln!("on PostgreSQL:");
    test(json!({ "database": { "url": Postgres::shared().new_database() } }));
}

/// A server with a Redis and a StatsD of its own.
pub struct Stack {
    pub server: Server,
    pub redis: Redis,
    pub statsd: Statsd,
}

impl Stack {
    /// Starts the three; `config` is the rest of the configuration.
    pub fn start(mut config: Value) -> Self {
        let (redis, statsd) = (Redis::start(), Statsd::listen());
        config["redis"]["host"] = json!("127.0.0.1");
        config["redis"]["port"] = json!(redis.port);
        config["statsd"]["host"] = json!("127.0.0.1");
        config["statsd"]["port"] = json!(statsd.port);
        config["statsd"]["prefix"] = json!("dt");
        Self { server: Server::start(config), redis, statsd }
    }

    /// Everything forwarded so far: the elements of the Redis list, and the metrics since the last call. What belongs
    /// to the deployment `id` is complete: two more reports on it are sent, waited for, and left out.
    pub fn forwarded(&self, id: &str) -> (Vec<Value>, Vec<String>) {
        let mark = format!("mark-{}", new_id());
        assert_eq!(self.server.post(&format!("/v1/deployments/{id}/logs"), &json!({ "message": mark })).status, 201);
        let path = format!("/v1/deployments/{id}/servers");
        assert_eq!(self.server.post(&path, &json!({ "hostname": mark })).status, 201);
        let elements = eventually("the marking log message in Redis", || {
            let elements = self.redis.elements();
            elements.iter().any(|element| element["message"] == json!(mark)).then_some(elements)
        });
        let own = |element: &Value| !element["message"].as_str().is_some_and(|text| text.starts_with("mark-"));
        let metrics = self.statsd.up_to(&format!("dt.servers.hostname.{mark}.started:1|c"));
        (elements.into_iter().filter(own).collect(), metrics)
    }
}

/// `template` with every key of `changes` set to its value.
pub fn with(template: &Value, changes: Value) -> Value {
    let mut value = template.clone();
    for (key, change) in changes.as_object().expect("changes are an object") {
        value[key] = change.clone();
    }
    value
}

/// A deployment's start with every member that an engine gives.
pub fn full_start() -> Value {
    json!({
        "engine": "vagrant_orchestrate", "engine_version": "0.6.3", "host": "localhost", "user": "cbaldauf",
        "environment": "dev", "package": "test", "package_url": "http://mypackage.mydomain.com", "version": "4.5.6",
        "arguments": "--strategy parallel"
    })
}
