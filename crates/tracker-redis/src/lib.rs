//! The Redis output of deployment-tracker: JSON elements on a list that Logstash reads, each there exactly once.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use tracker_core::{DeploymentId, DeploymentReport, MemoryStore, Tracker};
//! use tracker_redis::{RedisConfig, RedisOutput};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = RedisConfig { key: "logstash".into(), ..RedisConfig::default() };
//! let tracker = Tracker::builder(Arc::new(MemoryStore::new())).output(Arc::new(RedisOutput::new(config)?)).start();
//!
//! let id = DeploymentId::parse("84e803f7-9562-4d95-b828-25b167aea34b")?;
//! tracker.start_deployment(DeploymentReport::new(id)).await?;
//! tracker.shutdown(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```

mod config;
mod connection;
mod ecs;
mod encode;
mod logstash;
mod output;
mod push;
mod tls;
mod topology;

pub use config::{ConfigError, Format, Node, RedisConfig, Secret, Sentinel};
pub use output::RedisOutput;
pub use tls::Tls;
