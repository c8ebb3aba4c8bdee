//! Bodies: JSON in UTF-8, inflated if need be, within the limit.

use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_ENCODING;
use actix_web::web::{Bytes, PayloadConfig};
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use serde_json::value::RawValue;
use tracker_core::json;

use crate::error::ApiError;

/// How long a body may take to come.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// The bytes of a body that says that it is JSON.
#[derive(Debug)]
pub struct Body(Bytes);

impl Body {
    /// The JSON in it.
    pub fn json(&self) -> Result<&RawValue, ApiError> {
        Ok(json::read(&self.0)?)
    }
}

impl FromRequest for Body {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if let Err(error) = check_type(request).and_then(|()| check_encoding(request)) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let limit = request.app_data::<web::Data<crate::Settings>>().map_or(0, |settings| settings.body_bytes);
        let bytes = Bytes::from_request(request, payload);
        Box::pin(async move {
            match tokio::time::timeout(READ_WITHIN, bytes).await {
                Ok(bytes) => bytes.map(Self).map_err(|error| unreadable(&error, limit)),
                Err(_) => Err(ApiError::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "body_too_slow",
                    format!("the body was not there after {} s; send it at once", READ_WITHIN.as_secs()),
                )),
            }
        })
    }
}

/// How bodies are read: as many bytes as the settings allow, counted after inflating.
pub fn payload_config(limit: usize) -> PayloadConfig {
    PayloadConfig::new(limit)
}

fn check_type(request: &HttpRequest) -> Result<(), ApiError> {
    let unsupported =
        |message: &str| Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
    let Ok(Some(mime)) = request.mime_type() else {
        return unsupported("the content type is missing; send the header `Content-Type: application/json`");
    };
    if mime.essence_str() != "application/json" {
        return unsupported("the content type is not JSON; send the header `Content-Type: application/json`");
    }
    match mime.get_param("charset") {
        Some(charset) if charset != "utf-8" => unsupported("the charset is not utf-8; send JSON in UTF-8"),
        _ => Ok(()),
    }
}

fn check_encoding(request: &HttpRequest) -> Result<(), ApiError> {
    let Some(encoding) = request.headers().get(CONTENT_ENCODING) else { return Ok(()) };
    let known = ["identity", "gzip", "deflate", "br"];
    if encoding.to_str().is_ok_and(|encoding| known.iter().any(|name| name.eq_ignore_ascii_case(encoding.trim()))) {
        return Ok(());
    }
    let message = "the content encoding is none of gzip, deflate and br; use one of these, or none";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", message))
}

fn unreadable(error: &actix_web::Error, limit: usize) -> ApiError {
    match error.as_error::<PayloadError>() {
        Some(PayloadError::Overflow) => ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body is larger than {limit} bytes; send it in parts, or raise `limits.body_bytes`"),
        ),
        _ => ApiError::bad_request(
            "unreadable_body",
            "the body is cut short or does not match its content encoding; send it whole",
        ),
    }
}
