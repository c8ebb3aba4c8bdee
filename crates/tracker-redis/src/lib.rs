#![doc = include_str!("../README.md")]

mod config;
mod connection;
mod ecs;
mod encode;
mod forgotten;
mod logstash;
mod output;
mod push;
mod tls;
mod topology;

pub use config::{ConfigError, Format, Node, RedisConfig, Secret, Sentinel};
pub use output::RedisOutput;
pub use tls::Tls;
