//! The rules for reports: duplicates, conflicts, and the effect of a finish.
//!
//! The rules are pure: they decide on records in memory. A store only reads and writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::deployment::{Deployment, DeploymentFields, DeploymentReport};
use crate::event::{Batch, Event, EventKind};
use crate::fields::{DeploymentResult, Merge, Reporter};
use crate::group::{Acknowledged, Change, Changed, Decision, Group, OutboxEntry, Outcome, Records};
use crate::id::DeploymentId;
use crate::output::Output;
use crate::server::{Hostname, Server, ServerFields, ServerKey, ServerReport};
use crate::time::{self, Timestamp};

/// A record with the fields `F` while the decision is made.
struct Entry<R, F> {
    record: R,
    state: EntryState<F>,
}

enum EntryState<F> {
    /// As the store has it.
    Stored,
    /// The store has other values of these fields.
    Changed(F),
    /// Not in the store.
    New,
}

/// A record that reports can change.
trait Record {
    type Fields: Merge;

    fn parts(&mut self) -> (&mut Self::Fields, &mut Option<Timestamp>);
}

impl Record for Deployment {
    type Fields = DeploymentFields;

    fn parts(&mut self) -> (&mut Self::Fields, &mut Option<Timestamp>) {
        (&mut self.fields, &mut self.updated_at)
    }
}

impl Record for Server {
    type Fields = ServerFields;

    fn parts(&mut self) -> (&mut Self::Fields, &mut Option<Timestamp>) {
        (&mut self.fields, &mut self.updated_at)
    }
}

impl<R: Record> Entry<R, R::Fields> {
    /// Overwrites every field that `reported` has. Returns whether anything changed.
    fn merge(&mut self, reported: R::Fields, now: Timestamp) -> bool {
        let (fields, updated_at) = self.record.parts();
        let changed = fields.merge(reported);
        if changed == R::Fields::default() {
            return false;
        }
        *updated_at = Some(now);
        match &mut self.state {
            EntryState::Stored => self.state = EntryState::Changed(changed),
            EntryState::Changed(earlier) => drop(earlier.merge(changed)),
            // The store inserts the final values.
            EntryState::New => {}
        }
        true
    }
}

impl Group {
    /// Applies the rules to every change in order, on top of the existing `records`.
    pub fn decide(&self, records: Records) -> Decision {
        let mut decider = Decider::new(records);
        let outcomes = self.changes.iter().enumerate().map(|(index, change)| decider.apply(index, change)).collect();
        decider.finish(outcomes, &self.outputs)
    }
}

/// The records that a group touches, with the changes that were applied so far.
struct Decider {
    now: Timestamp,
    deployments: BTreeMap<DeploymentId, Entry<Deployment, DeploymentFields>>,
    servers: BTreeMap<ServerKey, Entry<Server, ServerFields>>,
    logs: Vec<Arc<Event>>,
    pending: Vec<OutboxEntry>,
    acknowledged: Vec<Acknowledged>,
    events: Vec<Arc<Event>>,
}

impl Decider {
    fn new(records: Records) -> Self {
        fn entry<R, F>(record: R) -> Entry<R, F> {
            Entry { record, state: EntryState::Stored }
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

    fn apply(&mut self, index: usize, change: &Change) -> Outcome {
        match change {
            Change::StartDeployment(report) => self.start_deployment(report),
            Change::FinishDeployment(report) => self.finish_deployment(report),
            Change::StartServer(report) => self.start_server(report),
            Change::FinishServer(report) => self.finish_server(report),
            Change::KeepLogs(events) => {
                self.logs.extend_from_slice(events);
                self.events.extend_from_slice(events);
                Outcome::Recorded
            }
            Change::ForwardLogs(events) => {
                self.events.extend_from_slice(events);
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
            return match entry.record.fields.conflicts(&report.fields).next() {
                Some(conflict) => Outcome::Conflict { field: conflict.field },
                None => Outcome::Unchanged,
            };
        }
        if report.is_limited && self.servers_of(report.id).next().is_some() {
            return Outcome::Conflict { field: DeploymentReport::SERVERS };
        }
        let fields = report.fields.clone();
        let now = Some(self.now);
        let record = Deployment { id: report.id, fields, created_at: now, updated_at: now };
        self.push_event(EventKind::DeploymentStarted(record.clone()), &report.reporter);
        self.deployments.insert(report.id, Entry { record, state: EntryState::New });
        Outcome::Recorded
    }

    fn finish_deployment(&mut self, report: &DeploymentReport) -> Outcome {
        let Some(entry) = self.deployments.get_mut(&report.id) else { return Outcome::Unknown };
        let changes = entry.merge(report.fields.clone(), self.now);
        if changes {
            let kind = EventKind::DeploymentFinished(entry.record.clone());
            self.push_event(kind, &report.reporter);
        }
        let asserts = report.asserted_result().is_some_and(|result| self.assert_result(report.id, result));
        if changes || asserts { Outcome::Recorded } else { Outcome::Unchanged }
    }

    /// Sets the result of each server of the deployment that has none. Returns whether there was one.
    fn assert_result(&mut self, id: DeploymentId, result: DeploymentResult) -> bool {
        let (mut any, now) = (false, self.now);
        for entry in self.servers_of(id).filter(|entry| entry.record.fields.result.is_none()) {
            any |= entry.merge(ServerFields { result: Some(result), ..ServerFields::default() }, now);
        }
        any
    }

    fn servers_of(&mut self, id: DeploymentId) -> impl Iterator<Item = &mut Entry<Server, ServerFields>> {
        let first = ServerKey { deployment_id: id, hostname: Hostname::stored("") };
        let servers = self.servers.range_mut(first..).take_while(move |(key, _)| key.deployment_id == id);
        servers.map(|(_, entry)| entry)
    }

    fn start_server(&mut self, report: &ServerReport) -> Outcome {
        let Some(entry) = self.servers.get_mut(&report.key) else {
            let record = self.insert_server(report);
            self.push_event(EventKind::ServerStarted(record), &report.reporter);
            return Outcome::Recorded;
        };
        let stored = &entry.record.fields;
        // Look first for a value that contradicts the record, then for one that the record lacks.
        let conflict = stored.conflicts(&report.fields).min_by_key(|conflict| conflict.is_absent);
        match conflict {
            None => Outcome::Unchanged,
            // The start arrives after the finish and fills in the fields that the finish did not have.
            Some(conflict) if conflict.is_absent && stored.is_finished() => {
                entry.merge(report.fields.clone(), self.now);
                Outcome::Recorded
            }
            Some(conflict) => Outcome::Conflict { field: conflict.field },
        }
    }

    fn finish_server(&mut self, report: &ServerReport) -> Outcome {
        let record = match self.servers.get_mut(&report.key) {
            None => self.insert_server(report),
            Some(entry) => {
                if !entry.merge(report.fields.clone(), self.now) {
                    return Outcome::Unchanged;
                }
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
            created_at: Some(self.now),
            updated_at: Some(self.now),
        };
        let entry = Entry { record: record.clone(), state: EntryState::New };
        self.servers.insert(report.key.clone(), entry);
        record
    }

    fn push_event(&mut self, kind: EventKind, reporter: &Option<Reporter>) {
        self.events.push(Arc::new(Event::new(kind, self.now, reporter.clone())));
    }

    fn finish(self, outcomes: Vec<Outcome>, outputs: &[Arc<dyn Output>]) -> Decision {
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

/// The events of `batch` that `output` wants, as a batch with the same id.
fn wanted(batch: &Arc<Batch>, output: &dyn Output) -> Option<Arc<Batch>> {
    let events: Vec<_> = batch.events.iter().filter(|event| output.wants(event)).cloned().collect();
    match events.len() {
        0 => None,
        all if all == batch.events.len() => Some(batch.clone()),
        _ => Some(Arc::new(Batch { id: batch.id, events })),
    }
}

fn split<R, F>(entries: impl Iterator<Item = Entry<R, F>>) -> (Vec<R>, Vec<Changed<R, F>>) {
    let (mut new, mut changed) = (Vec::new(), Vec::new());
    for Entry { record, state } in entries {
        match state {
            EntryState::Stored => {}
            EntryState::Changed(fields) => changed.push(Changed { record, fields }),
            EntryState::New => new.push(record),
        }
    }
    (new, changed)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::json;

    const ID: DeploymentId = DeploymentId(Uuid::from_u128(1));

    /// Two different values of a field, as JSON.
    fn values(field: &str) -> [&'static str; 2] {
        match field {
            "result" => ["\"success\"", "\"failure\""],
            "elapsed_seconds" => ["1", "2"],
            _ => ["\"a\"", "\"b\""],
        }
    }

    fn outcomes(changes: Vec<Change>) -> Vec<Outcome> {
        Group::new(changes, Arc::new([])).decide(Records::default()).outcomes
    }

    #[test]
    fn a_start_that_contradicts_any_field_is_a_conflict_that_names_it() {
        let start = |members: &str| {
            let body = format!("{{{members}}}");
            let body = json::read(body.as_bytes()).expect("valid JSON");
            Change::StartDeployment(DeploymentReport::read(ID, body).expect("valid report"))
        };
        for field in DeploymentFields::NAMES {
            let [a, b] = values(field).map(|value| start(&format!("\"{field}\":{value}")));
            let expected = [Outcome::Recorded, Outcome::Unchanged, Outcome::Conflict { field }];
            assert_eq!(outcomes(vec![a.clone(), a.clone(), b]), expected);
            let expected = [Outcome::Recorded, Outcome::Conflict { field }];
            assert_eq!(outcomes(vec![start(""), a]), expected, "a start adds nothing to a recorded one");
        }
    }

    #[test]
    fn a_server_start_that_contradicts_any_field_is_a_conflict_that_names_it() {
        let start = |members: &str| {
            let body = format!("{{\"hostname\":\"h\"{members}}}");
            let body = json::read(body.as_bytes()).expect("valid JSON");
            Change::StartServer(ServerReport::read(ID, body).expect("valid report"))
        };
        for field in ServerFields::NAMES {
            let [a, b] = values(field).map(|value| start(&format!(",\"{field}\":{value}")));
            let expected = [Outcome::Recorded, Outcome::Unchanged, Outcome::Conflict { field }];
            assert_eq!(outcomes(vec![a.clone(), a.clone(), b]), expected);
            assert_eq!(outcomes(vec![start(""), a]), [Outcome::Recorded, Outcome::Conflict { field }]);
        }
    }

    #[test]
    fn a_finish_overwrites_every_field() {
        let report = |members: &str| {
            let body = format!("{{{members}}}");
            DeploymentReport::read(ID, json::read(body.as_bytes()).expect("valid JSON")).expect("valid report")
        };
        for field in DeploymentFields::NAMES {
            let [a, b] = values(field).map(|value| report(&format!("\"{field}\":{value}")));
            let changes = vec![
                Change::StartDeployment(a),
                Change::FinishDeployment(b.clone()),
                Change::FinishDeployment(b.clone()),
            ];
            let decision = Group::new(changes, Arc::new([])).decide(Records::default());
            assert_eq!(decision.outcomes, [Outcome::Recorded, Outcome::Recorded, Outcome::Unchanged], "{field}");
            assert_eq!(decision.new_deployments[0].fields, b.fields, "{field}");
        }
    }
}
