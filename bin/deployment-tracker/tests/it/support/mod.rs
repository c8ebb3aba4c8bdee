//! Starts the server with its databases and outputs, and builds ids and reports.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::{Database as _, Postgres, Redis, Server, Statsd, eventually, statsd_sum};

pub const BINARY: &str = env!("CARGO_BIN_EXE_deployment-tracker");

/// A command that runs the binary in `folder` with an empty environment.
pub fn command_in(folder: &Path) -> Command {
    test_servers::command(BINARY.as_ref(), folder)
}

/// Starts the server with `config` and a port, and waits until it listens.
pub fn serve(config: Value) -> Server {
    Server::start(BINARY, config)
}

/// Starts the server in an existing folder, with `environment`.
pub fn serve_in(folder: TempDir, config: Value, environment: &[(&str, &str)]) -> Server {
    Server::start_in(BINARY, folder, config, environment)
}

/// A recorded file of the legacy service.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// An id that no other test uses.
pub fn new_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("0a0b0c0d-0000-4000-8000-{:012x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether `value` is a timestamp in the format of the service: RFC 3339 in UTC, with milliseconds and `Z`.
pub fn is_timestamp(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.replace(|c: char| c.is_ascii_digit(), "0") == "0000-00-00T00:00:00.000Z")
}

/// Runs `test` once for each store, with the configuration that selects it.
pub fn on_each_store(test: impl Fn(Value)) {
    eprintln!("on SQLite:");
    test(json!({}));
    eprintln!("on PostgreSQL:");
    test(json!({ "database": { "url": Postgres::shared().new_database() } }));
    #[cfg(feature = "mysql")]
    {
        eprintln!("on MariaDB:");
        test(json!({ "database": { "url": test_servers::Mariadb::shared().new_database() } }));
    }
}

/// A server with its own Redis and StatsD.
pub struct Stack {
    pub server: Server,
    pub redis: Redis,
    pub statsd: Statsd,
}

impl Stack {
    /// Starts all three. `config` is the configuration without the outputs.
    pub fn start(mut config: Value) -> Self {
        let (redis, statsd) = (Redis::start(), Statsd::listen());
        config["redis"]["host"] = json!("127.0.0.1");
        config["redis"]["port"] = json!(redis.port);
        config["statsd"]["host"] = json!("127.0.0.1");
        config["statsd"]["port"] = json!(statsd.port);
        config["statsd"]["prefix"] = json!("dt");
        Self { server: serve(config), redis, statsd }
    }

    /// The elements in Redis, and the metrics since the last call. To include everything for the deployment `id`, this
    /// sends two marker reports for it, waits until they arrive, and removes them from the result.
    pub fn forwarded(&self, id: &str) -> (Vec<Value>, Vec<String>) {
        let mark = format!("mark-{}", new_id());
        assert_eq!(self.server.post(&format!("/v1/deployments/{id}/logs"), &json!({ "message": mark })).status, 201);
        let path = format!("/v1/deployments/{id}/servers");
        assert_eq!(self.server.post(&path, &json!({ "hostname": mark })).status, 201);
        let elements = eventually("the marker is in Redis", || {
            let elements = self.redis.elements();
            elements.iter().any(|element| element["message"] == json!(mark)).then_some(elements)
        });
        let is_no_marker = |element: &Value| !element["message"].as_str().is_some_and(|text| text.starts_with("mark-"));
        let metrics = self.metrics_up_to(&format!("dt.servers.hostname.{mark}.started:1|c"));
        (elements.into_iter().filter(is_no_marker).collect(), metrics)
    }

    /// Waits for the metric `mark`, and takes all metrics so far, [summed](statsd_sum). Removes `mark`, and subtracts
    /// the log message that was sent with it.
    fn metrics_up_to(&self, mark: &str) -> Vec<String> {
        let has_arrived = || self.statsd.lines().iter().any(|line| line == mark).then_some(());
        eventually(&format!("the metric {mark} arrives"), has_arrived);
        let mut lines = self.statsd.lines();
        self.statsd.forget();
        lines.retain(|line| line != mark);
        lines.push("dt.logs.message:-1|c".to_owned());
        statsd_sum(&lines)
    }
}

/// `template` with the members of `changes` set.
pub fn with(template: &Value, changes: Value) -> Value {
    let mut value = template.clone();
    for (key, change) in changes.as_object().expect("changes are an object") {
        value[key] = change.clone();
    }
    value
}

/// The start of a deployment with every field that an engine sends.
pub fn full_start() -> Value {
    json!({
        "engine": "vagrant_orchestrate", "engine_version": "0.6.3", "host": "localhost", "user": "cbaldauf",
        "environment": "dev", "package": "test", "package_url": "http://mypackage.mydomain.com", "version": "4.5.6",
        "arguments": "--strategy parallel"
    })
}
