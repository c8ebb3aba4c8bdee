//! What the output is told.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest prefix and suffix, in bytes. With them, the longest line still fits a packet.
const MAX_AFFIX: usize = 255;

/// Where StatsD is and what the metrics are called: the section `statsd`. What is left out is as in
/// [`StatsdConfig::default`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct StatsdConfig {
    /// The name or address of the StatsD server. Looked up again every minute; of several addresses an IPv4 one is
    /// taken, as StatsD listens there.
    pub host: String,
    /// The UDP port of the StatsD server.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub port: u16,
    /// What every metric's name begins with, with or without its last dot; at most 255 bytes.
    pub prefix: String,
    /// What every metric's name ends with, its first dot included; at most 255 bytes.
    pub suffix: String,
    /// How metrics are named.
    pub names: Names,
}

impl Default for StatsdConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 8125,
            prefix: String::new(),
            suffix: String::new(),
            names: Names::default(),
        }
    }
}

/// How metrics are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Names {
    /// One dot between parts; every dot within a part is escaped, and a part is cut after 250 bytes.
    #[default]
    Clean,
    /// As deployment-tracker 0.1 named them: two dots after a package, and only the first dot within a part escaped.
    Original,
}

/// A configuration that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ConfigError {
    #[error("`statsd.host` must be a name or an address, not empty nor a URL; leave it out for 127.0.0.1")]
    Host,
    #[error("`statsd.port` must not be 0; leave it out for 8125")]
    Port,
    #[error("`statsd.{0}` must have at most {MAX_AFFIX} bytes")]
    Affix(&'static str),
}

impl StatsdConfig {
    /// Holds each value against its range.
    ///
    /// # Errors
    /// [`ConfigError`] that names the key and says what would be right.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.host.trim().is_empty() || self.host.contains(['/', '@']) {
            return Err(ConfigError::Host);
        }
        if self.port == 0 {
            return Err(ConfigError::Port);
        }
        for (name, affix) in [("prefix", &self.prefix), ("suffix", &self.suffix)] {
            if affix.len() > MAX_AFFIX {
                return Err(ConfigError::Affix(name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_section_gives_the_defaults() {
        let config: StatsdConfig = serde_json::from_str("{}").expect("a configuration");
        assert_eq!(config, StatsdConfig::default());
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn an_unknown_member_is_refused() {
        let error = serde_json::from_str::<StatsdConfig>(r#"{"hots":"x"}"#).unwrap_err().to_string();
        assert!(error.contains("hots") && error.contains("`host`"), "{error}");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let with = |change: fn(&mut StatsdConfig)| {
            let mut config = StatsdConfig::default();
            change(&mut config);
            config.check()
        };
        assert_eq!(with(|config| config.host = " ".into()), Err(ConfigError::Host));
        assert_eq!(with(|config| config.host = "udp://u:p@h".into()), Err(ConfigError::Host));
        assert_eq!(with(|config| config.port = 0), Err(ConfigError::Port));
        assert_eq!(with(|config| config.prefix = "p".repeat(256)), Err(ConfigError::Affix("prefix")));
        assert_eq!(with(|config| config.suffix = "s".repeat(256)), Err(ConfigError::Affix("suffix")));
        assert_eq!(with(|config| config.prefix = "p".repeat(255)), Ok(()));
    }
}
