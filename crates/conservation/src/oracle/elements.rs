//! Compares the reports and log messages with the elements of the Redis list.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::{Kind, Verdict, contains, text};
use crate::ledger::{Deployment, Fate, Post};

/// The elements of one deployment.
struct Elements<'a> {
    all: &'a [&'a Value],
    /// The indexes of the elements with each `message`.
    indexes: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Elements<'a> {
    fn new(all: &'a [&'a Value]) -> Self {
        let mut indexes = HashMap::<&str, Vec<usize>>::new();
        for (index, element) in all.iter().enumerate() {
            indexes.entry(text(element, "message")).or_default().push(index);
        }
        Self { all, indexes }
    }

    /// The index of the first element with this message.
    fn index(&self, message: &str) -> Option<usize> {
        self.indexes.get(message).map(|indexes| indexes[0])
    }

    /// The first element with this message.
    fn get(&self, message: &str) -> Option<&'a Value> {
        self.index(message).map(|index| self.all[index])
    }
}

impl Verdict {
    pub(super) fn judge_elements(&mut self, deployment: &Deployment, record: Option<&Value>, elements: &[&Value]) {
        let id = &deployment.id;
        let elements = Elements::new(elements);
        for (message, indexes) in elements.indexes.iter().filter(|(_, indexes)| indexes.len() > 1) {
            self.add(Kind::Twice, &format!("{id}: {} times on the list: {message:?}", indexes.len()));
        }
        let (start, end) = (deployment.start_message(), deployment.end_message());
        self.judge_announcement(id, &start, record.map(|_| &deployment.start.body), &elements);
        self.judge_announcement(id, &end, record.filter(|record| record.get("result").is_some()), &elements);
        for post in &deployment.posts {
            self.judge_post(id, post, &elements);
        }
        let posted = deployment.posts.iter().flat_map(|post| &post.messages).map(|message| text(message, "message"));
        let sent: HashSet<_> = [start.as_str(), &end].into_iter().chain(posted).collect();
        for message in elements.indexes.keys().filter(|message| !sent.contains(*message)) {
            self.add(Kind::Unexpected, &format!("{id}: on the list, but no engine sent it: {message:?}"));
        }
        self.judge_order(deployment, &elements);
    }

    /// Compares a start or finish on record, given by its fields, with the element that announces it.
    fn judge_announcement(&mut self, id: &str, message: &str, on_record: Option<&Value>, elements: &Elements) {
        match (elements.get(message), on_record) {
            (None, Some(_)) => self.add(Kind::Lost, &format!("{id}: on record, but not on the list: {message:?}")),
            (Some(_), None) => {
                self.add(Kind::Unexpected, &format!("{id}: on the list, but not on record: {message:?}"));
            }
            (Some(element), Some(fields)) if !contains(element, fields, &["servers"]) => {
                self.add(Kind::Altered, &format!("{id}: {element} is not {fields}"));
            }
            _ => {}
        }
    }

    fn judge_post(&mut self, id: &str, post: &Post, elements: &Elements) {
        let mut found = Vec::new();
        for message in &post.messages {
            let Some(index) = elements.index(text(message, "message")) else { continue };
            found.push(index);
            if !is_as_sent(elements.all[index], message, id) {
                self.add(Kind::Altered, &format!("{id}: {} was sent as {message}", elements.all[index]));
            }
        }
        let missing = post.messages.len() - found.len();
        let messages: Vec<_> = post.messages.iter().map(|message| text(message, "message")).collect();
        match post.fate {
            Fate::Acknowledged if missing > 0 => {
                let description = format!("{id}: acknowledged, but {missing} not on the list: {messages:?}");
                self.add_times(missing as u64, Kind::Lost, &description);
            }
            Fate::Refused if !found.is_empty() => {
                self.add(Kind::Unexpected, &format!("{id}: refused, but {} on the list: {messages:?}", found.len()));
            }
            Fate::Unknown if !found.is_empty() && missing > 0 => {
                self.add(Kind::Unexpected, &format!("{id}: {missing} of a post are missing: {messages:?}"));
            }
            _ if !found.is_sorted() => {
                self.add(Kind::OutOfOrder, &format!("{id}: the messages of a post: {messages:?}"));
            }
            _ => {}
        }
    }

    /// Compares the order of the acknowledgements with the order of the elements.
    fn judge_order(&mut self, deployment: &Deployment, elements: &Elements) {
        let acknowledged: Vec<_> =
            deployment.acknowledged.iter().map(|message| (elements.index(message), message)).collect();
        if !acknowledged.iter().filter_map(|(index, _)| *index).is_sorted() {
            let id = &deployment.id;
            let description = format!("{id}: index on the list, in order of acknowledgement: {acknowledged:?}");
            self.add(Kind::OutOfOrder, &description);
        }
    }
}

/// Whether the element of a log message has the fields that were sent, those that the service is documented to add, and
/// no others.
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
