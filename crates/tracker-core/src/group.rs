//! Group commit: changes that wait together are decided and committed as one. The rules for reports are here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use crate::deployment::{Deployment, DeploymentReport};
use crate::event::{Batch, Event, EventKind};
use crate::members::{DeploymentId, Merge, Reporter};
use crate::output::Output;
use crate::server::{Hostname, Server, ServerKey, ServerReport};
use crate::time::{self, Timestamp};

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
    /// Log messages came in that the store keeps: an [`EventKind::Logged`].
    KeepLogs(Arc<Event>),
    /// A batch could not be delivered to the output and is owed to it from now on.
    Owe(Owed),
    /// Batches were delivered to the output and are owed no more.
    Settle {
        /// The output's name.
        output: String,
        /// The batches' ids.
        batches: Vec<Uuid>,
    },
}

impl Change {
    /// Whether it is what an engine reported, and no courier's own.
    pub(crate) fn is_report(&self) -> bool {
        !matches!(self, Self::Owe(_) | Self::Settle { .. })
    }

    /// How many messages it makes.
    pub(crate) fn messages(&self) -> usize {
        match self {
            Self::KeepLogs(event) => event.messages(),
            Self::Owe(owed) => owed.batch.messages(),
            _ => 1,
        }
    }

    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::StartDeployment(report) | Self::FinishDeployment(report) => report.members.size(),
            Self::StartServer(report) | Self::FinishServer(report) => {
                report.members.size() + report.key.hostname.as_str().len()
            }
            Self::KeepLogs(event) => event.size(),
            Self::Owe(owed) => owed.batch.size(),
            Self::Settle { batches, .. } => size_of_val(batches.as_slice()),
        }
    }
}

/// A batch that an output has not confirmed yet.
#[derive(Debug, Clone)]
pub struct Owed {
    /// The output's name.
    pub output: String,
    /// The batch.
    pub batch: Arc<Batch>,
}

/// Batches that are owed no more.
#[derive(Debug, Clone)]
pub struct Settled {
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
    /// The servers among [`Group::servers`], and all of [`Group::fleets`], that exist.
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
    /// Log messages to keep: each an [`EventKind::Logged`].
    pub logs: Vec<Arc<Event>>,
    /// What is owed from now on.
    pub owed: Vec<Owed>,
    /// What is owed no more.
    pub settled: Vec<Settled>,
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
            && self.owed.is_empty()
            && self.settled.is_empty()
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
    pub fn fleets(&self) -> Vec<DeploymentId> {
        self.collect(|change| match change {
            Change::FinishDeployment(report) if asserts(report) => Some(report.id),
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
        let mut ledger = Ledger::open(records);
        let outcomes = self.changes.iter().enumerate().map(|(index, change)| ledger.apply(index, change)).collect();
        ledger.close(outcomes, &self.outputs)
    }
}

fn asserts(report: &DeploymentReport) -> bool {
    report.assert_empty_server_result && report.members.result.is_some()
}

/// A record while a group is decided.
struct Entry<T> {
    record: T,
    is_new: bool,
    is_changed: bool,
}

/// The records that a group touches, and what has happened to them so far.
struct Ledger {
    now: Timestamp,
    deployments: BTreeMap<DeploymentId, Entry<Deployment>>,
    servers: BTreeMap<ServerKey, Entry<Server>>,
    logs: Vec<Arc<Event>>,
    owed: Vec<Owed>,
    settled: Vec<Settled>,
    events: Vec<Arc<Event>>,
}

impl Ledger {
    fn open(records: Records) -> Self {
        fn entry<T>(record: T) -> Entry<T> {
            Entry { record, is_new: false, is_changed: false }
        }
        Self {
            now: time::now(),
            deployments: records.deployments.into_iter().map(|record| (record.id, entry(record))).collect(),
            servers: records.servers.into_iter().map(|record| (record.key(), entry(record))).collect(),
            logs: Vec::new(),
            owed: Vec::new(),
            settled: Vec::new(),
            events: Vec::new(),
        }
    }

    fn apply(&mut self, index: usize, change: &Change) -> Outcome {
        match change {
            Change::StartDeployment(report) => self.start_deployment(report),
            Change::FinishDeployment(report) => self.finish_deployment(report),
            Change::StartServer(report) => self.start_server(report),
            Change::FinishServer(report) => self.finish_server(report),
            Change::KeepLogs(event) => {
                self.logs.push(event.clone());
                self.events.push(event.clone());
                Outcome::Recorded
            }
            Change::Owe(owed) => {
                self.owed.push(owed.clone());
                Outcome::Recorded
            }
            Change::Settle { output, batches } => {
                self.settled.push(Settled { output: output.clone(), batches: batches.clone(), outcome: index });
                Outcome::Recorded
            }
        }
    }

    fn start_deployment(&mut self, report: &DeploymentReport) -> Outcome {
        if let Some(entry) = self.deployments.get(&report.id) {
            return match entry.record.members.conflict(&report.members) {
                Some(conflict) => Outcome::Conflict { field: conflict.field },
                None => Outcome::Unchanged,
            };
        }
        let members = report.members.clone();
        let record = Deployment { id: report.id, members, created_at: self.now, updated_at: self.now };
        self.happened(EventKind::DeploymentStarted(record.clone()), &report.reporter);
        self.deployments.insert(report.id, Entry { record, is_new: true, is_changed: false });
        Outcome::Recorded
    }

    fn finish_deployment(&mut self, report: &DeploymentReport) -> Outcome {
        let Some(entry) = self.deployments.get_mut(&report.id) else { return Outcome::Unknown };
        let changes = entry.record.members.merge(report.members.clone());
        if changes {
            entry.record.updated_at = self.now;
            entry.is_changed = true;
            let kind = EventKind::DeploymentFinished(entry.record.clone());
            self.happened(kind, &report.reporter);
        }
        if self.assert_results(report) || changes { Outcome::Recorded } else { Outcome::Unchanged }
    }

    /// Gives the result of a finish that asks for it to each server without one; whether there was any.
    fn assert_results(&mut self, report: &DeploymentReport) -> bool {
        let mut any = false;
        if asserts(report) {
            let first = ServerKey { deployment_id: report.id, hostname: Hostname::stored("") };
            let fleet = self.servers.range_mut(first..).take_while(|(key, _)| key.deployment_id == report.id);
            for entry in fleet.map(|(_, entry)| entry).filter(|entry| entry.record.members.result.is_none()) {
                entry.record.members.result = report.members.result;
                entry.record.updated_at = self.now;
                entry.is_changed = true;
                any = true;
            }
        }
        any
    }

    fn start_server(&mut self, report: &ServerReport) -> Outcome {
        let Some(entry) = self.servers.get_mut(&report.key) else {
            let record = self.insert_server(report);
            self.happened(EventKind::ServerStarted(record), &report.reporter);
            return Outcome::Recorded;
        };
        let stored = &mut entry.record.members;
        match stored.conflict(&report.members) {
            None => Outcome::Unchanged,
            // The start comes after the finish, which could not know this.
            Some(conflict) if conflict.absent && stored.is_finished() => {
                stored.merge(report.members.clone());
                entry.record.updated_at = self.now;
                entry.is_changed = true;
                Outcome::Recorded
            }
            Some(conflict) => Outcome::Conflict { field: conflict.field },
        }
    }

    fn finish_server(&mut self, report: &ServerReport) -> Outcome {
        let record = match self.servers.get_mut(&report.key) {
            None => self.insert_server(report),
            Some(entry) => {
                if !entry.record.members.merge(report.members.clone()) {
                    return Outcome::Unchanged;
                }
                entry.record.updated_at = self.now;
                entry.is_changed = true;
                entry.record.clone()
            }
        };
        self.happened(EventKind::ServerFinished(record), &report.reporter);
        Outcome::Recorded
    }

    fn insert_server(&mut self, report: &ServerReport) -> Server {
        let record = Server {
            hostname: report.key.hostname.clone(),
            deployment_id: report.key.deployment_id,
            members: report.members.clone(),
            created_at: self.now,
            updated_at: self.now,
        };
        let entry = Entry { record: record.clone(), is_new: true, is_changed: false };
        self.servers.insert(report.key.clone(), entry);
        record
    }

    fn happened(&mut self, kind: EventKind, reporter: &Option<Reporter>) {
        self.events.push(Arc::new(Event::new(kind, self.now, reporter.clone())));
    }

    fn close(self, outcomes: Vec<Outcome>, outputs: &[Arc<dyn Output>]) -> Decision {
        let batches = Batch::cut(self.events);
        let mut owed = self.owed;
        for output in outputs {
            let wanted = batches.iter().filter_map(|batch| wanted(batch, output.as_ref()));
            owed.extend(wanted.map(|batch| Owed { output: output.name().to_owned(), batch }));
        }
        let (new_deployments, changed_deployments) = split(self.deployments.into_values());
        let (new_servers, changed_servers) = split(self.servers.into_values());
        Decision {
            outcomes,
            new_deployments,
            changed_deployments,
            new_servers,
            changed_servers,
            logs: self.logs,
            owed,
            settled: self.settled,
            batches,
        }
    }
}

/// The part of `batch` that `output` wants, under the same id.
fn wanted(batch: &Arc<Batch>, output: &dyn Output) -> Option<Arc<Batch>> {
    let events: Vec<_> = batch.events.iter().filter(|event| output.wants(event)).cloned().collect();
    match events.len() {
        0 => None,
        all if all == batch.events.len() => Some(batch.clone()),
        _ => Some(Arc::new(Batch { id: batch.id, events })),
    }
}

fn split<T>(entries: impl Iterator<Item = Entry<T>>) -> (Vec<T>, Vec<T>) {
    let (mut new, mut changed) = (Vec::new(), Vec::new());
    for entry in entries {
        if entry.is_new {
            new.push(entry.record);
        } else if entry.is_changed {
            changed.push(entry.record);
        }
    }
    (new, changed)
}
