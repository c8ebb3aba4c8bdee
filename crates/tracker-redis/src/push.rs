//! A push: batches that go to Redis together. Each has a marker, so that Redis recognizes a duplicate.
//!
//! A small push is one script, `push.lua`. A large push is a transaction if all its batches are new, and the script
//! otherwise: `docs/decisions/0012-large-pushes-are-transactions.md` explains both.

use std::collections::HashSet;
use std::{iter, mem};

use fred::bytes::Bytes;
use fred::clients::{Client, Pipeline};
use fred::error::Error;
use fred::interfaces::ClientLike;
use fred::types::{ClusterHash, CustomCommand, Key, Value};
use tracker_core::Batch;
use uuid::Uuid;

use crate::encode::{Elements, Encoder};

/// The script that pushes batches, atomically and each batch once.
///
/// Every push contains the whole script. Receiving and hashing a kilobyte costs Redis 2 µs, and the script
/// survives restarts and `SCRIPT FLUSH`.
const PUSH: &str = include_str!("push.lua");
/// The script that sets the markers of a transaction.
const MARK: &str = include_str!("mark.lua");

/// The minimum number of elements of a transaction. With fewer elements, the script costs less.
const MIN_TRANSACTION: usize = 250;

/// The number of elements, and of bytes, at which a push is full. Redis does nothing else during a push.
const FULL_ELEMENTS: usize = 1_000;
const FULL_BYTES: usize = 1 << 20;

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
}

/// Whether Redis Cluster hashes only a part of `key`: the text between the first `{` and the next `}`, if it is
/// not empty.
fn has_hash_tag(key: &str) -> bool {
    key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).is_some_and(|(tag, _)| !tag.is_empty())
}

/// A push that takes batches until it is full.
#[derive(Debug, Default)]
pub(crate) struct Push {
    markers: Vec<Value>,
    /// Markers to delete.
    forgotten: Vec<Value>,
    elements: Elements,
    /// The total number of elements after each batch.
    batch_ends: Vec<usize>,
}

impl Push {
    /// An empty push that deletes the markers of `batches`.
    pub(crate) fn forgetting(keys: &Keys, batches: &[Uuid]) -> Self {
        Self { forgotten: batches.iter().map(|batch| keys.marker(*batch).into()).collect(), ..Self::default() }
    }

    /// Adds a batch, unless it has no elements.
    pub(crate) fn add(&mut self, keys: &Keys, encoder: &dyn Encoder, batch: &Batch) {
        let before = self.elements.ends.len();
        for event in &batch.events {
            encoder.encode(event, &mut self.elements);
        }
        if self.elements.ends.len() > before {
            self.markers.push(keys.marker(batch.id).into());
            self.batch_ends.push(self.elements.ends.len());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.markers.is_empty() && self.forgotten.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.elements.ends.len() >= FULL_ELEMENTS || self.elements.bytes.len() >= FULL_BYTES
    }

    /// Converts the push to the values that fred sends.
    pub(crate) fn encode(self) -> EncodedPush {
        let Self { markers, forgotten, elements: Elements { bytes, ends }, batch_ends } = self;
        let (bytes, mut start) = (Bytes::from(bytes), 0);
        let elements = ends.into_iter().map(|end| Value::Bytes(bytes.slice(mem::replace(&mut start, end)..end)));
        EncodedPush { markers, forgotten, elements: elements.collect(), batch_ends }
    }
}

/// A push that is ready to be sent.
#[derive(Debug)]
pub(crate) struct EncodedPush {
    markers: Vec<Value>,
    forgotten: Vec<Value>,
    elements: Vec<Value>,
    batch_ends: Vec<usize>,
}

impl EncodedPush {
    /// Pushes the batches that Redis does not have yet, each whole or not at all, and deletes the forgotten markers.
    pub(crate) async fn send(self, client: &Client, keys: &Keys, max_list_length: Option<u64>) -> Result<(), Error> {
        if self.elements.len() >= MIN_TRANSACTION && self.transact(client, keys, max_list_length).await? {
            return Ok(());
        }
        let Self { markers, forgotten, elements, batch_ends } = self;
        let mut arguments = Vec::with_capacity(5 + batch_ends.len() + elements.len() + markers.len() + forgotten.len());
        arguments.extend([PUSH.into(), count(1 + markers.len() + forgotten.len()), keys.list.clone().into()]);
        let batches = count(markers.len());
        arguments.extend(markers.into_iter().chain(forgotten));
        arguments.push(max_list_length.map_or_else(|| "none".into(), |length| length.to_string().into()));
        arguments.push(batches);
        let (mut elements, mut start) = (elements.into_iter(), 0);
        for end in batch_ends {
            arguments.push(count(end - start));
            arguments.extend(elements.by_ref().take(end - start));
            start = end;
        }
        client.custom(command("EVAL"), arguments).await
    }

    /// Pushes with an optimistic transaction (WATCH, MULTI and EXEC) if every batch is new. Unlike Lua, this does not
    /// copy each element twice. Otherwise returns false without side effects, and the caller falls back to the script.
    ///
    /// WATCH precedes reading the markers. A transaction that hangs in an abandoned connection therefore fails
    /// if it reaches Redis after its retry.
    async fn transact(&self, client: &Client, keys: &Keys, max_list_length: Option<u64>) -> Result<bool, Error> {
        let names: HashSet<_> = self.markers.iter().map(Value::as_str).collect();
        if names.len() < self.markers.len() {
            return Ok(false);
        }
        let list = || Value::from(keys.list.clone());
        let query = client.pipeline();
        add(&query, "WATCH", self.markers.clone()).await?;
        add(&query, "MGET", self.markers.clone()).await?;
        add(&query, "LLEN", vec![list()]).await?;
        // Redis confirms MULTI before this sends RPUSH, because RPUSH must not run outside the transaction.
        add(&query, "MULTI", Vec::new()).await?;
        let (_, markers, length, _): (Value, Vec<Value>, u64, Value) = query.all().await?;
        let is_below_limit = max_list_length.is_none_or(|max| length < max);
        if !is_below_limit || !markers.iter().all(Value::is_null) {
            let () = client.custom(command("DISCARD"), Vec::<Value>::new()).await?;
            return Ok(false);
        }

        let transaction = client.pipeline();
        // These two commands change nothing. If the user lacks permission for one of them, Redis rejects the whole
        // transaction, instead of executing RPUSH and then failing in MARK, which calls both.
        add(&transaction, "SET", vec![self.markers[0].clone(), "".into(), "XX".into()]).await?;
        add(&transaction, "LINDEX", vec![list(), i64::MAX.to_string().into()]).await?;
        add(&transaction, "RPUSH", iter::once(list()).chain(self.elements.iter().cloned()).collect()).await?;
        let mark = [MARK.into(), count(1 + self.markers.len()), list()];
        let last = self.elements.last().cloned();
        add(&transaction, "EVAL", mark.into_iter().chain(self.markers.iter().cloned()).chain(last).collect()).await?;
        if !self.forgotten.is_empty() {
            add(&transaction, "DEL", self.forgotten.clone()).await?;
        }
        add(&transaction, "EXEC", Vec::new()).await?;
        let answers: Vec<Value> = transaction.all().await?;
        // EXEC returns null if another connection wrote a marker after WATCH.
        Ok(answers.last().is_some_and(|answer| !answer.is_null()))
    }
}

async fn add(pipeline: &Pipeline<Client>, name: &'static str, arguments: Vec<Value>) -> Result<(), Error> {
    pipeline.custom(command(name), arguments).await
}

fn command(name: &'static str) -> CustomCommand {
    CustomCommand::new_static(name, ClusterHash::FirstKey, false)
}

fn count(number: usize) -> Value {
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
