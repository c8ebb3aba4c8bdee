//! The server as its users see it: bytes on sockets, rows, JSON, exit codes. With a real redis-server and PostgreSQL,
//! which the tests start on ports and in folders of their own.

mod bodies;
mod config;
mod deployments;
mod encryption;
mod fields;
mod legacy_config;
mod limits;
mod listeners;
mod logs;
mod metrics;
mod outage;
mod paging;
mod prometheus;
mod properties;
mod raw;
mod redis;
mod retention;
mod routes;
mod servers;
mod shutdown;
mod support;
mod tables;
mod tokens;
mod wire;
