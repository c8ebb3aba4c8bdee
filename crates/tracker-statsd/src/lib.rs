#![doc = include_str!("../README.md")]

mod config;
mod destination;
mod encode;
mod output;

pub use config::{ConfigError, Names, StatsdConfig};
pub use output::StatsdOutput;
