//! The built-in outputs: adds each one that is configured.

use std::sync::Arc;

use tracker_core::TrackerBuilder;

use crate::config::{Config, ConfigError};

/// The builder, and a description of each built-in output for the start-up log.
type Added = Result<(TrackerBuilder, Vec<String>), ConfigError>;

/// Adds the Redis output if it is configured.
#[cfg(feature = "redis")]
pub fn redis(mut tracker: TrackerBuilder, mut descriptions: Vec<String>, config: &Config) -> Added {
    match &config.redis {
        Some(redis) => {
            let output = tracker_redis::RedisOutput::new(redis.clone())?;
            descriptions.push(format!("redis {}", output.location()));
            tracker = tracker.output(Arc::new(output));
        }
        None => descriptions.push("redis off".to_owned()),
    }
    Ok((tracker, descriptions))
}

/// Adds the StatsD output if it is configured.
#[cfg(feature = "statsd")]
pub fn statsd(mut tracker: TrackerBuilder, mut descriptions: Vec<String>, config: &Config) -> Added {
    match &config.statsd {
        Some(statsd) => {
            let output = tracker_statsd::StatsdOutput::new(statsd.clone())?;
            descriptions.push(format!("statsd {}", output.location()));
            tracker = tracker.output(Arc::new(output));
        }
        None => descriptions.push("statsd off".to_owned()),
    }
    Ok((tracker, descriptions))
}
