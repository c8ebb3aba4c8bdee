//! HTTP/1 requests that ask for another protocol with `Upgrade`. The server has none to offer, so it ignores the
//! field and answers (RFC 9110, section 7.8).
//!
//! actix-http prepares the connection for the other protocol: it takes everything after the head of such a request for
//! its body, until the client disconnects. This module ends the body at its length. actix-http also closes the
//! connection after the response without announcing it; admission control adds `Connection: close`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::HttpMessage;
use actix_web::dev::{Payload, RequestHead, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use actix_web::http::{Method, Version};
use actix_web::web::Bytes;
use futures_util::Stream;

/// A body that ends at its `Content-Length`.
struct SizedBody {
    payload: Payload,
    remaining: u64,
}

/// Ends the body of `request` at its `Content-Length`, if actix-http may not.
pub(crate) fn bound_body(request: &mut ServiceRequest) {
    if may_be_endless(request.head()) {
        let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let remaining = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        let body = SizedBody { payload: request.take_payload(), remaining };
        request.set_payload(Payload::Stream { payload: Box::pin(body) });
    }
}

fn may_be_endless(head: &RequestHead) -> bool {
    head.version < Version::HTTP_2
        && (head.method == Method::CONNECT || head.headers.contains_key(UPGRADE))
        && !head.headers.contains_key(TRANSFER_ENCODING)
}

impl Stream for SizedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<Option<Self::Item>> {
        if self.remaining == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match ready!(Pin::new(&mut self.payload).poll_next(context)) {
            Some(Ok(mut bytes)) => {
                bytes.truncate(usize::try_from(self.remaining).unwrap_or(usize::MAX));
                self.remaining -= bytes.len() as u64;
                Ok(bytes)
            }
            Some(Err(error)) => Err(error),
            None => Err(PayloadError::Incomplete(None)),
        }))
    }
}
