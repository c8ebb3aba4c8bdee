//! Real servers for tests: the service, Redis, NATS, PostgreSQL, MariaDB and StatsD.
//!
//! Each server has its own port and its own temporary folder, so that a test can kill, freeze (`SIGSTOP`) and restart
//! it. Servers end with the test process. If a server is not installed, does not start or does not answer, the function
//! panics, because a test cannot recover from that; the message says how to fix it.

mod certificates;
mod database;
mod eventually;
mod http;
mod mariadb;
mod nats;
mod postgres;
mod process;
mod redis;
mod redis_cluster;
mod sentinels;
mod server;
mod statsd;
mod statsd_daemon;
mod supervised;

pub use certificates::Certificates;
pub use database::Database;
pub use eventually::{Condition, DEADLINE, eventually, within};
pub use http::{JSON, Response, exchange};
pub use mariadb::Mariadb;
pub use nats::{Nats, NatsMessage};
pub use postgres::Postgres;
pub use process::{free_port, signal};
pub use redis::Redis;
pub use redis_cluster::RedisCluster;
pub use sentinels::{Sentinel, Sentinels};
pub use server::{Server, command};
pub use statsd::{Statsd, sum as statsd_sum};
pub use statsd_daemon::StatsdDaemon;
