//! Events and batches, as outputs receive them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::deployment::Deployment;
use crate::fields::Reporter;
use crate::id::new_uuid;
use crate::json;
use crate::log::LogBatch;
use crate::server::Server;
use crate::time::Timestamp;

/// The maximum encoded size of a batch with more than one event, and of an event with more than one log message, in
/// bytes. The bytes of a batch arrive together or not at all, so a slow link must be able to carry them.
pub(crate) const BATCH_BYTES: usize = 1 << 20;
/// The maximum number of messages in a batch: small enough to overlap encoding with delivery. It bounds the bytes that
/// an output adds to each message.
pub(crate) const BATCH_MESSAGES: usize = 1_000;

/// Something that was recorded, with the record as it was at that moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// A UUIDv7, which stays the same however often the event is delivered.
    pub id: Uuid,
    /// When the event was recorded.
    pub at: Timestamp,
    /// The name of the token that sent the report, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reporter: Option<Reporter>,
    /// The kind of event, with its contents.
    pub kind: EventKind,
}

/// The kinds of events, with their contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A deployment started.
    DeploymentStarted(Deployment),
    /// A deployment finished, or a finish was corrected.
    DeploymentFinished(Deployment),
    /// A deployment started on a server.
    ServerStarted(Server),
    /// A deployment finished on a server.
    ServerFinished(Server),
    /// Log messages were received. Each has its own id and time.
    Logged(LogBatch),
}

impl Event {
    pub(crate) fn new(kind: EventKind, at: Timestamp, reporter: Option<Reporter>) -> Self {
        Self { id: new_uuid(), at, reporter, kind }
    }

    /// The approximate size in memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        match &self.kind {
            EventKind::DeploymentStarted(deployment) | EventKind::DeploymentFinished(deployment) => {
                deployment.fields.size()
            }
            EventKind::ServerStarted(server) | EventKind::ServerFinished(server) => {
                server.fields.size() + server.hostname.as_str().len()
            }
            EventKind::Logged(logs) => size_of::<Self>() + logs.size(),
        }
    }

    /// The approximate size as JSON, in bytes.
    fn encoded_size(&self) -> usize {
        match &self.kind {
            EventKind::DeploymentStarted(deployment) | EventKind::DeploymentFinished(deployment) => {
                deployment.fields.encoded_size()
            }
            EventKind::ServerStarted(server) | EventKind::ServerFinished(server) => {
                server.fields.encoded_size() + json::encoded_size(server.hostname.as_str())
            }
            EventKind::Logged(logs) => logs.encoded_size(),
        }
    }

    /// The number of messages: each message of a log batch, otherwise one.
    pub fn messages(&self) -> usize {
        match &self.kind {
            EventKind::Logged(logs) => logs.messages.len(),
            _ => 1,
        }
    }
}

/// Events that are delivered together, in order. A batch has the same id and the same events in
/// every delivery and from every instance, so that an output can recognize a duplicate by its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// A UUIDv7, the idempotency key of the batch.
    pub id: Uuid,
    /// The events, in order.
    pub events: Vec<Arc<Event>>,
}

impl Batch {
    /// Creates a batch with a new id.
    pub fn new(events: Vec<Arc<Event>>) -> Self {
        Self { id: new_uuid(), events }
    }

    /// Splits `events` into batches, in order. A batch with more than one event has at most [`BATCH_MESSAGES`] messages
    /// and at most [`BATCH_BYTES`].
    pub(crate) fn cut(events: Vec<Arc<Event>>) -> Vec<Arc<Self>> {
        let mut batches = Vec::new();
        let mut rest = events.into_iter().peekable();
        while let Some(first) = rest.next() {
            let (mut bytes, mut messages) = (first.encoded_size(), first.messages());
            let mut events = vec![first];
            while let Some(event) = rest.next_if(|event| {
                bytes += event.encoded_size();
                messages += event.messages();
                bytes <= BATCH_BYTES && messages <= BATCH_MESSAGES
            }) {
                events.push(event);
            }
            batches.push(Arc::new(Self::new(events)));
        }
        batches
    }

    /// The number of messages in all events.
    pub fn messages(&self) -> usize {
        self.events.iter().map(|event| event.messages()).sum()
    }

    /// The approximate size in memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.events.iter().map(|event| event.size()).sum()
    }
}
