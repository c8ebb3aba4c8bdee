//! The size of the batches that an output receives.

use std::collections::HashSet;
use std::time::Duration;

use tracker_core::testing::{deployment_report, eventually, logs, new_id};
use tracker_core::{LogBatch, LogDeploymentId, Store, Tracker, TrackerError, UnavailableReason, json};

use crate::support::{FaultyStore, List, Mode, start, wait_until_live};

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_logs_is_split_into_bounded_batches() {
    let (store, list) = (FaultyStore::default(), List::default());
    list.set(Mode::Fails);
    // Slow commits make the next group large.
    store.faults().answers_take = Duration::from_millis(100);
    let tracker = Tracker::builder(store.clone()).output(list.clone()).keep_logs(true).start();
    let flood = format!("[{}]", vec![r#"{"message":"m"}"#; 4_000].join(","));
    let posts: Vec<_> = (0..20)
        .map(|_| {
            let (tracker, logs) = (tracker.clone(), logs(new_id(), &flood));
            tokio::spawn(async move { tracker.append_logs(logs).await })
        })
        .collect();
    for post in posts {
        post.await.expect("no panic").expect("recorded");
    }
    let pending = store.memory.pending("list", 1000).await.expect("memory is readable");
    let messages: Vec<_> = pending.iter().map(|pending| pending.batch.messages()).collect();
    assert!(messages.iter().all(|messages| *messages == 1_000), "{messages:?}");
    list.set(Mode::Works);
    eventually("every message arrives", async || list.count() == 80_000).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}

/// The JSON of log messages.
fn array(messages: &[String]) -> String {
    format!("[{}]", messages.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_log_post_is_split_into_bounded_batches_all_or_none_and_in_order() {
    let short = |count: usize| (0..count).map(|n| format!(r#"{{"message":"{n}"}}"#)).collect::<Vec<_>>();
    let long = |count: usize, size: usize| {
        (0..count).map(|n| format!(r#"{{"message":"{n}{}"}}"#, "x".repeat(size))).collect::<Vec<_>>()
    };
    let uuid = new_id().to_string();
    // JSON needs six bytes for each character.
    let escaped = "\u{1}".repeat(2_048);
    let table = [
        (uuid.as_str(), short(1_000), vec![1_000]),
        (&uuid, short(1_001), vec![1_000, 1]),
        (&uuid, short(69_904), [vec![1_000; 69], vec![904]].concat()),
        (&uuid, long(9, 200_000), vec![5, 4]),
        (&uuid, long(3, 2_000_000), vec![1, 1, 1]),
        (&escaped, short(170), vec![83, 83, 4]),
    ];
    for keeps_logs in [true, false] {
        for (id, messages, expected) in &table {
            let (store, list, id) = (FaultyStore::default(), List::default(), LogDeploymentId::new(id).expect("id"));
            let builder = Tracker::builder(store.clone()).output(list.clone());
            let tracker = builder.keep_logs(keeps_logs).start();
            let text = array(messages);
            let post = || LogBatch::read(id.clone(), json::read(text.as_bytes()).expect("JSON")).expect("log messages");
            wait_until_live(&tracker).await;
            list.set(Mode::Fails);
            tracker.append_logs(post()).await.expect("recorded");
            let batches = async || {
                let pending = store.memory.pending("list", 1_000).await.expect("memory is readable");
                pending.into_iter().map(|pending| pending.batch).collect::<Vec<_>>()
            };
            let mut sizes = Vec::new();
            let mut ids = HashSet::new();
            for batch in batches().await {
                sizes.push(batch.messages());
                ids.insert(batch.id);
            }
            // A read of the outbox ends after 4 MiB.
            assert_eq!(sizes, expected[..sizes.len()], "{keeps_logs} {id}");
            list.set(Mode::Works);
            eventually("every message arrives", async || list.count() >= messages.len()).await;
            assert_eq!(list.lines(), *messages, "in order, each once");
            assert!(ids.is_subset(&list.every_id()), "a retried batch keeps its id");

            // Nothing of a refused post is recorded.
            store.faults().is_away = true;
            if keeps_logs || expected.len() > 1 {
                let answer = tracker.append_logs(post()).await;
                assert_eq!(answer, Err(TrackerError::Unavailable(UnavailableReason::Store)));
            }
            store.faults().is_away = false;
            let next = logs(new_id(), r#"{"message":"next"}"#);
            tracker.append_logs(next).await.expect("recorded");
            eventually("the next message arrives", async || list.count() > messages.len()).await;
            assert_eq!(list.lines()[messages.len()..], [r#"{"message":"next"}"#]);
            tracker.shutdown(Duration::from_secs(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn finishes_of_large_deployments_are_split_into_bounded_batches() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = start(&store, &list);
    let ids: Vec<_> = (0..300).map(|_| new_id()).collect();
    let large = format!(r#"{{"arguments":"{}"}}"#, "x".repeat(65_536));
    let report = async |body: &str, finish: bool| {
        let reports: Vec<_> = ids
            .iter()
            .map(|id| {
                let (tracker, report) = (tracker.clone(), deployment_report(*id, body));
                tokio::spawn(async move {
                    if finish {
                        tracker.finish_deployment(report).await
                    } else {
                        tracker.start_deployment(report).await
                    }
                })
            })
            .collect();
        for report in reports {
            report.await.expect("no panic").expect("recorded");
        }
    };
    report(&large, false).await;
    eventually("the starts arrive", async || list.count() == ids.len()).await;
    list.set(Mode::Fails);
    report(r#"{"result":"success"}"#, true).await;
    let pending = store.memory.pending("list", 1000).await.expect("memory is readable");
    let most = pending.iter().map(|pending| pending.batch.events.len()).max();
    assert!(most.is_some_and(|most| most <= 65), "{most:?}");
    list.set(Mode::Works);
    eventually("the finishes arrive", async || list.count() == 2 * ids.len()).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}
