//! Real servers for tests: each on a port and in a folder of its own, so that a test can kill, freeze and restart it.
//! What goes wrong with them is a panic that says so: a test has nothing better to do with it.

mod certificates;
mod database;
mod http;
mod leash;
mod mariadb;
mod patience;
mod postgres;
mod process;
mod redis;
mod redis_cluster;
mod sentinels;
mod server;
mod statsd;
mod statsd_daemon;

pub use certificates::Certificates;
pub use database::Database;
pub use http::{JSON, Response, exchange};
pub use mariadb::Mariadb;
pub use patience::{PATIENCE, eventually, within};
pub use postgres::Postgres;
pub use process::{free_port, signal};
pub use redis::Redis;
pub use redis_cluster::RedisCluster;
pub use sentinels::{Sentinel, Sentinels};
pub use server::{Server, bare};
pub use statsd::{Statsd, sum as statsd_sum};
pub use statsd_daemon::StatsdDaemon;
