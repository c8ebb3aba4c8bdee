//! A push: batches that go to Redis together. Each has a marker, so that Redis recognizes a duplicate.
//!
//! A small push is one script, `push.lua`. A large push is a transaction:
//! `docs/decisions/0012-large-pushes-are-transactions.md` explains both. `mode` says what happens without scripts.

use std::collections::HashSet;
use std::ops::Range;

use fred::bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::ClientLike;
use fred::types::{ClusterHash, CustomCommand, Key, Value};
use tracker_core::Batch;
use uuid::Uuid;

use crate::encode::{Elements, Encoder};
use crate::mode::Mode;
use crate::pace::Pace;
use crate::transaction::transact;

/// The script that pushes batches, atomically and each batch once.
///
/// Every push contains the whole script. Receiving and hashing a kilobyte costs Redis 2 µs, and the script
/// survives restarts and `SCRIPT FLUSH`.
const PUSH: &str = include_str!("push.lua");

/// The lifetime of a marker: a week.
pub(crate) const MARKER_SECONDS: &str = "604800";

/// The number of elements, or of bytes, from which a push is large. With fewer elements, the script costs less.
const LARGE_ELEMENTS: usize = 250;
const LARGE_BYTES: usize = 256 << 10;

/// The number of elements at which a push is full. Redis does nothing else during a push.
const FULL_ELEMENTS: usize = 1_000;

/// The sizes of an element and of a marker in the protocol, without the texts of the element and of the marker's key.
const ELEMENT_OVERHEAD: usize = 16;
const MARKER_OVERHEAD: usize = 64;

/// The keys that a push touches.
#[derive(Debug)]
pub(crate) struct Keys {
    list: Key,
    /// The prefix of a marker's key. It has the hash tag of the list, so that a cluster keeps both in one slot.
    marker_prefix: String,
}

impl Keys {
    pub(crate) fn new(list: &str) -> Self {
        let marker_prefix =
            if has_hash_tag(list) { format!("{list}:delivered:") } else { format!("{{{list}}}:delivered:") };
        Self { list: list.into(), marker_prefix }
    }

    pub(crate) fn list(&self) -> &Key {
        &self.list
    }

    fn marker(&self, batch: Uuid) -> Key {
        format!("{}{batch}", self.marker_prefix).into()
    }

    /// A marker that no batch has.
    pub(crate) fn probe(&self) -> Value {
        format!("{}probe", self.marker_prefix).into()
    }
}

/// Whether Redis Cluster hashes only a part of `key`: the text between the first `{` and the next `}`, if it is
/// not empty.
fn has_hash_tag(key: &str) -> bool {
    key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).is_some_and(|(tag, _)| !tag.is_empty())
}

/// A batch in a push.
#[derive(Debug)]
pub(crate) struct PushedBatch {
    id: Uuid,
    marker: Value,
    /// The indices of its elements.
    pub(crate) elements: Range<usize>,
}

/// A push that takes batches until it is full.
#[derive(Debug, Default)]
pub(crate) struct Push {
    batches: Vec<PushedBatch>,
    /// Markers to delete.
    forgotten: Vec<Value>,
    elements: Elements,
}

impl Push {
    /// An empty push that deletes the markers of `batches`.
    pub(crate) fn forgetting(keys: &Keys, batches: &[Uuid]) -> Self {
        Self { forgotten: batches.iter().map(|batch| keys.marker(*batch).into()).collect(), ..Self::default() }
    }

    /// Adds a batch, unless it has no elements.
    pub(crate) fn add(&mut self, keys: &Keys, encoder: &dyn Encoder, batch: &Batch) {
        let first = self.elements.ends.len();
        for event in &batch.events {
            encoder.encode(event, &mut self.elements);
        }
        let elements = first..self.elements.ends.len();
        if !elements.is_empty() {
            self.batches.push(PushedBatch { id: batch.id, marker: keys.marker(batch.id).into(), elements });
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.forgotten.is_empty()
    }

    /// Whether the push has as many elements as Redis should take at once, or as many bytes as the link carries.
    pub(crate) fn is_full(&self, pace: &Pace) -> bool {
        let bytes = self.elements.bytes.len() + markers_size(&self.batches, &self.forgotten);
        self.elements.ends.len() >= FULL_ELEMENTS || bytes >= pace.rate()
    }

    /// Converts the push to the values that fred sends.
    pub(crate) fn encode(self) -> EncodedPush {
        let Self { batches, forgotten, elements: Elements { bytes, ends } } = self;
        EncodedPush { batches, forgotten, bytes: bytes.into(), ends }
    }
}

/// Where a push goes, and how.
pub(crate) struct Target<'a> {
    pub(crate) client: &'a Client,
    pub(crate) keys: &'a Keys,
    pub(crate) max_list_length: Option<u64>,
    pub(crate) pace: &'a Pace,
    pub(crate) mode: Mode,
    /// Whether an earlier push failed, so that the batches may have arrived.
    pub(crate) is_in_doubt: bool,
}

/// A push that is ready to be sent.
#[derive(Debug)]
pub(crate) struct EncodedPush {
    pub(crate) batches: Vec<PushedBatch>,
    pub(crate) forgotten: Vec<Value>,
    /// All elements, and the end of each.
    bytes: Bytes,
    ends: Vec<usize>,
}

/// Elements that one RPUSH pushes.
pub(crate) struct Piece {
    pub(crate) bytes: usize,
    elements: Vec<Value>,
}

impl Piece {
    pub(crate) fn arguments(self, list: Value) -> Vec<Value> {
        let mut arguments = Vec::with_capacity(1 + self.elements.len());
        arguments.push(list);
        arguments.extend(self.elements);
        arguments
    }
}

impl EncodedPush {
    /// Pushes the batches that Redis does not have yet, each whole or not at all, and deletes the forgotten markers.
    /// With [`Mode::Plain`], it pushes every batch.
    pub(crate) async fn send(mut self, target: &Target<'_>) -> Result<(), Error> {
        let bytes = self.size();
        let is_large = self.ends.len() >= LARGE_ELEMENTS || bytes > LARGE_BYTES.min(target.pace.rate());
        match target.mode {
            Mode::Both if is_large => transact(self, target).await?,
            Mode::Transactions => transact(self, target).await?,
            Mode::Scripts | Mode::Both => {
                if target.is_in_doubt && !self.batches.is_empty() {
                    let query = target.client.custom(command("MGET"), self.markers());
                    let found: Vec<Value> = target.pace.within(self.markers_size(), query).await?;
                    self.remove_delivered(&found, target).await?;
                }
                target.pace.within(self.size(), self.evaluate(target)).await?;
            }
            Mode::Plain => self.push_plainly(target).await?,
        }
        target.pace.arrived(bytes);
        Ok(())
    }

    async fn evaluate(self, target: &Target<'_>) -> Result<(), Error> {
        let elements = self.batches.iter().map(|batch| 1 + batch.elements.len()).sum::<usize>();
        let keys = 1 + self.batches.len() + self.forgotten.len();
        let mut arguments = Vec::with_capacity(5 + keys + elements);
        arguments.extend([PUSH.into(), count(keys), target.keys.list.clone().into()]);
        arguments.extend(self.batches.iter().map(|batch| batch.marker.clone()));
        arguments.extend(self.forgotten.iter().cloned());
        arguments.push(target.max_list_length.map_or_else(|| "none".into(), |length| length.to_string().into()));
        arguments.push(count(self.batches.len()));
        arguments.push(MARKER_SECONDS.into());
        for batch in &self.batches {
            arguments.push(count(batch.elements.len()));
            arguments.extend(batch.elements.clone().map(|index| self.element(index)));
        }
        target.client.custom(command("EVAL"), arguments).await
    }

    async fn push_plainly(self, target: &Target<'_>) -> Result<(), Error> {
        let list = || Value::from(target.keys.list.clone());
        if let Some(max) = target.max_list_length {
            let length: u64 = target.pace.within(0, target.client.custom(command("LLEN"), vec![list()])).await?;
            if length >= max {
                return Err(congested());
            }
        }
        for piece in self.pieces(target.pace.rate()) {
            let bytes = piece.bytes;
            let pushed = target.client.custom(command("RPUSH"), piece.arguments(list()));
            let () = target.pace.within(bytes, pushed).await?;
        }
        Ok(())
    }

    pub(crate) fn markers(&self) -> Vec<Value> {
        self.batches.iter().map(|batch| batch.marker.clone()).collect()
    }

    /// Removes each batch whose marker Redis has found, and repetitions of a batch. Renews the markers that it has
    /// found: a batch may be retried for longer than a marker lasts, and WAIT waits only for what this connection writes.
    pub(crate) async fn remove_delivered(&mut self, found: &[Value], target: &Target<'_>) -> Result<(), Error> {
        let (mut found, mut seen) = (found.iter(), HashSet::new());
        let renewals = target.client.pipeline();
        let mut renewed = 0;
        for (batch, _) in self.batches.iter().zip(found.clone()).filter(|(_, marker)| !marker.is_null()) {
            let arguments = vec![batch.marker.clone(), "".into(), "XX".into(), "EX".into(), MARKER_SECONDS.into()];
            let () = renewals.custom(command("SET"), arguments).await?;
            renewed += 1;
        }
        if renewed > 0 {
            let _: Vec<Value> = target.pace.within(self.markers_size(), renewals.all()).await?;
        }
        self.batches.retain(|batch| {
            let is_new = found.next().is_none_or(Value::is_null);
            is_new && seen.insert(batch.id)
        });
        Ok(())
    }

    /// The elements of all batches, in pieces of at most `max_bytes` or one element.
    pub(crate) fn pieces(&self, max_bytes: usize) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for element in self.batches.iter().flat_map(|batch| batch.elements.clone()).map(|index| self.element(index)) {
            let bytes = element.as_bytes().map_or(0, <[u8]>::len) + ELEMENT_OVERHEAD;
            match pieces.last_mut().filter(|piece| piece.bytes + bytes <= max_bytes) {
                Some(piece) => {
                    piece.bytes += bytes;
                    piece.elements.push(element);
                }
                None => pieces.push(Piece { bytes, elements: vec![element] }),
            }
        }
        pieces
    }

    pub(crate) fn last_element(&self) -> Option<Value> {
        self.batches.last().map(|batch| self.element(batch.elements.end - 1))
    }

    fn element(&self, index: usize) -> Value {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Value::Bytes(self.bytes.slice(start..self.ends[index]))
    }

    /// About how many bytes the push has in the protocol.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + ELEMENT_OVERHEAD * self.ends.len() + self.markers_size()
    }

    pub(crate) fn markers_size(&self) -> usize {
        markers_size(&self.batches, &self.forgotten)
    }
}

/// About how many bytes the markers have in the protocol, all of which are equally long.
fn markers_size(batches: &[PushedBatch], forgotten: &[Value]) -> usize {
    let marker = batches.first().map(|batch| &batch.marker).or(forgotten.first());
    let key = marker.and_then(Value::as_bytes).map_or(0, <[u8]>::len);
    (MARKER_OVERHEAD + key) * (batches.len() + forgotten.len())
}

/// The error of a push to a full list, as `push.lua` returns it.
pub(crate) fn congested() -> Error {
    Error::new(ErrorKind::Unknown, "CONGESTED the list has reached its maximum length")
}

pub(crate) fn command(name: &'static str) -> CustomCommand {
    CustomCommand::new_static(name, ClusterHash::FirstKey, false)
}

pub(crate) fn count(number: usize) -> Value {
    Value::from(number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_in_the_slot_of_its_list() {
        for list in ["logstash", "a:b", "{a}", "x{a}y{b}", "a{b", "{a", "ö 😀"] {
            let keys = Keys::new(list);
            let marker = keys.marker(Uuid::nil());
            assert_eq!(keys.list().cluster_hash(), marker.cluster_hash(), "{list} {marker:?}");
        }
        let marker = Keys::new("logstash").marker(Uuid::nil());
        assert_eq!(marker.as_str(), Some("{logstash}:delivered:00000000-0000-0000-0000-000000000000"));
    }
}
