//! The oracle: compares what engines know with what is on record and on the list.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Value, json};
use test_servers::Server;

use crate::ledger::{Deployment, Fate, Post, Report, Visit};

/// What there is in the end.
#[derive(Debug)]
pub struct Outcome {
    /// The records, by deployment id.
    pub records: HashMap<String, Value>,
    /// The elements of the list, in order.
    pub elements: Vec<Value>,
    /// The lines that StatsD got.
    pub metrics: Vec<String>,
}

/// What the oracle found, in figures and in words.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Acknowledged, and not there.
    pub lost: u64,
    /// There once too often.
    pub twice: u64,
    /// There, but not as it was sent.
    pub altered: u64,
    /// Sent by nobody, refused, or half there.
    pub unasked: u64,
    /// Not in the order of the acknowledgements.
    pub disordered: u64,
    /// Counted more often in StatsD than it happened.
    pub overcounted: u64,
    /// One line each.
    pub violations: Vec<String>,
}

/// Every deployment on record.
pub fn records(server: &Server) -> HashMap<String, Value> {
    let mut records = HashMap::new();
    loop {
        let page = server.read(&format!("/v1/deployments?limit=1000&offset={}", records.len()));
        let page = page.as_array().expect("a list");
        records.extend(page.iter().map(|record| (text(record, "deployment_id").to_owned(), record.clone())));
        if page.len() < 1000 {
            return records;
        }
    }
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

/// Whether `value` has every member of `part`, but for `except`, with the same value.
fn has(value: &Value, part: &Value, except: &[&str]) -> bool {
    let members = part.as_object().into_iter().flatten();
    members.filter(|(name, _)| !except.contains(&name.as_str())).all(|(name, member)| value.get(name) == Some(member))
}

impl Verdict {
    /// Judges `outcome` by what engines know of `deployments`.
    pub fn on(deployments: &[Deployment], outcome: &Outcome) -> Self {
        let mut verdict = Self::default();
        let mut elements = HashMap::<&str, Vec<&Value>>::new();
        for element in &outcome.elements {
            elements.entry(text(element, "deployment_id")).or_default().push(element);
        }
        for deployment in deployments {
            let record = outcome.records.get(&deployment.id);
            verdict.judge_record(deployment, record);
            verdict.judge_elements(deployment, record, &elements.remove(deployment.id.as_str()).unwrap_or_default());
        }
        let known: HashSet<_> = deployments.iter().map(|deployment| deployment.id.as_str()).collect();
        for id in outcome.records.keys().filter(|id| !known.contains(id.as_str())) {
            verdict.unasked(&format!("{id}: on record, but nobody reported it"));
        }
        for element in elements.into_values().flatten() {
            verdict.unasked(&format!("on the list, but nobody sent it: {element}"));
        }
        let events: HashSet<_> = outcome.elements.iter().map(|element| text(element, "event_id")).collect();
        let repeated = outcome.elements.len() - events.len();
        if repeated > 0 && verdict.twice == 0 {
            verdict.twice(&format!("{repeated} elements have the event_id of another"));
        }
        verdict.judge_metrics(outcome);
        verdict
    }

    fn judge_record(&mut self, deployment: &Deployment, record: Option<&Value>) {
        let id = &deployment.id;
        let Some(record) = record else {
            if deployment.start.fate == Fate::Acknowledged {
                self.lost(&format!("{id}: its start was acknowledged, but is not on record"));
            }
            return;
        };
        if deployment.start.fate == Fate::Refused {
            self.unasked(&format!("{id}: on record, though its start was refused"));
        }
        if !has(record, &deployment.start.body, &[]) {
            self.altered(&format!("{id}: the record is not what was reported: {record} {:?}", deployment.start));
        }
        self.judge_finish(id, deployment.finish.as_ref(), record, None);
        let servers: HashMap<_, _> = record["servers"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|server| (text(server, "hostname"), server))
            .collect();
        for visit in &deployment.visits {
            self.judge_visit(deployment, visit, servers.get(visit.hostname.as_str()).copied());
        }
        if servers.keys().any(|hostname| deployment.visits.iter().all(|visit| visit.hostname != *hostname)) {
            self.unasked(&format!("{id}: a server is on record that nobody reported: {record}"));
        }
    }

    fn judge_visit(&mut self, deployment: &Deployment, visit: &Visit, server: Option<&Value>) {
        let name = format!("{} on {}", deployment.id, visit.hostname);
        let Some(server) = server else {
            if visit.start.fate == Fate::Acknowledged {
                self.lost(&format!("{name}: its start was acknowledged, but is not on record"));
            }
            return;
        };
        if visit.start.fate == Fate::Refused {
            self.unasked(&format!("{name}: on record, though its start was refused"));
        }
        if !has(server, &visit.start.body, &[]) {
            self.altered(&format!("{name}: the record is not what was reported: {server} {:?}", visit.start));
        }
        let asserted =
            deployment.finish.as_ref().filter(|finish| finish.body["assert_empty_server_result"] == json!(true));
        self.judge_finish(&name, visit.finish.as_ref(), server, asserted);
    }

    /// Compares a finish with a record. `asserted` is the finish of the deployment that gives its result to servers
    /// without one.
    fn judge_finish(&mut self, name: &str, finish: Option<&Report>, record: &Value, asserted: Option<&Report>) {
        let except = ["assert_empty_server_result"];
        let is_there = finish.is_some_and(|finish| has(record, &finish.body, &except));
        match finish.map(|finish| finish.fate) {
            Some(Fate::Acknowledged) if !is_there => {
                self.lost(&format!("{name}: its finish was acknowledged, but is not on record: {record}"));
            }
            Some(Fate::Acknowledged | Fate::Unknown) if is_there => {}
            _ => {
                let is_asserted = asserted.is_some_and(|finish| record["result"] == finish.body["result"]);
                if record.get("elapsed_seconds").is_some() || record.get("result").is_some() && !is_asserted {
                    self.unasked(&format!("{name}: finished on record, but not in any report: {record}"));
                }
                if !is_asserted && asserted.is_some_and(|finish| finish.fate == Fate::Acknowledged) {
                    self.lost(&format!("{name}: the deployment's result was not given to it: {record}"));
                }
            }
        }
    }

    fn judge_elements(&mut self, deployment: &Deployment, record: Option<&Value>, elements: &[&Value]) {
        let id = &deployment.id;
        let mut places = HashMap::<&str, Vec<usize>>::new();
        for (place, element) in elements.iter().enumerate() {
            places.entry(text(element, "message")).or_default().push(place);
        }
        for (message, places) in places.iter().filter(|(_, places)| places.len() > 1) {
            self.twice(&format!("{id}: {} times on the list: {message:?}", places.len()));
        }
        let nothing = json!({});
        let start = [(deployment.start_message(), record.is_some(), &deployment.start.body)];
        let finished = record.is_some_and(|record| record.get("result").is_some());
        let end = [(deployment.end_message(), finished, record.unwrap_or(&nothing))];
        let mut told = HashSet::new();
        for (message, is_on_record, members) in start.iter().chain(&end) {
            match (places.get(message.as_str()), is_on_record) {
                (None, true) => self.lost(&format!("{id}: on record, but not on the list: {message:?}")),
                (Some(_), false) => self.unasked(&format!("{id}: on the list, but not on record: {message:?}")),
                (Some(places), true) if !has(elements[places[0]], members, &["servers"]) => {
                    self.altered(&format!("{id}: {} is not {members}", elements[places[0]]));
                }
                _ => {}
            }
            told.insert(message.as_str());
        }
        for post in &deployment.posts {
            self.judge_post(id, post, &places, elements);
            told.extend(post.messages.iter().map(|message| text(message, "message")));
        }
        for message in places.keys().filter(|message| !told.contains(*message)) {
            self.unasked(&format!("{id}: on the list, but nobody sent it: {message:?}"));
        }
        let order: Vec<_> = deployment
            .acknowledged
            .iter()
            .filter_map(|message| places.get(message.as_str()).map(|places| places[0]))
            .collect();
        if !order.is_sorted() {
            self.disordered += 1;
            let place = |message: &String| places.get(message.as_str()).map(|places| places[0]);
            let list: Vec<_> = deployment.acknowledged.iter().map(|message| (place(message), message)).collect();
            self.violations.push(format!("{id}: acknowledged in this order, but on the list in that: {list:?}"));
        }
    }

    fn judge_post(&mut self, id: &str, post: &Post, places: &HashMap<&str, Vec<usize>>, elements: &[&Value]) {
        let mut found = Vec::new();
        for message in &post.messages {
            let Some(places) = places.get(text(message, "message")) else { continue };
            found.push(places[0]);
            if !is_as_sent(elements[places[0]], message, id) {
                self.altered(&format!("{id}: {} was sent as {message}", elements[places[0]]));
            }
        }
        let missing = post.messages.len() - found.len();
        let messages: Vec<_> = post.messages.iter().map(|message| text(message, "message")).collect();
        match post.fate {
            Fate::Acknowledged if missing > 0 => {
                self.lost(&format!("{id}: acknowledged, but {missing} not on the list: {messages:?}"));
                self.lost += missing as u64 - 1;
            }
            Fate::Refused if !found.is_empty() => {
                self.unasked(&format!("{id}: refused, but {} on the list: {messages:?}", found.len()));
            }
            Fate::Unknown if !found.is_empty() && missing > 0 => {
                self.unasked(&format!("{id}: {missing} of a batch are missing: {messages:?}"));
            }
            _ if !found.is_sorted() => {
                self.disordered += 1;
                self.violations.push(format!("{id}: a batch is not in order: {messages:?}"));
            }
            _ => {}
        }
    }

    fn judge_metrics(&mut self, outcome: &Outcome) {
        let sums: BTreeMap<String, u64> = test_servers::statsd_sum(&outcome.metrics)
            .iter()
            .filter_map(|line| line.strip_suffix("|c")?.rsplit_once(':'))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect();
        let sum =
            |fits: &dyn Fn(&str) -> bool| sums.iter().filter(|(name, _)| fits(name)).map(|(_, sum)| sum).sum::<u64>();
        let servers = || outcome.records.values().flat_map(|record| record["servers"].as_array().into_iter().flatten());
        let is_told =
            |element: &&Value| text(element, "message").starts_with("Deployment Tracker recording deployment ");
        let (started, logs) =
            (outcome.records.len(), outcome.elements.len() - outcome.elements.iter().filter(is_told).count());
        let finished = |record: &&Value| record.get("result").is_some();
        let of_server = |name: &str, last: &str| name.starts_with("dt.servers.") && name.ends_with(last);
        let is_result = |name: &str| ["dt.deployments.success", "dt.deployments.failure"].contains(&name);
        for (what, counted, happened) in [
            ("starts", sum(&|name| name == "dt.deployments.started"), started),
            ("finishes", sum(&is_result), outcome.records.values().filter(finished).count()),
            ("server starts", sum(&|name| of_server(name, ".started")), servers().count()),
            (
                "server finishes",
                sum(&|name| of_server(name, ".success") || of_server(name, ".failure")),
                servers().filter(|server| server.get("elapsed_seconds").is_some()).count(),
            ),
            ("log messages", sum(&|name| name == "dt.logs.message"), logs),
        ] {
            if counted > happened as u64 {
                self.overcounted += counted - happened as u64;
                self.violations.push(format!("StatsD counted {counted} {what}, but there are {happened}"));
            }
        }
    }

    fn lost(&mut self, what: &str) {
        self.lost += 1;
        self.violations.push(format!("lost: {what}"));
    }

    fn twice(&mut self, what: &str) {
        self.twice += 1;
        self.violations.push(format!("twice: {what}"));
    }

    fn altered(&mut self, what: &str) {
        self.altered += 1;
        self.violations.push(format!("altered: {what}"));
    }

    fn unasked(&mut self, what: &str) {
        self.unasked += 1;
        self.violations.push(format!("unasked: {what}"));
    }
}

/// Whether a log message is on the list with what was sent, what is documented to be added, and nothing else.
fn is_as_sent(element: &Value, message: &Value, id: &str) -> bool {
    let mut expected = message.clone();
    expected["deployment_id"] = json!(id);
    expected["index"] = json!("deployment-tracker");
    for added in ["@timestamp", "@version", "event_id"] {
        if expected.get(added).is_none() {
            expected[added] = element[added].clone();
        }
    }
    *element == expected
}
