//! Configuration of the server.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::admission::Access;
use crate::allowed_hosts::AllowedHost;
use crate::limits::Limits;
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// Configuration of the server. Start from [`Settings::default`] and set the fields that differ.
///
/// ```
/// use std::time::Duration;
///
/// use tracker_server::{Limits, Settings};
///
/// let settings = Settings::default()
///     .limits(Limits::default().body_bytes(4 << 20))
///     .shutdown_timeout(Duration::from_secs(30));
/// assert_eq!(settings.limits.body_bytes, 4 << 20);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Limits on clients. The server does not enforce `queued_reports` and `queued_queries`: give them to the tracker
    /// and its store, where reports and queries wait.
    pub limits: Limits,
    /// Access control. Default: every client is admitted.
    pub access: Access,
    /// The hosts that clients may request; others get 421, except on `/livez` and `/readyz`. Default: none, which
    /// allows every host.
    pub allowed_hosts: Vec<AllowedHost>,
    /// Certificates for HTTPS listeners. Default: none.
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
    /// Grace period for requests in flight at shutdown, rounded up to whole seconds. Default: 10 seconds.
    pub shutdown_timeout: Duration,
    /// The response of `/config`, before [redaction](crate::redact). Default: an empty object.
    pub raw_config: Value,
    /// Returns the number of log lines that the program has dropped since its start, for `/metrics`. Default: 0.
    pub dropped_log_lines: fn() -> u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            access: Access::open(),
            allowed_hosts: Vec::new(),
            #[cfg(feature = "tls")]
            tls: None,
            shutdown_timeout: Duration::from_secs(10),
            raw_config: Value::Object(Map::new()),
            dropped_log_lines: || 0,
        }
    }
}

tracker_core::setters! {
    Settings {
        limits: Limits,
        access: Access,
        allowed_hosts: impl IntoIterator<Item = AllowedHost> => allowed_hosts.into_iter().collect(),
        #[cfg(feature = "tls")]
        tls: impl Into<Option<Tls>> => tls.into(),
        shutdown_timeout: Duration,
        raw_config: Value,
        dropped_log_lines: fn() -> u64,
    }
}
