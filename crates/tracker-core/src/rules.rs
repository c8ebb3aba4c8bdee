//! The rules for reports: repeats, conflicts, what a finish changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::deployment::{Deployment, DeploymentReport};
use crate::event::{Batch, Event, EventKind};
use crate::fields::{DeploymentId, DeploymentResult, Merge, Reporter};
use crate::group::{Acknowledged, Change, Decision, OutboxEntry, Outcome, Records};
use crate::output::Output;
use crate::server::{Hostname, Server, ServerKey, ServerReport};
use crate::time::{self, Timestamp};

/// A record while a group is decided.
struct Entry<T> {
    record: T,
    is_new: bool,
    is_changed: bool,
}

/// The records that a group touches, and what has happened to them so far.
pub(crate) struct Decider {
    now: Timestamp,
    deployments: BTreeMap<DeploymentId, Entry<Deployment>>,
    servers: BTreeMap<ServerKey, Entry<Server>>,
    logs: Vec<Arc<Event>>,
    pending: Vec<OutboxEntry>,
    acknowledged: Vec<Acknowledged>,
    events: Vec<Arc<Event>>,
}

impl Decider {
    pub(crate) fn open(records: Records) -> Self {
        fn entry<T>(record: T) -> Entry<T> {
            Entry { record, is_new: false, is_changed: false }
        }
        Self {
            now: time::now(),
            deployments: records.deployments.into_iter().map(|record| (record.id, entry(record))).collect(),
            servers: records.servers.into_iter().map(|record| (record.key(), entry(record))).collect(),
            logs: Vec::new(),
            pending: Vec::new(),
            acknowledged: Vec::new(),
            events: Vec::new(),
        }
    }

    pub(crate) fn apply(&mut self, index: usize, change: &Change) -> Outcome {
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
            Change::Enqueue(pending) => {
                self.pending.push(pending.clone());
                Outcome::Recorded
            }
            Change::Acknowledge { output, batches } => {
                self.acknowledged.push(Acknowledged {
                    output: output.clone(),
                    batches: batches.clone(),
                    outcome: index,
                });
                Outcome::Recorded
            }
        }
    }

    fn start_deployment(&mut self, report: &DeploymentReport) -> Outcome {
        if let Some(entry) = self.deployments.get(&report.id) {
            return match entry.record.fields.conflict(&report.fields) {
                Some(conflict) => Outcome::Conflict { field: conflict.field },
                None => Outcome::Unchanged,
            };
        }
        let fields = report.fields.clone();
        let record = Deployment { id: report.id, fields, created_at: self.now, updated_at: self.now };
        self.push_event(EventKind::DeploymentStarted(record.clone()), &report.reporter);
        self.deployments.insert(report.id, Entry { record, is_new: true, is_changed: false });
        Outcome::Recorded
    }

    fn finish_deployment(&mut self, report: &DeploymentReport) -> Outcome {
        let Some(entry) = self.deployments.get_mut(&report.id) else { return Outcome::Unknown };
        let changes = entry.record.fields.merge(report.fields.clone());
        if changes {
            entry.record.updated_at = self.now;
            entry.is_changed = true;
            let kind = EventKind::DeploymentFinished(entry.record.clone());
            self.push_event(kind, &report.reporter);
        }
        let asserts = report.asserted_result().is_some_and(|result| self.assert_result(report.id, result));
        if changes || asserts { Outcome::Recorded } else { Outcome::Unchanged }
    }

    /// Gives the result to each server of a deployment without one; whether there was any.
    fn assert_result(&mut self, id: DeploymentId, result: DeploymentResult) -> bool {
        let mut any = false;
        let first = ServerKey { deployment_id: id, hostname: Hostname::stored("") };
        let servers_of = self.servers.range_mut(first..).take_while(|(key, _)| key.deployment_id == id);
        for entry in servers_of.map(|(_, entry)| entry).filter(|entry| entry.record.fields.result.is_none()) {
            entry.record.fields.result = Some(result);
            entry.record.updated_at = self.now;
            entry.is_changed = true;
            any = true;
        }
        any
    }

    fn start_server(&mut self, report: &ServerReport) -> Outcome {
        let Some(entry) = self.servers.get_mut(&report.key) else {
            let record = self.insert_server(report);
            self.push_event(EventKind::ServerStarted(record), &report.reporter);
            return Outcome::Recorded;
        };
        let stored = &mut entry.record.fields;
        match stored.conflict(&report.fields) {
            None => Outcome::Unchanged,
            // The start comes after the finish, which could not know this.
            Some(conflict) if conflict.absent && stored.is_finished() => {
                stored.merge(report.fields.clone());
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
                if !entry.record.fields.merge(report.fields.clone()) {
                    return Outcome::Unchanged;
                }
                entry.record.updated_at = self.now;
                entry.is_changed = true;
                entry.record.clone()
            }
        };
        self.push_event(EventKind::ServerFinished(record), &report.reporter);
        Outcome::Recorded
    }

    fn insert_server(&mut self, report: &ServerReport) -> Server {
        let record = Server {
            hostname: report.key.hostname.clone(),
            deployment_id: report.key.deployment_id,
            fields: report.fields.clone(),
            created_at: self.now,
            updated_at: self.now,
        };
        let entry = Entry { record: record.clone(), is_new: true, is_changed: false };
        self.servers.insert(report.key.clone(), entry);
        record
    }

    fn push_event(&mut self, kind: EventKind, reporter: &Option<Reporter>) {
        self.events.push(Arc::new(Event::new(kind, self.now, reporter.clone())));
    }

    pub(crate) fn close(self, outcomes: Vec<Outcome>, outputs: &[Arc<dyn Output>]) -> Decision {
        let batches = Batch::cut(self.events);
        let mut pending = self.pending;
        for output in outputs {
            let wanted = batches.iter().filter_map(|batch| wanted(batch, output.as_ref()));
            pending.extend(wanted.map(|batch| OutboxEntry { output: output.name().to_owned(), batch }));
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
            pending,
            acknowledged: self.acknowledged,
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
