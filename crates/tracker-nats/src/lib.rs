#![doc = include_str!("../README.md")]

mod arrivals;
mod config;
mod connection;
mod encode;
mod output;
mod run;

pub use config::{NatsConfig, Tls};
pub use output::NatsOutput;
// Its types are in public signatures.
pub use tracker_config::{self, ConfigError, Secret};

/// The crate of [`Output`](tracker_core::Output), which [`NatsOutput`] implements.
pub use tracker_core;
