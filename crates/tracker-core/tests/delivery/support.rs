//! An output and a store that fail as they are told.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tracker_core::testing::{deployment_report, eventually, logs, new_id};
use tracker_core::time::Timestamp;
use tracker_core::{
    Backlog, Batch, CreatedCursor, Decision, Deleted, Delivery, DeploymentId, DeploymentWithServers, Event, EventKind,
    Group, Hostname, LogDeploymentId, LogMessage, MemoryStore, Output, OutputError, Page, PendingBatch, Server, Store,
    StoreError, Tracker,
};

pub const WORKS: u8 = 0;
/// Takes nothing.
pub const FAILS: u8 = 1;
/// Takes everything, and the answer is lost.
pub const LOSES_ANSWERS: u8 = 2;
/// Neither takes nor answers.
pub const HANGS: u8 = 3;
/// Has a bug.
pub const PANICS: u8 = 4;

#[derive(Debug, Default)]
pub struct State {
    /// Its name, unless it is called `list`.
    pub name: Option<&'static str>,
    pub mode: AtomicU8,
    pub lines: Mutex<Vec<String>>,
    pub markers: Mutex<HashSet<uuid::Uuid>>,
}

/// A list like that of Redis: it recognises a batch that comes again until the batch is said to be settled.
#[derive(Debug, Clone, Default)]
pub struct List(pub Arc<State>);

impl List {
    pub fn set(&self, mode: u8) {
        self.0.mode.store(mode, SeqCst);
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lines.lock().expect("nobody panics with it").clone()
    }

    fn panics_if_told(&self) {
        assert_ne!(self.0.mode.load(SeqCst), PANICS, "a bug in an output");
    }

    pub fn count(&self) -> usize {
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
        self.panics_if_told();
        true
    }

    async fn deliver(&self, batches: &[Arc<Batch>], acknowledged: &[uuid::Uuid]) -> Result<(), OutputError> {
        self.panics_if_told();
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
        markers.retain(|marker| !acknowledged.contains(marker));
        if self.0.mode.load(SeqCst) == LOSES_ANSWERS {
            return Err(OutputError::message("no answer"));
        }
        Ok(())
    }

    async fn check(&self) -> Result<(), OutputError> {
        self.panics_if_told();
        Ok(())
    }
}

pub fn lines_of(event: &Event) -> Vec<String> {
    match &event.kind {
        EventKind::DeploymentStarted(deployment) => vec![format!("start {}", deployment.id)],
        EventKind::DeploymentFinished(deployment) => vec![format!("finish {}", deployment.id)],
        EventKind::Logged(batch) => batch.messages.iter().map(|message| message.object().get().to_owned()).collect(),
        EventKind::ServerStarted(_) | EventKind::ServerFinished(_) => Vec::new(),
    }
}

/// A store that can be taken away, and that outlives its tracker.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    pub memory: Arc<MemoryStore>,
    pub is_away: Arc<AtomicU8>,
    /// It has a bug.
    pub panics: Arc<AtomicU8>,
    /// How long the answer to a commit is on its way, in tenths of a second.
    pub answers_take: Arc<AtomicU8>,
    /// Commits are made, and their answers lost.
    pub loses_answers: Arc<AtomicU8>,
    /// How long after its answer was lost a commit is made, in tenths of a second.
    pub comes_through_late: Arc<AtomicU8>,
    /// How long the answer to a reading of the outbox is on its way, in milliseconds.
    pub outbox_reads_take: Arc<AtomicU8>,
    /// How often it was tested.
    pub tests: Arc<AtomicU8>,
    /// Tests do not end.
    pub holds_tests: Arc<AtomicU8>,
}

impl Shared {
    fn there(&self) -> Result<&MemoryStore, StoreError> {
        assert_eq!(self.panics.load(SeqCst), 0, "a bug in a store");
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

    async fn deployments(&self, page: Page<CreatedCursor>) -> Result<Vec<DeploymentWithServers>, StoreError> {
        self.there()?.deployments(page).await
    }

    async fn hostnames(&self, page: Page<Hostname>) -> Result<Vec<Hostname>, StoreError> {
        self.there()?.hostnames(page).await
    }

    async fn servers(&self, hostname: Hostname, page: Page<CreatedCursor>) -> Result<Vec<Server>, StoreError> {
        self.there()?.servers(hostname, page).await
    }

    async fn logs(&self, id: LogDeploymentId, page: Page<uuid::Uuid>) -> Result<Vec<LogMessage>, StoreError> {
        self.there()?.logs(id, page).await
    }

    async fn pending(&self, output: &str, limit: usize) -> Result<Vec<PendingBatch>, StoreError> {
        let pending = self.there()?.pending(output, limit).await;
        tokio::time::sleep(Duration::from_millis(self.outbox_reads_take.load(SeqCst).into())).await;
        pending
    }

    async fn backlog(&self, output: &str) -> Result<Backlog, StoreError> {
        self.there()?.backlog(output).await
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

pub fn start(store: &Shared, list: &List) -> Tracker {
    Tracker::builder(Arc::new(store.clone())).output(Arc::new(list.clone())).start()
}

/// Reports one deployment from start to finish with logs in between; what the list must hold of it, in order.
pub async fn deploy(tracker: &Tracker) -> Vec<String> {
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
pub async fn deploy_many(tracker: &Tracker, how_many: usize) -> Vec<Vec<String>> {
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
pub async fn arrives_once_in_order(store: &Shared, list: &List, expected: &[Vec<String>]) {
    let total: usize = expected.iter().map(Vec::len).sum();
    eventually("everything arrives", async || list.count() >= total).await;
    eventually("nothing is owed", async || {
        store.memory.pending("list", 1).await.is_ok_and(|pending| pending.is_empty())
    })
    .await;
    let lines = list.lines();
    assert_eq!(lines.len(), total, "nothing arrives twice");
    for deployment in expected {
        let arrived: Vec<_> = lines.iter().filter(|line| deployment.contains(line)).collect();
        assert_eq!(arrived, deployment.iter().collect::<Vec<_>>(), "in order, each once");
    }
}
