//! Reading the members of a report, each with its rule, and what deployments and servers share.

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::input_error::{InputError, InputErrorCode};
use crate::json::Object;

/// The longest text a member may have, in characters.
pub const MAX_TEXT: usize = 2_048;
/// The longest `arguments`, in characters.
pub const MAX_ARGUMENTS: usize = 65_536;
/// The largest `elapsed_seconds`: what an SQL INTEGER holds.
pub const MAX_ELAPSED: i32 = i32::MAX;

/// The id of a deployment: a UUID, displayed in lower case with hyphens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeploymentId(pub Uuid);

impl DeploymentId {
    /// Reads an id in any letter case.
    ///
    /// # Errors
    /// [`InputErrorCode::Id`] for anything that is not a hyphenated UUID.
    pub fn parse(text: &str) -> Result<Self, InputError> {
        match Uuid::try_parse(text) {
            Ok(uuid) if text.len() == uuid::fmt::Hyphenated::LENGTH => Ok(Self(uuid)),
            _ => Err(InputError {
                field: Some("deployment_id".into()),
                ..InputError::new(
                    InputErrorCode::Id,
                    "`deployment_id` must be a UUID such as 84e803f7-9562-4d95-b828-25b167aea34b",
                )
            }),
        }
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        self.0.as_hyphenated().fmt(formatter)
    }
}

/// A text in a report or a record. Up to 24 bytes, as most are, are kept inline, so that reading, copying and dropping a record
/// allocates little. `"dev".into()` makes one.
pub type Text = CompactString;

/// Who sent a report: the name under which the service knows the engine, not what the engine says of itself.
pub type Reporter = Arc<str>;

/// How a deployment, or its part on a server, ended. The field's `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeploymentResult {
    /// It succeeded.
    Success,
    /// It failed.
    Failure,
}

impl DeploymentResult {
    /// The result as JSON, SQL and StatsD spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }

    /// Reads [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Success, Self::Failure].into_iter().find(|result| result.as_str() == text)
    }
}

/// A member that a report may give and a record may hold.
pub(crate) trait Merge {
    /// The first member that `reported` has and `self` has not, or has with another value.
    fn conflict(&self, reported: &Self) -> Option<Conflict>;
    /// Takes over every member that `reported` has; whether that changed anything.
    fn merge(&mut self, reported: Self) -> bool;
}

/// How a given member disagrees with the record.
pub(crate) struct Conflict {
    pub field: &'static str,
    /// The record has no value for the member.
    pub absent: bool,
}

pub(crate) fn differs<T: PartialEq>(field: &'static str, stored: &Option<T>, reported: &Option<T>) -> Option<Conflict> {
    (reported.is_some() && stored != reported).then_some(Conflict { field, absent: stored.is_none() })
}

pub(crate) fn replace<T: PartialEq>(stored: &mut Option<T>, reported: Option<T>) -> bool {
    let changes = reported.is_some() && *stored != reported;
    if changes {
        *stored = reported;
    }
    changes
}

impl Object<'_> {
    pub(crate) fn text(&self, name: &'static str, max: usize) -> Result<Option<Text>, InputError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text: Text = serde_json::from_str(value.get()).map_err(|_| InputError::member(name, "must be a string"))?;
        if text.len() > max && text.chars().count() > max {
            return Err(InputError::member(name, format_args!("must have at most {max} characters")));
        }
        Ok(Some(text))
    }

    pub(crate) fn result(&self) -> Result<Option<DeploymentResult>, InputError> {
        let Some(value) = self.get("result") else { return Ok(None) };
        serde_json::from_str(value.get())
            .map(Some)
            .map_err(|_| InputError::member("result", "must be `success` or `failure`"))
    }

    pub(crate) fn elapsed_seconds(&self) -> Result<Option<i32>, InputError> {
        let Some(value) = self.get("elapsed_seconds") else { return Ok(None) };
        let seconds: Option<f64> = serde_json::from_str(value.get()).ok();
        match seconds {
            Some(seconds) if (0.0..=f64::from(MAX_ELAPSED)).contains(&seconds) && seconds.fract() == 0.0 =>
            {
                #[expect(clippy::cast_possible_truncation, reason = "a whole number in the range of i32")]
                Ok(Some(seconds as i32))
            }
            _ => Err(InputError::member(
                "elapsed_seconds",
                format_args!("must be a whole number of seconds from 0 to {MAX_ELAPSED}"),
            )),
        }
    }

    pub(crate) fn flag(&self, name: &'static str) -> Result<bool, InputError> {
        self.get(name).map_or(Ok(false), |value| {
            serde_json::from_str(value.get()).map_err(|_| InputError::member(name, "must be `true` or `false`"))
        })
    }

    /// Holds the body's `deployment_id`, if it has one, against the path's.
    pub(crate) fn same_id(&self, id: DeploymentId) -> Result<(), InputError> {
        let Some(text) = self.text("deployment_id", MAX_TEXT)? else { return Ok(()) };
        if DeploymentId::parse(&text)? == id {
            return Ok(());
        }
        Err(InputError {
            field: Some("deployment_id".into()),
            ..InputError::new(
                InputErrorCode::IdMismatch,
                format!("`deployment_id` in the body is not the path's {id}; send the same id, or leave it out"),
            )
        })
    }
}
