#![doc = include_str!("../README.md")]

mod admission;
mod allowed_hosts;
mod api;
mod auth;
mod body;
mod cursor;
mod deployments;
mod description;
#[cfg(feature = "docs")]
mod docs;
#[cfg_attr(not(feature = "compression"), path = "no_encoding.rs")]
mod encoding;
mod engine;
mod error;
mod health;
mod limits;
mod listener;
mod logs;
mod metrics;
mod paging;
mod parameter;
mod prefix;
#[cfg(test)]
mod properties;
mod redact;
mod response_budget;
mod routes;
mod server;
mod servers;
mod service;
mod settings;
mod slashes;
mod stalled_connections;
#[cfg(feature = "tls")]
mod tls;
mod unread_body;
mod upgrade;

pub use admission::Access;
pub use allowed_hosts::AllowedHost;
pub use api::Api;
pub use auth::{Scope, TokenConfig, TokenError, Tokens, hashed};
pub use limits::Limits;
pub use listener::{Address, Listener, SocketFile};
pub use redact::{REDACTED, redact};
pub use server::run;
pub use settings::Settings;
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsConfig, TlsError};

/// The crate of [`Tracker`](tracker_core::Tracker), which [`run`] serves. It reexports `chrono` and `serde_json`, whose
/// types are in [`TokenConfig`] and [`Settings`].
pub use tracker_core;

/// The crate of the scope that [`Api::scope`] returns.
pub use actix_web;
