//! Error responses of the API.

use std::borrow::Cow;
use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use tracker_core::{InputError, RejectReason, TrackerError, UnavailableReason};
use utoipa::ToSchema;

use crate::auth::Scope;

/// The challenge in `WWW-Authenticate`.
const REALM: &str = "Bearer realm=\"deployment-tracker\"";
/// The value of `Retry-After`, in seconds.
const RETRY_AFTER_SECONDS: u32 = 1;

/// An error response: a JSON object, never HTML. It contains no internal details such as SQL.
#[derive(Debug, Serialize, ToSchema)]
#[schema(
    as = Error,
    description = "The reason why a request failed.",
    example = json!({"Error": "`engine` must be a string", "code": "invalid_member", "field": "engine"}),
)]
pub struct ApiError {
    #[serde(skip)]
    status: StatusCode,
    #[serde(skip)]
    hint: Option<Hint>,
    /// One sentence that says what to change.
    #[serde(rename = "Error")]
    message: String,
    /// The kind of error, stable across releases.
    #[schema(value_type = String)]
    code: &'static str,
    /// The field or parameter at fault, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    field: Option<Cow<'static, str>>,
}

/// A header that tells the client how to correct the request.
#[derive(Debug)]
enum Hint {
    Allow(&'static str),
    Authenticate(String),
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, hint: None, message: message.into(), code, field: None }
    }

    pub(crate) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn invalid_parameter(field: &'static str, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::bad_request("invalid_parameter", message) }
    }

    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        let message = format!("this path allows only {allow}; use one of these methods");
        let error = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
        Self { hint: Some(Hint::Allow(allow)), ..error }
    }

    /// 401 for a missing token, or for an invalid one with the `error` code of RFC 6750.
    pub(crate) fn unauthorized(error: Option<&'static str>, message: &'static str) -> Self {
        let challenge = error.map_or(String::new(), |error| format!(", error=\"{error}\""));
        let response = Self::new(StatusCode::UNAUTHORIZED, error.unwrap_or("token_required"), message);
        Self { hint: Some(Hint::Authenticate(format!("{REALM}{challenge}"))), ..response }
    }

    /// 403 for a valid token that does not allow the request. `scope` is the scope that would allow it.
    pub(crate) fn forbidden(code: &'static str, message: String, scope: Option<Scope>) -> Self {
        let scope = scope.map_or(String::new(), |scope| format!(", scope=\"{scope}\""));
        let challenge = format!("{REALM}, error=\"insufficient_scope\"{scope}");
        Self { hint: Some(Hint::Authenticate(challenge)), ..Self::new(StatusCode::FORBIDDEN, code, message) }
    }

    /// 431 for a request target and headers over the limit.
    pub(crate) fn head_too_large(limit: usize) -> Self {
        let message = format!("the head of the request is larger than {limit} bytes; send fewer or shorter headers");
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", message)
    }

    /// 421 for a host that this server does not answer for.
    pub(crate) fn misdirected() -> Self {
        let message = "this server does not answer for the requested host; use a host that it allows";
        Self::new(StatusCode::MISDIRECTED_REQUEST, "misdirected_request", message)
    }

    /// 503 for a request over the capacity of the server.
    pub(crate) fn overloaded(message: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message)
    }

    /// 503 for a request that the tracker could not complete. `advice` says what to do.
    pub(crate) fn unavailable(error: &TrackerError, advice: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", format!("{error}; {advice}"))
    }

    /// Converts an error of the tracker about `what`, such as "deployment 84e8…".
    pub(crate) fn from_tracker(error: TrackerError, what: impl fmt::Display) -> Self {
        // A name may contain line breaks, but the message is one line.
        let what = what.to_string().replace(char::is_control, " ");
        match error {
            TrackerError::Conflict { field } => Self {
                field: Some(field.into()),
                ..Self::new(
                    StatusCode::CONFLICT,
                    "conflict",
                    format!(
                        "{what} is already recorded with another `{field}`; \
                         send the same report as before, or change the record with PUT"
                    ),
                )
            },
            TrackerError::Unknown => {
                Self::not_found("not_found", format!("{what} is not recorded; check the spelling"))
            }
            TrackerError::LogsNotKept => Self::not_found(
                "logs_not_kept",
                "this server forwards log messages and does not keep them; read them in the system that receives them",
            ),
            TrackerError::Rejected { reason, field } => {
                Self { field: field.map(Cow::from), ..Self::bad_request("rejected", rejection(reason, field)) }
            }
            TrackerError::NoLogDestination => Self::not_found(
                "logs_not_taken",
                "this server takes no log messages, because neither its database nor an output wants them; \
                 change its configuration, or send the messages elsewhere",
            ),
            TrackerError::Unavailable(UnavailableReason::InDoubt | UnavailableReason::TimedOut) => {
                Self::unavailable(&error, "send the same request again, which is safe")
            }
            error => Self::unavailable(&error, "send the same request again later"),
        }
    }
}

/// The message for a report that the database never accepts. It contains no text of the database, which could reveal
/// statements or stored values.
fn rejection(reason: RejectReason, field: Option<&'static str>) -> String {
    let value = |otherwise: &str| field.map_or(otherwise.to_owned(), |field| format!("`{field}`"));
    match reason {
        RejectReason::TooLong => format!("{} is too long for the database; shorten it", value("a text of this report")),
        RejectReason::Encoding => format!(
            "{} contains a character that the character encoding of the database lacks; replace the character",
            value("this report")
        ),
        RejectReason::Invalid => format!(
            "{} does not fit the type of its column in the database; send another value",
            value("a value of this report")
        ),
        RejectReason::Constraint => format!(
            "{} violates a constraint of the database; ask its operator which values the constraint allows",
            value("this report")
        ),
        _ => "a rule of the database, such as a trigger, forbids this report; ask its operator, who finds the reason \
              in the log of this service"
            .to_owned(),
    }
}

impl From<InputError> for ApiError {
    fn from(invalid: InputError) -> Self {
        Self { field: invalid.field, ..Self::bad_request(invalid.code.as_str(), invalid.message) }
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
        match &self.hint {
            Some(Hint::Allow(methods)) => _ = response.insert_header((ALLOW, *methods)),
            Some(Hint::Authenticate(challenge)) => _ = response.insert_header((WWW_AUTHENTICATE, challenge.as_str())),
            None => {}
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((RETRY_AFTER, RETRY_AFTER_SECONDS));
        }
        response.json(self)
    }
}
