//! What goes to Redis in one piece: batches, each with a marker that tells Redis whether it has them already.

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

/// The script that does it, at once and for every batch once.
///
/// It is sent along each time: a kilobyte and its hash cost Redis 2 µs, and no restart or `SCRIPT FLUSH`
/// can take it away.
const PUSH: &str = include_str!("push.lua");
/// The script that marks what a transaction has pushed.
const MARK: &str = include_str!("mark.lua");

/// From how many elements on a transaction costs less than the script: `docs/decisions/0012-large-pushes-are-transactions.md`.
const MANY: usize = 250;

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
    markers: Vec<Value>,
    acknowledged: Vec<Value>,
    elements: Elements,
    /// The number of elements up to the end of each batch.
    batch_ends: Vec<usize>,
}

impl Push {
    /// Has Redis forget the markers of `settled`.
    pub(crate) fn forget(&mut self, keys: &Keys, acknowledged: &[Uuid]) {
        self.acknowledged.extend(acknowledged.iter().map(|batch| keys.marker(*batch).into()));
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
        self.markers.is_empty() && self.acknowledged.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.elements.ends.len() >= ENOUGH || self.elements.bytes.len() >= ENOUGH_BYTES
    }

    /// Ready to be sent.
    pub(crate) fn encode(self) -> EncodedPush {
        let Self { markers, acknowledged, elements: Elements { bytes, ends }, batch_ends } = self;
        let (bytes, mut start) = (Bytes::from(bytes), 0);
        let elements = ends.into_iter().map(|end| Value::Bytes(bytes.slice(mem::replace(&mut start, end)..end)));
        EncodedPush { markers, acknowledged, elements: elements.collect(), batch_ends }
    }
}

/// Batches ready to be sent.
#[derive(Debug)]
pub(crate) struct EncodedPush {
    markers: Vec<Value>,
    acknowledged: Vec<Value>,
    elements: Vec<Value>,
    batch_ends: Vec<usize>,
}

impl EncodedPush {
    /// Pushes the batches that are not on the list yet, each whole or not at all, and has Redis forget those that will never
    /// come again.
    pub(crate) async fn send(self, client: &Client, keys: &Keys, max_list_length: Option<u64>) -> Result<(), Error> {
        if self.elements.len() >= MANY && self.transact(client, keys, max_list_length).await? {
            return Ok(());
        }
        let Self { markers, acknowledged, elements, batch_ends } = self;
        let mut arguments =
            Vec::with_capacity(5 + batch_ends.len() + elements.len() + markers.len() + acknowledged.len());
        arguments.extend([PUSH.into(), count(1 + markers.len() + acknowledged.len()), keys.list.clone().into()]);
        let batches = count(markers.len());
        arguments.extend(markers.into_iter().chain(acknowledged));
        arguments.push(max_list_length.map_or_else(|| "none".into(), |length| length.to_string().into()));
        arguments.push(batches);
        let (mut elements, mut first) = (elements.into_iter(), 0);
        for end in batch_ends {
            arguments.push(count(end - first));
            arguments.extend(elements.by_ref().take(end - first));
            first = end;
        }
        client.custom(command("EVAL"), arguments).await
    }

    /// Pushes it if it is all new and nothing twice, as a transaction: Lua would copy each element twice. Whether it did; if
    /// not, nothing was done, and the script finds out why.
    ///
    /// It is what Redis' documentation calls check-and-set. The markers are watched before they are looked at: a push that
    /// hangs in a connection that was given up is not done after its repeat.
    async fn transact(&self, client: &Client, keys: &Keys, max_list_length: Option<u64>) -> Result<bool, Error> {
        let names: HashSet<_> = self.markers.iter().map(Value::as_str).collect();
        if names.len() < self.markers.len() {
            return Ok(false);
        }
        let list = || Value::from(keys.list.clone());
        let question = client.pipeline();
        add(&question, "WATCH", self.markers.clone()).await?;
        add(&question, "MGET", self.markers.clone()).await?;
        add(&question, "LLEN", vec![list()]).await?;
        // Before anything that must not be done without it.
        add(&question, "MULTI", Vec::new()).await?;
        let (_, markers, length, _): (Value, Vec<Value>, u64, Value) = question.all().await?;
        let has_room = max_list_length.is_none_or(|longest| length < longest);
        if !has_room || !markers.iter().all(Value::is_null) {
            let () = client.custom(command("DISCARD"), Vec::<Value>::new()).await?;
            return Ok(false);
        }

        let transaction = client.pipeline();
        // Neither finds anything to do, but each ends the transaction where it is forbidden, and so forbidden to the script.
        add(&transaction, "SET", vec![self.markers[0].clone(), "".into(), "XX".into()]).await?;
        add(&transaction, "LINDEX", vec![list(), i64::MAX.to_string().into()]).await?;
        add(&transaction, "RPUSH", iter::once(list()).chain(self.elements.iter().cloned()).collect()).await?;
        let mark = [MARK.into(), count(1 + self.markers.len()), list()];
        let last = self.elements.last().cloned();
        add(&transaction, "EVAL", mark.into_iter().chain(self.markers.iter().cloned()).chain(last).collect()).await?;
        if !self.acknowledged.is_empty() {
            add(&transaction, "DEL", self.acknowledged.clone()).await?;
        }
        add(&transaction, "EXEC", Vec::new()).await?;
        let answers: Vec<Value> = transaction.all().await?;
        // Null when another connection has touched a marker in between.
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
