//! What the output is told.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Number, Value};
use thiserror::Error;

use crate::tls::Tls;

/// The longest list key, in bytes.
const MAX_KEY: usize = 1_024;
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
    /// Sentinels, instead of `host` and `port`. All of them are asked for the master at once, and again after anything
    /// that went wrong.
    pub sentinels: Vec<Sentinel>,
    /// What the Sentinels call the master, as in `sentinel monitor <master-name>`; `sentinels` needs it.
    #[cfg_attr(feature = "schema", schemars(example = &"mymaster"))]
    pub master_name: Option<String>,
    /// The ACL user at the Sentinels. It needs PING and SENTINEL.
    #[cfg_attr(feature = "schema", schemars(example = &"deployment-tracker"))]
    #[serde(deserialize_with = "text")]
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
    /// with `sentinels`, and WAIT with `wait_replicas`, on `key` and on every key that begins with `{key}:delivered:`
    /// (braces included). Without this key it is Redis' user `default`.
    #[cfg_attr(feature = "schema", schemars(example = &"deployment-tracker"))]
    #[serde(deserialize_with = "text")]
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
    /// With `@timestamp`, `@version` and `event_id`.
    #[default]
    Logstash,
    /// As deployment-tracker 0.1 pushed them: without these, and with absent members as `null` when a deployment ends.
    Original,
    /// In the names and types of the [Elastic Common Schema](https://www.elastic.co/docs/reference/ecs), for indices
    /// that keep to it. What the schema has no name for is in `labels`, as text.
    Ecs,
}

/// A text that is not shown by `Debug`. It is serialized as it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(!from))]
#[serde(from = "Scalar")]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("[REDACTED]")
    }
}

impl From<Scalar> for Secret {
    fn from(scalar: Scalar) -> Self {
        Self(scalar.into())
    }
}

/// A text that may come as something else: whoever reads environment variables takes `123456` for a number.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a text is wanted here")]
enum Scalar {
    Text(String),
    Number(Number),
    Flag(bool),
}

impl From<Scalar> for String {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Text(text) => text,
            Scalar::Number(number) => number.to_string(),
            Scalar::Flag(flag) => flag.to_string(),
        }
    }
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Scalar>::deserialize(deserializer)?.map(String::from))
}

/// A configuration that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ConfigError {
    #[error("`redis.{0}` must not be empty; leave it out for its default")]
    Empty(&'static str),
    #[error("`redis.host` must be a name or an address, not a URL; user, password and port have keys of their own")]
    Host,
    #[error("`redis.port` must not be 0; leave it out for 6379")]
    Port,
    #[error("`redis.key` must have at most {MAX_KEY} bytes")]
    Key,
    #[error("`redis.{0}` must be from 1 to {MAX_MILLIS} milliseconds")]
    Millis(&'static str),
    #[error("`redis.max_list_length` must be at least 1; leave it out for no limit")]
    MaxListLength,
    #[error("`redis.{0}username` needs a `redis.{0}password`")]
    UsernameAlone(&'static str),
    #[error("each of `redis.{0}` needs a `host`, a name or an address and no URL, and a `port` other than 0")]
    Node(&'static str),
    #[error("of `redis.path`, `redis.sentinels` and `redis.cluster` only one can be; leave the others out")]
    ManyWays,
    #[error("`redis.sentinels` needs a `redis.master_name`: what the Sentinels call the master")]
    MasterName,
    #[error("`redis.{0}` is for `redis.sentinels`, which are not given; leave it out")]
    NoSentinels(&'static str),
    #[error("`redis.db` must be left out with `redis.cluster`: a cluster has only database 0")]
    ClusterDb,
    #[error("`redis.tls` must be left out with `redis.path`: a Unix socket has no TLS")]
    TlsOnSocket,
    #[error("`redis.tls.certificate` and `redis.tls.key` need each other; give both, or none")]
    HalfIdentity,
    #[error("`redis.{0}` must be the path of a file, not what is in the file")]
    Pem(&'static str),
    #[error("{0}")]
    TlsFile(String),
}

impl RedisConfig {
    /// Holds each value against its range.
    ///
    /// # Errors
    /// [`ConfigError`] that names the key and says what would be right.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.path.is_none() && self.host.trim().is_empty() {
            return Err(ConfigError::Empty("host"));
        }
        if is_url(&self.host) {
            return Err(ConfigError::Host);
        }
        if self.path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            return Err(ConfigError::Empty("path"));
        }
        if self.path.is_none() && self.port == 0 {
            return Err(ConfigError::Port);
        }
        if self.key.is_empty() {
            return Err(ConfigError::Empty("key"));
        }
        if self.key.len() > MAX_KEY {
            return Err(ConfigError::Key);
        }
        for (name, millis) in
            [("timeout_millis", self.timeout_millis), ("connect_timeout_millis", self.connect_timeout_millis)]
        {
            if !(1..=MAX_MILLIS).contains(&millis) {
                return Err(ConfigError::Millis(name));
            }
        }
        if self.max_list_length == Some(0) {
            return Err(ConfigError::MaxListLength);
        }
        for (prefix, Credentials { username, password }) in
            [("", self.credentials()), ("sentinel_", self.sentinel_credentials())]
        {
            if username.is_some() && password.is_none() {
                return Err(ConfigError::UsernameAlone(prefix));
            }
        }
        self.check_ways()?;
        self.tls.as_ref().map_or(Ok(()), Tls::check)
    }

    fn check_ways(&self) -> Result<(), ConfigError> {
        let ways = [self.path.is_some(), !self.sentinels.is_empty(), !self.cluster.is_empty()];
        if ways.into_iter().filter(|is_given| *is_given).count() > 1 {
            return Err(ConfigError::ManyWays);
        }
        let is_wrong = |(host, port): (&str, u16)| host.trim().is_empty() || is_url(host) || port == 0;
        if self.sentinels().any(is_wrong) {
            return Err(ConfigError::Node("sentinels"));
        }
        if self.cluster().any(is_wrong) {
            return Err(ConfigError::Node("cluster"));
        }
        let Credentials { username, password } = self.sentinel_credentials();
        match (self.sentinels.is_empty(), self.master_name.as_deref()) {
            (false, None | Some("")) => return Err(ConfigError::MasterName),
            (true, Some(_)) => return Err(ConfigError::NoSentinels("master_name")),
            (true, None) if username.is_some() => return Err(ConfigError::NoSentinels("sentinel_username")),
            (true, None) if password.is_some() => return Err(ConfigError::NoSentinels("sentinel_password")),
            _ => {}
        }
        if !self.cluster.is_empty() && self.db.is_some_and(|db| db > 0) {
            return Err(ConfigError::ClusterDb);
        }
        if self.path.is_some() && self.tls.is_some() {
            return Err(ConfigError::TlsOnSocket);
        }
        Ok(())
    }

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

fn is_url(host: &str) -> bool {
    host.contains(['/', '@'])
}

/// Who the service is. An empty environment variable is none.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

impl Credentials {
    fn new(username: Option<&str>, password: Option<&Secret>) -> Self {
        let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        Self { username: given(username), password: given(password.map(Secret::reveal)) }
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
            (r#"{"path":"/a","cluster":[{"host":"a"}]}"#, ConfigError::ManyWays),
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
