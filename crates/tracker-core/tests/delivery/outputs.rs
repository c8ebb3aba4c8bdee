//! Delivery to outputs that fail, hang or panic.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tracker_core::testing::{deployment_report, eventually, logs, new_id};
use tracker_core::{
    Batch, Delivery, Event, EventKind, LogDeploymentId, LogQuery, MemoryStore, OutboxLimits, Output, OutputError, Page,
    Tracker, TrackerError, UnavailableReason,
};

use crate::support::{
    FaultyStore, List, Mode, arrives_once_in_order, deploy, deploy_many, start, wait_until_catching_up, wait_until_live,
};

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_once_and_in_order() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = start(&store, &list);
    let expected = deploy_many(&tracker, 300).await;
    arrives_once_in_order(&store, &list, &expected).await;
    assert!(tracker.shutdown(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intermittent_output_receives_everything_once_and_in_order() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = start(&store, &list);
    let (mut expected, is_done) = (Vec::new(), Cell::new(false));
    let change_modes = async {
        for mode in [Mode::Fails, Mode::Works, Mode::LosesAnswers, Mode::Works].into_iter().cycle().take(40) {
            list.set(mode);
            let before = list.deliveries();
            eventually("a delivery meets this mode", async || list.deliveries() > before).await;
        }
        is_done.set(true);
    };
    let report = async {
        while !is_done.get() {
            expected.extend(deploy_many(&tracker, 50).await);
        }
    };
    tokio::join!(change_modes, report);
    list.set(Mode::Works);
    arrives_once_in_order(&store, &list, &expected).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_hangs_delays_no_start_and_overflows_into_the_outbox() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = start(&store, &list);
    list.set(Mode::Hangs);
    let mut expected = Vec::new();
    for _ in 0..20 {
        let starts: Vec<_> = (0..1_000)
            .map(|_| {
                let (tracker, id) = (tracker.clone(), new_id());
                tokio::spawn(async move {
                    tracker.start_deployment(deployment_report(id, "{}")).await.expect("recorded");
                    vec![format!("start {id}")]
                })
            })
            .collect();
        for start in starts {
            expected.push(start.await.expect("no panic"));
        }
    }
    list.set(Mode::Works);
    let total = expected.len();
    eventually("every start arrives", async || list.count() >= total).await;
    let arrived: HashSet<_> = list.lines().into_iter().collect();
    assert_eq!((arrived.len(), list.count()), (total, total), "each start arrives once");
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_pending_at_shutdown_are_delivered_by_the_next_run() {
    let (store, list) = (FaultyStore::default(), List::default());
    list.set(Mode::LosesAnswers);
    let tracker = start(&store, &list);
    let expected = deploy_many(&tracker, 20).await;
    assert!(tracker.shutdown(Duration::from_secs(5)).await, "an unavailable output does not delay shutdown");

    list.set(Mode::Works);
    let tracker = start(&store, &list);
    arrives_once_in_order(&store, &list, &expected).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_panics_counts_as_failing_and_receives_everything_afterwards() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = start(&store, &list);
    let before = deploy(&tracker).await;
    arrives_once_in_order(&store, &list, std::slice::from_ref(&before)).await;
    list.set(Mode::Panics);
    let during = deploy(&tracker).await;
    eventually("the output counts as failing", async || tracker.outputs()[0].failing_since.is_some()).await;
    assert!(!tracker.health().await.passed());
    list.set(Mode::Works);
    arrives_once_in_order(&store, &list, &[before, during]).await;
    assert!(tracker.shutdown(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_refuses_reports_and_stops_every_task_at_its_deadline() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = start(&store, &list);
    let before = deploy(&tracker).await;
    arrives_once_in_order(&store, &list, std::slice::from_ref(&before)).await;
    // A worker that is catching up would stop at once.
    wait_until_live(&tracker).await;
    list.set(Mode::Hangs);
    let id = new_id();
    tracker.start_deployment(deployment_report(id, "{}")).await.expect("recorded");
    assert!(!tracker.shutdown(Duration::from_millis(300)).await, "the output does not answer, so a task is aborted");
    let closed = TrackerError::Unavailable(UnavailableReason::Closed);
    assert_eq!(tracker.start_deployment(deployment_report(new_id(), "{}")).await, Err(closed.clone()));
    assert_eq!(tracker.ready().await, Err(closed));
    list.set(Mode::Works);
    // No task of the old tracker is left to deliver anything.
    let lines = list.count();
    assert!(tracker.shutdown(Duration::from_secs(5)).await);
    assert_eq!(list.count(), lines);
    let next = start(&store, &list);
    arrives_once_in_order(&store, &list, &[before, vec![format!("start {id}")]]).await;
    assert!(next.shutdown(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_refused_while_neither_store_nor_output_takes_them() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = start(&store, &list);
    deploy(&tracker).await;
    let message = || logs(new_id(), r#"{"message":"m"}"#);
    store.faults().is_away = true;
    list.set(Mode::Fails);
    let refused = Err(TrackerError::Unavailable(UnavailableReason::Store));
    assert_eq!(tracker.append_logs(message()).await, refused);
    let start = tracker.start_deployment(deployment_report(new_id(), "{}")).await;
    assert_eq!(start, refused, "a start is refused, too");
    store.faults().is_away = false;
    assert_eq!(tracker.append_logs(message()).await, Ok(()));

    let nowhere = Tracker::builder(MemoryStore::new()).keep_logs(false).start();
    assert_eq!(nowhere.append_logs(message()).await, Err(TrackerError::NoLogDestination));
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_post_that_one_output_has_taken_times_out_instead_of_being_refused() {
    let (store, list) = (FaultyStore::default(), List::default());
    let stuck = List::named("stuck");
    let builder = Tracker::builder(store).output(list.clone()).output(stuck.clone());
    let tracker = builder.commit_deadline(Duration::from_secs(1)).start();
    tracker.append_logs(logs(new_id(), r#"{"message":"m"}"#)).await.expect("accepted");
    eventually("both outputs have the message", async || list.count() == 1 && stuck.count() == 1).await;
    wait_until_live(&tracker).await;
    stuck.set(Mode::Hangs);
    let mut posts = JoinSet::new();
    // More posts than the queue of one output holds.
    for post in 0..10_000 {
        let (tracker, logs) = (tracker.clone(), logs(new_id(), r#"{"message":"m"}"#));
        posts.spawn(async move { tracker.append_logs(logs).await });
        if post % 1_000 == 0 {
            eventually("the other output has every message", async || list.count() == post + 2).await;
        }
    }
    for answer in posts.join_all().await {
        assert!(matches!(answer, Err(TrackerError::Unavailable(UnavailableReason::TimedOut))), "{answer:?}");
    }
    eventually("the other output has every message", async || list.count() == 10_001).await;
    stuck.set(Mode::Works);
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn each_output_needs_a_unique_name() {
    for names in [["a", "a"], ["a", ""], ["a", "db"]] {
        let tracker = names
            .into_iter()
            .fold(Tracker::builder(MemoryStore::new()), |builder, name| builder.output(List::named(name)));
        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tracker.start()));
        refused.expect_err(&format!("{names:?} are not unique and valid"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_the_store_keeps_are_also_forwarded() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = Tracker::builder(store.clone()).output(list.clone()).keep_logs(true).start();
    list.set(Mode::Fails);
    let expected = deploy_many(&tracker, 10).await;
    list.set(Mode::Works);
    arrives_once_in_order(&store, &list, &expected).await;
    let id = expected[0][0].strip_prefix("start ").expect("the first line is the start");
    let kept = tracker.logs(LogQuery::new(LogDeploymentId::new(id).expect("valid id"), Page::first(25))).await;
    let kept: Vec<_> =
        kept.expect("memory is readable").records.iter().map(|message| message.object().get().to_owned()).collect();
    assert_eq!(kept, expected[0][1..3]);
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tracker_refuses_reports_while_an_outbox_is_full() {
    let (store, list) = (FaultyStore::default(), List::default());
    list.set(Mode::Fails);
    let mut limits = OutboxLimits::default();
    (limits.max_messages, limits.max_bytes) = (10, 1 << 20);
    let tracker = Tracker::builder(store.clone()).output(list.clone()).outbox_limits(limits).start();
    let first = new_id();
    tracker.start_deployment(deployment_report(first, "{}")).await.expect("accepted");
    wait_until_catching_up(&tracker).await;
    let mut accepted = vec![vec![format!("start {first}")]];
    let full = TrackerError::Unavailable(UnavailableReason::OutboxFull);
    let refusal = loop {
        let id = new_id();
        match tracker.start_deployment(deployment_report(id, "{}")).await {
            Ok(()) => accepted.push(vec![format!("start {id}")]),
            Err(refusal) => break refusal,
        }
        assert!(accepted.len() <= 12, "the limit holds");
    };
    assert_eq!(refusal, full);
    assert!(accepted.len() >= 9, "the limit is not reached too early: {}", accepted.len());
    assert_eq!(tracker.append_logs(logs(new_id(), r#"{"message":"m"}"#)).await, Err(full.clone()));
    assert_eq!(tracker.ready().await, Err(full));
    eventually("the status shows the backlog", async || tracker.outputs()[0].backlog.messages == accepted.len() as u64)
        .await;
    let status = tracker.outputs().remove(0);
    assert!(status.failing_since.is_some());
    assert!(status.last_error.is_some_and(|(_, error)| error.contains("the list is unavailable")));

    list.set(Mode::Works);
    arrives_once_in_order(&store, &list, &accepted).await;
    eventually("the tracker is ready again", async || tracker.ready().await.is_ok()).await;
    eventually("the output works again", async || tracker.outputs()[0].failing_since.is_none()).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_keeps_the_marker_of_a_batch_whose_delivery_failed() {
    let (store, list) = (FaultyStore::default(), List::default());
    let tracker = start(&store, &list);
    let mut expected = vec![deploy(&tracker).await];
    arrives_once_in_order(&store, &list, &expected).await;
    let before = list.markers();
    list.set(Mode::LosesAnswers);
    expected.push(deploy(&tracker).await);
    let in_doubt: HashSet<_> = list.markers().difference(&before).copied().collect();
    list.set(Mode::Works);
    arrives_once_in_order(&store, &list, &expected).await;
    for _ in 0..3 {
        expected.push(deploy(&tracker).await);
        arrives_once_in_order(&store, &list, &expected).await;
    }
    let markers = list.markers();
    assert!(!in_doubt.is_empty() && in_doubt.is_subset(&markers), "an abandoned attempt may still arrive");
    assert!(markers.len() < in_doubt.len() + 12, "the output forgets the other batches");
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_never_answers_counts_as_failing_and_has_a_bounded_backlog() {
    let (store, list) = (FaultyStore::default(), List::default());
    let builder = Tracker::builder(store.clone()).output(list.clone());
    let mut limits = OutboxLimits::default();
    limits.max_messages = 10;
    let tracker = builder.outbox_limits(limits).start();
    let first = deploy(&tracker).await;
    arrives_once_in_order(&store, &list, &[first]).await;
    list.set(Mode::Hangs);
    let full = Err(TrackerError::Unavailable(UnavailableReason::OutboxFull));
    eventually("the outbox is full", async || {
        tracker.start_deployment(deployment_report(new_id(), "{}")).await == full
    })
    .await;
    eventually("the output counts as failing, with all that waits", async || {
        let status = tracker.outputs().remove(0);
        status.failing_since.is_some() && status.is_catching_up && status.backlog.messages >= 10
    })
    .await;
    assert!(!tracker.health().await.passed());
    list.set(Mode::Works);
    eventually("the backlog is delivered", async || tracker.outputs()[0].backlog.messages == 0).await;
    tracker.start_deployment(deployment_report(new_id(), "{}")).await.expect("the outbox has room again");
    assert!(tracker.health().await.passed());
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_shutdown_the_status_has_the_messages_that_the_next_run_delivers() {
    let (store, list) = (FaultyStore::default(), List::default());
    list.set(Mode::Fails);
    let mut expected = Vec::new();
    for run in 1..=2 {
        let tracker = start(&store, &list);
        assert!(tracker.outputs()[0].is_catching_up, "run {run}: a worker starts with the outbox");
        expected.push(deploy(&tracker).await);
        wait_until_catching_up(&tracker).await;
        assert!(tracker.shutdown(Duration::from_secs(5)).await);
        assert_eq!(tracker.outputs()[0].backlog.messages, 4 * run, "run {run}: nothing was delivered");
    }
    list.set(Mode::Works);
    let tracker = start(&store, &list);
    wait_until_live(&tracker).await;
    expected.push(deploy(&tracker).await);
    assert!(tracker.shutdown(Duration::from_secs(5)).await);
    assert_eq!(tracker.outputs()[0].backlog, Default::default(), "everything was delivered");
    arrives_once_in_order(&store, &list, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_committed_during_the_last_outbox_read_is_delivered_at_once() {
    for _ in 0..10 {
        let (store, list) = (FaultyStore::default(), List::default());
        store.faults().outbox_reads_take = Duration::from_millis(20);
        let tracker = start(&store, &list);
        let expected = deploy_many(&tracker, 3).await;
        let begun = std::time::Instant::now();
        arrives_once_in_order(&store, &list, &expected).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "the worker does not wait for the check for stale batches");
        tracker.shutdown(Duration::from_secs(5)).await;
    }
}

/// An at-least-once output that wants no log messages.
#[derive(Debug)]
struct Starts;

#[async_trait]
impl Output for Starts {
    fn name(&self) -> &'static str {
        "starts"
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn wants(&self, event: &Event) -> bool {
        matches!(event.kind, EventKind::DeploymentStarted(_))
    }

    async fn deliver(&self, _: &[Arc<Batch>]) -> Result<(), OutputError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), OutputError> {
        Ok(())
    }
}

#[tokio::test]
async fn the_store_keeps_logs_unless_an_at_least_once_output_wants_them() {
    let builder = || Tracker::builder(MemoryStore::new());
    assert!(builder().keeps_logs());
    assert!(builder().output(Starts).keeps_logs(), "they would be lost otherwise");
    let with_list = || builder().output(Starts).output(List::default());
    assert_eq!((with_list().keeps_logs(), with_list().takes_logs()), (false, true));
    let refusing = builder().output(Starts).keep_logs(false);
    assert_eq!((refusing.keeps_logs(), refusing.takes_logs()), (false, false));
}
