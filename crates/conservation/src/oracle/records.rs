//! Compares the reports with the records.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{Kind, Verdict, contains, text};
use crate::ledger::{Deployment, Fate, Report, ServerReports};

impl Verdict {
    pub(super) fn judge_record(&mut self, deployment: &Deployment, record: Option<&Value>) {
        let id = &deployment.id;
        let Some(record) = self.judge_start(id, &deployment.start, record) else { return };
        self.judge_finish(id, deployment.finish.as_ref(), record, None);
        let servers = record["servers"].as_array().into_iter().flatten();
        let servers: HashMap<_, _> = servers.map(|server| (text(server, "hostname"), server)).collect();
        for reports in &deployment.servers {
            self.judge_server(deployment, reports, servers.get(reports.hostname.as_str()).copied());
        }
        if servers.keys().any(|hostname| deployment.servers.iter().all(|reports| reports.hostname != *hostname)) {
            self.add(Kind::Unexpected, &format!("{id}: a server is on record that no engine reported: {record}"));
        }
    }

    fn judge_server(&mut self, deployment: &Deployment, reports: &ServerReports, server: Option<&Value>) {
        let name = format!("{} on {}", deployment.id, reports.hostname);
        let Some(server) = self.judge_start(&name, &reports.start, server) else { return };
        let asserted =
            deployment.finish.as_ref().filter(|finish| finish.body["assert_empty_server_result"] == json!(true));
        self.judge_finish(&name, reports.finish.as_ref(), server, asserted);
    }

    /// Compares a start with its record, and returns the record.
    fn judge_start<'a>(&mut self, name: &str, start: &Report, record: Option<&'a Value>) -> Option<&'a Value> {
        let Some(record) = record else {
            if start.fate == Fate::Acknowledged {
                self.add(Kind::Lost, &format!("{name}: its start was acknowledged, but is not on record"));
            }
            return None;
        };
        if start.fate == Fate::Refused {
            self.add(Kind::Unexpected, &format!("{name}: on record, though its start was refused"));
        }
        if !contains(record, &start.body, &[]) {
            self.add(Kind::Altered, &format!("{name}: the record differs from the report: {record} {start:?}"));
        }
        Some(record)
    }

    /// Compares a finish with its record. `asserted` is the finish of a deployment that passes its result on to servers
    /// without one.
    fn judge_finish(&mut self, name: &str, finish: Option<&Report>, record: &Value, asserted: Option<&Report>) {
        let is_on_record = finish.is_some_and(|finish| contains(record, &finish.body, &["assert_empty_server_result"]));
        match finish.map(|finish| finish.fate) {
            Some(Fate::Acknowledged) if !is_on_record => {
                self.add(Kind::Lost, &format!("{name}: its finish was acknowledged, but is not on record: {record}"));
            }
            Some(Fate::Acknowledged | Fate::Unknown) if is_on_record => {}
            _ => {
                let is_asserted = asserted.is_some_and(|finish| record["result"] == finish.body["result"]);
                if record.get("elapsed_seconds").is_some() || record.get("result").is_some() && !is_asserted {
                    self.add(Kind::Unexpected, &format!("{name}: finished on record, but by no report: {record}"));
                }
                if !is_asserted && asserted.is_some_and(|finish| finish.fate == Fate::Acknowledged) {
                    self.add(Kind::Lost, &format!("{name}: does not have the deployment's result: {record}"));
                }
            }
        }
    }
}
