//! The store of deployment-tracker in SQL, through diesel: SQLite (feature `sqlite`), PostgreSQL (feature `postgres`), and
//! MariaDB or MySQL (feature `mysql`, off by default, with the client library of the system).
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use tracker_core::{DeploymentId, DeploymentReport, Tracker};
//! use tracker_sql::{DatabaseUrl, SqlStore};
//!
//! # let folder = std::env::temp_dir().join(format!("tracker-sql-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let path = folder.join("data.sqlite3").display().to_string();
//! let store = SqlStore::open(DatabaseUrl::parse(&path)?, "web01:8080", 1_024)?;
//! let tracker = Tracker::builder(Arc::new(store)).start();
//! let id = DeploymentId::parse("84e803f7-9562-4d95-b828-25b167aea34b")?;
//! tracker.start_deployment(DeploymentReport::new(id)).await?;
//! assert_eq!(tracker.deployment(id).await?.deployment.id, id);
//! # std::fs::remove_dir_all(folder)?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sqlite"))]
//! # fn main() {}
//! ```

#![allow(clippy::duplicate_mod, reason = "queries.rs and replicated.rs are compiled once for each database")]

#[cfg(not(any(feature = "sqlite", feature = "postgres", feature = "mysql")))]
compile_error!("tracker-sql needs a database: turn on the feature `sqlite`, `postgres` or `mysql`");

#[cfg(feature = "postgres")]
mod adoption;
mod connection;
mod error;
#[cfg_attr(not(any(feature = "postgres", feature = "mysql")), expect(dead_code, reason = "a file has one server"))]
mod liveness;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
mod rows;
mod schema;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
mod values;
mod worker;

pub use connection::DatabaseUrl;
pub use error::Error;
pub use store::SqlStore;
