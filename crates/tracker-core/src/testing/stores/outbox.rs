//! What is owed to outputs.

use std::sync::Arc;

use uuid::Uuid;

use super::{SINKS, Tested, a_moment};
use crate::event::{Batch, Event, EventKind};
use crate::group::{Change, Outcome, Owed};
use crate::store::{Backlog, OWED_BYTES, OwedBatch};
use crate::testing::{deployment_report, logged, logs, new_id, server_report, started};
use crate::{DeploymentMembers, time};

fn owe(output: &str, batch: &Arc<Batch>) -> Change {
    Change::Owe(Owed { output: output.into(), batch: batch.clone() })
}

fn settle(output: &str, batches: &[Uuid]) -> Change {
    Change::Settle { output: output.into(), batches: batches.into() }
}

fn ids(owed: &[OwedBatch]) -> Vec<Uuid> {
    owed.iter().map(|owed| owed.batch.id).collect()
}

fn as_json<'a>(events: impl IntoIterator<Item = &'a Arc<Event>>) -> String {
    serde_json::to_string(&events.into_iter().collect::<Vec<_>>()).expect("events are JSON")
}

/// Settles all that is owed, as a courier does, and says what it was.
async fn drain(store: &Tested<'_>, output: &str) -> Vec<Uuid> {
    let mut drained = Vec::new();
    loop {
        let part = ids(&store.owed(output, 1000).await);
        if part.is_empty() {
            return drained;
        }
        assert!(!part.iter().any(|id| drained.contains(id)), "what is settled is owed no more");
        assert_eq!(store.outcome(settle(output, &part)).await, Outcome::Recorded);
        drained.extend(part);
    }
}

pub async fn keeps_what_is_owed_until_it_is_settled(store: &Tested<'_>) {
    assert!(store.owed("another", 10).await.is_empty());
    for sink in SINKS {
        assert!(!drain(store, sink.name).await.is_empty(), "what the earlier cases recorded was owed");
        assert_eq!(store.take_stock(sink.name).await, Backlog::default());
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
    let (some, every) = (store.owed("sink", 10).await, store.owed("all", 10).await);
    assert_eq!((ids(&some), ids(&every)), (vec![told.id], vec![told.id]));
    assert_eq!(as_json(&every[0].batch.events), as_json(&told.events));
    assert_eq!(as_json(&some[0].batch.events), as_json([&told.events[0], &told.events[2]]));
    let server_only = store.commit(vec![Change::StartServer(server_report(id, r#"{"hostname":"p"}"#))]).await;
    assert_eq!(ids(&store.owed("sink", 10).await), [told.id], "what the output does not want is not owed");
    assert_eq!(ids(&store.owed("all", 10).await), [told.id, server_only.batches[0].id]);

    // However they come, they stand in the order of their ids, each once.
    a_moment().await;
    let [a, b, c] = ["a", "b", "c"].map(|engine| {
        let members = DeploymentMembers { engine: Some(engine.into()), ..Default::default() };
        Arc::new(Batch::new(vec![logged(r#"{"message":"m","n":1.0}"#), started(members)]))
    });
    for batch in [&c, &a, &b, &a] {
        store.commit(vec![owe("sink", batch)]).await;
    }
    store.commit(vec![owe("another", &b)]).await;
    let owed = store.owed("sink", 10).await;
    assert_eq!(ids(&owed), [told.id, a.id, b.id, c.id]);
    assert_eq!(as_json(&owed[1].batch.events), as_json(&a.events));
    assert_eq!(ids(&store.owed("sink", 2).await), [told.id, a.id]);
    let backlog = store.take_stock("sink").await;
    assert_eq!((backlog.messages, backlog.oldest), (9, Some(told.events[0].at)));
    assert!((1..100_000).contains(&backlog.bytes), "{backlog:?}");
    let backlog = store.take_stock("another").await;
    assert_eq!((backlog.messages, backlog.oldest), (2, Some(b.events[0].at)));

    // What is settled goes, and nothing else.
    assert_eq!(store.outcome(settle("sink", &[b.id])).await, Outcome::Recorded);
    assert_eq!(ids(&store.owed("sink", 10).await), [told.id, a.id, c.id]);
    assert_eq!(ids(&store.owed("another", 10).await), [b.id], "to another it is still owed");
    let several = vec![
        settle("another", &[b.id]),
        settle("sink", &[a.id, b.id]),
        settle("another", &[c.id]),
        settle("sink", &[c.id]),
    ];
    let outcomes = store.commit(several).await.outcomes;
    assert_eq!(outcomes, [Outcome::Recorded, Outcome::Unchanged, Outcome::Unchanged, Outcome::Recorded]);
    assert_eq!(ids(&store.owed("sink", 10).await), [told.id], "one that was not owed does not keep another");
    for sink in SINKS {
        drain(store, sink.name).await;
    }
    for output in ["sink", "all", "another"] {
        assert_eq!(store.take_stock(output).await, Backlog::default());
    }
}

pub async fn is_read_in_parts(store: &Tested<'_>) {
    let mut owed = Vec::new();
    for size in [OWED_BYTES + 1, OWED_BYTES / 2, OWED_BYTES / 2, OWED_BYTES / 2, OWED_BYTES / 2] {
        let batch = Arc::new(Batch::new(vec![logged(&format!(r#"{{"message":"{}"}}"#, "x".repeat(size)))]));
        store.commit(vec![owe("sink", &batch)]).await;
        owed.push(batch.id);
    }
    let bytes = usize::try_from(store.take_stock("sink").await.bytes).expect("a size");
    assert!((3 * OWED_BYTES..4 * OWED_BYTES).contains(&bytes), "{bytes}");
    let first = store.owed("sink", 10).await;
    assert!((1..3).contains(&first.len()), "a reading ends after some bytes, not before one batch: {}", first.len());
    assert_eq!(store.outcome(settle("sink", &owed[..1])).await, Outcome::Recorded);
    let then = store.owed("sink", 10).await;
    assert!((1..4).contains(&then.len()), "a reading ends after some bytes: {}", then.len());
    assert_eq!(drain(store, "sink").await, owed[1..], "part after part, all of it is read");
}
