//! Configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracker_config::ConfigError;

/// The maximum length of the prefix and of the suffix, in bytes. With both, the longest line with a clean name still
/// fits a packet.
const MAX_AFFIX: usize = 255;

/// Configuration of the output: the StatsD server and the names of the metrics. Fields that are missing from the input
/// have the values of [`StatsdConfig::default`].
///
/// ```
/// let config = tracker_statsd::StatsdConfig::default().host("statsd.example.com").prefix("deployment-tracker");
/// assert_eq!(config.check(), Ok(()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(description = "The StatsD output; off without this section.")]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StatsdConfig {
    /// The name or address of the StatsD server. The service looks a name up again every minute. If it has several
    /// addresses, the service uses the first IPv4 address, because StatsD listens there.
    pub host: String,
    /// The UDP port of the StatsD server.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// The prefix of every metric name, with or without a dot at its end; at most 255 bytes.
    pub prefix: String,
    /// The suffix of every metric name; at most 255 bytes. The service adds no dot before it.
    pub suffix: String,
    /// The naming scheme of the metrics.
    pub names: Names,
}

tracker_core::setters! {
    StatsdConfig {
        host: impl Into<String> => host.into(),
        port: u16,
        prefix: impl Into<String> => prefix.into(),
        suffix: impl Into<String> => suffix.into(),
        names: Names,
    }
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

/// The naming scheme of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Names {
    /// One dot separates the parts of a name. Every dot within a part becomes `_`. Parts are cut to 250 bytes.
    #[default]
    Clean,
    /// The names of deployment-tracker 0.1: two dots separate a package from `started` or `elapsed`, and only the first
    /// dot within a part becomes `_`.
    Original,
}

impl StatsdConfig {
    /// Validates every field.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        let is_host = !self.host.trim().is_empty() && !self.host.contains(['/', '@']);
        ConfigError::unless(
            is_host,
            "host",
            "must be a name or an address, not empty or a URL; leave it out to use 127.0.0.1",
        )?;
        ConfigError::unless(self.port != 0, "port", "must not be 0; leave it out to use 8125")?;
        for (field, affix) in [("prefix", &self.prefix), ("suffix", &self.suffix)] {
            ConfigError::unless(affix.len() <= MAX_AFFIX, field, format!("must have at most {MAX_AFFIX} bytes"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_empty_section_gives_the_defaults() {
        let config: StatsdConfig = serde_json::from_str("{}").expect("an empty section is valid");
        assert_eq!(config, StatsdConfig::default());
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let error = serde_json::from_str::<StatsdConfig>(r#"{"hots":"x"}"#).unwrap_err().to_string();
        assert!(error.contains("hots") && error.contains("`host`"), "{error}");
    }

    #[test]
    fn a_configuration_that_cannot_work_is_refused() {
        let host = "`host` must be a name or an address, not empty or a URL; leave it out to use 127.0.0.1";
        for (config, message) in [
            (StatsdConfig { host: " ".into(), ..StatsdConfig::default() }, host),
            (StatsdConfig { host: "udp://u:p@h".into(), ..StatsdConfig::default() }, host),
            (StatsdConfig { port: 0, ..StatsdConfig::default() }, "`port` must not be 0; leave it out to use 8125"),
            (
                StatsdConfig { prefix: "p".repeat(256), ..StatsdConfig::default() },
                "`prefix` must have at most 255 bytes",
            ),
            (
                StatsdConfig { suffix: "s".repeat(256), ..StatsdConfig::default() },
                "`suffix` must have at most 255 bytes",
            ),
        ] {
            assert_eq!(config.check().map_err(|error| error.to_string()), Err(message.to_owned()));
        }
        let longest = StatsdConfig { prefix: "p".repeat(255), ..StatsdConfig::default() };
        assert_eq!(longest.check(), Ok(()));
    }

    #[test]
    fn each_setter_sets_its_field() {
        let config =
            StatsdConfig::default().host("statsd.example.com").port(1).prefix("p").suffix("s").names(Names::Original);
        let expected =
            json!({ "host": "statsd.example.com", "port": 1, "prefix": "p", "suffix": "s", "names": "original" });
        assert_eq!(json!(config), expected);
    }
}
