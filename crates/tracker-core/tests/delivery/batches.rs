//! The size of the batches that an output receives.

use std::sync::Arc;
use std::time::Duration;

use tracker_core::testing::{deployment_report, eventually, logs, new_id};
use tracker_core::{Store, Tracker};

use crate::support::{FaultyStore, List, Mode, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_logs_is_split_into_bounded_batches() {
    let (store, list) = (FaultyStore::default(), List::default());
    list.set(Mode::Fails);
    // Slow commits make the next group large.
    store.faults().answers_take = Duration::from_millis(100);
    let tracker = Tracker::builder(Arc::new(store.clone())).output(Arc::new(list.clone())).keep_logs(true).start();
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
    assert!(messages.iter().all(|messages| *messages == 4_000), "{messages:?}");
    list.set(Mode::Works);
    eventually("every message arrives", async || list.count() == 80_000).await;
    tracker.shutdown(Duration::from_secs(5)).await;
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
