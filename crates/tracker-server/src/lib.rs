//! The HTTP API of deployment-tracker: actix-web handlers in front of a [`tracker_core::Tracker`].
//!
//! ```no_run
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use tracker_core::{MemoryStore, Tracker};
//! use tracker_server::{Listener, Settings, run};
//!
//! let tracker = Tracker::builder(Arc::new(MemoryStore::new())).start();
//! let mut settings = Settings::default();
//! settings.limits.body_bytes = 4 << 20;
//! let listener = Listener::bind(&"http://127.0.0.1:8080".parse()?)?;
//! run(vec![listener], settings, tracker, std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```

mod admission;
mod auth;
mod body;
mod cursor;
mod deployments;
mod description;
mod engine;
mod error;
mod health;
mod limits;
mod listener;
mod logs;
mod metrics;
mod paging;
#[cfg(test)]
mod properties;
mod redact;
mod routes;
mod server;
mod servers;
mod service;
mod stalled_connections;
mod tls;
mod unread_body;

pub use admission::Access;
pub use auth::{Scope, TokenConfig, TokenError, Tokens, hashed};
pub use limits::Limits;
pub use listener::{Address, Listener, SocketFile};
pub use redact::redact;
pub use server::{Settings, run};
pub use tls::{Tls, TlsConfig, TlsError};
