//! Outputs that fail, hang, and are many.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::task::JoinSet;
use tracker_core::testing::{deployment_report, eventually, logs, new_id};
use tracker_core::{LogDeploymentId, MemoryStore, OutboxLimits, Page, Tracker, TrackerError, Unavailable};

use crate::support::{
    FAILS, HANGS, LOSES_ANSWERS, List, PANICS, Shared, State, WORKS, arrives_once_in_order, deploy, deploy_many, start,
};

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_once_and_in_order() {
    let (store, list) = (Shared::default(), List::default());
    let tracker = start(&store, &list);
    let expected = deploy_many(&tracker, 300).await;
    arrives_once_in_order(&store, &list, &expected).await;
    assert!(tracker.shutdown(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_comes_and_goes_gets_everything_once_and_in_order() {
    let (store, list) = (Shared::default(), List::default());
    let tracker = start(&store, &list);
    let changing = {
        let list = list.clone();
        tokio::spawn(async move {
            for mode in [FAILS, WORKS, LOSES_ANSWERS, WORKS].into_iter().cycle().take(40) {
                list.set(mode);
                tokio::time::sleep(Duration::from_millis(13)).await;
            }
        })
    };
    let mut expected = Vec::new();
    while !changing.is_finished() {
        expected.extend(deploy_many(&tracker, 50).await);
    }
    list.set(WORKS);
    arrives_once_in_order(&store, &list, &expected).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_hangs_delays_no_start_and_overflows_into_the_outbox() {
    let (store, list) = (Shared::default(), List::default());
    let tracker = start(&store, &list);
    list.set(HANGS);
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
    list.set(WORKS);
    let total = expected.len();
    eventually("everything arrives", async || list.count() >= total).await;
    let arrived: HashSet<_> = list.lines().into_iter().collect();
    assert_eq!((arrived.len(), list.count()), (total, total), "each once");
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_pending_at_shutdown_are_delivered_by_the_next_run() {
    let (store, list) = (Shared::default(), List::default());
    list.set(LOSES_ANSWERS);
    let tracker = start(&store, &list);
    let expected = deploy_many(&tracker, 20).await;
    assert!(tracker.shutdown(Duration::from_secs(5)).await, "an output that is away does not hold up the end");

    list.set(WORKS);
    let tracker = start(&store, &list);
    arrives_once_in_order(&store, &list, &expected).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_panics_fails_and_gets_everything_afterwards() {
    let (store, list) = (Shared::default(), List::default());
    let tracker = start(&store, &list);
    let before = deploy(&tracker).await;
    arrives_once_in_order(&store, &list, std::slice::from_ref(&before)).await;
    list.set(PANICS);
    let during = deploy(&tracker).await;
    eventually("it counts as failing", async || tracker.outputs()[0].failing_since.is_some()).await;
    assert!(!tracker.health().await.passed());
    list.set(WORKS);
    arrives_once_in_order(&store, &list, &[before, during]).await;
    assert!(tracker.shutdown(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_takes_no_reports_and_ends_everything_in_time_or_not() {
    let (store, list) = (Shared::default(), List::default());
    let tracker = start(&store, &list);
    let before = deploy(&tracker).await;
    arrives_once_in_order(&store, &list, std::slice::from_ref(&before)).await;
    // A courier that is behind waits for nobody.
    eventually("all is well", async || !tracker.outputs()[0].is_behind).await;
    list.set(HANGS);
    let id = new_id();
    tracker.start_deployment(deployment_report(id, "{}")).await.expect("recorded");
    assert!(!tracker.shutdown(Duration::from_millis(300)).await, "the output does not answer");
    let closed = TrackerError::Unavailable(Unavailable::Closed);
    assert_eq!(tracker.start_deployment(deployment_report(new_id(), "{}")).await, Err(closed.clone()));
    assert_eq!(tracker.ready().await, Err(closed));
    list.set(WORKS);
    // Nothing of it is at work any more.
    let lines = list.count();
    assert!(tracker.shutdown(Duration::from_secs(5)).await);
    assert_eq!(list.count(), lines);
    let next = start(&store, &list);
    arrives_once_in_order(&store, &list, &[before, vec![format!("start {id}")]]).await;
    assert!(next.shutdown(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_not_acknowledged_while_neither_store_nor_output_takes_them() {
    let (store, list) = (Shared::default(), List::default());
    let tracker = start(&store, &list);
    deploy(&tracker).await;
    let message = || logs(new_id(), r#"{"message":"m"}"#);
    store.is_away.store(1, SeqCst);
    list.set(FAILS);
    let refused = Err(TrackerError::Unavailable(Unavailable::Store));
    assert_eq!(tracker.append_logs(message()).await, refused);
    let start = tracker.start_deployment(deployment_report(new_id(), "{}")).await;
    assert_eq!(start, refused, "neither is a start");
    store.is_away.store(0, SeqCst);
    assert_eq!(tracker.append_logs(message()).await, Ok(()));

    let nowhere = Tracker::builder(Arc::new(MemoryStore::new())).keep_logs(false).start();
    assert_eq!(nowhere.append_logs(message()).await, Err(TrackerError::Unavailable(Unavailable::Nowhere)));
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_post_that_one_output_has_taken_times_out_instead_of_being_refused() {
    let (store, list) = (Shared::default(), List::default());
    let stuck = List(Arc::new(State { name: Some("stuck"), ..State::default() }));
    let builder = Tracker::builder(Arc::new(store)).output(Arc::new(list.clone())).output(Arc::new(stuck.clone()));
    let tracker = builder.commit_deadline(Duration::from_secs(1)).start();
    tracker.append_logs(logs(new_id(), r#"{"message":"m"}"#)).await.expect("taken");
    eventually("all is well", async || {
        list.count() == 1 && stuck.count() == 1 && tracker.outputs().iter().all(|output| !output.is_behind)
    })
    .await;
    stuck.set(HANGS);
    let mut posts = JoinSet::new();
    // More together than may wait for one output.
    for post in 0..10_000 {
        let (tracker, logs) = (tracker.clone(), logs(new_id(), r#"{"message":"m"}"#));
        posts.spawn(async move { tracker.append_logs(logs).await });
        if post % 1_000 == 0 {
            eventually("the other output has them all", async || list.count() == post + 2).await;
        }
    }
    for answer in posts.join_all().await {
        assert!(matches!(answer, Err(TrackerError::Unavailable(Unavailable::TimedOut))), "{answer:?}");
    }
    eventually("the other output has them all", async || list.count() == 10_001).await;
    stuck.set(WORKS);
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn each_output_needs_a_unique_name() {
    let named = |name| Arc::new(List(Arc::new(State { name: Some(name), ..State::default() })));
    for names in [["a", "a"], ["a", ""], ["a", "db"]] {
        let tracker = names
            .into_iter()
            .fold(Tracker::builder(Arc::new(MemoryStore::new())), |builder, name| builder.output(named(name)));
        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tracker.start()));
        refused.expect_err("it would be taken for another");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_logs_are_both_kept_and_forwarded() {
    let (store, list) = (Shared::default(), List::default());
    let tracker = Tracker::builder(Arc::new(store.clone())).output(Arc::new(list.clone())).keep_logs(true).start();
    list.set(FAILS);
    let expected = deploy_many(&tracker, 10).await;
    list.set(WORKS);
    arrives_once_in_order(&store, &list, &expected).await;
    let id = expected[0][0].strip_prefix("start ").expect("a start");
    let kept = tracker.logs(LogDeploymentId::new(id).expect("an id"), Page::first(25)).await;
    let kept: Vec<_> = kept.expect("kept").iter().map(|message| message.object().get().to_owned()).collect();
    assert_eq!(kept, expected[0][1..3]);
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_outbox_refuses_reports_until_the_output_is_back() {
    let (store, list) = (Shared::default(), List::default());
    list.set(FAILS);
    let limits = OutboxLimits { max_messages: 10, max_bytes: 1 << 20 };
    let tracker =
        Tracker::builder(Arc::new(store.clone())).output(Arc::new(list.clone())).outbox_limits(limits).start();
    let first = new_id();
    tracker.start_deployment(deployment_report(first, "{}")).await.expect("taken");
    eventually("the output is known to be behind", async || tracker.outputs()[0].is_behind).await;
    let mut taken = vec![vec![format!("start {first}")]];
    let full = TrackerError::Unavailable(Unavailable::OutboxFull);
    let refusal = loop {
        let id = new_id();
        match tracker.start_deployment(deployment_report(id, "{}")).await {
            Ok(()) => taken.push(vec![format!("start {id}")]),
            Err(refusal) => break refusal,
        }
        assert!(taken.len() <= 12, "the bound holds");
    };
    assert_eq!(refusal, full);
    assert!(taken.len() >= 9, "and not before: {}", taken.len());
    assert_eq!(tracker.append_logs(logs(new_id(), r#"{"message":"m"}"#)).await, Err(full.clone()));
    assert_eq!(tracker.ready().await, Err(full));
    eventually("the backlog is told", async || tracker.outputs()[0].backlog.messages == taken.len() as u64).await;
    let status = tracker.outputs().remove(0);
    assert!(status.failing_since.is_some() && status.last_error.is_some_and(|(_, error)| error.contains("it is away")));

    list.set(WORKS);
    arrives_once_in_order(&store, &list, &taken).await;
    eventually("there is room again", async || tracker.ready().await.is_ok()).await;
    eventually("all is well", async || tracker.outputs()[0].failing_since.is_none()).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_keeps_the_marker_of_a_batch_whose_delivery_failed() {
    let (store, list) = (Shared::default(), List::default());
    let tracker = start(&store, &list);
    let mut expected = vec![deploy(&tracker).await];
    arrives_once_in_order(&store, &list, &expected).await;
    let markers = || list.0.markers.lock().expect("nobody panics with it").clone();
    let before = markers();
    list.set(LOSES_ANSWERS);
    expected.push(deploy(&tracker).await);
    let doubtful: HashSet<_> = markers().difference(&before).copied().collect();
    list.set(WORKS);
    arrives_once_in_order(&store, &list, &expected).await;
    for _ in 0..3 {
        expected.push(deploy(&tracker).await);
        arrives_once_in_order(&store, &list, &expected).await;
    }
    assert!(!doubtful.is_empty() && doubtful.is_subset(&markers()), "a try that was given up may still arrive");
    assert!(markers().len() < doubtful.len() + 12, "the others are told to be settled");
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_never_answers_is_seen_and_bounded() {
    let (store, list) = (Shared::default(), List::default());
    let builder = Tracker::builder(Arc::new(store.clone())).output(Arc::new(list.clone()));
    let tracker = builder.outbox_limits(OutboxLimits { max_messages: 10, ..OutboxLimits::default() }).start();
    let first = deploy(&tracker).await;
    arrives_once_in_order(&store, &list, &[first]).await;
    list.set(HANGS);
    let full = Err(TrackerError::Unavailable(Unavailable::OutboxFull));
    eventually("no more is taken", async || tracker.start_deployment(deployment_report(new_id(), "{}")).await == full)
        .await;
    eventually("it counts as failing", async || tracker.outputs()[0].failing_since.is_some()).await;
    let status = tracker.outputs().remove(0);
    assert!(status.is_behind && status.backlog.messages >= 10, "{status:?}");
    assert!(!tracker.health().await.passed());
    list.set(WORKS);
    eventually("all has arrived", async || tracker.outputs()[0].backlog.messages == 0).await;
    tracker.start_deployment(deployment_report(new_id(), "{}")).await.expect("there is room again");
    assert!(tracker.health().await.passed());
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_during_the_last_reading_of_the_outbox_is_not_forgotten() {
    for _ in 0..10 {
        let (store, list) = (Shared::default(), List::default());
        store.outbox_reads_take.store(20, SeqCst);
        let tracker = start(&store, &list);
        let expected = deploy_many(&tracker, 3).await;
        let begun = std::time::Instant::now();
        arrives_once_in_order(&store, &list, &expected).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "at once, not when it is missed");
        tracker.shutdown(Duration::from_secs(5)).await;
    }
}
