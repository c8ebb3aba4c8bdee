#![doc = include_str!("../README.md")]

mod arrivals;
mod config;
mod connection;
mod encode;
mod output;
mod run;

// Its types are in public signatures.
pub use config::{NatsConfig, Tls};
pub use output::NatsOutput;
pub use tracker_config::{ConfigError, Secret};
