//! What the output is told.

mod check;
mod secret;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::tls::Tls;

pub use check::ConfigError;
pub(crate) use secret::Credentials;
pub use secret::Secret;

/// The longest timeout, in milliseconds.
const MAX_MILLIS: u64 = 600_000;

/// Where Redis is and what is pushed there: the section `redis`. What is left out is as in [`RedisConfig::default`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// The name or address of the Redis server.
    pub host: String,
    /// The TCP port of the Redis server.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub port: u16,
    /// The Unix socket of the Redis server, instead of `host` and `port`.
    #[cfg_attr(feature = "schema", schemars(example = &"/run/redis/redis-server.sock"))]
    pub path: Option<PathBuf>,
    /// Sentinels, instead of `host` and `port`. All of them are asked for the master at once, again after a second, and
    /// after anything that went wrong.
    pub sentinels: Vec<Sentinel>,
    /// What the Sentinels call the master, as in `sentinel monitor <master-name>`; `sentinels` needs it.
    #[cfg_attr(feature = "schema", schemars(example = &"mymaster"))]
    pub master_name: Option<String>,
    /// The ACL user at the Sentinels. It needs PING and SENTINEL.
    #[cfg_attr(feature = "schema", schemars(example = &"deployment-tracker"))]
    #[serde(deserialize_with = "secret::text")]
    pub sentinel_username: Option<String>,
    /// The password at the Sentinels. Without this key they get none: that of Redis is not for them.
    #[cfg_attr(feature = "schema", schemars(example = &"secret"))]
    pub sentinel_password: Option<Secret>,
    /// Nodes of a Redis Cluster, instead of `host` and `port`. A few suffice: they are asked, all at once, which node has
    /// `key`, and again after anything that went wrong.
    pub cluster: Vec<Node>,
    /// TLS, for Redis and for Sentinels. An empty section will do where the system trusts the certificates.
    pub tls: Option<Tls>,
    /// The ACL user. It needs WATCH, MULTI, EXEC, DISCARD, EVAL, RPUSH, LLEN, LINDEX, SET, MGET, DEL, TYPE and PING, ROLE
    /// with `sentinels`, WAIT with `wait_replicas`, and SELECT with `db` (0, too), on `key` and on every key that begins with
    /// `{key}:delivered:` (braces included). `username` needs `password`. Without this key it is Redis' user `default`.
    #[cfg_attr(feature = "schema", schemars(example = &"deployment-tracker"))]
    #[serde(deserialize_with = "secret::text")]
    pub username: Option<String>,
    /// The password.
    #[cfg_attr(feature = "schema", schemars(example = &"secret"))]
    pub password: Option<Secret>,
    /// The number of the database; 0 without this key.
    #[cfg_attr(feature = "schema", schemars(example = 0))]
    pub db: Option<u8>,
    /// The list that elements are pushed to; at most 1,024 bytes.
    pub key: String,
    /// The member `index` of every element (of its `labels` under `ecs`), by which Logstash chooses an index.
    pub index: String,
    /// The form of the elements.
    pub format: Format,
    /// Members that every element gets; they replace members of the same name. Under `ecs`, the members of an object
    /// go into the object of the same name: `{"labels": {"team": "blue"}}` adds a label.
    #[serde(alias = "additional_fileds")]
    pub additional_fields: Map<String, Value>,
    /// How many elements the list may hold before further ones wait in the outbox, because Logstash is behind. The
    /// last push may exceed it. Without this key there is no limit.
    #[cfg_attr(feature = "schema", schemars(range(min = 1), example = 1_000_000))]
    pub max_list_length: Option<u64>,
    /// How many replicas must have a push before it counts as delivered. While fewer have it, after half of
    /// `timeout_millis`, it is sent again; Redis takes it once. 0 does not ask, and saves a round trip for each push.
    pub wait_replicas: u8,
    /// How long one push may take, in milliseconds. After that it is not known whether Redis has the push, and it is
    /// sent again; Redis takes it once.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = MAX_MILLIS)))]
    pub timeout_millis: u64,
    /// How long connecting to Redis may take, in milliseconds: the name lookup, asking `sentinels` or `cluster`, TLS and
    /// the password included.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = MAX_MILLIS)))]
    pub connect_timeout_millis: u64,
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
            wait_replicas: 0,
            timeout_millis: 2_000,
            connect_timeout_millis: 2_000,
        }
    }
}

/// A Sentinel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Sentinel {
    /// The name or address of the Sentinel.
    #[cfg_attr(feature = "schema", schemars(example = &"sentinel-1.example.com"))]
    pub host: String,
    /// The TCP port of the Sentinel.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    #[serde(default = "sentinel_port")]
    pub port: u16,
}

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The name or address of the node.
    #[cfg_attr(feature = "schema", schemars(example = &"redis-1.example.com"))]
    pub host: String,
    /// The TCP port of the node.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    #[serde(default = "redis_port")]
    pub port: u16,
}

fn sentinel_port() -> u16 {
    26379
}

fn redis_port() -> u16 {
    6379
}

/// The form of the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// With `@timestamp`, `@version`, `event_id` and, where there are tokens, `reporter`: the name of the one that sent it.
    #[default]
    Logstash,
    /// As deployment-tracker 0.1 pushed them: without these, and with absent members as `null` when a deployment ends.
    Original,
    /// In the names and types of the [Elastic Common Schema](https://www.elastic.co/docs/reference/ecs), for indices
    /// that keep to it. What the schema has no name for is in `labels`, as text, `reporter` with it.
    Ecs,
}

impl RedisConfig {
    pub(crate) fn sentinels(&self) -> impl Iterator<Item = (&str, u16)> {
        self.sentinels.iter().map(|sentinel| (sentinel.host.as_str(), sentinel.port))
    }

    pub(crate) fn cluster(&self) -> impl Iterator<Item = (&str, u16)> {
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

    /// Where Redis is, for people.
    pub(crate) fn address(&self) -> String {
        let place = |(host, port)| format!("{host}:{port}");
        let sentinels: Vec<_> = self.sentinels().map(place).collect();
        let cluster: Vec<_> = self.cluster().map(place).collect();
        match (&self.path, &self.master_name) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(name)) => format!("{name} of the Sentinels {}", sentinels.join(", ")),
            (None, None) if !cluster.is_empty() => format!("the cluster of {}", cluster.join(", ")),
            (None, None) => place((&self.host, self.port)),
        }
    }

    /// What says where Redis is, for people who have to mend it.
    pub(crate) fn whereabouts(&self) -> String {
        let keys = match &self.path {
            Some(_) => "`redis.path`",
            None if !self.sentinels.is_empty() => "`redis.sentinels`",
            None if !self.cluster.is_empty() => "`redis.cluster`",
            None => "`redis.host` and `redis.port`",
        };
        if self.tls.is_some() { format!("{keys}, and `redis.tls`") } else { keys.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<RedisConfig, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn an_empty_section_gives_the_defaults() {
        let config = read("{}").expect("a configuration");
        assert_eq!(config, RedisConfig::default());
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn credentials_may_come_as_numbers() {
        for (json, text) in
            [("\"s3:/@ü\"", "s3:/@ü"), ("123456", "123456"), ("-1", "-1"), ("1.5", "1.5"), ("true", "true")]
        {
            let config = read(&format!("{{\"username\":{json},\"password\":{json}}}")).expect("a configuration");
            let Credentials { username, password } = config.credentials();
            assert_eq!((username.as_deref(), password.as_deref()), (Some(text), Some(text)));
        }
        let none = read(r#"{"username":null,"password":null}"#).expect("a configuration").credentials();
        assert_eq!((none.username, none.password), (None, None));
        let error = read(r#"{"password":["x"]}"#).unwrap_err().to_string();
        assert!(error.contains("a text is wanted here"), "{error}");
    }

    #[test]
    fn a_password_is_not_shown() {
        let config = RedisConfig { password: Some(Secret::new("hunter2")), ..RedisConfig::default() };
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2") && shown.contains("[REDACTED]"), "{shown}");
    }

    #[test]
    fn additional_fields_are_known_under_their_old_name() {
        let config = read(r#"{"additional_fileds":{"a":{"b":[1]}}}"#).expect("a configuration");
        assert_eq!(config.additional_fields["a"]["b"][0], 1);
        assert!(read(r#"{"additional_felds":{}}"#).unwrap_err().to_string().contains("additional_felds"));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (json, error) in [
            (r#"{"host":""}"#, ConfigError::Empty("host")),
            (r#"{"host":"redis://:secret@h"}"#, ConfigError::Host),
            (r#"{"path":""}"#, ConfigError::Empty("path")),
            (r#"{"port":0}"#, ConfigError::Port),
            (r#"{"key":""}"#, ConfigError::Empty("key")),
            (&format!("{{\"key\":\"{}\"}}", "k".repeat(1_025)), ConfigError::Key),
            (r#"{"timeout_millis":0}"#, ConfigError::Millis("timeout_millis")),
            (r#"{"connect_timeout_millis":600001}"#, ConfigError::Millis("connect_timeout_millis")),
            (r#"{"username":"u","password":""}"#, ConfigError::UsernameAlone("")),
            (r#"{"path":"/a","cluster":[{"host":"a"}]}"#, ConfigError::SeveralAddresses),
            (r#"{"cluster":[{"host":"a"},{"host":"redis://:secret@h"}]}"#, ConfigError::Node("cluster")),
            (r#"{"cluster":[{"host":"a"}],"db":1}"#, ConfigError::ClusterDb),
            (r#"{"sentinels":[{"host":"a","port":0}],"master_name":"m"}"#, ConfigError::Node("sentinels")),
            (r#"{"sentinels":[{"host":"a"}]}"#, ConfigError::MasterName),
            (r#"{"master_name":"m"}"#, ConfigError::NoSentinels("master_name")),
            (r#"{"sentinel_password":"p"}"#, ConfigError::NoSentinels("sentinel_password")),
            (
                r#"{"sentinels":[{"host":"a"}],"master_name":"m","sentinel_username":"u"}"#,
                ConfigError::UsernameAlone("sentinel_"),
            ),
            (r#"{"path":"/a","tls":{}}"#, ConfigError::TlsOnSocket),
            (r#"{"tls":{"ca":""}}"#, ConfigError::Empty("tls.ca")),
            (r#"{"tls":{"key":"/a"}}"#, ConfigError::HalfIdentity),
            (r#"{"tls":{"key":"-----BEGIN PRIVATE KEY-----\nx"}}"#, ConfigError::Pem("tls.key")),
        ] {
            assert_eq!(read(json).expect("a configuration").check(), Err(error), "{json}");
        }
        assert_eq!(read(r#"{"path":"/run/redis.sock","host":"","port":0}"#).expect("a configuration").check(), Ok(()));
    }
}
