#![doc = include_str!("../README.md")]

mod config;
mod connection;
mod ecs;
mod encode;
mod forgotten;
mod logstash;
mod mode;
mod output;
mod pace;
mod push;
mod tls;
mod topology;
mod transaction;

pub use config::{Format, Node, RedisConfig, Scripts, Secret, Sentinel};
pub use output::RedisOutput;
pub use tls::Tls;
pub use tracker_config::{self, ConfigError};

/// The crate of [`Output`](tracker_core::Output), which [`RedisOutput`] implements.
pub use tracker_core;
