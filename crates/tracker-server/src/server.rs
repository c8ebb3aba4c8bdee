//! Running the server.

use std::io;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use serde_json::Value;
use tracker_core::Tracker;

use crate::{body, routes};

/// What the server is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The largest body in bytes, counted after inflating.
    pub body_bytes: usize,
    /// How long requests in flight may go on after the end was asked for.
    pub shutdown_timeout: Duration,
    /// What `/config` answers: see [`redact`](crate::redact).
    pub given: Value,
}

/// Serves `tracker` on `listener` until `shutdown` completes; then takes no more connections, and returns when the
/// requests in flight are answered, or after [`Settings::shutdown_timeout`]. The tracker is left running.
///
/// # Errors
/// When the listener cannot be used.
pub async fn run(
    listener: TcpListener,
    settings: Settings,
    tracker: Tracker,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (tracker, timeout) = (Data::new(tracker), settings.shutdown_timeout);
    let settings = Data::new(settings);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(tracker.clone())
            .app_data(settings.clone())
            .app_data(body::payload_config(settings.body_bytes))
            .wrap(from_fn(log_access))
            .configure(routes::configure)
    })
    .disable_signals()
    .shutdown_timeout(timeout.as_secs())
    .listen(listener)?
    .run();
    let handle = server.handle();
    let stopper = tokio::spawn(async move {
        shutdown.await;
        handle.stop(true).await;
    });
    let served = server.await;
    stopper.abort();
    served
}

/// One line for each request, at debug.
async fn log_access(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    if !log::log_enabled!(log::Level::Debug) {
        return next.call(request).await;
    }
    let begun = Instant::now();
    let method = request.method().clone();
    let path = request.path().to_owned();
    let peer = request.peer_addr();
    let response = next.call(request).await?;
    log::debug!(
        method = method.as_str(), path = path.as_str(), status = response.status().as_u16(),
        millis = begun.elapsed().as_secs_f64() * 1000.0, peer = peer.map(|peer| peer.to_string()).unwrap_or_default().as_str();
        "{method} {path} {}", response.status().as_u16()
    );
    Ok(response)
}
