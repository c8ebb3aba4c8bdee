//! Bounds on what clients may take of the server.

use serde::{Deserialize, Serialize};

/// Bounds on what clients send and hold. What is over a bound is refused with the status that is named here, and the
/// connection closed where nothing else helps; everybody else is served on.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The largest body in bytes, counted after inflating; 413 beyond.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_073_741_824)))]
    pub body_bytes: usize,
    /// How many bytes of all bodies together are in memory, at least twice `body_bytes`; 503 beyond.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 4_294_967_295_u64)))]
    pub buffered_bytes: u32,
    /// How long a body may take to come, in seconds; 408 beyond.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 3_600)))]
    pub body_seconds: u64,
    /// The largest head of a request (its target and headers) in bytes; 431 beyond, but for `/livez` and `/readyz`. The
    /// longest hostname takes 24,576 of them in a path or a cursor.
    #[cfg_attr(feature = "schema", schemars(range(min = 256, max = 131_072)))]
    pub header_bytes: usize,
    /// How long a new connection may take for its TLS handshake, and then for the head of its first request, in seconds;
    /// it is closed beyond.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 3_600)))]
    pub header_seconds: u64,
    /// How long a connection may be idle between two requests, in seconds. Behind a proxy, give more than the proxy
    /// keeps its connections idle.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 3_600)))]
    pub keep_alive_seconds: u64,
    /// How long a client may take nothing of an answer, in seconds, on top of `body_seconds`; then the connection is closed. What
    /// is taken is noticed in pieces of 64 KiB.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 3_600)))]
    pub write_seconds: u64,
    /// How many connections are open at a time; further ones wait until one is closed. Each takes two files, so
    /// that fewer fit where the process may not open enough; and 12 kB of memory, or up to 130 kB while a body comes.
    #[cfg_attr(feature = "schema", schemars(range(min = 2, max = 1_000_000)))]
    pub connections: usize,
    /// How many requests are worked on at a time; 503 beyond, but for `/livez`, `/readyz`,
    /// `/healthcheck` and `/metrics`.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))]
    pub in_flight_requests: usize,
    /// How many reports may wait for each writing connection of the database; 503 beyond.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))]
    pub queued_reports: usize,
    /// How many queries may wait for the reading connections of the database; 503 beyond.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))]
    pub queued_queries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            buffered_bytes: 64 << 20,
            body_seconds: 30,
            header_bytes: 32 << 10,
            header_seconds: 5,
            keep_alive_seconds: 5,
            write_seconds: 30,
            connections: 2_048,
            in_flight_requests: 1_024,
            queued_reports: 16_384,
            queued_queries: 1_024,
        }
    }
}
