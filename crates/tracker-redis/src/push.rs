//! What goes to Redis in one piece: batches, each with a marker that tells Redis whether it has them already.

use fred::bytes::Bytes;
use fred::types::{Key, Value};
use tracker_core::Batch;
use uuid::Uuid;

use crate::encode::{Elements, Encoder};

/// The script that does it, at once and for every batch once.
///
/// It is sent along each time: a kilobyte and its hash cost Redis 2 µs, and no restart or `SCRIPT FLUSH`
/// can take it away.
pub(crate) const SCRIPT: &str = include_str!("push.lua");

/// After how many elements, or bytes, a push takes no further batch. Redis does nothing else meanwhile.
const ENOUGH: usize = 1_000;
const ENOUGH_BYTES: usize = 1 << 20;

/// The keys that a push touches.
#[derive(Debug)]
pub(crate) struct Keys {
    list: Key,
    /// What a marker's key begins with. It has the list's hash tag, so that a cluster keeps both in one slot.
    marker: String,
}

impl Keys {
    pub(crate) fn new(list: &str) -> Self {
        let marker = if has_hash_tag(list) { format!("{list}:delivered:") } else { format!("{{{list}}}:delivered:") };
        Self { list: list.into(), marker }
    }

    pub(crate) fn list(&self) -> &Key {
        &self.list
    }

    fn marker(&self, batch: Uuid) -> Key {
        format!("{}{batch}", self.marker).into()
    }
}

/// Whether Redis Cluster hashes only a part of `key`: that between the first `{` and the next `}`, if there is one.
fn has_hash_tag(key: &str) -> bool {
    key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).is_some_and(|(tag, _)| !tag.is_empty())
}

/// Batches on their way to Redis.
#[derive(Debug, Default)]
pub(crate) struct Push {
    markers: Vec<Key>,
    settled: Vec<Key>,
    elements: Elements,
    /// The number of elements up to the end of each batch.
    batch_ends: Vec<usize>,
}

impl Push {
    /// Has Redis forget the markers of `settled`.
    pub(crate) fn settle(&mut self, keys: &Keys, settled: &[Uuid]) {
        self.settled.extend(settled.iter().map(|batch| keys.marker(*batch)));
    }

    /// Adds a batch, unless it has no elements.
    pub(crate) fn add(&mut self, keys: &Keys, encoder: &dyn Encoder, batch: &Batch) {
        let before = self.elements.ends.len();
        for event in &batch.events {
            encoder.encode(event, &mut self.elements);
        }
        if self.elements.ends.len() > before {
            self.markers.push(keys.marker(batch.id));
            self.batch_ends.push(self.elements.ends.len());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.markers.is_empty() && self.settled.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.elements.ends.len() >= ENOUGH || self.elements.bytes.len() >= ENOUGH_BYTES
    }

    /// The script's KEYS and ARGV.
    pub(crate) fn into_arguments(self, keys: &Keys, max_list_length: Option<u64>) -> (Vec<Key>, Vec<Value>) {
        let Self { markers, settled, elements: Elements { bytes, ends }, batch_ends } = self;
        let bytes = Bytes::from(bytes);
        let mut arguments = Vec::with_capacity(2 + batch_ends.len() + ends.len());
        arguments.push(max_list_length.map_or_else(|| "none".into(), |length| length.to_string().into()));
        arguments.push(count(batch_ends.len()));
        let (mut start, mut first) = (0, 0);
        for batch_end in batch_ends {
            arguments.push(count(batch_end - first));
            for &end in &ends[first..batch_end] {
                arguments.push(Value::Bytes(bytes.slice(start..end)));
                start = end;
            }
            first = batch_end;
        }
        let all = std::iter::once(keys.list.clone()).chain(markers).chain(settled).collect();
        (all, arguments)
    }
}

fn count(number: usize) -> Value {
    Value::from(number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_lives_in_the_slot_of_its_list() {
        for list in ["logstash", "a:b", "{a}", "x{a}y{b}", "a{b", "{a", "ö 😀"] {
            let keys = Keys::new(list);
            let marker = keys.marker(Uuid::nil());
            assert_eq!(keys.list().cluster_hash(), marker.cluster_hash(), "{list} {marker:?}");
        }
        let marker = Keys::new("logstash").marker(Uuid::nil());
        assert_eq!(marker.as_str(), Some("{logstash}:delivered:00000000-0000-0000-0000-000000000000"));
    }
}
