//! Connections that nothing comes from any more. actix-web bounds the time to the first head of a connection and the time
//! between two requests, but not the time that a later head, or a body that nobody reads, takes to come.

use std::any::Any;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

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
    work: Mutex<Work>,
}

#[derive(Debug)]
struct Work {
    /// Requests that are worked on, until all of their answers have been written.
    requests: usize,
    /// Since when that number is what it is.
    since: Instant,
}

impl Connection {
    fn change(&self, change: impl FnOnce(&mut usize)) {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut work.requests);
        work.since = Instant::now();
    }

    fn is_idle_for(&self, patience: Duration) -> bool {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        work.requests == 0 && work.since.elapsed() > patience
    }
}

/// All open connections. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections(Arc<Mutex<Vec<Weak<Connection>>>>);

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
        let work = Mutex::new(Work { requests: 0, since: Instant::now() });
        let connection = Arc::new(Connection { socket, work });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&connection));
        data.insert(connection);
    }

    /// Closes, for ever, the connections whose next request is not there after `patience`.
    pub(crate) async fn watch(self, patience: Duration) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|connection| {
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
            connection.change(|requests| *requests += 1);
        }
        Self(connection)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.change(|requests| *requests -= 1);
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
