//! Log messages: any JSON object with a string `message`, kept as it came.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::fields::{DeploymentId, MAX_TEXT, Reporter};
use crate::input_error::{InputError, InputErrorCode};
use crate::json::Object;
use crate::time::Timestamp;

/// The deployment that log messages belong to: its id in canonical form, or, since logs are accepted under any name,
/// the text that stood in its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogDeploymentId(String);

impl LogDeploymentId {
    /// Takes `text`, a UUID in canonical form.
    ///
    /// # Errors
    /// [`InputError`] when it is empty, longer than 2,048 characters or has a NUL.
    pub fn new(text: &str) -> Result<Self, InputError> {
        if let Ok(id) = DeploymentId::parse(text) {
            return Ok(Self(id.to_string()));
        }
        if text.is_empty() || text.contains('\0') || text.chars().count() > MAX_TEXT {
            let problem = format_args!("must have 1 to {MAX_TEXT} characters and no NUL").to_string();
            return Err(InputError { code: InputErrorCode::Id, ..InputError::member("deployment_id", problem) });
        }
        Ok(Self(text.to_owned()))
    }

    /// An id as a store holds it.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<DeploymentId> for LogDeploymentId {
    fn from(id: DeploymentId) -> Self {
        Self(id.to_string())
    }
}

impl fmt::Display for LogDeploymentId {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A log message.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct LogMessage {
    /// Its identity: a UUIDv7 that stays the same however often it is delivered, and sorts in the order of receipt.
    pub event_id: Uuid,
    /// When it was received.
    pub received_at: Timestamp,
    object: Box<RawValue>,
}

impl LogMessage {
    fn new(object: &RawValue, received_at: Timestamp) -> Result<Self, InputError> {
        let members = Object::parse(object)?;
        let message = members.get("message").ok_or_else(|| InputError::member("message", "is required"))?;
        if !message.get().starts_with('"') {
            return Err(InputError::member("message", "must be a string"));
        }
        let object = if members.had_duplicates() {
            serde_json::value::to_raw_value(&RawMembers(&members)).expect("raw JSON under string keys is JSON")
        } else {
            object.to_owned()
        };
        Ok(Self { event_id: Uuid::now_v7(), received_at, object })
    }

    /// A message as a store holds it.
    ///
    /// # Errors
    /// [`InputError`] when it is no object: somebody else has written there.
    pub fn stored(event_id: Uuid, received_at: Timestamp, object: Box<RawValue>) -> Result<Self, InputError> {
        Object::parse(&object)?;
        Ok(Self { event_id, received_at, object })
    }

    /// What no message that was received at `time` or later has a lesser id than.
    pub fn first_id(time: Timestamp) -> Uuid {
        let millis = u128::try_from(time.timestamp_millis()).unwrap_or(0);
        Uuid::from_u128(millis << 80)
    }

    /// The message as it came: a JSON object, each name once.
    pub fn object(&self) -> &RawValue {
        &self.object
    }

    /// The members of [`Self::object`].
    pub fn members(&self) -> Object<'_> {
        Object::parse(&self.object).expect("checked when the message was taken in")
    }
}

/// A message in the outbox.
#[derive(Deserialize)]
struct Stored {
    event_id: Uuid,
    received_at: Timestamp,
    object: Box<RawValue>,
}

impl TryFrom<Stored> for LogMessage {
    type Error = InputError;

    fn try_from(Stored { event_id, received_at, object }: Stored) -> Result<Self, InputError> {
        Self::stored(event_id, received_at, object)
    }
}

struct RawMembers<'a>(&'a Object<'a>);

impl Serialize for RawMembers<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

/// Log messages of one deployment that came together: all of them are recorded, or none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogBatch {
    /// The deployment.
    pub deployment_id: LogDeploymentId,
    /// The messages, in order.
    pub messages: Vec<LogMessage>,
    /// Who sent them, if that is known; in an [`Event`](crate::Event) its `reporter` tells.
    #[serde(skip)]
    pub reporter: Option<Reporter>,
}

impl LogBatch {
    /// Reads a body: an array of log messages, or one message.
    ///
    /// # Errors
    /// [`InputError`] when one of them is not an object or lacks a string `message`; then none is taken.
    pub fn read(deployment_id: LogDeploymentId, body: &RawValue) -> Result<Self, InputError> {
        let received_at = crate::time::now();
        let messages = if body.get().starts_with('[') {
            let objects: Vec<&RawValue> = serde_json::from_str(body.get()).expect("JSON that starts an array is one");
            objects
                .into_iter()
                .enumerate()
                .map(|(index, object)| {
                    LogMessage::new(object, received_at).map_err(|invalid| InputError {
                        message: format!("message {index} of the array: {}", invalid.message),
                        ..invalid
                    })
                })
                .collect::<Result<_, _>>()?
        } else {
            vec![LogMessage::new(body, received_at)?]
        };
        Ok(Self { deployment_id, messages, reporter: None })
    }

    /// The size of the messages as text, in bytes.
    pub fn size(&self) -> usize {
        self.messages.iter().map(|message| message.object.get().len()).sum()
    }
}
