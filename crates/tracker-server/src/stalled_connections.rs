//! Connections that nothing comes from any more, or on which nothing is taken. actix-web bounds the time to the first head of
//! a connection and the time between two requests, but not the time that a later head, or a body that nobody reads, takes
//! to come, nor the time that an answer takes to go, nor how many requests a connection has at a time.

use std::any::Any;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::Extensions;
use actix_web::rt::net::{TcpStream, UnixStream};
use actix_web::web::Bytes;
use socket2::{SockRef, Socket};

/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many requests one connection may have at a time.
const REQUESTS: usize = 256;
/// How much of an answer is handed on at a time: what is taken of it is noticed in such pieces.
const PIECE: usize = 64 << 10;

/// How long a connection may stand still.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StallTimeouts {
    /// While no request is worked on.
    pub(crate) idle: Duration,
    /// While one is: its body comes, it is worked on, or its answer is taken.
    pub(crate) busy: Duration,
}

/// A connection, as long as it is open.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The same socket once more, to close it from here.
    socket: Socket,
    /// Requests that are worked on, until all of their answers have been handed on.
    requests: AtomicUsize,
    /// The look before which something moved last: reading the clock each time would cost more.
    last_progress: AtomicU64,
    ticks: Arc<AtomicU64>,
}

impl Connection {
    fn touch(&self) {
        self.last_progress.store(self.ticks.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn is_stalled(&self, timeouts: StallTimeouts) -> bool {
        let timeouts = if self.requests.load(Ordering::Relaxed) == 0 { timeouts.idle } else { timeouts.busy };
        let ticks = self.ticks.load(Ordering::Relaxed) - self.last_progress.load(Ordering::Relaxed);
        ticks > timeouts.as_secs() / LOOK_EVERY.as_secs()
    }

    fn close(&self) {
        // It may be closed already.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// All open connections. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections {
    open: Arc<Mutex<Vec<Weak<Connection>>>>,
    /// How often they were looked at.
    ticks: Arc<AtomicU64>,
}

impl Connections {
    /// Notes a new connection, for actix-web's `on_connect`.
    pub(crate) fn add(&self, stream: &dyn Any, data: &mut Extensions) {
        let socket = if let Some(stream) = stream.downcast_ref::<TcpStream>() {
            SockRef::from(stream).try_clone()
        } else if let Some(stream) = stream.downcast_ref::<TlsStream<TcpStream>>() {
            SockRef::from(stream.get_ref().0).try_clone()
        } else if let Some(stream) = stream.downcast_ref::<UnixStream>() {
            SockRef::from(stream).try_clone()
        } else {
            return;
        };
        // Without a file to spare this one is not looked after.
        let Ok(socket) = socket else { return };
        let connection = Arc::new(Connection {
            socket,
            requests: AtomicUsize::new(0),
            last_progress: AtomicU64::new(self.ticks.load(Ordering::Relaxed)),
            ticks: self.ticks.clone(),
        });
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&connection));
        data.insert(connection);
    }

    /// Closes, for ever, the connections that stand still for longer than `patience`.
    pub(crate) async fn watch(self, timeouts: StallTimeouts) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.ticks.fetch_add(1, Ordering::Relaxed);
            self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|connection| {
                let Some(connection) = connection.upgrade() else { return false };
                if connection.is_stalled(timeouts) {
                    connection.close();
                }
                true
            });
        }
    }
}

/// A request that is worked on.
#[derive(Debug)]
pub(crate) struct InFlight(Option<Arc<Connection>>);

impl InFlight {
    /// On `connection`, if that is looked after. It is closed if it has too many.
    pub(crate) fn on(connection: Option<Arc<Connection>>) -> Self {
        if let Some(connection) = &connection {
            connection.touch();
            if connection.requests.fetch_add(1, Ordering::Relaxed) >= REQUESTS {
                connection.close();
            }
        }
        Self(connection)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.touch();
            connection.requests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

pin_project_lite::pin_project! {
    /// The body of an answer. The request is worked on until all of it has been handed on.
    pub(crate) struct Answer<B> {
        #[pin]
        body: B,
        // What is not handed on yet of what the body has given.
        rest: Bytes,
        in_flight: InFlight,
    }
}

impl<B> Answer<B> {
    pub(crate) fn new(body: B, in_flight: InFlight) -> Self {
        Self { body, rest: Bytes::new(), in_flight }
    }
}

impl<B: MessageBody> MessageBody for Answer<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        if let Some(connection) = &this.in_flight.0 {
            connection.touch();
        }
        if this.rest.is_empty() {
            match ready!(this.body.poll_next(context)) {
                Some(Ok(bytes)) => *this.rest = bytes,
                end => return Poll::Ready(end),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(piece)))
    }
}
