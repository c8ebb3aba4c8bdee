//! Errors in a report, described for its sender.

use std::borrow::Cow;

use thiserror::Error;

/// A report that the API does not accept. The message is one sentence that says what to change.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct InputError {
    /// The kind of error, stable across releases.
    pub code: InputErrorCode,
    /// The field at fault, if the error concerns one field.
    pub field: Option<Cow<'static, str>>,
    /// How to correct the report.
    pub message: String,
}

/// The kinds of errors in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputErrorCode {
    /// The body is not JSON, or is JSON that cannot be stored: it has a NUL, or is nested too
    /// deeply.
    Json,
    /// The JSON is not an object where an object is expected.
    Shape,
    /// A field is missing, has the wrong type, or is out of range.
    Field,
    /// An id is not a UUID.
    Id,
    /// The path and the body have different deployment ids.
    IdMismatch,
}

impl InputErrorCode {
    /// The code in snake case, as API errors show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "invalid_json",
            Self::Shape => "invalid_body",
            Self::Field => "invalid_member",
            Self::Id => "invalid_id",
            Self::IdMismatch => "id_mismatch",
        }
    }
}

impl InputError {
    /// Creates an error that does not concern a single field.
    pub fn new(code: InputErrorCode, message: impl Into<String>) -> Self {
        Self { code, field: None, message: message.into() }
    }

    /// Creates an error about `field`. The message is the name of the field followed by `problem`.
    pub fn field(field: impl Into<Cow<'static, str>>, problem: impl std::fmt::Display) -> Self {
        let field = field.into();
        Self { code: InputErrorCode::Field, message: format!("`{field}` {problem}"), field: Some(field) }
    }
}
