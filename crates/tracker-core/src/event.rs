//! What outputs receive.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::deployment::Deployment;
use crate::fields::Reporter;
use crate::log::LogBatch;
use crate::server::Server;
use crate::time::Timestamp;

/// After how many bytes a batch takes no more: an output must be able to take it within its deadline.
pub(crate) const BATCH_BYTES: usize = 4 << 20;
/// After how many messages a group takes no more.
pub(crate) const GROUP_MESSAGES: usize = 10_000;
/// After how many messages a batch takes no more: few enough that an output takes one while the next is made ready.
const BATCH_MESSAGES: usize = 1_000;

/// Something that was recorded, as it was then.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// Its identity: a UUIDv7 that stays the same however often it is delivered.
    pub id: Uuid,
    /// When it was recorded.
    pub at: Timestamp,
    /// Who reported it, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reporter: Option<Reporter>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A deployment started.
    DeploymentStarted(Deployment),
    /// A deployment finished, or a finish was corrected.
    DeploymentFinished(Deployment),
    /// A deployment started on a server.
    ServerStarted(Server),
    /// A deployment finished on a server.
    ServerFinished(Server),
    /// Log messages came in; each has an id and a time of its own.
    Logged(LogBatch),
}

impl Event {
    pub(crate) fn new(kind: EventKind, at: Timestamp, reporter: Option<Reporter>) -> Self {
        Self { id: Uuid::now_v7(), at, reporter, kind }
    }

    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        match &self.kind {
            EventKind::DeploymentStarted(deployment) | EventKind::DeploymentFinished(deployment) => {
                deployment.fields.size()
            }
            EventKind::ServerStarted(server) | EventKind::ServerFinished(server) => server.fields.size(),
            EventKind::Logged(logs) => size_of::<Self>() + logs.size(),
        }
    }

    /// How many messages it makes: of a log batch each message, else one.
    pub fn messages(&self) -> usize {
        match &self.kind {
            EventKind::Logged(logs) => logs.messages.len(),
            _ => 1,
        }
    }
}

/// Events that are delivered together, in order. However often and by whomever a batch is delivered, it has the same
/// id and the same events: that is what an output recognises a repeat by.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The identity of the batch.
    pub id: Uuid,
    /// The events, in order.
    pub events: Vec<Arc<Event>>,
}

impl Batch {
    /// A new batch.
    pub fn new(events: Vec<Arc<Event>>) -> Self {
        Self { id: Uuid::now_v7(), events }
    }

    /// Makes batches of `events`, in order: one ends after [`BATCH_BYTES`] or [`BATCH_MESSAGES`].
    pub(crate) fn cut(events: Vec<Arc<Event>>) -> Vec<Arc<Self>> {
        let mut batches = Vec::new();
        let mut rest = events.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut bytes, mut messages) = (0, 0);
            let events = std::iter::from_fn(|| {
                let event = rest.next_if(|_| bytes < BATCH_BYTES && messages < BATCH_MESSAGES)?;
                bytes += event.size();
                messages += event.messages();
                Some(event)
            });
            batches.push(Arc::new(Self::new(events.collect())));
        }
        batches
    }

    /// How many messages it makes.
    pub fn messages(&self) -> usize {
        self.events.iter().map(|event| event.messages()).sum()
    }

    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        self.events.iter().map(|event| event.size()).sum()
    }
}
