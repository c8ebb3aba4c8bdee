//! Limits on the resources that clients may use.

use serde::{Deserialize, Serialize};

/// Limits on the resources that clients may use. A request over a limit gets the status given here, or the server
/// closes its connection. Other clients are not affected.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum size of a body in bytes, after decompression. A larger body gets 413.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_073_741_824)))]
    pub body_bytes: usize,
    /// Maximum bytes of all bodies in memory, at least twice `body_bytes`. Further bodies get 503.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 4_294_967_295_u64)))]
    pub buffered_bytes: u32,
    /// Maximum bytes of all responses that wait in memory until their clients have read them. Further requests for
    /// responses over 4 KiB get 503. A response that is sent in pieces waits up to `write_seconds` for its next piece,
    /// then the server closes its connection. While this memory is short, a client that leaves data unread for five
    /// seconds loses its connection. A connection buffers up to 100 kB in addition.
    #[cfg_attr(feature = "schema", schemars(range(min = 1_048_576, max = 4_294_967_295_u64)))]
    pub response_bytes: u32,
    /// Timeout for receiving a body, in seconds. A slower body gets 408.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 3_600)))]
    pub body_seconds: u64,
    /// Maximum size of a request's head (its target and headers) in bytes. A larger head gets 431, except on `/livez`
    /// and `/readyz`. The longest hostname takes 24,576 bytes in a path or a cursor.
    #[cfg_attr(feature = "schema", schemars(range(min = 256, max = 131_072)))]
    pub header_bytes: usize,
    /// Timeout for the TLS handshake of a new connection, and then for the head of its first request, in seconds. The
    /// server closes slower connections.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 3_600)))]
    pub header_seconds: u64,
    /// Idle timeout of a connection between two requests, in seconds. Behind a proxy, set it higher than the proxy's
    /// own idle timeout.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 3_600)))]
    pub keep_alive_seconds: u64,
    /// Timeout for a client that stops reading a response, in seconds. The server closes the connection after
    /// `body_seconds` plus this time without progress. It measures progress in pieces of 64 KiB.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 3_600)))]
    pub write_seconds: u64,
    /// Maximum open connections. Further clients wait until a connection closes. A connection takes two file
    /// descriptors; if the limit of the process on open files is too low, the server accepts fewer connections. A
    /// connection takes 12 kB of memory, and up to 130 kB while it receives a body.
    #[cfg_attr(feature = "schema", schemars(range(min = 2, max = 1_000_000)))]
    pub connections: usize,
    /// Maximum requests in progress. Further requests get 503, except on `/livez`, `/readyz`, `/healthcheck` and
    /// `/metrics`.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))]
    pub in_flight_requests: usize,
    /// Maximum reports that wait for each writing connection to the database. Further reports get 503.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))]
    pub queued_reports: usize,
    /// Maximum queries that wait for the reading connections to the database. Further queries get 503.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))]
    pub queued_queries: usize,
}

tracker_core::setters! {
    Limits {
        body_bytes: usize,
        buffered_bytes: u32,
        response_bytes: u32,
        body_seconds: u64,
        header_bytes: usize,
        header_seconds: u64,
        keep_alive_seconds: u64,
        write_seconds: u64,
        connections: usize,
        in_flight_requests: usize,
        queued_reports: usize,
        queued_queries: usize,
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            buffered_bytes: 64 << 20,
            response_bytes: 64 << 20,
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
