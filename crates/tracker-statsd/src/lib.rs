//! The StatsD output of deployment-tracker: counters and timers over UDP, sent once and without waiting.
//!
//! ```
//! use std::sync::Arc;
//! use std::net::UdpSocket;
//! use tracker_core::{DeploymentId, DeploymentReport, MemoryStore, Tracker};
//! use tracker_statsd::{StatsdConfig, StatsdOutput};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let statsd = UdpSocket::bind("127.0.0.1:0")?;
//! let config = StatsdConfig {
//!     port: statsd.local_addr()?.port(),
//!     prefix: "deployment-tracker".into(),
//!     ..StatsdConfig::default()
//! };
//! let tracker = Tracker::builder(Arc::new(MemoryStore::new())).output(Arc::new(StatsdOutput::new(config)?)).start();
//!
//! let id = DeploymentId::parse("84e803f7-9562-4d95-b828-25b167aea34b")?;
//! tracker.start_deployment(DeploymentReport::new(id)).await?;
//! tracker.shutdown(std::time::Duration::from_secs(5)).await;
//!
//! let mut packet = [0; 1500];
//! let length = statsd.recv(&mut packet)?;
//! assert_eq!(&packet[..length], b"deployment-tracker.deployments.started:1|c");
//! # Ok(())
//! # }
//! ```

mod config;
mod destination;
mod encode;
mod output;

pub use config::{ConfigError, Names, StatsdConfig};
pub use output::StatsdOutput;
