//! Errors as the API answers them.

use std::borrow::Cow;
use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use tracker_core::{Invalid, TrackerError, Unavailable};

/// After how many seconds a report that could not be made durable is worth another try.
const RETRY_AFTER_SECONDS: u32 = 1;

/// An error as the API answers it: a JSON object, never HTML, never a word of SQL.
#[derive(Debug, Serialize)]
pub struct ApiError {
    #[serde(skip)]
    status: StatusCode,
    #[serde(skip)]
    allow: Option<&'static str>,
    #[serde(rename = "Error")]
    message: String,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<Cow<'static, str>>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, allow: None, message: message.into(), code, field: None }
    }

    pub(crate) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn member(field: &'static str, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::bad_request("invalid_parameter", message) }
    }

    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        let message = format!("this path takes {allow}; use one of these methods");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message) }
    }

    /// An error of the tracker about `what`, such as "deployment 84e8…".
    pub(crate) fn from_tracker(error: TrackerError, what: impl fmt::Display) -> Self {
        match error {
            TrackerError::Conflict { field } => Self {
                field: Some(field.into()),
                ..Self::new(
                    StatusCode::CONFLICT,
                    "conflict",
                    format!(
                        "{what} is recorded already, and its `{field}` is not this one; \
                         repeat the same report, or change the record by PUT"
                    ),
                )
            },
            TrackerError::Unknown => {
                Self::not_found("not_found", format!("{what} is not recorded; check its spelling"))
            }
            TrackerError::LogsNotKept => Self::not_found(
                "logs_not_kept",
                "log messages are not kept here but forwarded; set `database.logs` to true to keep them, too",
            ),
            TrackerError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        Self { field: invalid.field, ..Self::bad_request(invalid.code.as_str(), invalid.message) }
    }
}

impl From<Unavailable> for ApiError {
    fn from(unavailable: Unavailable) -> Self {
        if unavailable == Unavailable::Rejected {
            return Self::bad_request("rejected", "the database does not take a text of this length; shorten it");
        }
        let message = format!("{unavailable}; send the same request again later");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::build(self.status);
        if let Some(allow) = self.allow {
            response.insert_header((ALLOW, allow));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((RETRY_AFTER, RETRY_AFTER_SECONDS));
        }
        response.json(self)
    }
}
