//! Tests of the server as users observe it: bytes on sockets, rows, JSON and exit codes. They start real Redis and
//! PostgreSQL servers, each on its own port and in its own folder.

mod bodies;
mod config;
mod connections;
mod deployments;
mod encodings;
mod encryption;
mod fields;
mod hosts;
mod legacy_config;
mod limits;
mod listeners;
mod logging;
mod logs;
mod metrics;
mod monitoring;
#[cfg(feature = "nats")]
mod nats;
mod open_files;
mod outage;
mod paging;
mod prometheus;
mod properties;
mod raw;
mod readiness;
mod redis;
mod retention;
mod routes;
mod servers;
mod shutdown;
mod slow_readers;
mod sqlite_file;
mod stored_values;
mod support;
mod tables;
mod timestamps;
mod tokens;
mod wire;
