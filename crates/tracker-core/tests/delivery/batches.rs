//! How much an output is given at once.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tracker_core::testing::{deployment_report, eventually, logs, new_id};
use tracker_core::{Store, Tracker};

use crate::support::{FAILS, List, Shared, WORKS, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_logs_is_cut_into_batches_that_an_output_can_take() {
    let (store, list) = (Shared::default(), List::default());
    list.set(FAILS);
    // While a commit is on its way, the next group gathers.
    store.answers_take.store(1, SeqCst);
    let tracker = Tracker::builder(Arc::new(store.clone())).output(Arc::new(list.clone())).keep_logs(true).start();
    let flood = format!("[{}]", vec![r#"{"message":"m"}"#; 4_000].join(","));
    let posts: Vec<_> = (0..20)
        .map(|_| {
            let (tracker, logs) = (tracker.clone(), logs(new_id(), &flood));
            tokio::spawn(async move { tracker.append_logs(logs).await })
        })
        .collect();
    for post in posts {
        post.await.expect("no panic").expect("kept");
    }
    let pending = store.memory.pending("list", 1000).await.expect("a query");
    let messages: Vec<_> = pending.iter().map(|pending| pending.batch.messages()).collect();
    assert!(messages.iter().all(|messages| *messages == 4_000), "{messages:?}");
    list.set(WORKS);
    eventually("everything arrives", async || list.count() == 80_000).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn finishes_of_large_deployments_are_cut_into_batches_that_an_output_can_take() {
    let (store, list) = (Shared::default(), List::default());
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
    list.set(FAILS);
    report(r#"{"result":"success"}"#, true).await;
    let pending = store.memory.pending("list", 1000).await.expect("a query");
    let most = pending.iter().map(|pending| pending.batch.events.len()).max();
    assert!(most.is_some_and(|most| most <= 65), "{most:?}");
    list.set(WORKS);
    eventually("the finishes arrive", async || list.count() == 2 * ids.len()).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}
