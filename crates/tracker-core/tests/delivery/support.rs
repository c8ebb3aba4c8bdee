//! An output and a store whose faults the tests control.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tracker_core::testing::{deployment_report, eventually, logs, new_id};
use tracker_core::time::Timestamp;
use tracker_core::{
    Backlog, Batch, CreatedCursor, Decision, Deleted, Delivery, DeploymentId, DeploymentQuery, DeploymentWithServers,
    Event, EventKind, FieldClue, Group, Hostname, HostnameQuery, Listed, LogDeploymentId, LogMessage, LogQuery,
    MemoryStore, Output, OutputError, PendingBatch, RejectReason, Server, ServerQuery, Store, StoreError, Tracker,
};
use uuid::Uuid;

/// How often a hanging fake checks whether it must still hang.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// How a [`List`] behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Works,
    /// Takes nothing and returns an error.
    Fails,
    /// Takes everything and returns an error, as if the answer had been lost.
    LosesAnswers,
    /// Takes nothing and does not return.
    Hangs,
    /// Panics in every method whose panics the tracker turns into errors.
    Panics,
    /// Panics when it is asked for its name, which ends a run of a task of the tracker.
    PanicsWhenNamed,
}

/// An at-least-once output like a Redis list: it skips a batch that arrives again, until the tracker lets it forget the
/// batch.
#[derive(Debug, Clone)]
pub struct List {
    name: &'static str,
    contents: Arc<Mutex<Contents>>,
}

#[derive(Debug, Default)]
struct Contents {
    mode: Mode,
    lines: Vec<String>,
    markers: HashSet<Uuid>,
    ids: HashSet<Uuid>,
    deliveries: usize,
    checks: usize,
}

impl Default for List {
    fn default() -> Self {
        Self::named("list")
    }
}

impl List {
    pub fn named(name: &'static str) -> Self {
        Self { name, contents: Arc::default() }
    }

    pub fn set(&self, mode: Mode) {
        self.contents().mode = mode;
    }

    pub fn lines(&self) -> Vec<String> {
        self.contents().lines.clone()
    }

    /// The number of lines.
    pub fn count(&self) -> usize {
        self.contents().lines.len()
    }

    /// The ids of the batches that the list recognizes as duplicates.
    pub fn markers(&self) -> HashSet<Uuid> {
        self.contents().markers.clone()
    }

    /// The ids of all batches that the list has taken.
    pub fn every_id(&self) -> HashSet<Uuid> {
        self.contents().ids.clone()
    }

    /// The number of deliveries so far, whether they succeeded or not.
    pub fn deliveries(&self) -> usize {
        self.contents().deliveries
    }

    /// The number of health checks so far.
    pub fn checks(&self) -> usize {
        self.contents().checks
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().expect("no test panics while it holds the lock")
    }

    fn mode(&self) -> Mode {
        self.contents().mode
    }

    fn check_panics(&self) {
        assert_ne!(self.mode(), Mode::Panics, "a bug in an output");
    }
}

#[async_trait]
impl Output for List {
    fn name(&self) -> &'static str {
        assert_ne!(self.mode(), Mode::PanicsWhenNamed, "a bug in a name");
        self.name
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn wants(&self, _: &Event) -> bool {
        self.check_panics();
        true
    }

    async fn deliver(&self, batches: &[Arc<Batch>]) -> Result<(), OutputError> {
        self.contents().deliveries += 1;
        self.check_panics();
        while self.mode() == Mode::Hangs {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let mut contents = self.contents();
        if contents.mode == Mode::Fails {
            return Err(OutputError::message("the list is unavailable"));
        }
        for batch in batches {
            contents.ids.insert(batch.id);
            if contents.markers.insert(batch.id) {
                contents.lines.extend(batch.events.iter().flat_map(|event| lines_of(event)));
            }
        }
        if contents.mode == Mode::LosesAnswers {
            return Err(OutputError::message("the answer was lost"));
        }
        Ok(())
    }

    fn forget(&self, batches: &[Uuid]) {
        self.contents().markers.retain(|marker| !batches.contains(marker));
    }

    async fn check(&self) -> Result<(), OutputError> {
        self.contents().checks += 1;
        self.check_panics();
        while self.mode() == Mode::Hangs {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }
}

fn lines_of(event: &Event) -> Vec<String> {
    match &event.kind {
        EventKind::DeploymentStarted(deployment) => vec![format!("start {}", deployment.id)],
        EventKind::DeploymentFinished(deployment) => vec![format!("finish {}", deployment.id)],
        EventKind::Logged(batch) => batch.messages.iter().map(|message| message.object().get().to_owned()).collect(),
        _ => Vec::new(),
    }
}

/// The space that a commit takes on the disk.
pub const COMMIT_BYTES: usize = 1 << 10;

/// How a [`FaultyStore`] refuses a group.
#[derive(Debug, Clone, Copy)]
pub enum Refusal {
    /// The encoding lacks the character `🚀`.
    Rejects,
    /// With an error that does not say who is at fault.
    FailsUnexpectedly,
    /// As if the store had just become unavailable.
    IsAway,
    /// From now on, every group fails with an error that does not say who is at fault.
    Persists,
}

/// The faults of a [`FaultyStore`]. By default it has none.
#[derive(Debug, Clone)]
pub struct Faults {
    /// Every call fails without any effect.
    pub is_away: bool,
    /// Every call panics.
    pub panics: bool,
    /// The delay between a commit and its answer.
    pub answers_take: Duration,
    /// Commits take effect, but their answers are lost.
    pub loses_answers: bool,
    /// The answer to a commit is lost, and the commit takes effect this long afterwards.
    pub commits_after: Option<Duration>,
    /// Groups without a report about a deployment fail without any effect, such as acknowledgements.
    pub refuses_acknowledgements: bool,
    /// A group with this deployment fails without any effect.
    pub refuses: Option<(DeploymentId, Refusal)>,
    /// The delay between an outbox read and its answer.
    pub outbox_reads_take: Duration,
    /// Health checks do not return.
    pub holds_checks: bool,
    /// The free bytes on the disk. A commit takes [`COMMIT_BYTES`], and a health check takes its size.
    pub room: usize,
    /// Queries of this deployment fail, as on a damaged page.
    pub damaged: Option<DeploymentId>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            is_away: false,
            panics: false,
            answers_take: Duration::ZERO,
            loses_answers: false,
            commits_after: None,
            refuses_acknowledgements: false,
            refuses: None,
            outbox_reads_take: Duration::ZERO,
            holds_checks: false,
            room: usize::MAX,
            damaged: None,
        }
    }
}

/// A store whose faults a test controls. Its records outlive the tracker.
#[derive(Debug, Clone, Default)]
pub struct FaultyStore {
    pub memory: Arc<MemoryStore>,
    faults: Arc<Mutex<Faults>>,
    checks: Arc<AtomicUsize>,
}

impl FaultyStore {
    /// The faults, to read or change.
    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().expect("no test panics while it holds the lock")
    }

    /// The number of health checks so far.
    pub fn checks(&self) -> usize {
        self.checks.load(SeqCst)
    }

    /// Whether `id` is recorded.
    pub async fn has(&self, id: DeploymentId) -> bool {
        self.memory.deployment(id).await.is_ok_and(|found| found.is_some())
    }

    fn reach(&self) -> Result<&MemoryStore, StoreError> {
        let Faults { panics, is_away, .. } = self.faults().clone();
        assert!(!panics, "a bug in a store");
        if is_away { Err(StoreError::Unavailable("the store is away".into())) } else { Ok(&self.memory) }
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn lanes(&self) -> usize {
        3
    }

    async fn commit(&self, lane: usize, group: Arc<Group>) -> Result<Decision, StoreError> {
        // The faults at the start of the commit count: a test may change them as soon as it sees
        // the record.
        let faults = self.faults().clone();
        if let Some(delay) = faults.commits_after {
            let memory = self.memory.clone();
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                memory.commit(lane, group).await
            });
            return Err(StoreError::Unknown("the answer was lost".into()));
        }
        if let Some((id, refusal)) = faults.refuses
            && (group.deployments().contains(&id) || matches!(refusal, Refusal::Persists))
        {
            return Err(match refusal {
                Refusal::Rejects => StoreError::Rejected {
                    reason: RejectReason::Encoding,
                    clue: FieldClue::Character('🚀'),
                    source: "no such character".into(),
                },
                Refusal::FailsUnexpectedly | Refusal::Persists => {
                    StoreError::Unexpected("an error of some kind".into())
                }
                // The group as a whole does not show it yet.
                Refusal::IsAway if group.deployments().len() > 1 => StoreError::Unexpected("gone".into()),
                Refusal::IsAway => StoreError::Unavailable("gone".into()),
            });
        }
        if faults.refuses_acknowledgements && group.deployments().is_empty() {
            return Err(StoreError::Unavailable("the store refuses acknowledgements".into()));
        }
        if faults.room < COMMIT_BYTES {
            return Err(StoreError::Unavailable("the disk is full".into()));
        }
        let committed = self.reach()?.commit(lane, group).await;
        tokio::time::sleep(faults.answers_take).await;
        if self.faults().loses_answers { Err(StoreError::Unknown("the answer was lost".into())) } else { committed }
    }

    async fn deployment(&self, id: DeploymentId) -> Result<Option<DeploymentWithServers>, StoreError> {
        if self.faults().damaged == Some(id) {
            return Err(StoreError::Unavailable("a page is damaged".into()));
        }
        self.reach()?.deployment(id).await
    }

    async fn deployments(
        &self,
        query: DeploymentQuery,
    ) -> Result<Listed<DeploymentWithServers, CreatedCursor>, StoreError> {
        self.reach()?.deployments(query).await
    }

    async fn hostnames(&self, query: HostnameQuery) -> Result<Listed<Hostname, Hostname>, StoreError> {
        self.reach()?.hostnames(query).await
    }

    async fn servers(&self, query: ServerQuery) -> Result<Listed<Server, CreatedCursor>, StoreError> {
        self.reach()?.servers(query).await
    }

    async fn logs(&self, query: LogQuery) -> Result<Listed<LogMessage, Uuid>, StoreError> {
        self.reach()?.logs(query).await
    }

    async fn pending(&self, output: &str, limit: usize) -> Result<Vec<PendingBatch>, StoreError> {
        let pending = self.reach()?.pending(output, limit).await;
        let delay = self.faults().outbox_reads_take;
        tokio::time::sleep(delay).await;
        pending
    }

    async fn backlog(&self, output: &str) -> Result<Backlog, StoreError> {
        self.reach()?.backlog(output).await
    }

    async fn logged(
        &self,
        after: Option<LogDeploymentId>,
        limit: u32,
    ) -> Result<Vec<(LogDeploymentId, Uuid)>, StoreError> {
        self.reach()?.logged(after, limit).await
    }

    async fn delete_older(
        &self,
        ids: Arc<[LogDeploymentId]>,
        before: Timestamp,
        limit: u32,
    ) -> Result<Deleted, StoreError> {
        self.reach()?.delete_older(ids, before, limit).await
    }

    async fn check(&self, lane: usize, bytes: usize) -> Result<(), StoreError> {
        // Every check covers every lane.
        self.checks.fetch_add((lane == 0).into(), SeqCst);
        while self.faults().holds_checks {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        if bytes > self.faults().room {
            return Err(StoreError::Unavailable("the disk is full".into()));
        }
        self.reach()?.check(lane, bytes).await
    }
}

pub fn start(store: &FaultyStore, list: &List) -> Tracker {
    Tracker::builder(store.clone()).output(list.clone()).start()
}

/// Waits until every delivery worker is live.
pub async fn wait_until_live(tracker: &Tracker) {
    eventually("every worker is live", async || tracker.outputs().iter().all(|output| !output.is_catching_up)).await;
}

/// Waits until the delivery worker of the first output is catching up from the outbox.
pub async fn wait_until_catching_up(tracker: &Tracker) {
    eventually("the worker is catching up", async || tracker.outputs()[0].is_catching_up).await;
}

/// Reports one deployment from start to finish, with logs in between. Returns the lines that the
/// list must receive.
pub async fn deploy(tracker: &Tracker) -> Vec<String> {
    let id = new_id();
    let messages = [format!("{{\"message\":\"{id} a\"}}"), format!("{{\"message\":\"{id} b\"}}")];
    tracker.start_deployment(deployment_report(id, "{}")).await.expect("recorded");
    for message in &messages {
        tracker.append_logs(logs(id, message)).await.expect("accepted");
    }
    tracker.finish_deployment(deployment_report(id, r#"{"result":"success"}"#)).await.expect("recorded");
    let [a, b] = messages;
    vec![format!("start {id}"), a, b, format!("finish {id}")]
}

/// Runs [`deploy`] `count` times concurrently.
pub async fn deploy_many(tracker: &Tracker, count: usize) -> Vec<Vec<String>> {
    let running: Vec<_> = (0..count)
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

/// Waits until the list has every line of `expected` and nothing is pending. Then asserts that each
/// line arrived once and that the lines of each deployment arrived in order.
pub async fn arrives_once_in_order(store: &FaultyStore, list: &List, expected: &[Vec<String>]) {
    let total: usize = expected.iter().map(Vec::len).sum();
    eventually("every line arrives", async || list.count() >= total).await;
    eventually("the outbox is empty", async || {
        store.memory.pending("list", 1).await.is_ok_and(|pending| pending.is_empty())
    })
    .await;
    let lines = list.lines();
    assert_eq!(lines.len(), total, "no line arrives twice");
    let positions: HashMap<_, _> = lines.iter().enumerate().map(|(position, line)| (line, position)).collect();
    for deployment in expected {
        let arrived: Vec<_> = deployment.iter().filter_map(|line| positions.get(line)).collect();
        assert_eq!(arrived.len(), deployment.len(), "every line of {deployment:?} arrives");
        assert!(arrived.is_sorted(), "the lines arrive in order: {deployment:?} at {arrived:?}");
    }
}
