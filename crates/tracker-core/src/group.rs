//! Group commit: changes that wait together are decided and committed as one.

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use crate::deployment::{Deployment, DeploymentReport};
use crate::event::{Batch, Event};
use crate::fields::DeploymentId;
use crate::output::Output;
use crate::rules::Decider;
use crate::server::{Server, ServerKey, ServerReport};

/// One thing to be committed.
#[derive(Debug, Clone)]
pub enum Change {
    /// A deployment's start was reported.
    StartDeployment(DeploymentReport),
    /// A deployment's finish was reported.
    FinishDeployment(DeploymentReport),
    /// A deployment's start on a server was reported.
    StartServer(ServerReport),
    /// A deployment's finish on a server was reported.
    FinishServer(ServerReport),
    /// Log messages came in that the store keeps: an [`EventKind::Logged`](crate::EventKind::Logged).
    KeepLogs(Arc<Event>),
    /// A batch could not be delivered to the output and is owed to it from now on.
    Enqueue(OutboxEntry),
    /// Batches were delivered to the output and are owed no more.
    Acknowledge {
        /// The output's name.
        output: String,
        /// The batches' ids.
        batches: Vec<Uuid>,
    },
}

impl Change {
    /// Whether it is what an engine reported, and no courier's own.
    pub(crate) fn is_report(&self) -> bool {
        !matches!(self, Self::Enqueue(_) | Self::Acknowledge { .. })
    }

    /// How many messages it makes.
    pub(crate) fn messages(&self) -> usize {
        match self {
            Self::KeepLogs(event) => event.messages(),
            Self::Enqueue(pending) => pending.batch.messages(),
            _ => 1,
        }
    }

    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::StartDeployment(report) | Self::FinishDeployment(report) => report.fields.size(),
            Self::StartServer(report) | Self::FinishServer(report) => {
                report.fields.size() + report.key.hostname.as_str().len()
            }
            Self::KeepLogs(event) => event.size(),
            Self::Enqueue(pending) => pending.batch.size(),
            Self::Acknowledge { batches, .. } => size_of_val(batches.as_slice()),
        }
    }
}

/// A batch that an output has not confirmed yet.
#[derive(Debug, Clone)]
pub struct OutboxEntry {
    /// The output's name.
    pub output: String,
    /// The batch.
    pub batch: Arc<Batch>,
}

/// Batches that are owed no more.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    /// The output's name.
    pub output: String,
    /// The batches' ids.
    pub batches: Vec<Uuid>,
    /// Where the change stands among the outcomes: the store makes it [`Outcome::Unchanged`] when one of the batches was
    /// not owed any more, because another replica has taken it over.
    pub outcome: usize,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was recorded.
    Recorded,
    /// The record says the same already: nothing was recorded, nothing is forwarded.
    Unchanged,
    /// The record says otherwise.
    Conflict {
        /// The member that differs.
        field: &'static str,
    },
    /// There is no such deployment.
    Unknown,
}

/// Changes that commit as one. A [`Store`](crate::Store) reads the records that the group names, calls
/// [`Group::decide`] and writes the [`Decision`]; the rules are not its business.
#[derive(Debug)]
pub struct Group {
    changes: Vec<Change>,
    outputs: Arc<[Arc<dyn Output>]>,
}

/// Records as the store has them.
#[derive(Debug, Default)]
pub struct Records {
    /// The deployments among [`Group::deployments`] that exist.
    pub deployments: Vec<Deployment>,
    /// The servers among [`Group::servers`], and all of [`Group::deployments_with_all_servers`], that exist.
    pub servers: Vec<Server>,
}

/// What a group comes to.
#[derive(Debug)]
pub struct Decision {
    /// What became of each change, in order.
    pub outcomes: Vec<Outcome>,
    /// New deployments, in ascending order.
    pub new_deployments: Vec<Deployment>,
    /// Deployments that exist and have changed, in ascending order.
    pub changed_deployments: Vec<Deployment>,
    /// New servers, in ascending order of their keys.
    pub new_servers: Vec<Server>,
    /// Servers that exist and have changed, in ascending order of their keys.
    pub changed_servers: Vec<Server>,
    /// Log messages to keep: each an [`EventKind::Logged`](crate::EventKind::Logged).
    pub logs: Vec<Arc<Event>>,
    /// What is owed from now on.
    pub pending: Vec<OutboxEntry>,
    /// What is owed no more.
    pub acknowledged: Vec<Acknowledged>,
    /// All that happened, in order, for the outputs: in batches that each of them can take at once.
    pub batches: Vec<Arc<Batch>>,
}

impl Decision {
    /// Whether there is anything to write.
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
    /// A group of `changes`. What happens in it is owed to each of `outputs` that wants it.
    pub fn new(changes: Vec<Change>, outputs: Arc<[Arc<dyn Output>]>) -> Self {
        Self { changes, outputs }
    }

    /// The deployments whose records must be read, in ascending order, each once.
    pub fn deployments(&self) -> Vec<DeploymentId> {
        self.collect(|change| match change {
            Change::StartDeployment(report) | Change::FinishDeployment(report) => Some(report.id),
            _ => None,
        })
    }

    /// The servers whose records must be read, in ascending order, each once.
    pub fn servers(&self) -> Vec<ServerKey> {
        self.collect(|change| match change {
            Change::StartServer(report) | Change::FinishServer(report) => Some(report.key.clone()),
            _ => None,
        })
    }

    /// The deployments all of whose servers must be read, in ascending order, each once.
    pub fn deployments_with_all_servers(&self) -> Vec<DeploymentId> {
        self.collect(|change| match change {
            Change::FinishDeployment(report) => report.asserted_result().map(|_| report.id),
            _ => None,
        })
    }

    pub(crate) fn changes(&self) -> &[Change] {
        &self.changes
    }

    fn collect<T: Ord>(&self, pick: impl Fn(&Change) -> Option<T>) -> Vec<T> {
        self.changes.iter().filter_map(pick).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Applies the rules to every change in order, on top of `records`.
    pub fn decide(&self, records: Records) -> Decision {
        let mut decider = Decider::open(records);
        let outcomes = self.changes.iter().enumerate().map(|(index, change)| decider.apply(index, change)).collect();
        decider.close(outcomes, &self.outputs)
    }
}
