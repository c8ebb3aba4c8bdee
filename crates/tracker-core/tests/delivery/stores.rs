//! Stores that are away, slow, or lose their answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::time::Duration;

use tokio::task::JoinSet;
use tracker_core::health::CHECK_DEADLINE;
use tracker_core::testing::{deployment_report, eventually, logs, new_id};
use tracker_core::{Store, Tracker};

use crate::support::{FAILS, List, Shared, WORKS, arrives_once_in_order, deploy, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_is_delivered_before_what_comes_after_it() {
    let (store, list) = (Shared::default(), List::default());
    let tracker = start(&store, &list);
    let first = deploy(&tracker).await;
    arrives_once_in_order(&store, &list, std::slice::from_ref(&first)).await;
    let id = new_id();
    let report = || deployment_report(id, "{}");
    store.loses_answers.store(1, SeqCst);
    tracker.start_deployment(report()).await.expect_err("nobody knows");
    store.loses_answers.store(0, SeqCst);
    tracker.start_deployment(report()).await.expect("a repeat is recognised");
    tracker.append_logs(logs(id, r#"{"message":"m"}"#)).await.expect("taken");
    tracker.finish_deployment(deployment_report(id, r#"{"result":"success"}"#)).await.expect("recorded");
    let expected = vec![format!("start {id}"), r#"{"message":"m"}"#.to_owned(), format!("finish {id}")];
    arrives_once_in_order(&store, &list, &[first, expected]).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_in_doubt_commit_is_delivered_before_events_that_follow_its_retry() {
    let (store, list) = (Shared::default(), List::default());
    let tracker = start(&store, &list);
    let id = new_id();
    let report = || deployment_report(id, "{}");
    // By then the courier has looked into the outbox, and found nothing.
    store.comes_through_late.store(20, SeqCst);
    tracker.start_deployment(report()).await.expect_err("nobody knows");
    store.comes_through_late.store(0, SeqCst);
    eventually("it is committed", async || store.memory.deployment(id).await.is_ok_and(|found| found.is_some())).await;
    tracker.start_deployment(report()).await.expect("a repeat is recognised");
    tracker.append_logs(logs(id, r#"{"message":"m"}"#)).await.expect("taken");
    let expected = vec![format!("start {id}"), r#"{"message":"m"}"#.to_owned()];
    arrives_once_in_order(&store, &list, &[expected]).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_delivered_from_memory_again_soon_after_an_in_doubt_commit() {
    let (store, list) = (Shared::default(), List::default());
    let tracker = start(&store, &list);
    let first = deploy(&tracker).await;
    arrives_once_in_order(&store, &list, &[first]).await;
    let stream = tokio::spawn({
        let tracker = tracker.clone();
        async move {
            loop {
                tracker.append_logs(logs(new_id(), r#"{"message":"m"}"#)).await.expect("taken");
            }
        }
    });
    let id = new_id();
    store.loses_answers.store(1, SeqCst);
    tracker.start_deployment(deployment_report(id, "{}")).await.expect_err("nobody knows");
    store.loses_answers.store(0, SeqCst);
    let line = format!("start {id}");
    eventually("it is delivered", async || list.lines().contains(&line)).await;
    eventually("the courier has caught up", async || !tracker.outputs()[0].is_behind).await;
    stream.abort();
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_health_requests_share_one_store_check() {
    let store = Shared::default();
    let tracker = start(&store, &List::default());
    store.holds_tests.store(1, SeqCst);
    let asked = Arc::new(AtomicU8::new(0));
    let asking: JoinSet<_> = (0..50)
        .map(|_| (tracker.clone(), asked.clone()))
        .map(|(tracker, asked)| async move {
            asked.fetch_add(1, SeqCst);
            tracker.health().await.passed()
        })
        .collect();
    eventually("all have asked", async || asked.load(SeqCst) == 50).await;
    store.holds_tests.store(0, SeqCst);
    assert_eq!(asking.join_all().await, [true; 50]);
    assert_eq!(store.tests.load(SeqCst), 1);
    // Who asks later is told how it is now.
    store.is_away.store(1, SeqCst);
    assert!(!tracker.health().await.passed());
    assert_eq!(store.tests.load(SeqCst), 2);
    tracker.ready().await.expect_err("it was away a moment ago");
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unresponsive_store_delays_each_of_many_health_requests_by_one_deadline() {
    let store = Shared::default();
    let tracker = start(&store, &List::default());
    store.holds_tests.store(1, SeqCst);
    let asking: JoinSet<_> =
        (0..50).map(|_| tracker.clone()).map(|t| async move { t.health().await.passed() }).collect();
    let answers = tokio::time::timeout(5 * CHECK_DEADLINE, asking.join_all()).await.expect("each has its own deadline");
    assert_eq!(answers, [false; 50]);
    store.holds_tests.store(0, SeqCst);
    assert!(tracker.health().await.passed());
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_panics_takes_reports_again_afterwards() {
    let (store, list) = (Shared::default(), List::default());
    let tracker = start(&store, &list);
    store.panics.store(1, SeqCst);
    tracker.start_deployment(deployment_report(new_id(), "{}")).await.expect_err("nobody knows");
    assert!(!tracker.health().await.passed());
    store.panics.store(0, SeqCst);
    let after = deploy(&tracker).await;
    arrives_once_in_order(&store, &list, &[after]).await;
    assert!(tracker.shutdown(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_does_not_hold_up_logs() {
    let (store, list) = (Shared::default(), List::default());
    let tracker = start(&store, &list);
    let first = deploy(&tracker).await;
    arrives_once_in_order(&store, &list, &[first]).await;
    eventually("all is well", async || !tracker.outputs()[0].is_behind).await;
    store.is_away.store(1, SeqCst);
    tracker.start_deployment(deployment_report(new_id(), "{}")).await.expect_err("it is away");
    tracker.append_logs(logs(new_id(), r#"{"message":"m"}"#)).await.expect("the output is there");
    store.is_away.store(0, SeqCst);
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_commit_is_delivered_once() {
    let (store, list) = (Shared::default(), List::default());
    let tracker = Tracker::builder(Arc::new(store.clone()))
        .output(Arc::new(list.clone()))
        .commit_deadline(Duration::from_secs(30))
        .start();
    let first = deploy(&tracker).await;
    arrives_once_in_order(&store, &list, std::slice::from_ref(&first)).await;
    let (early, id) = (new_id(), new_id());
    list.set(FAILS);
    tracker.start_deployment(deployment_report(early, "{}")).await.expect("recorded");
    eventually("the courier is behind", async || tracker.outputs()[0].is_behind).await;
    store.answers_take.store(50, SeqCst);
    let late = tokio::spawn({
        let tracker = tracker.clone();
        async move { tracker.start_deployment(deployment_report(id, "{}")).await }
    });
    eventually("it is committed", async || store.memory.deployment(id).await.is_ok_and(|found| found.is_some())).await;
    store.answers_take.store(0, SeqCst);
    list.set(WORKS);
    eventually("it is delivered before it is answered", async || list.count() == first.len() + 2).await;
    assert!(!late.is_finished());
    late.await.expect("no panic").expect("answered");
    let after = deploy(&tracker).await;
    let expected = [first, vec![format!("start {early}")], vec![format!("start {id}")], after];
    arrives_once_in_order(&store, &list, &expected).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}
