//! The domain of deployment-tracker: what deployment engines report, the rules for it, and its delivery.
//!
//! A [`Tracker`] takes reports (a deployment starts, ends, logs; the same on each of its servers), records them in one
//! [`Store`] and forwards them to any number of [`Output`]s. There is no HTTP, SQL or Redis in this crate: those are
//! `tracker-server`, `tracker-sql`, `tracker-redis` and `tracker-statsd`, or your own.
//!
//! ```
//! use std::sync::Arc;
//!
//! use tracker_core::{DeploymentId, DeploymentReport, MemoryStore, Tracker};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tracker = Tracker::builder(Arc::new(MemoryStore::new())).start();
//!
//! let id = DeploymentId::parse("84e803f7-9562-4d95-b828-25b167aea34b")?;
//! let mut report = DeploymentReport::new(id);
//! report.members.environment = Some("dev".into());
//! tracker.start_deployment(report.clone()).await?;
//! tracker.start_deployment(report).await?; // a repeat is harmless
//!
//! let recorded = tracker.deployment(id).await?;
//! assert_eq!(recorded.deployment.members.environment.as_deref(), Some("dev"));
//!
//! tracker.shutdown(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```

mod committer;
mod complaint;
mod counted;
mod courier;
mod couriers;
mod deployment;
mod event;
pub mod figures;
mod group;
pub mod health;
mod invalid;
pub mod json;
mod log;
mod members;
mod memory;
mod output;
mod panics;
#[cfg(test)]
mod properties;
mod queue;
mod relay;
mod retention;
mod rules;
mod server;
mod standing;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
mod tracker;

pub use committer::Unavailable;
pub use complaint::Complaint;
pub use deployment::{
    DEPLOYMENT_MEMBERS, Deployment, DeploymentMembers, DeploymentReport, DeploymentWithServers, is_log_message,
};
pub use event::{Batch, Event, EventKind};
pub use figures::{Figures, ReportKind, ReportResult, Threads};
pub use group::{Change, Decision, Group, Outcome, Owed, Records, Settled};
pub use health::{Health, HealthTest};
pub use invalid::{Invalid, InvalidCode};
pub use log::{LogBatch, LogDeploymentId, LogMessage};
pub use members::{DeploymentId, DeploymentResult, MAX_ARGUMENTS, MAX_ELAPSED, MAX_TEXT, Reporter, Text};
pub use memory::MemoryStore;
pub use output::{Delivery, Output, OutputError, chain};
pub use server::{Hostname, Server, ServerKey, ServerMembers, ServerReport};
pub use standing::OutputStatus;
pub use store::{Backlog, Deleted, Newest, OWED_BYTES, OwedBatch, Page, Store, StoreError};
pub use tracker::{OutboxLimits, Tracker, TrackerBuilder, TrackerError};

/// What an `Output` or a `Store` of your own needs.
pub use async_trait::async_trait;
pub use uuid::Uuid;

/// Keeps the example in the README compiling.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
