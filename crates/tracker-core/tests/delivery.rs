//! What couriers promise, on an output that fails, loses answers and hangs as it is told.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tracker_core::testing::{deployment_report, eventually, logs, new_id};
use tracker_core::time::Timestamp;
use tracker_core::{
    Backlog, Batch, Decision, Deleted, Delivery, DeploymentId, DeploymentWithServers, Event, EventKind, Group,
    Hostname, LogDeploymentId, LogMessage, MemoryStore, Newest, OutboxLimits, Output, OutputError, OwedBatch, Page,
    Server, Store, StoreError, Tracker, TrackerError, Unavailable,
};

const WORKS: u8 = 0;
/// Takes nothing.
const FAILS: u8 = 1;
/// Takes everything, and the answer is lost.
const LOSES_ANSWERS: u8 = 2;
/// Neither takes nor answers.
const HANGS: u8 = 3;

#[derive(Debug, Default)]
struct State {
    /// Its name, unless it is called `list`.
    name: Option<&'static str>,
    mode: AtomicU8,
    lines: Mutex<Vec<String>>,
    markers: Mutex<HashSet<uuid::Uuid>>,
}

/// A list like that of Redis: it recognises a batch that comes again until the batch is said to be settled.
#[derive(Debug, Clone, Default)]
struct List(Arc<State>);

impl List {
    fn set(&self, mode: u8) {
        self.0.mode.store(mode, SeqCst);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lines.lock().expect("nobody panics with it").clone()
    }

    fn count(&self) -> usize {
        self.0.lines.lock().expect("nobody panics with it").len()
    }
}

#[async_trait]
impl Output for List {
    fn name(&self) -> &'static str {
        self.0.name.unwrap_or("list")
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn wants(&self, _: &Event) -> bool {
        true
    }

    async fn deliver(&self, batches: &[Arc<Batch>], settled: &[uuid::Uuid]) -> Result<(), OutputError> {
        while self.0.mode.load(SeqCst) == HANGS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if self.0.mode.load(SeqCst) == FAILS {
            return Err(OutputError::message("it is away"));
        }
        let mut markers = self.0.markers.lock().expect("nobody panics with it");
        for batch in batches {
            if markers.insert(batch.id) {
                let mut lines = self.0.lines.lock().expect("nobody panics with it");
                for event in &batch.events {
                    lines.extend(lines_of(event));
                }
            }
        }
        markers.retain(|marker| !settled.contains(marker));
        if self.0.mode.load(SeqCst) == LOSES_ANSWERS {
            return Err(OutputError::message("no answer"));
        }
        Ok(())
    }

    async fn check(&self) -> Result<(), OutputError> {
        Ok(())
    }
}

fn lines_of(event: &Event) -> Vec<String> {
    match &event.kind {
        EventKind::DeploymentStarted(deployment) => vec![format!("start {}", deployment.id)],
        EventKind::DeploymentFinished(deployment) => vec![format!("finish {}", deployment.id)],
        EventKind::Logged(batch) => batch.messages.iter().map(|message| message.object().get().to_owned()).collect(),
        EventKind::ServerStarted(_) | EventKind::ServerFinished(_) => Vec::new(),
    }
}

/// A store that can be taken away, and that outlives its tracker.
#[derive(Debug, Clone, Default)]
struct Shared {
    memory: Arc<MemoryStore>,
    is_away: Arc<AtomicU8>,
    /// How long the answer to a commit is on its way, in tenths of a second.
    answers_take: Arc<AtomicU8>,
    /// Commits are made, and their answers lost.
    loses_answers: Arc<AtomicU8>,
    /// How long after its answer was lost a commit is made, in tenths of a second.
    comes_through_late: Arc<AtomicU8>,
    /// How long the answer to a reading of the outbox is on its way, in milliseconds.
    owed_takes: Arc<AtomicU8>,
    /// How often it was tested.
    tests: Arc<AtomicU8>,
    /// Tests do not end.
    holds_tests: Arc<AtomicU8>,
}

impl Shared {
    fn there(&self) -> Result<&MemoryStore, StoreError> {
        if self.is_away.load(SeqCst) == 0 { Ok(&self.memory) } else { Err(StoreError::Unavailable("away".into())) }
    }
}

#[async_trait]
impl Store for Shared {
    fn lanes(&self) -> usize {
        3
    }

    async fn commit(&self, lane: usize, group: Arc<Group>) -> Result<Decision, StoreError> {
        // As it is set when the commit begins: a test that sees the record may set it anew.
        let late = Duration::from_millis(100) * self.answers_take.load(SeqCst).into();
        let after = Duration::from_millis(100) * self.comes_through_late.load(SeqCst).into();
        if !after.is_zero() {
            let memory = self.memory.clone();
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                memory.commit(lane, group).await
            });
            return Err(StoreError::Unknown("no answer".into()));
        }
        let committed = self.there()?.commit(lane, group).await;
        tokio::time::sleep(late).await;
        if self.loses_answers.load(SeqCst) == 0 { committed } else { Err(StoreError::Unknown("no answer".into())) }
    }

    async fn deployment(&self, id: DeploymentId) -> Result<Option<DeploymentWithServers>, StoreError> {
        self.there()?.deployment(id).await
    }

    async fn deployments(&self, page: Page<Newest>) -> Result<Vec<DeploymentWithServers>, StoreError> {
        self.there()?.deployments(page).await
    }

    async fn hostnames(&self, page: Page<Hostname>) -> Result<Vec<Hostname>, StoreError> {
        self.there()?.hostnames(page).await
    }

    async fn servers(&self, hostname: Hostname, page: Page<Newest>) -> Result<Vec<Server>, StoreError> {
        self.there()?.servers(hostname, page).await
    }

    async fn logs(&self, id: LogDeploymentId, page: Page<uuid::Uuid>) -> Result<Vec<LogMessage>, StoreError> {
        self.there()?.logs(id, page).await
    }

    async fn owed(&self, output: &str, limit: usize) -> Result<Vec<OwedBatch>, StoreError> {
        let owed = self.there()?.owed(output, limit).await;
        tokio::time::sleep(Duration::from_millis(self.owed_takes.load(SeqCst).into())).await;
        owed
    }

    async fn take_stock(&self, output: &str) -> Result<Backlog, StoreError> {
        self.there()?.take_stock(output).await
    }

    async fn logged(
        &self,
        after: Option<LogDeploymentId>,
        limit: u32,
    ) -> Result<Vec<(LogDeploymentId, uuid::Uuid)>, StoreError> {
        self.there()?.logged(after, limit).await
    }

    async fn delete_older(
        &self,
        ids: Arc<[LogDeploymentId]>,
        before: Timestamp,
        limit: u32,
    ) -> Result<Deleted, StoreError> {
        self.there()?.delete_older(ids, before, limit).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.tests.fetch_add(1, SeqCst);
        while self.holds_tests.load(SeqCst) == 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.there()?.check().await
    }
}

fn start(store: &Shared, list: &List) -> Tracker {
    Tracker::builder(store.clone()).output(list.clone()).start()
}

/// Reports one deployment from start to finish with logs in between; what the list must hold of it, in order.
async fn deploy(tracker: &Tracker) -> Vec<String> {
    let id = new_id();
    let messages = [format!("{{\"message\":\"{id} a\"}}"), format!("{{\"message\":\"{id} b\"}}")];
    tracker.start_deployment(deployment_report(id, "{}")).await.expect("recorded");
    for message in &messages {
        tracker.append_logs(logs(id, message)).await.expect("taken");
    }
    tracker.finish_deployment(deployment_report(id, r#"{"result":"success"}"#)).await.expect("recorded");
    let [a, b] = messages;
    vec![format!("start {id}"), a, b, format!("finish {id}")]
}

/// Reports deployments, many at a time.
async fn deploy_many(tracker: &Tracker, how_many: usize) -> Vec<Vec<String>> {
    let running: Vec<_> = (0..how_many)
        .map(|_| {
            let tracker = tracker.clone();
            tokio::spawn(async move { deploy(&tracker).await })
        })
        .collect();
    let mut expected = Vec::new();
    for deployment in running {
        expected.push(deployment.await.expect("no panic"));
    }
    expected
}

/// Waits until all of it is in the list, and holds that against: each line once, and of each deployment in order.
async fn arrives_once_in_order(store: &Shared, list: &List, expected: &[Vec<String>]) {
    let total: usize = expected.iter().map(Vec::len).sum();
    eventually("everything arrives", async || list.count() >= total).await;
    eventually("nothing is owed", async || store.memory.owed("list", 1).await.is_ok_and(|owed| owed.is_empty())).await;
    let lines = list.lines();
    assert_eq!(lines.len(), total, "nothing arrives twice");
    for deployment in expected {
        let arrived: Vec<_> = lines.iter().filter(|line| deployment.contains(line)).collect();
        assert_eq!(arrived, deployment.iter().collect::<Vec<_>>(), "in order, each once");
    }
}

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
async fn what_is_owed_at_the_end_is_delivered_by_the_next_run() {
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
async fn logs_that_nobody_takes_are_not_acknowledged() {
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

    let nowhere = Tracker::builder(MemoryStore::new()).keep_logs(false).start();
    assert_eq!(nowhere.append_logs(message()).await, Err(TrackerError::Unavailable(Unavailable::Nowhere)));
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_one_output_has_are_not_said_to_be_refused() {
    let (store, list) = (Shared::default(), List::default());
    let stuck = List(Arc::new(State { name: Some("stuck"), ..State::default() }));
    let builder = Tracker::builder(store).output(list.clone()).output(stuck.clone());
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

#[tokio::test(flavor = "multi_thread")]
async fn kept_logs_are_both_kept_and_forwarded() {
    let (store, list) = (Shared::default(), List::default());
    let tracker = Tracker::builder(store.clone()).output(list.clone()).keep_logs(true).start();
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
async fn a_full_outbox_refuses_and_says_so_until_the_output_is_back() {
    let (store, list) = (Shared::default(), List::default());
    list.set(FAILS);
    let limits = OutboxLimits { max_messages: 10, max_bytes: 1 << 20 };
    let tracker = Tracker::builder(store.clone()).output(list.clone()).outbox_limits(limits).start();
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
async fn what_comes_in_during_the_last_reading_of_the_outbox_is_not_forgotten() {
    for _ in 0..10 {
        let (store, list) = (Shared::default(), List::default());
        store.owed_takes.store(20, SeqCst);
        let tracker = start(&store, &list);
        let expected = deploy_many(&tracker, 3).await;
        let begun = std::time::Instant::now();
        arrives_once_in_order(&store, &list, &expected).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "at once, not when it is missed");
        tracker.shutdown(Duration::from_secs(5)).await;
    }
}

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
async fn a_commit_that_comes_through_after_its_answer_was_lost_is_delivered_before_what_comes_after_its_repeat() {
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
async fn logs_take_the_short_way_again_soon_after_a_commit_whose_answer_was_lost() {
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
async fn a_flood_of_logs_is_cut_into_batches_that_an_output_can_take() {
    let (store, list) = (Shared::default(), List::default());
    list.set(FAILS);
    // While a commit is on its way, the next group gathers.
    store.answers_take.store(1, SeqCst);
    let tracker = Tracker::builder(store.clone()).output(list.clone()).keep_logs(true).start();
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
    let owed = store.memory.owed("list", 1000).await.expect("a query");
    let messages: Vec<_> = owed.iter().map(|owed| owed.batch.messages()).collect();
    assert!(messages.iter().all(|messages| *messages == 4_000), "{messages:?}");
    list.set(WORKS);
    eventually("everything arrives", async || list.count() == 80_000).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_ask_for_health_at_the_same_time_share_a_test_of_the_store() {
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
async fn a_commit_whose_answer_is_late_is_delivered_once() {
    let (store, list) = (Shared::default(), List::default());
    let tracker = Tracker::builder(store.clone()).output(list.clone()).commit_deadline(Duration::from_secs(30)).start();
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
    let owed = store.memory.owed("list", 1000).await.expect("a query");
    let most = owed.iter().map(|owed| owed.batch.events.len()).max();
    assert!(most.is_some_and(|most| most <= 65), "{most:?}");
    list.set(WORKS);
    eventually("the finishes arrive", async || list.count() == 2 * ids.len()).await;
    tracker.shutdown(Duration::from_secs(5)).await;
}
