//! The API as a part of any actix-web application.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Extensions, HttpServiceFactory};
use actix_web::web::{self, Data, ServiceConfig};
use tracker_core::Tracker;

use crate::admission::Admission;
use crate::metrics::Metrics;
use crate::prefix;
use crate::redact::redact;
use crate::response_budget::ResponseBudget;
use crate::routes::{self, Mount};
use crate::service::RawConfig;
use crate::settings::Settings;
use crate::stalled_connections::{StallTimeouts, on_connect};

/// The HTTP API of a tracker, for an actix-web application of your own. [`run`](crate::run) is a server that has only
/// the API.
///
/// All clones share the limits, the tokens and the metrics: create one `Api`, and add its [scope](Self::scope) to the
/// application of each worker.
///
/// ```no_run
/// use std::time::Duration;
///
/// use actix_web::{App, HttpServer, web};
/// use tracker_core::{MemoryStore, Tracker};
/// use tracker_server::{Api, Settings};
///
/// #[actix_web::main]
/// async fn main() -> std::io::Result<()> {
///     let tracker = Tracker::builder(MemoryStore::new()).start();
///     let api = Api::new(Settings::default(), tracker.clone());
///     let on_connect = api.on_connect();
///     let application =
///         move || App::new().route("/", web::get().to(async || "our own page")).service(api.scope("/tracker"));
///     HttpServer::new(application).on_connect(on_connect).bind("127.0.0.1:8080")?.run().await?;
///     tracker.shutdown(Duration::from_secs(5)).await;
///     Ok(())
/// }
/// ```
///
/// The scope enforces the tokens, the allowed hosts and these limits: `body_bytes`, `buffered_bytes`, `response_bytes`,
/// `body_seconds`, `header_bytes` and `in_flight_requests`. [`on_connect`](Self::on_connect) adds the timeout of
/// `body_seconds` plus `write_seconds` for connections without progress.
///
/// The rest belongs to [`HttpServer`](actix_web::HttpServer), which has defaults of its own. These correspond to
/// [`Settings`] and [`Limits`](crate::Limits):
///
/// | `HttpServer` | here |
/// |---|---|
/// | `bind_rustls_0_23` | `tls` |
/// | `shutdown_timeout` | `shutdown_timeout` |
/// | `max_connections`, for each worker | `connections`, for all workers |
/// | `client_request_timeout`, `tls_handshake_timeout` | `header_seconds` |
/// | `keep_alive` | `keep_alive_seconds` |
/// | `h2_initial_window_size`, `h2_initial_connection_window_size` | [`run`](crate::run) sets the minimum, 65,535 |
///
/// [`run`](crate::run) also limits how long the head of a later request on a connection may take; `HttpServer` cannot.
///
/// Install a logger of the crate [`log`](https://docs.rs/log): the scope logs its requests and failures.
#[derive(Debug, Clone)]
pub struct Api {
    tracker: Data<Tracker>,
    admission: Data<Admission>,
    budget: Arc<ResponseBudget>,
    raw_config: Data<RawConfig>,
    metrics: Data<Metrics>,
    /// How long a request may take without progress.
    busy: Duration,
}

impl Api {
    /// The API of `tracker`. Ignores the [settings](Settings) that belong to the HTTP server.
    pub fn new(settings: Settings, tracker: Tracker) -> Self {
        let Settings {
            limits,
            access,
            allowed_hosts,
            #[cfg(feature = "tls")]
                tls: _,
            shutdown_timeout: _,
            raw_config,
            dropped_log_lines,
        } = settings;
        let seconds = Duration::from_secs;
        Self {
            tracker: Data::new(tracker),
            budget: Arc::new(ResponseBudget::new(limits.response_bytes, seconds(limits.write_seconds))),
            raw_config: Data::new(RawConfig(redact(&raw_config))),
            metrics: Data::new(Metrics::new(dropped_log_lines)),
            busy: seconds(limits.body_seconds.saturating_add(limits.write_seconds)),
            admission: Data::new(Admission::new(limits, access, allowed_hosts)),
        }
    }

    /// All routes of the API below `prefix`, such as `/tracker`, with their admission control and metrics. An empty
    /// prefix mounts them at the root.
    ///
    /// Locations and links in responses begin with the path at which the client found the API, also if the scope is
    /// inside other scopes. A path of the scope that has no route gets the error of the API. Middleware of the
    /// application precedes that of the scope. It must keep the trailing slash of `/docs/`: with
    /// [`NormalizePath`](actix_web::middleware::NormalizePath), choose `MergeOnly`.
    pub fn scope(&self, prefix: &str) -> impl HttpServiceFactory + use<> {
        // actix-web would match neither `/tracker` nor `/tracker/v1` with `/tracker/`.
        web::scope(prefix.trim_end_matches('/'))
            .configure(|config| self.configure(config, Mount::Scope))
            .wrap_fn(prefix::enter)
    }

    /// Returns the callback for [`HttpServer::on_connect`](actix_web::HttpServer::on_connect) that limits how long a
    /// client may take to send a body or to read a response, and how many requests to the API it may send on one
    /// connection at once: 256. Without the callback, such a client occupies its connection, a place among the requests
    /// in flight and its part of `response_bytes` until it disconnects.
    ///
    /// The timeout concerns connections with a request to the API. On HTTP/2 it closes the connection with all its
    /// streams, including those of other routes. Connections over TLS are watched if they use rustls 0.23 and the cargo
    /// feature `tls` is on. To watch connections and have a callback of your own, call this one inside yours.
    ///
    /// # Panics
    /// Outside a tokio runtime. The callback starts a task there, which ends when the callback is dropped.
    pub fn on_connect(&self) -> impl Fn(&dyn Any, &mut Extensions) + Send + Sync + use<> {
        on_connect(StallTimeouts { idle: None, busy: self.busy }, self.budget.clone())
    }

    /// As [`Self::on_connect`], for a server of its own: it also closes connections that are `idle` for that long.
    pub(crate) fn on_connect_alone(&self, idle: Duration) -> impl Fn(&dyn Any, &mut Extensions) + Send + Sync + use<> {
        on_connect(StallTimeouts { idle: Some(idle), busy: self.busy }, self.budget.clone())
    }

    /// Adds the routes and the state that they share.
    pub(crate) fn configure(&self, config: &mut ServiceConfig, mount: Mount) {
        config
            .app_data(self.tracker.clone())
            .app_data(self.admission.clone())
            .app_data(Data::from(self.budget.clone()))
            .app_data(self.raw_config.clone())
            .app_data(self.metrics.clone());
        routes::configure(config, &self.metrics.requests, mount);
    }
}
