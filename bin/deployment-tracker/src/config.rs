//! The configuration: its types, defaults and checks.

pub mod keys;
pub mod load;
pub mod schema;
pub mod secrets;

use std::collections::HashSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;
use tracker_core::OutboxLimits;
use tracker_server::{Address, AllowedHost, Limits, Tls, TlsConfig, TlsError, TokenConfig, TokenError, Tokens};

use crate::age::Age;

pub use load::{Loaded, load};

/// The configuration, without the sections of the outputs.
///
/// `docs/configuration.md` and `packaging/config.toml` are generated from the doc comments of the fields, or of their
/// types where a field has none. A field without a default needs an example.
#[derive(Debug, Clone, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The host name or address to listen on. `127.0.0.1` accepts connections from this machine only; `0.0.0.0` or `::`
    /// accepts them from every machine.
    pub host: String,
    /// The TCP port to listen on; 0 picks a free port.
    pub port: u16,
    /// The addresses to listen on, instead of `host` and `port`: each is `http://HOST:PORT`, `https://HOST:PORT` (see
    /// `tls`) or `unix:PATH`. Without this key the server listens on `host` and `port`, and uses HTTPS if there is a
    /// `tls` section.
    pub listen: Vec<Address>,
    /// Certificates for HTTPS. SIGHUP reloads them.
    pub tls: Option<TlsConfig>,
    /// Authentication. Without this section every client has full access.
    pub auth: Option<Auth>,
    /// How long a shutdown waits for requests in flight, and then again for deliveries, in seconds. The packaged
    /// systemd unit kills the process after 60 seconds: if this value is above 25, raise `TimeoutStopSec` in the unit
    /// to more than twice the value.
    #[schemars(range(max = 3_600))]
    pub shutdown_seconds: u64,
    pub server: Server,
    pub database: Database,
    pub limits: Limits,
    pub outbox: Outbox,
    pub retention: Retention,
}

/// The hosts that the server answers for.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The hosts that clients may request in `Host`, or in `:authority` of HTTP/2: each is a name or an address, with
    /// or without a port, such as `tracker.example`, `tracker.example:8080`, `127.0.0.1` or `[::1]`. Without a port,
    /// every port is allowed. Requests for other hosts get 421, except on `/livez` and `/readyz`. With an empty list
    /// every host is allowed. Set this key on a server without tokens, so that no web page can reach it by DNS
    /// rebinding.
    #[schemars(example = ["localhost", "127.0.0.1", "[::1]"])]
    pub allowed_hosts: Vec<AllowedHost>,
}

/// The database that keeps the records.
#[derive(Debug, Clone, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// A path or `sqlite:PATH` for SQLite; `postgres://USER:PASSWORD@HOST/NAME` or libpq's
    /// `host=HOST dbname=NAME user=USER password=PASSWORD` for PostgreSQL, both with the parameters of libpq, such as
    /// `sslmode`; `mysql://USER:PASSWORD@HOST/NAME` for MariaDB and MySQL, with `unix_socket`, `ssl_ca`, `ssl_cert` and
    /// `ssl_key`. MariaDB and MySQL need a build with the cargo feature `mysql`, which neither the default build nor the
    /// Debian package has. A path that does not begin with `/` is relative to the working directory. A path that
    /// contains `=` or `:` needs the prefix `sqlite:`; after it, write `?` as `%3F`. On a database server, the service
    /// uses up to six connections, and one more during a migration; with fewer it is slower.
    pub url: String,
    /// Whether the database keeps log messages. Without this key it keeps them unless there is a `redis` section.
    #[schemars(example = true)]
    pub logs: Option<bool>,
    /// The name of this instance among all instances that use one database server. It must be unique, and must stay the
    /// same after a restart. Two instances with the same name deliver each other's pending batches: elements may
    /// then arrive twice and out of order, and no warning is logged. Without this
    /// key the name is the host name of the machine and the first address, such as `web01/127.0.0.1:8080`. Set this key
    /// on cloned machines, and in containers, whose host name changes whenever they are recreated.
    #[schemars(example = &"web01")]
    pub replica: Option<String>,
}

/// Authentication.
#[derive(Debug, Clone, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The tokens, at least one. SIGHUP reloads them.
    #[schemars(example = json!([{ "name": "jenkins", "secret_env": "JENKINS_TOKEN", "scopes": ["write"] }]))]
    pub tokens: Vec<TokenConfig>,
}

/// Limits on the events that wait for an unavailable output. Beyond them the server answers reports with 503.
#[derive(Debug, Clone, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outbox {
    /// Pending messages. Each message of a log batch counts as one, and so does every other event.
    #[schemars(range(min = 1))]
    pub max_messages: u64,
    /// The size of the pending batches in the database, in bytes.
    #[schemars(range(min = 1))]
    pub max_bytes: u64,
}

/// How long records are kept.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// The age at which a deployment is permanently deleted, with its servers and log messages: a whole number of days
    /// or weeks such as `400d` or `13w`, from `7d` to `36500d`. The age of a deployment is the age of its newest
    /// record. Nothing is deleted in the first hour after a start, while the clock contradicts the records, or without
    /// this key.
    #[schemars(example = &"400d")]
    pub deployments: Option<Age>,
}

impl Default for Outbox {
    fn default() -> Self {
        let OutboxLimits { max_messages, max_bytes, .. } = OutboxLimits::default();
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
            server: Server::default(),
            database: Database::default(),
            limits: Limits::default(),
            outbox: Outbox::default(),
            retention: Retention::default(),
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self { url: "data.sqlite3".into(), logs: None, replica: None }
    }
}

/// An error in the configuration, as one line of text.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    /// An error in the value of `key`.
    pub fn new(key: &str, problem: impl fmt::Display) -> Self {
        Self::from_message(format_args!("`{key}`: {problem}"))
    }

    /// An error whose message already names the key, or an error that concerns no single key.
    pub fn from_message(problem: impl fmt::Display) -> Self {
        // Keys and values may contain control characters such as line breaks.
        Self(format!("configuration: {problem}").replace(char::is_control, " "))
    }

    /// An error in the section `tls`.
    pub fn tls(error: TlsError) -> Self {
        Self::new(&format!("tls.{}", error.field), error.problem)
    }
}

impl Config {
    /// The name of this instance, whose first listening address is `address`.
    pub fn instance_name(&self, address: &Address) -> String {
        self.database.replica.clone().unwrap_or_else(|| {
            let machine = gethostname::gethostname();
            let address = match address {
                Address::Http(authority) | Address::Https(authority) => authority.as_str().into(),
                Address::Unix(path) => path.to_string_lossy(),
            };
            format!("{}/{address}", machine.to_string_lossy())
        })
    }

    /// The addresses to listen on.
    pub fn addresses(&self) -> Vec<Address> {
        if !self.listen.is_empty() {
            return self.listen.clone();
        }
        let is_bare_v6 = self.host.contains(':') && !self.host.starts_with('[');
        let host = if is_bare_v6 { format!("[{}]", self.host) } else { self.host.clone() };
        let authority = format!("{host}:{}", self.port);
        vec![if self.tls.is_some() { Address::Https(authority) } else { Address::Http(authority) }]
    }

    /// The tokens, with their secrets read from files and the environment; `None` if authentication is off.
    ///
    /// # Errors
    /// [`ConfigError`] if a token is invalid, or if its secret cannot be read.
    pub fn tokens(&self) -> Result<Option<Tokens>, ConfigError> {
        let tokens = self.auth.as_ref().map(|auth| Tokens::new(&auth.tokens)).transpose();
        tokens.map_err(|error| {
            let is_secret = matches!(&error, TokenError::Invalid { field, .. } if field.starts_with("secret"));
            let hint = if is_secret { "; the command `token new` of this program makes a token" } else { "" };
            ConfigError::new("auth.tokens", format_args!("{error}{hint}"))
        })
    }

    /// The certificates, read from their files; `None` without a `tls` section.
    ///
    /// # Errors
    /// [`ConfigError`] if a certificate is missing or unusable.
    pub fn tls(&self) -> Result<Option<Tls>, ConfigError> {
        if self.tls.is_none()
            && let Some(address) = self.listen.iter().find(|address| matches!(address, Address::Https(_)))
        {
            return Err(ConfigError::new("listen", format_args!("{address} needs certificates; add a `tls` section")));
        }
        self.tls.as_ref().map(Tls::new).transpose().map_err(ConfigError::tls)
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        let mut seen = HashSet::new();
        for address in self.addresses().iter().map(Address::to_string) {
            if address.parse::<Address>().is_err() {
                return Err(ConfigError::new(
                    "host",
                    "must be a host name or an address; use 0.0.0.0 or :: for every interface",
                ));
            }
            if !address.ends_with(":0") && !seen.insert(address.clone()) {
                return Err(ConfigError::new("listen", format_args!("{address} is listed twice")));
            }
        }
        Ok(())
    }

    /// Checks what concerns several keys, and reads the files that keys name.
    fn check(&self) -> Result<(), ConfigError> {
        // A compressed body and its decompressed form are in memory at the same time.
        if (self.limits.buffered_bytes as usize) / 2 < self.limits.body_bytes {
            return Err(ConfigError::new("limits.buffered_bytes", "must be at least twice `limits.body_bytes`"));
        }
        self.check_addresses()?;
        self.tokens()?;
        self.tls()?;
        Ok(())
    }
}
