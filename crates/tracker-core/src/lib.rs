//! The domain of deployment-tracker: the reports of deployment tools (engines), the rules for them, and their delivery.
//!
//! A [`Tracker`] takes reports (a deployment starts, finishes or logs; one of its servers starts or finishes), records
//! them in one [`Store`], and forwards them to any number of [`Output`]s. This crate contains no HTTP, SQL or Redis
//! code: see `tracker-server`, `tracker-sql`, `tracker-redis` and `tracker-statsd`, or implement the traits yourself.
//!
//! ```
//! use tracker_core::{DeploymentId, DeploymentReport, MemoryStore, Tracker};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tracker = Tracker::builder(MemoryStore::new()).start();
//!
//! let id = DeploymentId::random();
//! let mut report = DeploymentReport::new(id);
//! report.fields.environment = Some("dev".into());
//! tracker.start_deployment(report.clone()).await?;
//! tracker.start_deployment(report).await?; // a retry changes nothing
//!
//! let recorded = tracker.deployment(id).await?;
//! assert_eq!(recorded.deployment.fields.environment.as_deref(), Some("dev"));
//!
//! tracker.shutdown(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! Install a logger of the crate [`log`](https://docs.rs/log) that shows warnings: the tracker logs failed deliveries
//! and queries as warnings. `env_logger::init()` shows only errors unless `RUST_LOG` is set, so give it a default:
//! `env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init()`.
//!
//! # Testing
//!
//! The cargo feature `testing` adds suites that check a [`Store`] or an [`Output`] against the rules of its trait:
//!
//! ```toml
//! [dev-dependencies]
//! tracker-core = { path = "../deployment-tracker/crates/tracker-core", features = ["testing"] }
//! ```
//!
//! ```
//! # #[cfg(feature = "testing")]
//! # mod tests {
//! use tracker_core::MemoryStore;
//! use tracker_core::testing::store_suite;
//!
//! # pub
//! async fn my_store_passes_the_suite() {
//!     store_suite(&MemoryStore::new()).await;
//! }
//! # }
//! # #[cfg(feature = "testing")]
//! # tokio::runtime::Builder::new_current_thread()
//! #     .enable_all()
//! #     .build()
//! #     .expect("a runtime")
//! #     .block_on(tests::my_store_passes_the_suite());
//! ```

mod backoff;
mod committer;
mod delivery;
mod deployment;
mod error;
mod event;
mod failure_log;
mod fields;
mod group;
pub mod health;
mod id;
mod input_error;
pub mod json;
mod lane;
mod list;
mod log;
mod memory;
pub mod metrics;
mod misspelled;
#[cfg(feature = "openapi")]
mod openapi;
mod output;
mod panics;
#[cfg(test)]
mod properties;
mod queue;
mod rejection;
mod request_id;
mod retention;
mod rules;
mod server;
mod setters;
mod shared;
mod store;
mod store_failures;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
mod tracker;

pub use backoff::Backoff;
pub use delivery::status::{OutboxLimits, OutputStatus};
pub use deployment::{Deployment, DeploymentFields, DeploymentReport, DeploymentWithServers, is_log_message};
pub use error::{TrackerError, UnavailableReason};
pub use event::{Batch, Event, EventKind};
pub use failure_log::FailureLog;
pub use fields::{DeploymentResult, MAX_ARGUMENTS, MAX_ELAPSED, MAX_TEXT, Reporter, Text};
pub use group::{Acknowledged, Change, Changed, Decision, Group, OutboxEntry, Outcome, Records};
pub use health::{Health, HealthCheck};
pub use id::DeploymentId;
pub use input_error::{InputError, InputErrorCode};
pub use list::{CreatedCursor, Listed, Page, Record};
pub use log::{LogBatch, LogDeploymentId, LogMessage, LogTime, TimedMessage};
pub use memory::MemoryStore;
pub use metrics::{Metrics, ReportKind, ReportResult};
pub use output::{Delivery, Output, OutputError, chain};
pub use panics::{panics, supervise, supervise_thread};
pub use rejection::{FieldClue, RejectReason};
pub use request_id::RequestId;
pub use server::{Hostname, Server, ServerFields, ServerKey, ServerReport};
pub use shared::IntoShared;
pub use store::{
    Backlog, Deleted, DeploymentQuery, HostnameQuery, LogQuery, PENDING_BYTES, PendingBatch, ServerQuery, Store,
    StoreError, Threads,
};
pub use tracker::{Tracker, TrackerBuilder};

// The crates whose types are in public signatures, in the version of those signatures.
pub use async_trait::async_trait;
#[cfg(feature = "openapi")]
pub use utoipa;
pub use uuid::Uuid;
pub use {chrono, compact_str, serde, serde_json, uuid};

/// Keeps the example in `docs/embedding.md` compiling.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/embedding.md")]
struct Embedding;
