//! Request bodies: JSON in UTF-8, decompressed if necessary, within the limits.

use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{Data, block};
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt;
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracker_core::json;

use crate::admission::Admission;
use crate::encoding::{self, Encoding};
use crate::error::ApiError;

/// A request body whose content type is JSON.
#[derive(Debug)]
pub struct Body {
    bytes: Vec<u8>,
    /// Its share of [`Limits::buffered_bytes`](crate::Limits).
    permit: OwnedSemaphorePermit,
}

impl Body {
    /// Parses the body as JSON.
    pub fn json(&self) -> Result<&RawValue, ApiError> {
        Ok(json::read(&self.bytes)?)
    }
}

impl FromRequest for Body {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let admission = request.app_data::<Data<Admission>>().expect("the server has admission control").clone();
        let limit = admission.limits.body_bytes;
        let encoding = check_content_type(request).and_then(|()| encoding(request)).and_then(|encoding| {
            if length(request).is_some_and(|length| length > limit) { Err(too_large(limit)) } else { Ok(encoding) }
        });
        let payload = payload.take();
        Box::pin(async move {
            let encoding = encoding?;
            let deadline = Duration::from_secs(admission.limits.body_seconds);
            let body = tokio::time::timeout(deadline, read(payload, limit, &admission.body_permits)).await;
            let body = body.map_err(|_| {
                let message =
                    format!("the body did not arrive within {} s; send it without pauses", deadline.as_secs());
                ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", message)
            })??;
            let mut body = match encoding {
                None => body,
                Some(encoding) => inflate(body, encoding, &admission).await?,
            };
            json::replace_unpaired_surrogates(&mut body.bytes);
            Ok(body)
        })
    }
}

fn length(request: &HttpRequest) -> Option<usize> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn read(mut payload: Payload, limit: usize, permits: &Arc<Semaphore>) -> Result<Body, ApiError> {
    let mut next = async || payload.next().await.transpose().map_err(|_| unreadable());
    let first = next().await?.unwrap_or_default();
    let mut body = Body { permit: permit(permits, first.len())?, bytes: first.into() };
    while let Some(piece) = next().await? {
        if body.bytes.len() + piece.len() > limit {
            return Err(too_large(limit));
        }
        body.permit.merge(permit(permits, piece.len())?);
        body.bytes.extend_from_slice(&piece);
    }
    if body.bytes.len() > limit { Err(too_large(limit)) } else { Ok(body) }
}

/// Decompresses `body` up to the limit, on a blocking thread.
///
/// The thread owns the permits, because it continues if the client disconnects and drops this future.
async fn inflate(body: Body, encoding: Encoding, admission: &Admission) -> Result<Body, ApiError> {
    let limit = admission.limits.body_bytes;
    let output_permit = permit(&admission.body_permits, limit)?;
    let thread_permit = admission.inflate_permits.clone().acquire_owned().await;
    let inflated = block(move || {
        let (_thread_permit, Body { bytes, permit: _permit }) = (thread_permit, body);
        let bytes = bytes.as_slice();
        let mut inflated = Vec::new();
        encoding.decoder(bytes).take(limit as u64 + 1).read_to_end(&mut inflated).map(|_| (inflated, output_permit))
    });
    let (bytes, mut permit) = inflated.await.map_err(|_| unreadable())?.map_err(|_| unreadable())?;
    if bytes.len() > limit {
        return Err(too_large(limit));
    }
    drop(permit.split(limit - bytes.len()));
    Ok(Body { bytes, permit })
}

/// Takes `bytes` from the memory that all bodies share.
fn permit(permits: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    let permit = permits.clone().try_acquire_many_owned(bytes);
    permit.map_err(|_| ApiError::overloaded("too many bytes of request bodies are in memory; retry later"))
}

fn check_content_type(request: &HttpRequest) -> Result<(), ApiError> {
    let unsupported =
        |message: &str| Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
    let mut values = request.headers().get_all(CONTENT_TYPE).peekable();
    if values.peek().is_none() {
        return unsupported("the content type is missing; send the header `Content-Type: application/json`");
    }
    for value in values {
        // Read by hand: engines send parameters that RFC 9110 does not allow, such as `application/json; utf-8`, and only
        // the type and the charset matter.
        let mut parts = value.to_str().unwrap_or_default().split(';').map(str::trim);
        if !parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
            return unsupported("the content type is not JSON; send the header `Content-Type: application/json`");
        }
        let is_utf8 = |parameter: &str| match parameter.split_once('=') {
            Some((name, charset)) if name.trim().eq_ignore_ascii_case("charset") => {
                charset.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        };
        if !parts.all(is_utf8) {
            return unsupported("the charset is not utf-8; send JSON in UTF-8");
        }
    }
    Ok(())
}

/// The content coding of the body. `Content-Encoding` is a list, in the order in which the sender applied the codings
/// (RFC 9110, section 8.4).
fn encoding(request: &HttpRequest) -> Result<Option<Encoding>, ApiError> {
    let unsupported =
        |message: &str| Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", message));
    let mut encoding = None;
    for value in request.headers().get_all(CONTENT_ENCODING) {
        for name in value.to_str().unwrap_or("?").split(',') {
            let name = name.trim().to_ascii_lowercase();
            if matches!(name.as_str(), "identity" | "") {
                continue;
            }
            let Some(coding) = Encoding::named(&name) else { return unsupported(encoding::UNSUPPORTED) };
            if encoding.replace(coding).is_some() {
                return unsupported("the body has more than one content encoding; compress it only once");
            }
        }
    }
    Ok(encoding)
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!("the body is larger than {limit} bytes; send it in parts"),
    )
}

fn unreadable() -> ApiError {
    ApiError::bad_request(
        "unreadable_body",
        "the body is incomplete or does not match its content encoding; send it again in full",
    )
}

#[cfg(all(test, feature = "compression"))]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::admission::Access;
    use crate::limits::Limits;

    #[actix_web::test]
    async fn an_abandoned_decompression_keeps_its_permits_until_it_ends() {
        let limits = Limits { body_bytes: 64 << 20, buffered_bytes: 100 << 20, ..Limits::default() };
        let admission = Admission::new(limits.clone(), Access::open(), Vec::new());
        let free = || (admission.inflate_permits.available_permits(), admission.body_permits.available_permits());
        let before = free();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&vec![b' '; limits.body_bytes]).expect("a Vec accepts every write");
        let bytes = gzip.finish().expect("a Vec accepts every write");
        let taken = limits.body_bytes + bytes.len();
        let body =
            Body { permit: permit(&admission.body_permits, bytes.len()).expect("the permits cover the body"), bytes };
        let abandoned = tokio::time::timeout(Duration::from_millis(1), inflate(body, Encoding::Gzip, &admission)).await;
        abandoned.expect_err("64 MiB take longer than 1 ms");
        assert_eq!(free(), (before.0 - 1, before.1 - taken));
        for (semaphore, all) in [(&admission.inflate_permits, before.0), (&admission.body_permits, before.1)] {
            let all = semaphore.acquire_many(u32::try_from(all).expect("the number of permits fits into u32"));
            let free = tokio::time::timeout(Duration::from_secs(10), all).await;
            drop(free.expect("the thread ends and returns its permits"));
        }
    }
}
