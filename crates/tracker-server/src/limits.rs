//! Limits on the resources that clients may use.

use serde::{Deserialize, Serialize};

/// Limits on the resources that clients may use. The server answers a request over a limit with the status given here, or
/// closes the connection; other clients are not affected.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum size of a body in bytes, after decompression; 413 beyond.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_073_741_824)))]
    pub body_bytes: usize,
    /// Maximum bytes of all bodies in memory, at least twice `body_bytes`; 503 beyond.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 4_294_967_295_u64)))]
    pub buffered_bytes: u32,
    /// Timeout for receiving a body, in seconds; 408 beyond.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 3_600)))]
    pub body_seconds: u64,
    /// Maximum size of a request's head (its target and headers) in bytes; 431 beyond, except for `/livez` and `/readyz`.
    /// The longest hostname takes 24,576 bytes in a path or a cursor.
    #[cfg_attr(feature = "schema", schemars(range(min = 256, max = 131_072)))]
    pub header_bytes: usize,
    /// Timeout for the TLS handshake of a new connection, and then for the head of its first request, in seconds; the
    /// server closes the connection beyond.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 3_600)))]
    pub header_seconds: u64,
    /// Idle timeout of a connection between two requests, in seconds. Behind a proxy, set it higher than the proxy's own
    /// idle timeout.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 3_600)))]
    pub keep_alive_seconds: u64,
    /// Timeout for a client that reads nothing of a response, in seconds, in addition to `body_seconds`; the server closes
    /// the connection beyond. Progress is noticed in pieces of 64 KiB.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 3_600)))]
    pub write_seconds: u64,
    /// Maximum open connections; further ones wait until one closes. A connection takes two file descriptors, so fewer
    /// are open if the process may not open enough files. It takes 12 kB of memory, up to 130 kB while it receives a body.
    #[cfg_attr(feature = "schema", schemars(range(min = 2, max = 1_000_000)))]
    pub connections: usize,
    /// Maximum requests in progress; 503 beyond, except for `/livez`, `/readyz`, `/healthcheck` and `/metrics`.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))]
    pub in_flight_requests: usize,
    /// Maximum reports that wait for each writing connection to the database; 503 beyond.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))]
    pub queued_reports: usize,
    /// Maximum queries that wait for the reading connections to the database; 503 beyond.
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
