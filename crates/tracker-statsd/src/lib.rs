#![doc = include_str!("../README.md")]

mod config;
mod destination;
mod encode;
mod output;

pub use config::{Names, StatsdConfig};
pub use output::StatsdOutput;
pub use tracker_config::{self, ConfigError};

/// The crate of [`Output`](tracker_core::Output), which [`StatsdOutput`] implements.
pub use tracker_core;
