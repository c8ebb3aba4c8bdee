//! The fields that deployments and servers have, and the rules for their values.
//!
//! [`record_fields!`] declares the fields of a record once. Reading, sizes, conflicts, merging, JSON and the list of
//! names all derive from that declaration.

use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::id::DeploymentId;
use crate::input_error::{InputError, InputErrorCode};
use crate::json::{Object, text};

/// The maximum length of a text field, in characters.
pub const MAX_TEXT: usize = 2_048;
/// The maximum length of `arguments`, in characters.
pub const MAX_ARGUMENTS: usize = 65_536;
/// The maximum of `elapsed_seconds` in a report: the maximum of an SQL INTEGER.
pub const MAX_ELAPSED: i32 = i32::MAX;

/// The text of a field. Up to 24 bytes are stored inline, so that most texts are copied and dropped without an
/// allocation. `"dev".into()` makes one.
pub type Text = CompactString;

/// The name of the token that sent a report. The service assigns it; the engine cannot choose it.
pub type Reporter = Arc<str>;

/// The result of a deployment, or of its part on one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum DeploymentResult {
    /// The deployment succeeded.
    Success,
    /// The deployment failed.
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

    /// Parses the text that [`Self::as_str`] returns.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Success, Self::Failure].into_iter().find(|result| result.as_str() == text)
    }
}

/// A reported field that disagrees with the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub field: &'static str,
    /// Whether the record has no value for the field.
    pub is_absent: bool,
}

/// Declares the fields of a record: the text fields that it lists, each with its maximum length, then `result` and
/// `elapsed_seconds`. A report has the values that the engine sent, and a record has the stored values.
macro_rules! record_fields {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident {
            $($(#[doc = $doc:literal])* $text:ident: $max:expr,)*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $(
                $(#[doc = $doc])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $text: Option<$crate::fields::Text>,
            )*
            /// The result.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub result: Option<$crate::fields::DeploymentResult>,
            /// The duration in whole seconds. In a report 0 to [`MAX_ELAPSED`](crate::MAX_ELAPSED); other programs may
            /// have stored any number.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub elapsed_seconds: Option<i64>,
        }

        impl $name {
            /// The names of all fields, in the order of the declaration.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($text),)* "result", "elapsed_seconds"];
            /// The names of the text fields.
            pub const TEXT_NAMES: &'static [&'static str] = &[$(stringify!($text)),*];

            /// The text fields with their names, in the order of the declaration.
            pub fn texts(&self) -> impl Iterator<Item = (&'static str, Option<&$crate::fields::Text>)> {
                let Self { $($text,)* result: _, elapsed_seconds: _ } = self;
                [$((stringify!($text), $text.as_ref()),)*].into_iter()
            }

            /// The number of fields that have a value.
            pub(crate) fn count(&self) -> usize {
                let texts = self.texts().filter(|(_, text)| text.is_some()).count();
                texts + usize::from(self.result.is_some()) + usize::from(self.elapsed_seconds.is_some())
            }

            /// The approximate size of the fields in memory, in bytes.
            pub(crate) fn size(&self) -> usize {
                size_of::<Self>() + self.texts().filter_map(|(_, text)| text).map(|text| text.len()).sum::<usize>()
            }

            /// The approximate size of the fields as JSON, in bytes.
            pub(crate) fn encoded_size(&self) -> usize {
                let texts = self.texts().filter_map(|(_, text)| text);
                size_of::<Self>() + texts.map(|text| $crate::json::encoded_size(text)).sum::<usize>()
            }

            /// Reads the fields of a JSON object.
            pub(crate) fn read(object: &$crate::json::Object) -> Result<Self, $crate::input_error::InputError> {
                Ok(Self {
                    $($text: object.text(stringify!($text), $max)?,)*
                    result: object.result()?,
                    elapsed_seconds: object.elapsed_seconds()?,
                })
            }

            /// The reported fields that the record does not have, or has with another value.
            pub(crate) fn conflicts(&self, reported: &Self) -> impl Iterator<Item = $crate::fields::Conflict> {
                use $crate::fields::conflict;
                let Self { $($text,)* result, elapsed_seconds } = reported;
                [
                    $(conflict(stringify!($text), &self.$text, $text),)*
                    conflict("result", &self.result, result),
                    conflict("elapsed_seconds", &self.elapsed_seconds, elapsed_seconds),
                ]
                .into_iter()
                .flatten()
            }

            /// Adds the schemas of the fields to the schema of an object.
            #[cfg(feature = "openapi")]
            pub(crate) fn describe(object: utoipa::openapi::ObjectBuilder) -> utoipa::openapi::ObjectBuilder {
                use $crate::openapi::{elapsed_seconds, text};
                object
                    $(.property(stringify!($text), text(concat!($($doc),*), $max)))*
                    .property("result", <$crate::fields::DeploymentResult as utoipa::PartialSchema>::schema())
                    .property("elapsed_seconds", elapsed_seconds())
            }

            /// Writes the fields that have a value into a JSON object.
            pub(crate) fn write(&self, object: &mut $crate::json::ObjectWriter) {
                for (name, text) in self.texts() {
                    object.text_if_given(name, text);
                }
                object.outcome(self.result, self.elapsed_seconds);
            }
        }

        impl $crate::fields::Merge for $name {
            fn merge(&mut self, reported: Self) -> Self {
                use $crate::fields::replace;
                let Self { $($text,)* result, elapsed_seconds } = reported;
                Self {
                    $($text: replace(&mut self.$text, $text),)*
                    result: replace(&mut self.result, result),
                    elapsed_seconds: replace(&mut self.elapsed_seconds, elapsed_seconds),
                }
            }
        }
    };
}

pub(crate) use record_fields;

pub(crate) fn conflict<T: PartialEq>(
    field: &'static str,
    stored: &Option<T>,
    reported: &Option<T>,
) -> Option<Conflict> {
    (reported.is_some() && stored != reported).then_some(Conflict { field, is_absent: stored.is_none() })
}

/// Fields that a report can change.
pub(crate) trait Merge: Default + PartialEq {
    /// Overwrites every field that `reported` has. Returns the fields that changed, with their new values.
    #[must_use]
    fn merge(&mut self, reported: Self) -> Self;
}

pub(crate) fn replace<T: Clone + PartialEq>(stored: &mut Option<T>, reported: Option<T>) -> Option<T> {
    let changed = reported.filter(|value| stored.as_ref() != Some(value));
    if changed.is_some() {
        stored.clone_from(&changed);
    }
    changed
}

impl Object<'_> {
    pub(crate) fn text(&self, name: &'static str, max: usize) -> Result<Option<Text>, InputError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text: Text = serde_json::from_str(value.get()).map_err(|_| InputError::field(name, "must be a string"))?;
        if text.len() > max && text.chars().count() > max {
            return Err(InputError::field(name, format_args!("must have at most {max} characters")));
        }
        Ok(Some(text))
    }

    pub(crate) fn result(&self) -> Result<Option<DeploymentResult>, InputError> {
        let Some(value) = self.get("result") else { return Ok(None) };
        // Not by serde, which would also read `{"success": null}` as the variant.
        match text(value).and_then(|text| DeploymentResult::parse(&text)) {
            Some(result) => Ok(Some(result)),
            None => Err(InputError::field("result", "must be `success` or `failure`")),
        }
    }

    pub(crate) fn elapsed_seconds(&self) -> Result<Option<i64>, InputError> {
        let Some(value) = self.get("elapsed_seconds") else { return Ok(None) };
        let seconds: Option<f64> = serde_json::from_str(value.get()).ok();
        match seconds {
            Some(seconds) if (0.0..=f64::from(MAX_ELAPSED)).contains(&seconds) && seconds.fract() == 0.0 =>
            {
                #[expect(clippy::cast_possible_truncation, reason = "a whole number in the range of i32")]
                Ok(Some(seconds as i64))
            }
            _ => Err(InputError::field(
                "elapsed_seconds",
                format_args!("must be a whole number of seconds from 0 to {MAX_ELAPSED}"),
            )),
        }
    }

    pub(crate) fn flag(&self, name: &'static str) -> Result<bool, InputError> {
        self.get(name).map_or(Ok(false), |value| {
            serde_json::from_str(value.get()).map_err(|_| InputError::field(name, "must be `true` or `false`"))
        })
    }

    /// Checks that the `deployment_id` of the body, if it has one, is the one in the path.
    pub(crate) fn check_id(&self, id: DeploymentId) -> Result<(), InputError> {
        let Some(text) = self.text("deployment_id", MAX_TEXT)? else { return Ok(()) };
        if DeploymentId::parse(&text)? == id {
            return Ok(());
        }
        Err(InputError {
            field: Some("deployment_id".into()),
            ..InputError::new(
                InputErrorCode::IdMismatch,
                format!("`deployment_id` in the body differs from {id} in the path; send the same id, or leave it out"),
            )
        })
    }
}
