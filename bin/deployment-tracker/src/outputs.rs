//! The built-in outputs: adds each one that is configured.

#![allow(unused_variables, reason = "a build may have no output")]

use tracker_core::TrackerBuilder;

use crate::config::{Config, ConfigError};

/// The builder, and a description of each built-in output for the start-up log.
pub type Added = (TrackerBuilder, Vec<String>);

/// Adds the outputs.
///
/// # Errors
/// If the configuration of an output cannot be used.
pub fn add(tracker: TrackerBuilder, config: &Config) -> Result<Added, ConfigError> {
    let added = (tracker, Vec::new());
    #[cfg(feature = "redis")]
    let added = redis(added, config)?;
    #[cfg(feature = "statsd")]
    let added = statsd(added, config)?;
    Ok(added)
}

#[cfg(feature = "redis")]
fn redis((mut tracker, mut descriptions): Added, config: &Config) -> Result<Added, ConfigError> {
    match &config.redis {
        Some(redis) => {
            let output = std::sync::Arc::new(tracker_redis::RedisOutput::new(redis.clone())?);
            descriptions.push(format!("redis {}", output.location()));
            let starting = output.clone();
            // Connects before the first report, so that the log says at start which commands Redis refuses. Other
            // problems are logged when a delivery fails. `--check-config` has no runtime, and connects to nothing.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { tracker_core::Output::check(&*starting).await });
            }
            tracker = tracker.output(output);
        }
        None => descriptions.push("redis off".to_owned()),
    }
    Ok((tracker, descriptions))
}

#[cfg(feature = "statsd")]
fn statsd((mut tracker, mut descriptions): Added, config: &Config) -> Result<Added, ConfigError> {
    match &config.statsd {
        Some(statsd) => {
            let output = tracker_statsd::StatsdOutput::new(statsd.clone())?;
            descriptions.push(format!("statsd {}", output.location()));
            tracker = tracker.output(std::sync::Arc::new(output));
        }
        None => descriptions.push("statsd off".to_owned()),
    }
    Ok((tracker, descriptions))
}
