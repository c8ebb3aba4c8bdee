//! Pending batches are kept in the outbox until they are acknowledged.

use std::sync::Arc;

use uuid::Uuid;

use super::{SINKS, Tested, next_millisecond};
use crate::event::{Batch, Event, EventKind};
use crate::group::{Change, OutboxEntry, Outcome};
use crate::store::{Backlog, PENDING_BYTES, PendingBatch};
use crate::testing::{deployment_report, logged, logs, new_id, server_report, started};
use crate::{DeploymentFields, time};

fn enqueue(output: &str, batch: &Arc<Batch>) -> Change {
    Change::Enqueue(OutboxEntry { output: output.into(), batch: batch.clone() })
}

fn acknowledge(output: &str, batches: &[Uuid]) -> Change {
    Change::Acknowledge { output: output.into(), batches: batches.into() }
}

fn ids(pending: &[PendingBatch]) -> Vec<Uuid> {
    pending.iter().map(|pending| pending.batch.id).collect()
}

fn as_json<'a>(events: impl IntoIterator<Item = &'a Arc<Event>>) -> String {
    serde_json::to_string(&events.into_iter().collect::<Vec<_>>()).expect("events are JSON")
}

/// Acknowledges all pending batches of an output, as a delivery worker does. Returns their ids in
/// order.
async fn drain(store: &Tested<'_>, output: &str) -> Vec<Uuid> {
    let mut drained = Vec::new();
    loop {
        let page = ids(&store.pending(output, 1000).await);
        if page.is_empty() {
            return drained;
        }
        assert!(!page.iter().any(|id| drained.contains(id)), "an acknowledged batch is no longer pending");
        let outcome = store.outcome(acknowledge(output, &page)).await;
        assert_eq!(outcome, Outcome::Recorded, "pending batches can be acknowledged");
        drained.extend(page);
    }
}

pub async fn keeps_pending_batches_until_they_are_acknowledged(store: &Tested<'_>) {
    assert!(store.pending("another", 10).await.is_empty(), "an unknown output has no pending batches");
    for sink in SINKS {
        assert!(!drain(store, sink.name).await.is_empty(), "each recorded report is pending");
        assert_eq!(store.backlog(sink.name).await, Backlog::default(), "a drained output has no backlog");
    }

    // The outbox keeps the events of a group that each output wants, in order and whole.
    let id = new_id();
    let mut start = deployment_report(id, r#"{"engine":"e"}"#);
    start.reporter = Some("jenkins".into());
    let messages = EventKind::Logged(logs(id, r#"[{"message":"m","n":1.0},{"message":"o"}]"#));
    let group = vec![
        Change::StartDeployment(start),
        Change::StartServer(server_report(id, r#"{"hostname":"o"}"#)),
        Change::KeepLogs(vec![Arc::new(Event::new(messages, time::now(), Some("ansible".into())))]),
    ];
    let mixed = store.commit(group).await.batches.remove(0);
    let (some, every) = (store.pending("sink", 10).await, store.pending("all", 10).await);
    let expected = (vec![mixed.id], vec![mixed.id]);
    assert_eq!((ids(&some), ids(&every)), expected, "a group is one batch, with the same id for each output");
    assert_eq!(as_json(&every[0].batch.events), as_json(&mixed.events), "events are stored whole and in order");
    let wanted = [&mixed.events[0], &mixed.events[2]];
    assert_eq!(as_json(&some[0].batch.events), as_json(wanted), "unwanted events are not stored for the output");
    let server_only = store.commit(vec![Change::StartServer(server_report(id, r#"{"hostname":"p"}"#))]).await;
    assert_eq!(ids(&store.pending("sink", 10).await), [mixed.id], "a group without wanted events adds no batch");
    let expected = [mixed.id, server_only.batches[0].id];
    assert_eq!(ids(&store.pending("all", 10).await), expected, "batches are read oldest first");

    // Batches are read in the order of their ids, each once, in whichever order they were enqueued.
    next_millisecond().await;
    let [a, b, c] = ["a", "b", "c"].map(|engine| {
        let fields = DeploymentFields { engine: Some(engine.into()), ..Default::default() };
        Arc::new(Batch::new(vec![logged(r#"{"message":"m","n":1.0}"#), started(fields)]))
    });
    for batch in [&c, &a, &b, &a] {
        store.commit(vec![enqueue("sink", batch)]).await;
    }
    store.commit(vec![enqueue("another", &b)]).await;
    let pending = store.pending("sink", 10).await;
    assert_eq!(ids(&pending), [mixed.id, a.id, b.id, c.id], "batches are read in the order of their ids, each once");
    assert_eq!(as_json(&pending[1].batch.events), as_json(&a.events), "an enqueued batch is stored whole");
    assert_eq!(ids(&store.pending("sink", 2).await), [mixed.id, a.id], "`limit` limits the number of batches");
    let backlog = store.backlog("sink").await;
    let expected = (9, Some(mixed.events[0].at));
    assert_eq!((backlog.messages, backlog.oldest), expected, "the backlog counts each message of a log batch");
    assert!((1..100_000).contains(&backlog.bytes), "the backlog has the size in bytes: {backlog:?}");
    let backlog = store.backlog("another").await;
    let expected = (2, Some(b.events[0].at));
    assert_eq!((backlog.messages, backlog.oldest), expected, "each output has its own backlog");

    // Acknowledging removes the named batches of the named output, and no others.
    let outcome = store.outcome(acknowledge("sink", &[b.id])).await;
    assert_eq!(outcome, Outcome::Recorded, "a pending batch can be acknowledged");
    let left = [mixed.id, a.id, c.id];
    assert_eq!(ids(&store.pending("sink", 10).await), left, "only the acknowledged batch is removed");
    assert_eq!(ids(&store.pending("another", 10).await), [b.id], "the batch stays pending for the other output");
    let several = vec![
        acknowledge("another", &[b.id]),
        acknowledge("sink", &[a.id, b.id]),
        acknowledge("another", &[c.id]),
        acknowledge("sink", &[c.id]),
    ];
    let outcomes = store.commit(several).await.outcomes;
    assert_eq!(
        outcomes,
        [Outcome::Recorded, Outcome::Unchanged, Outcome::Unchanged, Outcome::Recorded],
        "acknowledging a batch that is not pending is `Unchanged`"
    );
    let left = ids(&store.pending("sink", 10).await);
    assert_eq!(left, [mixed.id], "a batch is removed even if another of the same acknowledgement is not pending");
    for sink in SINKS {
        drain(store, sink.name).await;
    }
    for output in ["sink", "all", "another"] {
        assert_eq!(store.backlog(output).await, Backlog::default(), "`{output}` is drained");
    }
}

pub async fn is_read_in_bounded_parts(store: &Tested<'_>) {
    let mut pending = Vec::new();
    for size in [PENDING_BYTES + 1, PENDING_BYTES / 2, PENDING_BYTES / 2, PENDING_BYTES / 2, PENDING_BYTES / 2] {
        let batch = Arc::new(Batch::new(vec![logged(&format!(r#"{{"message":"{}"}}"#, "x".repeat(size)))]));
        store.commit(vec![enqueue("sink", &batch)]).await;
        pending.push(batch.id);
    }
    let bytes = usize::try_from(store.backlog("sink").await.bytes).expect("the size fits");
    assert!((3 * PENDING_BYTES..4 * PENDING_BYTES).contains(&bytes), "the backlog has the size in bytes: {bytes}");
    let first = store.pending("sink", 10).await;
    assert!(
        (1..3).contains(&first.len()),
        "a read ends after `PENDING_BYTES`, but has at least one batch: {}",
        first.len()
    );
    let outcome = store.outcome(acknowledge("sink", &pending[..1])).await;
    assert_eq!(outcome, Outcome::Recorded, "a pending batch can be acknowledged");
    let next = store.pending("sink", 10).await;
    assert!((1..4).contains(&next.len()), "a read ends after `PENDING_BYTES`: {}", next.len());
    assert_eq!(drain(store, "sink").await, pending[1..], "repeated reads return every batch in order");
}
