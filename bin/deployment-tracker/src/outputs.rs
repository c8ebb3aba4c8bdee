//! The outputs that are built in: each is added if it is configured, and says where it is.

use std::sync::Arc;

use tracker_core::TrackerBuilder;

use crate::config::{Config, ConfigError};

type Wired = Result<(TrackerBuilder, Vec<String>), ConfigError>;

/// Adds Redis.
#[cfg(feature = "redis")]
pub fn redis(mut tracker: TrackerBuilder, mut places: Vec<String>, config: &Config) -> Wired {
    match &config.redis {
        Some(redis) => {
            let output = tracker_redis::RedisOutput::new(redis.clone()).map_err(ConfigError::explained)?;
            places.push(format!("redis {}", output.location()));
            tracker = tracker.output(Arc::new(output));
        }
        None => places.push("redis off".to_owned()),
    }
    Ok((tracker, places))
}

/// Adds StatsD.
#[cfg(feature = "statsd")]
pub fn statsd(mut tracker: TrackerBuilder, mut places: Vec<String>, config: &Config) -> Wired {
    match &config.statsd {
        Some(statsd) => {
            let output = tracker_statsd::StatsdOutput::new(statsd.clone()).map_err(ConfigError::explained)?;
            places.push(format!("statsd {}", output.location()));
            tracker = tracker.output(Arc::new(output));
        }
        None => places.push("statsd off".to_owned()),
    }
    Ok((tracker, places))
}
