//! Group commit: the changes that commit in one transaction, and the decision about them.

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use crate::deployment::{Deployment, DeploymentFields, DeploymentReport};
use crate::event::{Batch, Event, EventKind};
use crate::id::DeploymentId;
use crate::output::Output;
use crate::server::{Server, ServerFields, ServerKey, ServerReport};

/// One change to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The start of a deployment was reported.
    StartDeployment(DeploymentReport),
    /// The finish of a deployment was reported.
    FinishDeployment(DeploymentReport),
    /// The start of a deployment on a server was reported.
    StartServer(ServerReport),
    /// The finish of a deployment on a server was reported.
    FinishServer(ServerReport),
    /// Log messages of one report for the store to keep, as [`EventKind::Logged`](crate::EventKind::Logged) events.
    KeepLogs(Vec<Arc<Event>>),
    /// Log messages of one report that the store only forwards to the outputs.
    ForwardLogs(Vec<Arc<Event>>),
    /// A batch could not be delivered and must wait in the outbox.
    Enqueue(OutboxEntry),
    /// An output has acknowledged batches, which must leave the outbox.
    Acknowledge {
        /// The name of the output.
        output: String,
        /// The ids of the batches.
        batches: Vec<Uuid>,
    },
}

impl Change {
    /// Whether an engine reported the change. Otherwise, a delivery worker made it.
    pub(crate) fn is_report(&self) -> bool {
        !matches!(self, Self::Enqueue(_) | Self::Acknowledge { .. })
    }

    /// The deployment that the change is about, for log lines.
    pub(crate) fn deployment_id(&self) -> Option<String> {
        match self {
            Self::StartDeployment(report) | Self::FinishDeployment(report) => Some(report.id.to_string()),
            Self::StartServer(report) | Self::FinishServer(report) => Some(report.key.deployment_id.to_string()),
            Self::KeepLogs(events) | Self::ForwardLogs(events) => match &events.first()?.kind {
                EventKind::Logged(logs) => Some(logs.deployment_id.to_string()),
                _ => None,
            },
            Self::Enqueue(_) | Self::Acknowledge { .. } => None,
        }
    }

    /// The number of messages.
    pub(crate) fn messages(&self) -> usize {
        match self {
            Self::KeepLogs(events) | Self::ForwardLogs(events) => events.iter().map(|event| event.messages()).sum(),
            Self::Enqueue(entry) => entry.batch.messages(),
            _ => 1,
        }
    }

    /// The approximate size in memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::StartDeployment(report) | Self::FinishDeployment(report) => report.fields.size(),
            Self::StartServer(report) | Self::FinishServer(report) => {
                report.fields.size() + report.key.hostname.as_str().len()
            }
            Self::KeepLogs(events) | Self::ForwardLogs(events) => events.iter().map(|event| event.size()).sum(),
            Self::Enqueue(entry) => entry.batch.size(),
            Self::Acknowledge { batches, .. } => size_of_val(batches.as_slice()),
        }
    }
}

/// A row of the outbox: a batch that an output has not acknowledged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// The name of the output.
    pub output: String,
    /// The batch.
    pub batch: Arc<Batch>,
}

/// Batches that an output has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// The name of the output.
    pub output: String,
    /// The ids of the batches.
    pub batches: Vec<Uuid>,
    /// The index of the change's outcome in [`Decision::outcomes`]. The store sets that outcome to
    /// [`Outcome::Unchanged`] if one of the batches is no longer in the outbox, because another instance has adopted
    /// it.
    pub outcome: usize,
}

/// The result of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The change was recorded.
    Recorded,
    /// The record already holds the same values. Nothing was recorded, and nothing is forwarded.
    Unchanged,
    /// The record has another value for a field, or none.
    Conflict {
        /// The field that differs.
        field: &'static str,
    },
    /// There is no such deployment.
    Unknown,
}

/// Changes that commit in one transaction.
///
/// A [`Store`](crate::Store) reads the records that the group names, calls [`Group::decide`] and writes the
/// [`Decision`]. It applies no rules of its own.
#[derive(Debug)]
pub struct Group {
    pub(crate) changes: Vec<Change>,
    pub(crate) outputs: Arc<[Arc<dyn Output>]>,
}

/// The existing records that a group names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// The deployments among [`Group::deployments`] that exist.
    pub deployments: Vec<Deployment>,
    /// The servers among [`Group::servers`] that exist, and all servers of [`Group::deployments_with_all_servers`].
    pub servers: Vec<Server>,
}

/// An existing record that has changed.
#[derive(Debug, PartialEq, Eq)]
pub struct Changed<R, F> {
    /// The record with its new values.
    pub record: R,
    /// The fields that changed, with their new values. A store writes only these and the time of the change, because
    /// another program may have stored values in the other fields that [`Self::record`] cannot represent.
    pub fields: F,
}

/// The decision about a group: the result of each change, and the rows to write.
#[derive(Debug, PartialEq, Eq)]
pub struct Decision {
    /// The result of each change, in order.
    pub outcomes: Vec<Outcome>,
    /// New deployments, in ascending order.
    pub new_deployments: Vec<Deployment>,
    /// Existing deployments that have changed, in ascending order.
    pub changed_deployments: Vec<Changed<Deployment, DeploymentFields>>,
    /// New servers, in ascending order of their keys.
    pub new_servers: Vec<Server>,
    /// Existing servers that have changed, in ascending order of their keys.
    pub changed_servers: Vec<Changed<Server, ServerFields>>,
    /// Log messages to keep: each event is an [`EventKind::Logged`](crate::EventKind::Logged).
    pub logs: Vec<Arc<Event>>,
    /// Batches to insert into the outbox.
    pub pending: Vec<OutboxEntry>,
    /// Batches to delete from the outbox.
    pub acknowledged: Vec<Acknowledged>,
    /// All events of the group, in order, split into batches that an output can take at once.
    pub batches: Vec<Arc<Batch>>,
}

impl Decision {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.new_deployments.is_empty()
            && self.changed_deployments.is_empty()
            && self.new_servers.is_empty()
            && self.changed_servers.is_empty()
            && self.logs.is_empty()
            && self.pending.is_empty()
            && self.acknowledged.is_empty()
    }
}

impl Group {
    /// A group of `changes`. Its events become pending for each of `outputs` that wants them.
    pub fn new(changes: Vec<Change>, outputs: Arc<[Arc<dyn Output>]>) -> Self {
        Self { changes, outputs }
    }

    /// The approximate size in memory, in bytes.
    pub fn size(&self) -> usize {
        self.changes.iter().map(Change::size).sum()
    }

    /// Whether the group has only one change.
    pub fn is_single(&self) -> bool {
        self.changes.len() == 1
    }

    /// The deployments whose records must be read, in ascending order, without duplicates.
    pub fn deployments(&self) -> Vec<DeploymentId> {
        self.collect(|change| match change {
            Change::StartDeployment(report) | Change::FinishDeployment(report) => Some(report.id),
            _ => None,
        })
    }

    /// The servers whose records must be read, in ascending order, without duplicates.
    pub fn servers(&self) -> Vec<ServerKey> {
        self.collect(|change| match change {
            Change::StartServer(report) | Change::FinishServer(report) => Some(report.key.clone()),
            _ => None,
        })
    }

    /// The deployments whose servers must all be read, in ascending order, without duplicates.
    pub fn deployments_with_all_servers(&self) -> Vec<DeploymentId> {
        self.collect(|change| match change {
            Change::StartDeployment(report) => report.is_limited.then_some(report.id),
            Change::FinishDeployment(report) => report.asserted_result().map(|_| report.id),
            _ => None,
        })
    }

    fn collect<T: Ord>(&self, pick: impl Fn(&Change) -> Option<T>) -> Vec<T> {
        self.changes.iter().filter_map(pick).collect::<BTreeSet<_>>().into_iter().collect()
    }
}
