//! The configuration.

pub mod keys;
pub mod load;

use std::collections::HashSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;
use tracker_core::OutboxLimits;
use tracker_server::{Address, Limits, Tls, TlsConfig, TokenConfig, Tokens};
use tracker_sql::DatabaseUrl;

use crate::age::Age;
use crate::config::keys::Keys;

pub use load::{Loaded, load};

#[cfg(feature = "redis")]
type Redis = tracker_redis::RedisConfig;
#[cfg(not(feature = "redis"))]
type Redis = NotBuiltIn;
#[cfg(feature = "statsd")]
type Statsd = tracker_statsd::StatsdConfig;
#[cfg(not(feature = "statsd"))]
type Statsd = NotBuiltIn;

/// A section of an output that this build does not have.
#[cfg(not(all(feature = "redis", feature = "statsd")))]
pub type NotBuiltIn = Value;

/// The whole configuration.
///
/// What is said here on a field, or else on its type, is what `docs/configuration.md` and `packaging/config.toml` say of
/// the key. A field without a default has an example for them.
#[derive(Debug, Clone, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The name or address to listen on; `127.0.0.1` is for this machine only, `0.0.0.0` or `::` for all.
    pub host: String,
    /// The TCP port to listen on; 0 takes a free one.
    pub port: u16,
    /// Instead of `host` and `port`: every address to listen on, each `http://HOST:PORT`, `https://HOST:PORT` (see `tls`)
    /// or `unix:PATH`. Without it `host` and `port` hold, with HTTPS if there is a `tls` section.
    pub listen: Vec<Address>,
    /// Certificates for HTTPS. They are read anew at SIGHUP.
    pub tls: Option<TlsConfig>,
    /// Who is let in; everybody without this section.
    pub auth: Option<Auth>,
    /// How long requests in flight, and then deliveries, may take when the server is stopped, in seconds. The packaged unit
    /// kills it after 60 seconds: with more than 25 here, raise `TimeoutStopSec` there to more than twice as much.
    #[schemars(range(max = 3_600))]
    pub shutdown_seconds: u64,
    pub database: Database,
    pub limits: Limits,
    pub outbox: Outbox,
    pub retention: Retention,
    /// The Redis output; off without this section.
    pub redis: Option<Redis>,
    /// The StatsD output; off without this section.
    pub statsd: Option<Statsd>,
}

/// Where the records live.
#[derive(Debug, Clone, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// A path or `sqlite:PATH` for SQLite, `postgres://USER:PASSWORD@HOST/NAME` for PostgreSQL,
    /// `mysql://USER:PASSWORD@HOST/NAME` for MariaDB and MySQL, which takes a build with the cargo feature `mysql`: neither
    /// the default nor the Debian package has it. A path that does not begin with `/` begins in the working directory.
    pub url: String,
    /// Whether log messages are kept in the database. Without this key they are kept unless there is a `redis` section.
    #[schemars(example = true)]
    pub logs: Option<bool>,
    /// The name of this server among those on one database server. It must be its own, and the same after a restart: of
    /// two servers with one name, as of two on one SQLite file, each delivers what the other owes, so that elements may
    /// come twice and out of order, and nothing warns. Without this key it is the machine's name and the address, such as
    /// `web01/127.0.0.1:8080`: give it for machines that were cloned, and for containers, whose name is new when they are
    /// made anew.
    #[schemars(example = &"web01")]
    pub replica: Option<String>,
}

/// Who is let in.
#[derive(Debug, Clone, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The tokens, at least one. They are read anew at SIGHUP.
    #[schemars(example = json!([{ "name": "jenkins", "secret_env": "JENKINS_TOKEN", "scopes": ["write"] }]))]
    pub tokens: Vec<TokenConfig>,
}

/// Bounds on what waits for an output that is away. Beyond them reports are answered 503.
#[derive(Debug, Clone, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outbox {
    /// Messages: of a log batch each message, of anything else one.
    #[schemars(range(min = 1))]
    pub max_messages: u64,
    /// Bytes in the database.
    #[schemars(range(min = 1))]
    pub max_bytes: u64,
}

/// How long records are kept.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// The age at which a deployment is deleted for good, with its servers and log messages: a whole number of days or
    /// weeks such as `400d` or `13w`, from `7d` to `36500d`. A deployment is as old as the youngest record of it. Without
    /// this key everything is kept.
    #[schemars(example = &"400d")]
    pub deployments: Option<Age>,
}

impl Default for Outbox {
    fn default() -> Self {
        let OutboxLimits { max_messages, max_bytes } = OutboxLimits::default();
        Self { max_messages, max_bytes }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 8080,
            listen: Vec::new(),
            tls: None,
            auth: None,
            shutdown_seconds: 10,
            database: Database::default(),
            limits: Limits::default(),
            outbox: Outbox::default(),
            retention: Retention::default(),
            redis: None,
            statsd: None,
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self { url: "data.sqlite3".into(), logs: None, replica: None }
    }
}

/// A mistake in the configuration, in one line.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    /// A mistake in the value of `key`.
    pub fn new(key: &str, problem: impl fmt::Display) -> Self {
        Self::explained(format_args!("`{key}`: {problem}"))
    }

    /// A mistake that names its key itself.
    pub fn explained(problem: impl fmt::Display) -> Self {
        // A key or a value may be anything; the message is one line.
        Self(format!("configuration: {problem}").replace(char::is_control, " "))
    }
}

impl Config {
    /// Whether log messages are kept in the database.
    pub fn keeps_logs(&self) -> bool {
        self.database.logs.unwrap_or(self.redis.is_none())
    }

    /// The name of this server, which listens on `address` first, among those on one database.
    pub fn replica(&self, address: &Address) -> String {
        let machine = gethostname::gethostname();
        let place = match address {
            Address::Http(place) | Address::Https(place) => place.as_str().into(),
            Address::Unix(path) => path.to_string_lossy(),
        };
        self.database.replica.clone().unwrap_or_else(|| format!("{}/{place}", machine.to_string_lossy()))
    }

    /// Where the database is.
    ///
    /// # Errors
    /// [`ConfigError`] when the URL is none.
    pub fn database_url(&self) -> Result<DatabaseUrl, ConfigError> {
        DatabaseUrl::parse(&self.database.url).map_err(|error| ConfigError::new("database.url", error))
    }

    /// Where to listen.
    pub fn addresses(&self) -> Vec<Address> {
        if !self.listen.is_empty() {
            return self.listen.clone();
        }
        let is_bare_v6 = self.host.contains(':') && !self.host.starts_with('[');
        let host = if is_bare_v6 { format!("[{}]", self.host) } else { self.host.clone() };
        let place = format!("{host}:{}", self.port);
        vec![if self.tls.is_some() { Address::Https(place) } else { Address::Http(place) }]
    }

    /// The tokens, read from wherever their secrets are.
    ///
    /// # Errors
    /// [`ConfigError`] when one breaks a rule.
    pub fn tokens(&self) -> Result<Option<Tokens>, ConfigError> {
        let tokens = self.auth.as_ref().map(|auth| Tokens::new(&auth.tokens)).transpose();
        tokens.map_err(|error| ConfigError::new("auth.tokens", error))
    }

    /// The certificates, read from their files.
    ///
    /// # Errors
    /// [`ConfigError`] when one cannot be used, or is missing.
    pub fn tls(&self) -> Result<Option<Tls>, ConfigError> {
        if self.tls.is_none()
            && let Some(address) = self.listen.iter().find(|address| matches!(address, Address::Https(_)))
        {
            return Err(ConfigError::new("listen", format_args!("{address} needs certificates; give a section `tls`")));
        }
        self.tls.as_ref().map(Tls::new).transpose().map_err(ConfigError::explained)
    }

    /// The configuration with every default.
    pub fn in_force(&self) -> Value {
        let mut value = json!(self);
        value["database"]["logs"] = self.keeps_logs().into();
        value
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        let mut taken = HashSet::new();
        for address in self.addresses().iter().map(Address::to_string) {
            if address.parse::<Address>().is_err() {
                return Err(ConfigError::new("host", "must be a name or an address, 0.0.0.0 or :: for all"));
            }
            if !address.ends_with(":0") && !taken.insert(address.clone()) {
                return Err(ConfigError::new("listen", format_args!("{address} is there twice")));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ConfigError> {
        for (feature, is_built_in, is_configured) in [
            ("redis", cfg!(feature = "redis"), self.redis.is_some()),
            ("statsd", cfg!(feature = "statsd"), self.statsd.is_some()),
        ] {
            if is_configured && !is_built_in {
                let problem = format_args!(
                    "this build has no {feature} output; build it with the cargo feature `{feature}`, or leave the section out"
                );
                return Err(ConfigError::new(feature, problem));
            }
        }
        // They are made for the sake of what they find wrong, the files of `redis.tls` included.
        #[cfg(feature = "redis")]
        if let Some(redis) = &self.redis {
            tracker_redis::RedisOutput::new(redis.clone()).map_err(ConfigError::explained)?;
        }
        #[cfg(feature = "statsd")]
        if let Some(statsd) = &self.statsd {
            tracker_statsd::StatsdOutput::new(statsd.clone()).map_err(ConfigError::explained)?;
        }
        Keys::of::<Self>().check_ranges(&json!(self))?;
        // A body and what it inflates to.
        if (self.limits.buffered_bytes as usize) / 2 < self.limits.body_bytes {
            return Err(ConfigError::new("limits.buffered_bytes", "must be at least twice `limits.body_bytes`"));
        }
        self.check_addresses()?;
        self.database_url()?;
        self.tokens()?;
        self.tls()?;
        Ok(())
    }
}
