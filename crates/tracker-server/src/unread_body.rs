//! HTTP/2 request bodies that are still unread when the server refuses the request.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpMessage;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::http::Version;
use actix_web::web::Bytes;
use futures_util::Stream;

/// Timeout for discarding a body.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// The unread rest of a body. The handler and admission control share it.
#[derive(Clone)]
pub(crate) struct UnreadBody(Rc<RefCell<Payload>>);

impl UnreadBody {
    /// Takes the body of an HTTP/2 request and puts a shared handle in its place. `None` for other versions.
    pub(crate) fn of(request: &mut ServiceRequest) -> Option<Self> {
        if request.version() != Version::HTTP_2 {
            return None;
        }
        let unread_body = Self(Rc::new(RefCell::new(request.take_payload())));
        request.set_payload(Payload::Stream { payload: Box::pin(unread_body.clone()) });
        Some(unread_body)
    }

    /// Reads the rest of the body and drops it, for at most five seconds.
    ///
    /// A response before the end of the body resets the stream (RFC 9113, section 8.1). Clients such as curl then
    /// report a broken connection instead of the response.
    pub(crate) async fn discard(mut self) {
        let rest = async { while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut self).poll_next(context)).await {} };
        // A client that keeps sending gets the reset.
        let _ = tokio::time::timeout(DISCARD_TIMEOUT, rest).await;
    }
}

impl Stream for UnreadBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(context)
    }
}
