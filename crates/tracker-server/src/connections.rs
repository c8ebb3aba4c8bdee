//! Connections that nothing comes from any more. actix-web bounds the time to the first head of a connection and the time
//! between two requests, but not the time that a later head, or a body that nobody reads, takes to come.

use std::any::Any;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::Extensions;
use actix_web::rt::net::{TcpStream, UnixStream};
use actix_web::web::Bytes;
use socket2::{SockRef, Socket};

/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A connection, as long as it is open.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The same socket once more, to close it from here.
    socket: Socket,
    /// Requests that are worked on, until all of their answers have been written.
    requests: AtomicUsize,
    /// The look before which the last of them ended: reading the clock for each would cost more.
    idle_since: AtomicU64,
    looks: Arc<AtomicU64>,
}

impl Connection {
    fn is_idle_for(&self, looks: u64) -> bool {
        let idle = self.looks.load(Ordering::Relaxed) - self.idle_since.load(Ordering::Relaxed);
        self.requests.load(Ordering::Acquire) == 0 && idle > looks
    }
}

/// All open connections. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections {
    open: Arc<Mutex<Vec<Weak<Connection>>>>,
    /// How often they were looked at.
    looks: Arc<AtomicU64>,
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
            idle_since: AtomicU64::new(self.looks.load(Ordering::Relaxed)),
            looks: self.looks.clone(),
        });
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&connection));
        data.insert(connection);
    }

    /// Closes, for ever, the connections whose next request is not there after `patience`.
    pub(crate) async fn watch(self, patience: Duration) {
        let patience = patience.as_secs() / LOOK_EVERY.as_secs();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.looks.fetch_add(1, Ordering::Relaxed);
            self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|connection| {
                let Some(connection) = connection.upgrade() else { return false };
                if connection.is_idle_for(patience) {
                    // It may be closed already.
                    let _ = connection.socket.shutdown(std::net::Shutdown::Both);
                }
                true
            });
        }
    }
}

/// A request that is worked on.
#[derive(Debug)]
pub(crate) struct Working(Option<Arc<Connection>>);

impl Working {
    /// On `connection`, if that is looked after.
    pub(crate) fn on(connection: Option<Arc<Connection>>) -> Self {
        if let Some(connection) = &connection {
            connection.requests.fetch_add(1, Ordering::Relaxed);
        }
        Self(connection)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.idle_since.store(connection.looks.load(Ordering::Relaxed), Ordering::Relaxed);
            connection.requests.fetch_sub(1, Ordering::Release);
        }
    }
}

pin_project_lite::pin_project! {
    /// The body of an answer. The request is worked on until all of it has been written.
    pub(crate) struct Answer<B> {
        #[pin]
        pub(crate) body: B,
        pub(crate) working: Working,
    }
}

impl<B: MessageBody> MessageBody for Answer<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.project().body.poll_next(context)
    }
}
