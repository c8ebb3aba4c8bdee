//! The SQL store of deployment-tracker, built on diesel.
//!
//! Databases are cargo features: SQLite (`sqlite`) and PostgreSQL (`postgres`) are on by default. MariaDB and
//! MySQL (`mysql`) are off by default, since they need the client library of the system.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tracker_core::{DeploymentId, DeploymentReport, Tracker};
//! use tracker_sql::{DatabaseUrl, SqlStore, SqlStoreOptions};
//!
//! # let folder = std::env::temp_dir().join(format!("tracker-sql-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let path = folder.join("data.sqlite3").display().to_string();
//! let store = SqlStore::open(DatabaseUrl::parse(&path)?, SqlStoreOptions::default())?;
//! let tracker = Tracker::builder(store).start();
//! let id = DeploymentId::random();
//! tracker.start_deployment(DeploymentReport::new(id)).await?;
//! assert_eq!(tracker.deployment(id).await?.deployment.id, id);
//! # std::fs::remove_dir_all(folder)?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sqlite"))]
//! # fn main() {}
//! ```

#![allow(clippy::duplicate_mod, reason = "each database includes queries.rs with its own type of connection")]
#![cfg_attr(
    not(any(feature = "sqlite", feature = "postgres", feature = "mysql")),
    allow(unused_imports, reason = "without a database, the error below is the only message")
)]

#[cfg(not(any(feature = "sqlite", feature = "postgres", feature = "mysql")))]
compile_error!("tracker-sql needs a database: enable the feature `sqlite`, `postgres` or `mysql`");

mod condition;
mod connector;
mod database;
mod database_file;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod database_server;
mod dialect;
mod error;
mod fields;
#[cfg_attr(
    not(any(feature = "postgres", feature = "mysql")),
    expect(dead_code, reason = "only database servers are shared by several instances")
)]
mod liveness;
mod options;
mod rows;
mod schema;
mod spares;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
mod unreadable;
mod url;
mod values;
mod worker;

pub use error::SqlError;
pub use options::SqlStoreOptions;
pub use store::SqlStore;
pub use url::DatabaseUrl;

/// The crate of [`Store`](tracker_core::Store), which [`SqlStore`] implements.
pub use tracker_core;
