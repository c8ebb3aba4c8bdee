//! The output as Redis and its readers see it, with real servers.

mod cluster;
mod connections;
mod delivery;
mod errors;
mod links;
mod modes;
mod sentinels;
mod support;
mod tls;
mod transaction;
