//! The deployment-tracker server as a library: a `main` of a dozen lines adds outputs of your own.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! # use tracker_statsd::StatsdOutput as MyOutput;
//! fn main() -> ExitCode {
//!     deployment_tracker::Server::builder(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
//!         .output::<MyOutput>("mine") // the section `mine` of the configuration
//!         .run()
//! }
//! ```
//!
//! An output implements [`ConfiguredOutput`]. [`ServerBuilder::store`] adds a [`ConfiguredStore`]. The packaged
//! server is the same program without further parts.

mod age;
mod allocator;
mod arguments;
mod config;
#[cfg(all(test, feature = "redis", feature = "statsd"))]
mod generated;
mod legacy_config;
mod logger;
mod open_files;
mod reference;
mod reload;
mod sections;
mod server;
mod signals;
mod startup;
mod stores;
mod token;

pub use mimalloc::MiMalloc;
pub use server::{Server, ServerBuilder};
pub use tracker_config::{ConfigError, ConfiguredOutput, ConfiguredStore, StoreOptions};
pub use tracker_core;
