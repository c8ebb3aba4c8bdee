//! Bodies of HTTP/2 that are refused before they are read.

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

/// For how long a body that nobody wants is taken in.
const DISCARD_FOR: Duration = Duration::from_secs(5);

/// What is not read yet of a body, shared between the handler and the door.
#[derive(Clone)]
pub(crate) struct UnreadBody(Rc<RefCell<Payload>>);

impl UnreadBody {
    /// The body of a request of HTTP/2, which the handler goes on finding in its place.
    pub(crate) fn of(request: &mut ServiceRequest) -> Option<Self> {
        if request.version() != Version::HTTP_2 {
            return None;
        }
        let unread_body = Self(Rc::new(RefCell::new(request.take_payload())));
        request.set_payload(Payload::Stream { payload: Box::pin(unread_body.clone()) });
        Some(unread_body)
    }

    /// Takes the rest of the body in, for five seconds at the most. An answer before the end of the body resets the
    /// stream, by RFC 9113, section 8.1, and clients such as curl then report a broken connection instead of the answer.
    pub(crate) async fn discard(mut self) {
        let rest = async { while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut self).poll_next(context)).await {} };
        // Whoever sends more than that is told by the reset.
        let _ = tokio::time::timeout(DISCARD_FOR, rest).await;
    }
}

impl Stream for UnreadBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(context)
    }
}
