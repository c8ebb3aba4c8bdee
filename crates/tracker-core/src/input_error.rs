//! What is wrong with a report, in words for the one who sent it.

use std::borrow::Cow;

use thiserror::Error;

/// A report that breaks a rule of the input. Its display is one sentence that says what to change.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct InputError {
    /// The kind of mistake, stable across releases.
    pub code: InputErrorCode,
    /// The member at fault, where there is one.
    pub field: Option<Cow<'static, str>>,
    /// What to change.
    pub message: String,
}

/// The kinds of mistakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputErrorCode {
    /// The text is not JSON, or JSON that nobody could store (a NUL, nesting without end).
    Json,
    /// The JSON is of another shape than the route takes.
    Shape,
    /// A member is missing, of the wrong type or out of its range.
    Member,
    /// An id is not a UUID.
    Id,
    /// The path and the body name different deployments.
    IdMismatch,
}

impl InputErrorCode {
    /// The code as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "invalid_json",
            Self::Shape => "invalid_body",
            Self::Member => "invalid_member",
            Self::Id => "invalid_id",
            Self::IdMismatch => "id_mismatch",
        }
    }
}

impl InputError {
    /// A mistake that no single member has.
    pub fn new(code: InputErrorCode, message: impl Into<String>) -> Self {
        Self { code, field: None, message: message.into() }
    }

    /// A mistake in the member `field`; `problem` follows its name in the message.
    pub fn member(field: impl Into<Cow<'static, str>>, problem: impl std::fmt::Display) -> Self {
        let field = field.into();
        Self { code: InputErrorCode::Member, message: format!("`{field}` {problem}"), field: Some(field) }
    }
}
