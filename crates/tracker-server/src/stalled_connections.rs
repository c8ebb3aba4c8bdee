//! Closes stalled connections (slow clients), because actix-web lacks these timeouts.
//!
//! actix-web limits the time until the first head of a connection, and the time between two requests. It does not
//! limit the time that a later head or an unread body takes to arrive, the time that a client takes to read a
//! response, or the number of concurrent requests on a connection. This module adds these limits: middleware and
//! response bodies record progress, and a task shuts down the socket of every connection without progress. While the
//! memory for responses is short, a client that does not read has less time.

use std::any::Any;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

#[cfg(feature = "tls")]
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::Extensions;
use actix_web::rt::net::{TcpStream, UnixStream};
use actix_web::web::Bytes;
use socket2::{SockRef, Socket};
use tokio::task::JoinHandle;
use tracker_core::supervise;

use crate::response_budget::{ResponseBudget, Share};

/// Interval between two checks of all connections.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a client may leave a piece of a response unread while other responses wait for memory.
const PATIENCE: Duration = Duration::from_secs(5);

/// Maximum concurrent requests on a connection.
const MAX_REQUESTS: usize = 256;
/// Maximum bytes of a response that are passed on at once. Progress is measured in these pieces.
const PIECE: usize = 64 << 10;

/// Timeouts for connections without progress.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StallTimeouts {
    /// Between requests. `None` never closes a connection then, because it may have a request that is not for the API.
    pub(crate) idle: Option<Duration>,
    /// During a request: while its body arrives, a handler works, or the client reads the response.
    pub(crate) busy: Duration,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// A duplicate of the socket, to shut it down.
    socket: Socket,
    /// Requests whose response is not yet passed on completely.
    requests: AtomicUsize,
    /// Responses whose last piece the connection has not taken completely.
    unread: AtomicUsize,
    /// The value of `ticks` at the last progress. This is cheaper than reading the clock.
    last_progress: AtomicU64,
    ticks: Arc<AtomicU64>,
}

impl Connection {
    fn touch(&self) {
        self.last_progress.store(self.ticks.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn is_stalled(&self, timeouts: StallTimeouts, is_memory_short: bool) -> bool {
        let timeout = if self.requests.load(Ordering::Relaxed) == 0 {
            let Some(idle) = timeouts.idle else { return false };
            idle
        } else if is_memory_short && self.unread.load(Ordering::Relaxed) > 0 {
            timeouts.busy.min(PATIENCE)
        } else {
            timeouts.busy
        };
        let ticks = self.ticks.load(Ordering::Relaxed) - self.last_progress.load(Ordering::Relaxed);
        ticks > timeout.as_secs() / CHECK_INTERVAL.as_secs()
    }

    fn close(&self) {
        // This fails if the connection is already closed.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// Returns a callback for actix-web's `on_connect`, and starts the task that watches the connections. The task ends when
/// the callback is dropped.
pub(crate) fn on_connect(
    timeouts: StallTimeouts,
    budget: Arc<ResponseBudget>,
) -> impl Fn(&dyn Any, &mut Extensions) + Send + Sync {
    let connections = Arc::new(Connections::default());
    let watched = connections.clone();
    let task = supervise("the watch for stalled connections", async move || watched.watch(timeouts, &budget).await);
    let watch = Watch { connections, task: tokio::spawn(task) };
    move |stream, data| watch.add(stream, data)
}

/// The connections and the task that watches them. Dropping this value ends the task.
struct Watch {
    connections: Arc<Connections>,
    task: JoinHandle<()>,
}

impl Watch {
    fn add(&self, stream: &dyn Any, data: &mut Extensions) {
        self.connections.add(stream, data);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All open connections.
#[derive(Debug, Default)]
struct Connections {
    open: Mutex<Vec<Weak<Connection>>>,
    /// The number of checks so far.
    ticks: Arc<AtomicU64>,
}

impl Connections {
    fn add(&self, stream: &dyn Any, data: &mut Extensions) {
        let Some(socket) = duplicate(stream) else { return };
        let connection = Arc::new(Connection {
            socket,
            requests: AtomicUsize::new(0),
            unread: AtomicUsize::new(0),
            last_progress: AtomicU64::new(self.ticks.load(Ordering::Relaxed)),
            ticks: self.ticks.clone(),
        });
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&connection));
        data.insert(connection);
    }

    /// Closes connections without progress, until the future is dropped.
    async fn watch(&self, timeouts: StallTimeouts, budget: &ResponseBudget) {
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let is_memory_short = budget.is_short();
            self.ticks.fetch_add(1, Ordering::Relaxed);
            self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|connection| {
                let Some(connection) = connection.upgrade() else { return false };
                if connection.is_stalled(timeouts, is_memory_short) {
                    connection.close();
                }
                true
            });
        }
    }
}

/// A duplicate of the socket behind `stream`. `None` if the stream has another type, or if no file descriptor is free:
/// the connection then has no timeouts.
fn duplicate(stream: &dyn Any) -> Option<Socket> {
    if let Some(stream) = stream.downcast_ref::<TcpStream>() {
        return SockRef::from(stream).try_clone().ok();
    }
    #[cfg(feature = "tls")]
    if let Some(stream) = stream.downcast_ref::<TlsStream<TcpStream>>() {
        return SockRef::from(stream.get_ref().0).try_clone().ok();
    }
    SockRef::from(stream.downcast_ref::<UnixStream>()?).try_clone().ok()
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    connection: Option<Arc<Connection>>,
    /// Whether the connection has not taken the last piece of the response completely.
    is_unread: bool,
}

impl InFlight {
    fn touch(&self) {
        if let Some(connection) = &self.connection {
            connection.touch();
        }
    }

    /// Records whether the client has to take a piece before the response goes on.
    fn set_unread(&mut self, is_unread: bool) {
        if let Some(connection) = self.connection.as_ref().filter(|_| self.is_unread != is_unread) {
            self.is_unread = is_unread;
            if is_unread {
                connection.unread.fetch_add(1, Ordering::Relaxed);
            } else {
                connection.unread.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Adds a request to `connection`, and closes the connection if it has too many.
    pub(crate) fn on(connection: Option<Arc<Connection>>) -> Self {
        if let Some(connection) = &connection {
            connection.touch();
            if connection.requests.fetch_add(1, Ordering::Relaxed) >= MAX_REQUESTS {
                connection.close();
            }
        }
        Self { connection, is_unread: false }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.touch();
        self.set_unread(false);
        if let Some(connection) = &self.connection {
            connection.requests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

pin_project_lite::pin_project! {
    /// The body of a response. Its request is in flight until the whole body has been passed on.
    pub(crate) struct TrackedBody<B> {
        #[pin]
        body: B,
        // The remainder of the last piece that `body` returned.
        rest: Bytes,
        // The share of a body in memory, until the body is passed on.
        share: Option<Share>,
        is_omitted: bool,
        in_flight: InFlight,
    }
}

impl<B> TrackedBody<B> {
    pub(crate) fn new(body: B, share: Option<Share>, in_flight: InFlight) -> Self {
        Self { body, rest: Bytes::new(), share, is_omitted: false, in_flight }
    }

    /// The body of a response to HEAD. actix-web would read a stream to its end, and send nothing of it.
    pub(crate) fn omitted(body: B, in_flight: InFlight) -> Self {
        Self { body, rest: Bytes::new(), share: None, is_omitted: true, in_flight }
    }
}

impl<B: MessageBody> MessageBody for TrackedBody<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        this.in_flight.touch();
        this.in_flight.set_unread(false);
        if *this.is_omitted {
            return Poll::Ready(None);
        }
        if this.rest.is_empty() {
            *this.rest = match (ready!(this.body.poll_next(context)), this.share.take()) {
                (Some(Ok(bytes)), Some(share)) => share.hold(bytes),
                (Some(Ok(bytes)), None) => bytes,
                (end, _) => return Poll::Ready(end),
            };
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        this.in_flight.set_unread(true);
        Poll::Ready(Some(Ok(piece)))
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;

    use super::*;

    #[tokio::test]
    async fn the_watch_ends_with_its_callback() {
        let tasks = || Handle::current().metrics().num_alive_tasks();
        let timeouts = StallTimeouts { idle: None, busy: Duration::MAX };
        let callback = on_connect(timeouts, Arc::new(ResponseBudget::new(1 << 20, Duration::MAX)));
        assert_eq!(tasks(), 1);
        drop(callback);
        let ended = async {
            while tasks() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the task ends");
    }
}
