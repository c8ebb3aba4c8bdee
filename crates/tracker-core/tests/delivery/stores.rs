//! Stores that are unavailable, slow or panic, or whose answers are lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::task::JoinSet;
use tracker_core::health::CHECK_DEADLINE;
use tracker_core::testing::{deployment_report, eventually, logs, new_id};
use tracker_core::{RejectReason, Tracker, TrackerError, UnavailableReason, panics};

use crate::support::{
    FaultyStore, List, Mode, Refusal, arrives_once_in_order, deploy, start, wait_until_catching_up, wait_until_live,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_is_delivered_before_later_events() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = start(&store, &list);
    let first = deploy(&tracker).await;
    arrives_once_in_order(&store, &list, std::slice::from_ref(&first)).await;
    let id = new_id();
    let report = || deployment_report(id, "{}");
    store.faults().loses_answers = true;
    tracker.start_deployment(report()).await.expect_err("the commit is in doubt");
    store.faults().loses_answers = false;
    tracker.start_deployment(report()).await.expect("the retry is recognized");
    tracker.append_logs(logs(id, r#"{"message":"m"}"#)).await.expect("accepted");
    tracker.finish_deployment(deployment_report(id, r#"{"result":"success"}"#)).await.expect("recorded");
    let expected = vec![format!("start {id}"), r#"{"message":"m"}"#.to_owned(), format!("finish {id}")];
    arrives_once_in_order(&store, &list, &[first, expected]).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_in_doubt_commit_is_delivered_before_events_that_follow_its_retry() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = start(&store, &list);
    let id = new_id();
    let report = || deployment_report(id, "{}");
    // The worker resyncs before the commit takes effect, and finds an empty outbox.
    store.faults().commits_after = Some(Duration::from_secs(2));
    tracker.start_deployment(report()).await.expect_err("the commit is in doubt");
    store.faults().commits_after = None;
    eventually("the start is committed", async || store.has(id).await).await;
    tracker.start_deployment(report()).await.expect("the retry is recognized");
    tracker.append_logs(logs(id, r#"{"message":"m"}"#)).await.expect("accepted");
    let expected = vec![format!("start {id}"), r#"{"message":"m"}"#.to_owned()];
    arrives_once_in_order(&store, &list, &[expected]).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_delivered_from_memory_again_soon_after_an_in_doubt_commit() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = start(&store, &list);
    let first = deploy(&tracker).await;
    arrives_once_in_order(&store, &list, &[first]).await;
    let stream = tokio::spawn({
        let tracker = tracker.clone();
        async move {
            loop {
                tracker.append_logs(logs(new_id(), r#"{"message":"m"}"#)).await.expect("accepted");
            }
        }
    });
    let id = new_id();
    store.faults().loses_answers = true;
    tracker.start_deployment(deployment_report(id, "{}")).await.expect_err("the commit is in doubt");
    store.faults().loses_answers = false;
    let line = format!("start {id}");
    eventually("the start is delivered", async || list.lines().contains(&line)).await;
    wait_until_live(&tracker).await;
    stream.abort();
    tracker.shutdown(Duration::from_secs(5)).await;
}

/// Reports the start of 30 deployments at the same time, so that the changes of a lane commit together. The store
/// refuses the first one. Returns the answer to the first, and the answers to the others.
async fn start_together(
    refusal: Refusal,
) -> (Tracker, Result<(), TrackerError>, impl Iterator<Item = Result<(), TrackerError>>) {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = start(&store, &list);
    let ids: Vec<_> = (0..30).map(|_| new_id()).collect();
    store.faults().refuses = Some((ids[0], refusal));
    let body = r#"{"engine":"e","user":"a 🚀"}"#;
    let starts = ids.iter().map(|&id| tracker.start_deployment(deployment_report(id, body)));
    let mut answers = futures_util::future::join_all(starts).await.into_iter();
    let first = answers.next().expect("one answer for each report");
    (tracker, first, answers)
}

#[tokio::test]
async fn a_rejected_report_is_answered_with_the_reason_and_does_not_affect_the_others() {
    let (tracker, rejected, others) = start_together(Refusal::Rejects).await;
    let expected = TrackerError::Rejected { reason: RejectReason::Encoding, field: Some("user") };
    assert_eq!(rejected, Err(expected));
    for answer in others {
        assert_eq!(answer, Ok(()));
    }
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_unexpected_error_of_one_change_does_not_affect_the_others() {
    let (tracker, failed, others) = start_together(Refusal::FailsUnexpectedly).await;
    assert_eq!(failed, Err(TrackerError::Unavailable(UnavailableReason::Store)));
    for answer in others {
        assert_eq!(answer, Ok(()));
    }
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_store_that_becomes_unavailable_is_not_tried_once_for_each_change_of_a_group() {
    let (tracker, failed, _) = start_together(Refusal::IsAway).await;
    assert_eq!(failed, Err(TrackerError::Unavailable(UnavailableReason::Store)));
    assert_eq!(tracker.metrics().commits.failures.count(), 2, "the group, and its first change alone");
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_unexpected_error_that_persists_is_not_met_once_for_each_change_of_a_group() {
    let (tracker, failed, others) = start_together(Refusal::Persists).await;
    for answer in others.chain([failed]) {
        assert_eq!(answer, Err(TrackerError::Unavailable(UnavailableReason::Store)));
    }
    let failures = tracker.metrics().commits.failures.count();
    assert_eq!(failures, 9, "in each of 3 lanes the group, and its first two changes alone");
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_health_requests_share_one_check_of_the_store_and_of_each_output() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = start(&store, &list);
    store.faults().holds_checks = true;
    list.set(Mode::Hangs);
    let begun = Arc::new(AtomicUsize::new(0));
    let requests: JoinSet<_> = (0..50)
        .map(|_| (tracker.clone(), begun.clone()))
        .map(|(tracker, begun)| async move {
            begun.fetch_add(1, SeqCst);
            tracker.health().await.passed()
        })
        .collect();
    eventually("every request has begun", async || begun.load(SeqCst) == 50).await;
    store.faults().holds_checks = false;
    list.set(Mode::Works);
    assert_eq!(requests.join_all().await, [true; 50]);
    assert_eq!(store.checks(), 1);
    // The check of an output begins in a task of its own, which may be after the first check has ended.
    assert!(list.checks() <= 2, "{} checks", list.checks());
    // A later request runs its own check.
    store.faults().is_away = true;
    assert!(!tracker.health().await.passed());
    assert_eq!(store.checks(), 2);
    tracker.ready().await.expect_err("the last check failed");
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unresponsive_store_delays_each_of_many_health_requests_by_one_deadline() {
    let store = FaultyStore::default();
    let tracker = start(&store, &List::default());
    store.faults().holds_checks = true;
    let requests: JoinSet<_> =
        (0..50).map(|_| tracker.clone()).map(|t| async move { t.health().await.passed() }).collect();
    let results =
        tokio::time::timeout(5 * CHECK_DEADLINE, requests.join_all()).await.expect("each has its own deadline");
    assert_eq!(results, [false; 50]);
    store.faults().holds_checks = false;
    assert!(tracker.health().await.passed());
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_panics_takes_reports_again_afterwards() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = start(&store, &list);
    store.faults().panics = true;
    tracker.start_deployment(deployment_report(new_id(), "{}")).await.expect_err("the commit is in doubt");
    assert!(!tracker.health().await.passed());
    store.faults().panics = false;
    let after = deploy(&tracker).await;
    arrives_once_in_order(&store, &list, &[after]).await;
    assert!(tracker.shutdown(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unavailable_store_does_not_delay_logs() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = start(&store, &list);
    let first = deploy(&tracker).await;
    arrives_once_in_order(&store, &list, &[first]).await;
    wait_until_live(&tracker).await;
    store.faults().is_away = true;
    tracker.start_deployment(deployment_report(new_id(), "{}")).await.expect_err("the store is away");
    tracker.append_logs(logs(new_id(), r#"{"message":"m"}"#)).await.expect("the output takes them");
    store.faults().is_away = false;
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_commit_is_delivered_once() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = Tracker::builder(store.clone()).output(list.clone()).commit_deadline(Duration::from_secs(30)).start();
    let first = deploy(&tracker).await;
    arrives_once_in_order(&store, &list, std::slice::from_ref(&first)).await;
    let (early, id) = (new_id(), new_id());
    list.set(Mode::Fails);
    tracker.start_deployment(deployment_report(early, "{}")).await.expect("recorded");
    wait_until_catching_up(&tracker).await;
    store.faults().answers_take = Duration::from_secs(5);
    let late = tokio::spawn({
        let tracker = tracker.clone();
        async move { tracker.start_deployment(deployment_report(id, "{}")).await }
    });
    eventually("the start is committed", async || store.has(id).await).await;
    store.faults().answers_take = Duration::ZERO;
    list.set(Mode::Works);
    eventually("both starts are delivered before the commit is answered", async || list.count() == first.len() + 2)
        .await;
    assert!(!late.is_finished());
    late.await.expect("no panic").expect("answered");
    let after = deploy(&tracker).await;
    let expected = [first, vec![format!("start {early}")], vec![format!("start {id}")], after];
    arrives_once_in_order(&store, &list, &expected).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_counts_as_failing_until_its_acknowledgements_are_committed() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = start(&store, &list);
    let first = deploy(&tracker).await;
    arrives_once_in_order(&store, &list, std::slice::from_ref(&first)).await;
    list.set(Mode::Fails);
    let id = new_id();
    tracker.start_deployment(deployment_report(id, "{}")).await.expect("the store is available");
    let failing_since = || tracker.outputs()[0].failing_since;
    eventually("the output counts as failing", async || failing_since().is_some()).await;
    let since = failing_since();

    store.faults().refuses_acknowledgements = true;
    list.set(Mode::Works);
    let before = list.deliveries();
    eventually("the batch is delivered again and again", async || list.deliveries() >= before + 4).await;
    assert_eq!(failing_since(), since, "no delivery in between counts as a success");

    store.faults().refuses_acknowledgements = false;
    eventually("the output recovers", async || failing_since().is_none()).await;
    arrives_once_in_order(&store, &list, &[first, vec![format!("start {id}")]]).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}

/// The output panics in the lane that dispatches a commit, and in its delivery worker.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_neither_a_lane_nor_a_delivery_worker() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = start(&store, &list);
    wait_until_live(&tracker).await;
    let (id, caught) = (new_id(), panics());
    let report = || deployment_report(id, "{}");
    store.faults().answers_take = Duration::from_secs(1);
    let in_doubt = tokio::spawn({
        let (tracker, report) = (tracker.clone(), report());
        async move { tracker.start_deployment(report).await }
    });
    eventually("the start is committed", async || store.has(id).await).await;
    list.set(Mode::PanicsWhenNamed);
    let answer = in_doubt.await.expect("the report itself does not panic");
    assert_eq!(answer, Err(TrackerError::Unavailable(UnavailableReason::InDoubt)));
    store.faults().answers_take = Duration::ZERO;
    eventually("the lane and the delivery worker have panicked", async || panics() >= caught + 2).await;

    list.set(Mode::Works);
    tracker.start_deployment(report()).await.expect("the retry is recognized");
    tracker.finish_deployment(deployment_report(id, r#"{"result":"success"}"#)).await.expect("recorded");
    arrives_once_in_order(&store, &list, &[vec![format!("start {id}"), format!("finish {id}")]]).await;
    assert!(tracker.shutdown(Duration::from_secs(5)).await, "every task ends");
}
