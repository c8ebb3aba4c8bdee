//! Log messages: JSON objects with a string `message`, kept as they were received.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::event::{BATCH_BYTES, BATCH_MESSAGES};
use crate::fields::{MAX_TEXT, Reporter};
use crate::id::{DeploymentId, new_uuid};
use crate::input_error::{InputError, InputErrorCode};
use crate::json::{self, Object};
use crate::time::{self, Timestamp};

mod timed;

pub use timed::{LogTime, TimedMessage};

/// The deployment that log messages belong to. It need not be a UUID, because logs are accepted
/// under any name. A UUID is in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogDeploymentId(String);

impl LogDeploymentId {
    /// Accepts `text`, with a UUID converted to lower case.
    ///
    /// # Errors
    /// [`InputError`] if it is empty, is longer than 2,048 characters, or has a NUL.
    pub fn new(text: &str) -> Result<Self, InputError> {
        if let Ok(id) = DeploymentId::parse(text) {
            return Ok(Self(id.to_string()));
        }
        if text.is_empty() || text.contains('\0') || text.chars().count() > MAX_TEXT {
            let problem = format_args!("must have 1 to {MAX_TEXT} characters and no NUL").to_string();
            return Err(InputError { code: InputErrorCode::Id, ..InputError::field("deployment_id", problem) });
        }
        Ok(Self(text.to_owned()))
    }

    /// Creates an id from a stored value, without checks.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LogDeploymentId {
    type Err = InputError;

    fn from_str(text: &str) -> Result<Self, InputError> {
        Self::new(text)
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

/// The approximate size of the members that the outbox and the outputs add to a message, in bytes. The id of the
/// deployment is extra, because an engine chooses its length.
const ADDED_BYTES: usize = 256;

/// A log message.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct LogMessage {
    /// A UUIDv7, which stays the same however often the message is delivered. Ids sort in the order
    /// of receipt.
    pub event_id: Uuid,
    /// When the message was received.
    pub received_at: Timestamp,
    object: Box<RawValue>,
}

impl LogMessage {
    fn new(object: &RawValue, received_at: Timestamp) -> Result<Self, InputError> {
        let members = Object::parse(object)?;
        let message = members.get("message").ok_or_else(|| InputError::field("message", "is required"))?;
        if !message.get().starts_with('"') {
            return Err(InputError::field("message", "must be a string"));
        }
        let object = if members.had_duplicates() {
            serde_json::value::to_raw_value(&RawMembers(&members)).expect("a map from strings to raw JSON is JSON")
        } else {
            object.to_owned()
        };
        Ok(Self { event_id: new_uuid(), received_at, object })
    }

    /// A message that is received now, with `text` as its only member `message`. U+FFFD replaces each NUL, which a
    /// store or an output could not take.
    pub fn text(text: &str) -> Self {
        let text = text.replace('\0', "\u{fffd}");
        let object = serde_json::value::to_raw_value(&OnlyMessage { message: &text }).expect("a string is valid JSON");
        Self { event_id: new_uuid(), received_at: time::now(), object }
    }

    /// Creates a message from stored values.
    ///
    /// # Errors
    /// [`InputError`] if `object` is not a JSON object, which means that another program wrote the
    /// row.
    pub fn stored(event_id: Uuid, received_at: Timestamp, object: Box<RawValue>) -> Result<Self, InputError> {
        Object::parse(&object)?;
        Ok(Self { event_id, received_at, object })
    }

    /// The lower bound of the UUIDv7 ids of messages received at or after `time`.
    pub fn first_id(time: Timestamp) -> Uuid {
        let millis = u128::try_from(time.timestamp_millis()).unwrap_or(0);
        Uuid::from_u128(millis << 80)
    }

    /// The message as it was received: a JSON object. If a name was repeated, only its last member
    /// is kept.
    pub fn object(&self) -> &RawValue {
        &self.object
    }

    /// The approximate size as JSON, in bytes: the object, and the members that the outbox and the outputs add.
    fn encoded_size(&self, id_size: usize) -> usize {
        self.object.get().len() + id_size + ADDED_BYTES
    }

    /// The members of [`Self::object`].
    pub fn members(&self) -> Object<'_> {
        Object::parse(&self.object).expect("every constructor parses the object")
    }
}

/// Messages are equal if their texts are the same. Equal members in another order make another message.
impl PartialEq for LogMessage {
    fn eq(&self, other: &Self) -> bool {
        let Self { event_id, received_at, object } = self;
        (event_id, received_at, object.get()) == (&other.event_id, &other.received_at, other.object.get())
    }
}

impl Eq for LogMessage {}

/// A message from plain text.
#[derive(Serialize)]
struct OnlyMessage<'a> {
    message: &'a str,
}

/// A message as the outbox stores it.
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

/// Serializes an object from its members.
struct RawMembers<'a>(&'a Object<'a>);

impl Serialize for RawMembers<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

/// Log messages of one deployment that were sent together. Either all of them are recorded, or
/// none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBatch {
    /// The deployment.
    pub deployment_id: LogDeploymentId,
    /// The messages, in order.
    pub messages: Vec<LogMessage>,
    /// The name of the token that sent them, if known. In an [`Event`](crate::Event), `Event::reporter` has it instead.
    #[serde(skip)]
    pub reporter: Option<Reporter>,
}

impl LogBatch {
    /// Messages of a deployment, in order. The deployment is a [`DeploymentId`] or a [`LogDeploymentId`].
    ///
    /// ```
    /// use tracker_core::{DeploymentId, LogBatch, LogMessage};
    ///
    /// let messages = ["copying", "restarting"].map(LogMessage::text);
    /// let logs = LogBatch::new(DeploymentId::random(), messages);
    /// assert_eq!(logs.messages[1].object().get(), r#"{"message":"restarting"}"#);
    /// ```
    pub fn new(deployment_id: impl Into<LogDeploymentId>, messages: impl IntoIterator<Item = LogMessage>) -> Self {
        Self { deployment_id: deployment_id.into(), messages: messages.into_iter().collect(), reporter: None }
    }

    /// Reads a body: one log message, or an array of them.
    ///
    /// # Errors
    /// [`InputError`] if any of them is not an object or lacks a string `message`.
    pub fn read(deployment_id: LogDeploymentId, body: &RawValue) -> Result<Self, InputError> {
        let received_at = time::now();
        let messages = if body.get().starts_with('[') {
            let objects: Vec<&RawValue> =
                serde_json::from_str(body.get()).expect("valid JSON that starts with a bracket is an array");
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

    /// Splits the messages into parts, in order. A part with more than one message has at most [`BATCH_MESSAGES`]
    /// messages and at most [`BATCH_BYTES`].
    pub(crate) fn cut(mut self) -> Vec<Self> {
        if self.messages.len() == 1 {
            return vec![self];
        }
        let (id_size, mut parts) = (self.encoded_id_size(), Vec::new());
        let mut rest = std::mem::take(&mut self.messages).into_iter().peekable();
        while let Some(first) = rest.next() {
            let mut bytes = first.encoded_size(id_size);
            let mut messages = vec![first];
            while messages.len() < BATCH_MESSAGES
                && let Some(message) = rest.next_if(|message| {
                    bytes += message.encoded_size(id_size);
                    bytes <= BATCH_BYTES
                })
            {
                messages.push(message);
            }
            parts.push(Self { messages, ..self.clone() });
        }
        parts
    }

    /// The approximate size of the messages in memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.messages.iter().map(|message| size_of::<LogMessage>() + message.object.get().len()).sum()
    }

    /// The approximate size as JSON, in bytes.
    pub(crate) fn encoded_size(&self) -> usize {
        let id_size = self.encoded_id_size();
        self.messages.iter().map(|message| message.encoded_size(id_size)).sum()
    }

    fn encoded_id_size(&self) -> usize {
        json::encoded_size(self.deployment_id.as_str())
    }
}
