//! What is owed to outputs.

use std::sync::Arc;

use uuid::Uuid;

use super::{SINKS, Tested, a_moment};
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

/// Settles all that is owed, as a courier does, and says what it was.
async fn drain(store: &Tested<'_>, output: &str) -> Vec<Uuid> {
    let mut drained = Vec::new();
    loop {
        let part = ids(&store.pending(output, 1000).await);
        if part.is_empty() {
            return drained;
        }
        assert!(!part.iter().any(|id| drained.contains(id)), "what is settled is owed no more");
        assert_eq!(store.outcome(acknowledge(output, &part)).await, Outcome::Recorded);
        drained.extend(part);
    }
}

pub async fn keeps_pending_batches_until_they_are_acknowledged(store: &Tested<'_>) {
    assert!(store.pending("another", 10).await.is_empty());
    for sink in SINKS {
        assert!(!drain(store, sink.name).await.is_empty(), "what the earlier cases recorded was owed");
        assert_eq!(store.backlog(sink.name).await, Backlog::default());
    }

    // Each is owed what it wants of a group, in order, with all that is known of it.
    let id = new_id();
    let mut start = deployment_report(id, r#"{"engine":"e"}"#);
    start.reporter = Some("jenkins".into());
    let two = EventKind::Logged(logs(id, r#"[{"message":"m","n":1.0},{"message":"o"}]"#));
    let group = vec![
        Change::StartDeployment(start),
        Change::StartServer(server_report(id, r#"{"hostname":"o"}"#)),
        Change::KeepLogs(Arc::new(Event::new(two, time::now(), Some("ansible".into())))),
    ];
    let told = store.commit(group).await.batches.remove(0);
    let (some, every) = (store.pending("sink", 10).await, store.pending("all", 10).await);
    assert_eq!((ids(&some), ids(&every)), (vec![told.id], vec![told.id]));
    assert_eq!(as_json(&every[0].batch.events), as_json(&told.events));
    assert_eq!(as_json(&some[0].batch.events), as_json([&told.events[0], &told.events[2]]));
    let server_only = store.commit(vec![Change::StartServer(server_report(id, r#"{"hostname":"p"}"#))]).await;
    assert_eq!(ids(&store.pending("sink", 10).await), [told.id], "what the output does not want is not owed");
    assert_eq!(ids(&store.pending("all", 10).await), [told.id, server_only.batches[0].id]);

    // However they come, they stand in the order of their ids, each once.
    a_moment().await;
    let [a, b, c] = ["a", "b", "c"].map(|engine| {
        let fields = DeploymentFields { engine: Some(engine.into()), ..Default::default() };
        Arc::new(Batch::new(vec![logged(r#"{"message":"m","n":1.0}"#), started(fields)]))
    });
    for batch in [&c, &a, &b, &a] {
        store.commit(vec![enqueue("sink", batch)]).await;
    }
    store.commit(vec![enqueue("another", &b)]).await;
    let pending = store.pending("sink", 10).await;
    assert_eq!(ids(&pending), [told.id, a.id, b.id, c.id]);
    assert_eq!(as_json(&pending[1].batch.events), as_json(&a.events));
    assert_eq!(ids(&store.pending("sink", 2).await), [told.id, a.id]);
    let backlog = store.backlog("sink").await;
    assert_eq!((backlog.messages, backlog.oldest), (9, Some(told.events[0].at)));
    assert!((1..100_000).contains(&backlog.bytes), "{backlog:?}");
    let backlog = store.backlog("another").await;
    assert_eq!((backlog.messages, backlog.oldest), (2, Some(b.events[0].at)));

    // What is settled goes, and nothing else.
    assert_eq!(store.outcome(acknowledge("sink", &[b.id])).await, Outcome::Recorded);
    assert_eq!(ids(&store.pending("sink", 10).await), [told.id, a.id, c.id]);
    assert_eq!(ids(&store.pending("another", 10).await), [b.id], "to another it is still owed");
    let several = vec![
        acknowledge("another", &[b.id]),
        acknowledge("sink", &[a.id, b.id]),
        acknowledge("another", &[c.id]),
        acknowledge("sink", &[c.id]),
    ];
    let outcomes = store.commit(several).await.outcomes;
    assert_eq!(outcomes, [Outcome::Recorded, Outcome::Unchanged, Outcome::Unchanged, Outcome::Recorded]);
    assert_eq!(ids(&store.pending("sink", 10).await), [told.id], "one that was not owed does not keep another");
    for sink in SINKS {
        drain(store, sink.name).await;
    }
    for output in ["sink", "all", "another"] {
        assert_eq!(store.backlog(output).await, Backlog::default());
    }
}

pub async fn is_read_in_parts(store: &Tested<'_>) {
    let mut pending = Vec::new();
    for size in [PENDING_BYTES + 1, PENDING_BYTES / 2, PENDING_BYTES / 2, PENDING_BYTES / 2, PENDING_BYTES / 2] {
        let batch = Arc::new(Batch::new(vec![logged(&format!(r#"{{"message":"{}"}}"#, "x".repeat(size)))]));
        store.commit(vec![enqueue("sink", &batch)]).await;
        pending.push(batch.id);
    }
    let bytes = usize::try_from(store.backlog("sink").await.bytes).expect("a size");
    assert!((3 * PENDING_BYTES..4 * PENDING_BYTES).contains(&bytes), "{bytes}");
    let first = store.pending("sink", 10).await;
    assert!((1..3).contains(&first.len()), "a reading ends after some bytes, not before one batch: {}", first.len());
    assert_eq!(store.outcome(acknowledge("sink", &pending[..1])).await, Outcome::Recorded);
    let then = store.pending("sink", 10).await;
    assert!((1..4).contains(&then.len()), "a reading ends after some bytes: {}", then.len());
    assert_eq!(drain(store, "sink").await, pending[1..], "part after part, all of it is read");
}
