//! What the output is told.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Number, Value};
use thiserror::Error;

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
    /// The ACL user. It needs EVAL, RPUSH, LLEN, SET, DEL, TYPE and PING, on `key` and on every key that begins with
    /// `{key}:delivered:` (braces included). Without this key it is Redis' user `default`.
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
    /// How long one push may take, in milliseconds. After that it is not known whether Redis has the push, and it is
    /// sent again; Redis takes it once.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = MAX_MILLIS)))]
    pub timeout_millis: u64,
    /// How long connecting to Redis may take, the name lookup and the password included, in milliseconds.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = MAX_MILLIS)))]
    pub connect_timeout_millis: u64,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 6379,
            path: None,
            username: None,
            password: None,
            db: None,
            key: "logstash".into(),
            index: "deployment-tracker".into(),
            format: Format::default(),
            additional_fields: Map::new(),
            max_list_length: None,
            timeout_millis: 2_000,
            connect_timeout_millis: 2_000,
        }
    }
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
    #[error("`redis.username` needs a `redis.password`")]
    UsernameAlone,
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
        if self.host.contains(['/', '@']) {
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
        if self.username().is_some() && self.password().is_none() {
            return Err(ConfigError::UsernameAlone);
        }
        Ok(())
    }

    /// The user, if there is one: an empty environment variable names none.
    pub(crate) fn username(&self) -> Option<&str> {
        self.username.as_deref().filter(|username| !username.is_empty())
    }

    /// The password, if there is one.
    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_ref().map(Secret::reveal).filter(|password| !password.is_empty())
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_millis)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_millis)
    }

    /// Where Redis is, for people.
    pub(crate) fn address(&self) -> String {
        match &self.path {
            Some(path) => path.display().to_string(),
            None => format!("{}:{}", self.host, self.port),
        }
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
            assert_eq!((config.username(), config.password()), (Some(text), Some(text)));
        }
        let none = read(r#"{"username":null,"password":null}"#).expect("a configuration");
        assert_eq!((none.username(), none.password()), (None, None));
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
            (r#"{"username":"u","password":""}"#, ConfigError::UsernameAlone),
        ] {
            assert_eq!(read(json).expect("a configuration").check(), Err(error), "{json}");
        }
        assert_eq!(read(r#"{"path":"/run/redis.sock","host":"","port":0}"#).expect("a configuration").check(), Ok(()));
    }
}
