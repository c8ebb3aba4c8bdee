//! Runs the server.

use std::io;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App, HttpServer};
use tracker_core::Tracker;

use crate::api::Api;
use crate::listener::{Listener, SocketFile};
use crate::prefix;
use crate::routes::Mount;
use crate::settings::Settings;

/// Maximum unread bytes of bodies on an HTTP/2 connection: the minimum of RFC 9113, section 6.9.2.
#[cfg(feature = "http2")]
const H2_WINDOW: u32 = 65_535;

/// Serves `tracker` on `listeners` until `shutdown` completes.
///
/// The server then stops accepting connections. It returns when it has answered all requests in flight, or after
/// [`Settings::shutdown_timeout`]. It does not shut the tracker down.
///
/// Run it on the tokio runtime that runs the tracker. Inside an
/// [`actix_web::rt::System`](https://docs.rs/actix-web/4/actix_web/rt/struct.System.html), a worker wakes up once for
/// all answers of the tracker that arrive together. Elsewhere it wakes up for each answer, and posting log messages
/// takes up to 8 % longer.
///
/// The server logs requests and failures with the crate [`log`](https://docs.rs/log). A program that embeds it must
/// install a logger that shows warnings, as `examples/embedded` does; otherwise these failures are invisible.
///
/// # Errors
/// When there is no listener, when a listener cannot be used, or when an HTTPS listener has no certificates or the cargo
/// feature `tls` is off.
pub async fn run(
    listeners: Vec<Listener>,
    settings: Settings,
    tracker: Tracker,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    if listeners.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no listener is given; give at least one"));
    }
    let (server, _files) = listen(listeners, settings, tracker)?;
    let handle = server.handle();
    let stopper = tokio::spawn(async move {
        shutdown.await;
        handle.stop(true).await;
    });
    let served = server.await;
    stopper.abort();
    served
}

fn listen(listeners: Vec<Listener>, settings: Settings, tracker: Tracker) -> io::Result<(Server, Vec<SocketFile>)> {
    let (limits, shutdown_timeout) = (settings.limits.clone(), settings.shutdown_timeout);
    #[cfg(feature = "tls")]
    let tls = settings.tls.clone();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let seconds = Duration::from_secs;
    let api = Api::new(settings, tracker);
    let idle = limits.keep_alive_seconds.saturating_add(limits.header_seconds).max(limits.write_seconds);
    let on_connect = api.on_connect_alone(seconds(idle));
    let mut server = HttpServer::new(move || {
        App::new().wrap_fn(prefix::enter).configure(|config| api.configure(config, Mount::Root))
    })
    .on_connect(on_connect)
    .disable_signals()
    .shutdown_timeout(shutdown_timeout.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX))
    .workers(workers)
    .max_connections(limits.connections.div_ceil(workers))
    .client_request_timeout(seconds(limits.header_seconds))
    .keep_alive(seconds(limits.keep_alive_seconds));
    #[cfg(feature = "tls")]
    {
        server = server.tls_handshake_timeout(seconds(limits.header_seconds));
    }
    #[cfg(feature = "http2")]
    {
        server = server.h2_initial_window_size(H2_WINDOW).h2_initial_connection_window_size(H2_WINDOW);
    }
    let mut files = Vec::new();
    for listener in listeners {
        server = match listener {
            Listener::Http(socket) => server.listen(socket)?,
            #[cfg(feature = "tls")]
            Listener::Https(socket) => match &tls {
                Some(tls) => server.listen_rustls_0_23(socket, tls.server_config())?,
                None => return Err(io::Error::other("an HTTPS listener needs certificates; set `Settings::tls`")),
            },
            #[cfg(not(feature = "tls"))]
            Listener::Https(_) => {
                let message = "an HTTPS listener needs the cargo feature `tls` of `tracker-server`";
                return Err(io::Error::other(message));
            }
            Listener::Unix(socket, file) => {
                files.push(file);
                server.listen_uds(socket)?
            }
        };
    }
    Ok((server.run(), files))
}
