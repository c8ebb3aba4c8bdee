//! The HTTP side of deployment-tracker: actix-web handlers in front of a [`tracker_core::Tracker`].
//!
//! ```no_run
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::net::TcpListener;
//! use std::time::Duration;
//!
//! use tracker_core::{MemoryStore, Tracker};
//! use tracker_server::{Settings, run};
//!
//! let tracker = Tracker::builder(MemoryStore::new()).start();
//! let settings = Settings {
//!     body_bytes: 1 << 20,
//!     shutdown_timeout: Duration::from_secs(10),
//!     given: serde_json::json!({}),
//! };
//! let listener = TcpListener::bind("127.0.0.1:8080")?;
//! run(listener, settings, tracker, std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```

mod body;
mod cursor;
mod deployments;
mod description;
mod error;
mod logs;
mod paging;
mod redact;
mod routes;
mod server;
mod servers;
mod service;

pub use redact::redact;
pub use server::{Settings, run};
