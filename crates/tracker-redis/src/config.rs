//! Configuration.

mod check;
mod secret;

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::tls::Tls;

pub(crate) use secret::Credentials;
pub use tracker_config::Secret;

/// The maximum timeout, in milliseconds.
const MAX_MILLIS: u64 = 600_000;

/// Configuration of the output: the Redis server, the list, and the format of its elements. Fields that are missing
/// from the input have the values of [`RedisConfig::default`].
///
/// ```
/// let config = tracker_redis::RedisConfig::default().host("redis.example.com").key("deployments");
/// assert_eq!(config.check(), Ok(()));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(description = "The Redis output; off without this section.")]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RedisConfig {
    /// The name or address of the Redis server.
    pub host: String,
    /// The TCP port of the Redis server.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// The Unix socket of the Redis server, instead of `host` and `port`.
    #[schemars(example = &"/run/redis/redis-server.sock")]
    pub path: Option<PathBuf>,
    /// Sentinels that find the primary, instead of `host` and `port`. The service asks all of them at once: when it
    /// connects, when its connection is older than a second, and after every failure.
    pub sentinels: Vec<Sentinel>,
    /// The name by which the Sentinels know the primary, as in `sentinel monitor <master-name>`. Required with
    /// `sentinels`.
    #[schemars(example = &"mymaster")]
    pub master_name: Option<String>,
    /// The ACL user for the Sentinels. It needs permission for PING and SENTINEL. Requires `sentinel_password`.
    #[schemars(example = &"deployment-tracker")]
    #[serde(deserialize_with = "secret::text")]
    pub sentinel_username: Option<String>,
    /// The password for the Sentinels. If unset, the service sends the Sentinels no password; it never sends them
    /// `password`.
    #[schemars(example = &"secret")]
    pub sentinel_password: Option<Secret>,
    /// Nodes of a Redis Cluster, instead of `host` and `port`. A few are enough: the service asks all of them at once
    /// which node has `key`, and asks again after every failure.
    pub cluster: Vec<Node>,
    /// TLS, for Redis and for Sentinels. An empty section is enough if the system trusts the certificates of the
    /// servers.
    pub tls: Option<Tls>,
    /// The ACL user for Redis; if unset, `default`. Requires `password`. The user needs permission for WATCH, MULTI,
    /// EXEC, DISCARD, EVAL, RPUSH, LLEN, LINDEX, SET, MGET, DEL, TYPE and PING; for ROLE with `sentinels`, WAIT with
    /// `wait_replicas` and SELECT with `db` (even 0); and for `key` and all keys that begin with `{key}:delivered:`
    /// (with the braces, unless `key` itself contains a hash tag such as `{a}`).
    #[schemars(example = &"deployment-tracker")]
    #[serde(deserialize_with = "secret::text")]
    pub username: Option<String>,
    /// The password for Redis.
    #[schemars(example = &"secret")]
    pub password: Option<Secret>,
    /// The number of the Redis database; if unset, 0.
    #[schemars(example = 0)]
    pub db: Option<u8>,
    /// The key of the list that elements are pushed to; at most 1,024 bytes.
    pub key: String,
    /// The value of the member `index` in every element. Logstash can select the Elasticsearch index by this value.
    /// With the format `ecs`, the member is in `labels`.
    pub index: String,
    /// The format of the elements.
    pub format: Format,
    /// Members that are added to every element; they replace members of the same name. With the format `ecs`,
    /// objects are merged: `{"labels": {"team": "blue"}}` adds a label.
    pub additional_fields: Map<String, Value>,
    /// The maximum length of the list. When Logstash falls behind and the list is full, further elements wait in
    /// the outbox. The service checks the length before it pushes, so one push may exceed the limit. If unset, there is
    /// no limit.
    #[schemars(range(min = 1), example = 1_000_000)]
    pub max_list_length: Option<u64>,
    /// Whether Redis must permit Lua scripts (EVAL). With `auto`, pushes to a Redis without scripts use transactions,
    /// which are exactly as safe against duplicates; without transactions, scripts push everything. If Redis permits
    /// neither, pushes use RPUSH alone: a push whose answer is lost arrives twice, and `/healthcheck` shows a
    /// `warning`. The service decides when it connects, and never moves to a weaker way while it runs.
    pub scripts: Scripts,
    /// How many replicas must confirm a push before it counts as delivered. If fewer confirm it within half of
    /// `timeout_millis`, the service retries the push; Redis ignores the duplicate. With 0, the service waits for no
    /// replica, and saves a round trip for each push.
    pub wait_replicas: u8,
    /// The timeout of each step of a push, in milliseconds. A step may take longer by the time that its bytes need: a
    /// second per MiB at first, and after timeouts up to a second per 8 KiB, in smaller steps. After a timeout, the
    /// result of the push is unknown and the service retries it; Redis ignores a duplicate.
    #[schemars(range(min = 1, max = MAX_MILLIS))]
    pub timeout_millis: u64,
    /// The timeout of connecting to Redis, in milliseconds. It includes the name lookup, the queries to `sentinels` or
    /// `cluster`, the TLS handshake, authentication, and asking which commands Redis permits.
    #[schemars(range(min = 1, max = MAX_MILLIS))]
    pub connect_timeout_millis: u64,
}

tracker_core::setters! {
    RedisConfig {
        host: impl Into<String> => host.into(),
        port: u16,
        path: impl Into<PathBuf> => Some(path.into()),
        sentinels: impl IntoIterator<Item = Sentinel> => sentinels.into_iter().collect(),
        master_name: impl Into<String> => Some(master_name.into()),
        sentinel_username: impl Into<String> => Some(sentinel_username.into()),
        sentinel_password: impl Into<String> => Some(Secret::new(sentinel_password)),
        cluster: impl IntoIterator<Item = Node> => cluster.into_iter().collect(),
        tls: Tls => Some(tls),
        username: impl Into<String> => Some(username.into()),
        password: impl Into<String> => Some(Secret::new(password)),
        db: u8 => Some(db),
        key: impl Into<String> => key.into(),
        index: impl Into<String> => index.into(),
        format: Format,
        additional_fields: Map<String, Value>,
        max_list_length: u64 => Some(max_list_length),
        scripts: Scripts,
        wait_replicas: u8,
        timeout_millis: u64,
        connect_timeout_millis: u64,
    }
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: redis_port(),
            path: None,
            sentinels: Vec::new(),
            master_name: None,
            sentinel_username: None,
            sentinel_password: None,
            cluster: Vec::new(),
            tls: None,
            username: None,
            password: None,
            db: None,
            key: "logstash".into(),
            index: "deployment-tracker".into(),
            format: Format::default(),
            additional_fields: Map::new(),
            max_list_length: None,
            scripts: Scripts::default(),
            wait_replicas: 0,
            timeout_millis: 2_000,
            connect_timeout_millis: 2_000,
        }
    }
}

/// The address of a Sentinel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Sentinel {
    /// The name or address of the Sentinel.
    #[schemars(example = &"sentinel-1.example.com")]
    pub host: String,
    /// The TCP port of the Sentinel.
    #[schemars(range(min = 1))]
    #[serde(default = "sentinel_port")]
    pub port: u16,
}

/// The address of a cluster node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Node {
    /// The name or address of the node.
    #[schemars(example = &"redis-1.example.com")]
    pub host: String,
    /// The TCP port of the node.
    #[schemars(range(min = 1))]
    #[serde(default = "redis_port")]
    pub port: u16,
}

impl Sentinel {
    /// The Sentinel at `host` and `port`.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

impl Node {
    /// The node at `host` and `port`.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

fn sentinel_port() -> u16 {
    26379
}

fn redis_port() -> u16 {
    6379
}

/// The format of the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// The fields of the event with `@timestamp`, `@version`, `event_id` and, if there are tokens, `reporter`:
    /// the name of the token that sent the report.
    #[default]
    Logstash,
    /// The elements of deployment-tracker 0.1: without `@timestamp`, `@version`, `event_id` and `reporter`. The
    /// element for the finish of a deployment has absent fields as `null`.
    Original,
    /// The names and types of the [Elastic Common Schema](https://www.elastic.co/docs/reference/ecs), for
    /// indices that use it. `reporter`, and fields for which the schema has no name, are strings in `labels`.
    Ecs,
}

/// Whether Redis must permit Lua scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Scripts {
    /// Without scripts, pushes use transactions or, if Redis does not permit them either, RPUSH alone.
    #[default]
    Auto,
    /// Without scripts, pushes fail.
    Required,
}

impl RedisConfig {
    pub(crate) fn sentinel_addresses(&self) -> impl Iterator<Item = (&str, u16)> {
        self.sentinels.iter().map(|sentinel| (sentinel.host.as_str(), sentinel.port))
    }

    pub(crate) fn cluster_addresses(&self) -> impl Iterator<Item = (&str, u16)> {
        self.cluster.iter().map(|node| (node.host.as_str(), node.port))
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials::new(self.username.as_deref(), self.password.as_ref())
    }

    pub(crate) fn sentinel_credentials(&self) -> Credentials {
        Credentials::new(self.sentinel_username.as_deref(), self.sentinel_password.as_ref())
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_millis)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_millis)
    }

    /// The address of Redis, for log and error messages.
    pub(crate) fn address(&self) -> String {
        let address = |(host, port)| format!("{host}:{port}");
        let sentinels: Vec<_> = self.sentinel_addresses().map(address).collect();
        let cluster: Vec<_> = self.cluster_addresses().map(address).collect();
        match (&self.path, &self.master_name) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(name)) => format!("{name} of the Sentinels {}", sentinels.join(", ")),
            (None, None) if !cluster.is_empty() => format!("the cluster of {}", cluster.join(", ")),
            (None, None) => address((&self.host, self.port)),
        }
    }

    /// The names of the fields that set the address of Redis, for error messages.
    pub(crate) fn address_fields(&self) -> &'static str {
        match (&self.path, &self.tls) {
            (Some(_), _) => "`path`",
            (None, None) if !self.sentinels.is_empty() => "`sentinels`",
            (None, None) if !self.cluster.is_empty() => "`cluster`",
            (None, None) => "`host` and `port`",
            (None, Some(_)) if !self.sentinels.is_empty() => "`sentinels` and `tls`",
            (None, Some(_)) if !self.cluster.is_empty() => "`cluster` and `tls`",
            (None, Some(_)) => "`host`, `port` and `tls`",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: &str) -> Result<RedisConfig, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn an_empty_section_gives_the_defaults() {
        let config = read("{}").expect("an empty section is valid");
        assert_eq!(config, RedisConfig::default());
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn credentials_may_be_numbers_or_booleans() {
        for (json, text) in
            [("\"s3:/@ü\"", "s3:/@ü"), ("123456", "123456"), ("-1", "-1"), ("1.5", "1.5"), ("true", "true")]
        {
            let config = read(&format!("{{\"username\":{json},\"password\":{json}}}")).expect("valid JSON");
            let Credentials { username, password } = config.credentials();
            assert_eq!((username.as_deref(), password.as_deref()), (Some(text), Some(text)));
        }
        let none = read(r#"{"username":null,"password":null}"#).expect("valid JSON").credentials();
        assert_eq!((none.username, none.password), (None, None));
        let error = read(r#"{"password":["x"]}"#).unwrap_err().to_string();
        assert!(error.contains("must be a string"), "{error}");
    }

    #[test]
    fn debug_output_hides_passwords() {
        let config = RedisConfig { password: Some(Secret::new("hunter2")), ..RedisConfig::default() };
        let debug = format!("{config:?}");
        assert!(!debug.contains("hunter2") && debug.contains("[REDACTED]"), "{debug}");
    }

    #[test]
    fn each_setter_sets_its_field() {
        let config = RedisConfig::default()
            .host("redis.example.com")
            .port(1)
            .path("/run/redis.sock")
            .sentinels([Sentinel::new("a", 2), Sentinel::new("b", 3)])
            .master_name("mymaster")
            .sentinel_username("watcher")
            .sentinel_password("one")
            .cluster([Node::new("c", 4)])
            .tls(Tls::default().ca("/ca.pem").certificate("/c.pem").key("/k.pem").server_name("redis"))
            .username("tracker")
            .password("two")
            .db(5)
            .key("list")
            .index("deployments")
            .format(Format::Ecs)
            .additional_fields(Map::from_iter([("team".to_owned(), "blue".into())]))
            .max_list_length(6)
            .scripts(Scripts::Required)
            .wait_replicas(7)
            .timeout_millis(8)
            .connect_timeout_millis(9);
        let expected = json!({
            "host": "redis.example.com", "port": 1, "path": "/run/redis.sock",
            "sentinels": [{ "host": "a", "port": 2 }, { "host": "b", "port": 3 }], "master_name": "mymaster",
            "sentinel_username": "watcher", "sentinel_password": "one", "cluster": [{ "host": "c", "port": 4 }],
            "tls": { "ca": "/ca.pem", "certificate": "/c.pem", "key": "/k.pem", "server_name": "redis" },
            "username": "tracker", "password": "two", "db": 5, "key": "list", "index": "deployments", "format": "ecs",
            "additional_fields": { "team": "blue" }, "max_list_length": 6, "scripts": "required", "wait_replicas": 7,
            "timeout_millis": 8, "connect_timeout_millis": 9,
        });
        assert_eq!(json!(config), expected);
        // A new field without its setter above still has its default.
        let unset: Vec<_> = json!(RedisConfig::default())
            .as_object()
            .expect("a section")
            .iter()
            .filter(|(name, default)| expected[name.as_str()] == **default)
            .map(|(name, _)| name.clone())
            .collect();
        assert_eq!(unset, [""; 0]);
    }
}
