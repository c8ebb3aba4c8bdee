//! Readiness: what the tracker has failed to do counts until a probe, or the same kind of work, succeeds.

use std::time::Duration;

use tracker_core::testing::{deployment_report, eventually, new_id};
use tracker_core::{MemoryStore, Tracker, TrackerError, UnavailableReason};

use crate::support::{COMMIT_BYTES, FaultyStore, List, Refusal, start};

const NOT_READY: Result<(), TrackerError> = Err(TrackerError::Unavailable(UnavailableReason::Store));

/// Whether the tracker is ready, according to both health checks.
async fn is_ready(tracker: &Tracker) -> bool {
    let ready = tracker.ready().await;
    assert!(ready.is_ok() || ready == NOT_READY, "{ready:?}");
    ready.is_ok() && tracker.health().await.passed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_commit_counts_until_a_probe_of_its_size_succeeds() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = start(&store, &list);
    store.faults().room = COMMIT_BYTES - 1;
    assert!(is_ready(&tracker).await, "a small probe succeeds on a full disk");
    let report = || deployment_report(new_id(), r#"{"package":"p"}"#);
    tracker.start_deployment(report()).await.expect_err("the disk is full");
    assert_eq!(tracker.ready().await, NOT_READY, "the result from before the failure does not count");
    assert!(!is_ready(&tracker).await);
    store.faults().room = (64 << 10) - 1;
    assert!(!is_ready(&tracker).await, "the probe takes at least 64 KiB");
    store.faults().room = 64 << 10;
    eventually("a probe clears the failure", async || is_ready(&tracker).await).await;
    store.faults().room = COMMIT_BYTES - 1;
    eventually("the next probe is small", async || is_ready(&tracker).await).await;
    assert!(tracker.shutdown(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_takes_longer_than_a_check_goes_on_and_clears_the_failure() {
    let store = FaultyStore::default();
    let tracker = Tracker::builder(store.clone()).start();
    store.faults().room = COMMIT_BYTES - 1;
    tracker.start_deployment(deployment_report(new_id(), "{}")).await.expect_err("the disk is full");
    store.faults().room = 64 << 10;
    store.faults().holds_checks = true;
    let before = store.checks();
    for _ in 0..2 {
        assert_eq!(tracker.ready().await, NOT_READY, "the probe has not ended");
    }
    assert_eq!(store.checks() - before, 1, "the second check waits for the probe of the first");
    store.faults().holds_checks = false;
    eventually("the probe clears the failure", async || is_ready(&tracker).await).await;
    assert!(tracker.shutdown(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_report_clears_the_failure_of_its_lane() {
    let store = FaultyStore::default();
    let tracker = Tracker::builder(store.clone()).start();
    let id = new_id();
    let (begin, finish) = (|| deployment_report(id, "{}"), || deployment_report(id, r#"{"result":"success"}"#));
    tracker.start_deployment(begin()).await.expect("recorded");
    store.faults().room = COMMIT_BYTES - 1;
    tracker.finish_deployment(finish()).await.expect_err("the disk is full");
    assert!(!is_ready(&tracker).await);
    store.faults().room = COMMIT_BYTES;
    tracker.start_deployment(begin()).await.expect("a retry writes nothing");
    assert!(!is_ready(&tracker).await, "a retry proves nothing");
    tracker.finish_deployment(finish()).await.expect("recorded");
    eventually("the report clears the failure", async || is_ready(&tracker).await).await;
    assert!(tracker.shutdown(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unexpected_error_counts_and_a_rejected_report_does_not() {
    for (refusal, is_failure) in [(Refusal::Rejects, false), (Refusal::FailsUnexpectedly, true)] {
        let store = FaultyStore::default();
        let tracker = Tracker::builder(store.clone()).start();
        let id = new_id();
        store.faults().refuses = Some((id, refusal));
        // There is room for a small probe, and not for one that follows a failure.
        store.faults().room = COMMIT_BYTES;
        tracker.start_deployment(deployment_report(id, "{}")).await.expect_err("the store refuses it");
        assert_eq!(is_ready(&tracker).await, !is_failure, "{refusal:?}");
        assert!(tracker.shutdown(Duration::from_secs(5)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_query_counts_until_it_or_another_one_succeeds() {
    let store = FaultyStore::default();
    let tracker = Tracker::builder(store.clone()).start();
    let [damaged, sound] = [new_id(), new_id()];
    for id in [damaged, sound] {
        tracker.start_deployment(deployment_report(id, "{}")).await.expect("recorded");
    }
    assert!(is_ready(&tracker).await);
    store.faults().damaged = Some(damaged);
    tracker.deployment(damaged).await.expect_err("the page is damaged");
    assert_eq!(tracker.ready().await, NOT_READY);
    assert!(!is_ready(&tracker).await, "the probe repeats the query, which fails again");
    tracker.deployment(sound).await.expect("another page is sound");
    eventually("a query that succeeds clears the failure", async || is_ready(&tracker).await).await;

    tracker.deployment(damaged).await.expect_err("the page is damaged");
    assert_eq!(tracker.ready().await, NOT_READY);
    store.faults().damaged = None;
    eventually("the repeated query clears the failure", async || is_ready(&tracker).await).await;
    assert!(tracker.shutdown(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_record_is_no_failure() {
    let tracker = Tracker::builder(MemoryStore::new()).start();
    assert_eq!(tracker.deployment(new_id()).await.map(drop), Err(TrackerError::Unknown));
    assert!(is_ready(&tracker).await);
    assert!(tracker.shutdown(Duration::from_secs(5)).await);
}
