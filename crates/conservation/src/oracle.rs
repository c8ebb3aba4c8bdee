//! The oracle: judges from the ledger whether the service has kept its promises.
//!
//! It compares what the engines sent, and how it was answered, with the [`Outcome`]: the records, the elements of the
//! Redis list (or the messages of the NATS stream) and the StatsD counters, all read after every fault has ended and the
//! outbox is empty.
//!
//! # Invariants
//!
//! The [`Fate`](crate::ledger::Fate) of a request decides about its effects: an acknowledged request has all of them, a
//! refused one has none, and one in doubt has all or none. Each [`Kind`] of violation is an invariant that was broken:
//!
//! - *lost*: each acknowledged report is on record, each acknowledged log message is on the list, and each start and
//!   finish on record has its element on the list.
//! - *twice*: each element is on the list once. The oracle compares the messages of a deployment, and all `event_id`s.
//! - *altered*: a record has every field that was reported, with its value. The element of a log message has exactly
//!   the fields that were sent, and those that the service is documented to add.
//! - *unexpected*: each record, each element and each field of a finish comes from a request in the ledger that was not
//!   refused. A post is recorded completely or not at all.
//! - *out of order*: the elements of a deployment are in the order in which they were acknowledged, and those of a post
//!   in the order in which they were sent.
//! - *overcounted*: no StatsD counter is higher than the number of its events. A counter may be lower, because StatsD
//!   is a best-effort output.

mod elements;
mod metrics;
mod records;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde_json::Value;
use test_servers::{Nats, NatsMessage, Server};

use crate::ledger::Deployment;
use crate::stack::Stack;

/// The final state of everything that the service wrote.
#[derive(Debug)]
pub struct Outcome {
    /// The records, by deployment id.
    pub records: HashMap<String, Value>,
    /// The elements of the Redis list, in order, or the messages of the NATS stream for the same events.
    pub elements: Vec<Value>,
    /// The messages of the NATS stream that Redis does not get: starts and finishes on servers.
    pub others: Vec<Value>,
    /// The lines that StatsD received.
    pub metrics: Vec<String>,
}

impl Outcome {
    pub fn read(stack: &Stack) -> Self {
        let (elements, others) = match &stack.nats {
            None => (stack.redis.elements(), Vec::new()),
            Some(nats) => messages(nats),
        };
        Self { records: records(&stack.server), elements, others, metrics: stack.statsd.lines() }
    }
}

/// The messages of the stream as elements of the Redis list, and those that Redis does not get.
fn messages(nats: &Nats) -> (Vec<Value>, Vec<Value>) {
    let (others, elements): (Vec<_>, Vec<_>) = nats.messages().into_iter().partition(|message| {
        message.header("Deployment-Tracker-Event").is_some_and(|kind| kind.starts_with("server_"))
    });
    let element = |message: NatsMessage| {
        let mut element = message.payload;
        // Constants, which a message does not have.
        element["index"] = "deployment-tracker".into();
        element["@version"] = "1".into();
        element
    };
    (elements.into_iter().map(element).collect(), others.into_iter().map(|message| message.payload).collect())
}

/// Reads every record from the API.
pub fn records(server: &Server) -> HashMap<String, Value> {
    const LIMIT: usize = 1_000;
    let mut records = HashMap::new();
    loop {
        let page = server.read(&format!("/v1/deployments?limit={LIMIT}&offset={}", records.len()));
        let page = page.as_array().expect("a page is an array");
        records.extend(page.iter().map(|record| (text(record, "deployment_id").to_owned(), record.clone())));
        if page.len() < LIMIT {
            return records;
        }
    }
}

/// The kinds of violations; the module docs define them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Lost,
    Twice,
    Altered,
    Unexpected,
    OutOfOrder,
    Overcounted,
}

impl Kind {
    /// All kinds, in the order of their discriminants.
    pub const ALL: [Self; 6] =
        [Self::Lost, Self::Twice, Self::Altered, Self::Unexpected, Self::OutOfOrder, Self::Overcounted];
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Self::Lost => "lost",
            Self::Twice => "twice",
            Self::Altered => "altered",
            Self::Unexpected => "unexpected",
            Self::OutOfOrder => "out of order",
            Self::Overcounted => "overcounted",
        })
    }
}

/// The violations that the oracle has found.
#[derive(Debug, Default)]
pub struct Verdict {
    counts: [u64; Kind::ALL.len()],
    /// One description per finding, which may count several times.
    pub violations: Vec<String>,
}

impl Verdict {
    /// Judges `outcome` by the ledger of `deployments`.
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
        let reported: HashSet<_> = deployments.iter().map(|deployment| deployment.id.as_str()).collect();
        for id in outcome.records.keys().filter(|id| !reported.contains(id.as_str())) {
            verdict.add(Kind::Unexpected, &format!("{id}: on record, but no engine reported it"));
        }
        for element in elements.into_values().flatten() {
            verdict.add(Kind::Unexpected, &format!("on the list, but no engine sent it: {element}"));
        }
        let all = || outcome.elements.iter().chain(&outcome.others);
        let event_ids: HashSet<_> = all().map(|element| text(element, "event_id")).collect();
        let repeated = all().count() - event_ids.len();
        if repeated > 0 && verdict.count(Kind::Twice) == 0 {
            verdict.add(Kind::Twice, &format!("{repeated} elements have the event_id of another"));
        }
        verdict.judge_metrics(outcome);
        verdict
    }

    /// How often a kind of violation was found.
    pub fn count(&self, kind: Kind) -> u64 {
        self.counts[kind as usize]
    }

    fn add(&mut self, kind: Kind, description: &str) {
        self.add_times(1, kind, description);
    }

    fn add_times(&mut self, times: u64, kind: Kind, description: &str) {
        self.counts[kind as usize] += times;
        self.violations.push(format!("{kind}: {description}"));
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Whether `value` has every field of `part`, except those in `except`, with the same value.
fn contains(value: &Value, part: &Value, except: &[&str]) -> bool {
    let fields = part.as_object().into_iter().flatten();
    fields.filter(|(name, _)| !except.contains(&name.as_str())).all(|(name, field)| value.get(name) == Some(field))
}
