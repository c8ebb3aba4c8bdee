//! What a configuration must be to work.

use thiserror::Error;

use super::{Credentials, MAX_MILLIS, RedisConfig};
use crate::tls::Tls;

/// The longest list key, in bytes.
const MAX_KEY: usize = 1_024;

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
    SeveralAddresses,
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
        let attempts = [self.path.is_some(), !self.sentinels.is_empty(), !self.cluster.is_empty()];
        if attempts.into_iter().filter(|is_given| *is_given).count() > 1 {
            return Err(ConfigError::SeveralAddresses);
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
}

fn is_url(host: &str) -> bool {
    host.contains(['/', '@'])
}
