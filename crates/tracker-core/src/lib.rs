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
//! report.fields.environment = Some("dev".into());
//! tracker.start_deployment(report.clone()).await?;
//! tracker.start_deployment(report).await?; // a repeat is harmless
//!
//! let recorded = tracker.deployment(id).await?;
//! assert_eq!(recorded.deployment.fields.environment.as_deref(), Some("dev"));
//!
//! tracker.shutdown(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```

mod committer;
mod delivery;
mod deployment;
mod event;
mod failure_log;
mod fields;
mod group;
pub mod health;
mod input_error;
pub mod json;
mod log;
mod memory;
pub mod metrics;
mod output;
mod panics;
#[cfg(test)]
mod properties;
mod queue;
mod retention;
mod rules;
mod server;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
mod tracker;

pub use committer::Unavailable;
pub use delivery::status::OutputStatus;
pub use deployment::{
    DEPLOYMENT_FIELDS, Deployment, DeploymentFields, DeploymentReport, DeploymentWithServers, is_log_message,
};
pub use event::{Batch, Event, EventKind};
pub use failure_log::FailureLog;
pub use fields::{DeploymentId, DeploymentResult, MAX_ARGUMENTS, MAX_ELAPSED, MAX_TEXT, Reporter, Text};
pub use group::{Acknowledged, Change, Decision, Group, OutboxEntry, Outcome, Records};
pub use health::{Health, HealthCheck};
pub use input_error::{InputError, InputErrorCode};
pub use log::{LogBatch, LogDeploymentId, LogMessage};
pub use memory::MemoryStore;
pub use metrics::{Metrics, ReportKind, ReportResult, Threads};
pub use output::{Delivery, Output, OutputError, chain};
pub use server::{Hostname, Server, ServerFields, ServerKey, ServerReport};
pub use store::{Backlog, CreatedCursor, Deleted, PENDING_BYTES, Page, PendingBatch, Store, StoreError};
pub use tracker::{OutboxLimits, Tracker, TrackerBuilder, TrackerError};

/// What an `Output` or a `Store` of your own needs.
pub use async_trait::async_trait;
pub use uuid::Uuid;

/// Keeps the example in the README compiling.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
