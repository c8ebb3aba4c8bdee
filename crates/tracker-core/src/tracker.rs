//! The use cases.

mod builder;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::committer::{Committer, Unavailable};
use crate::delivery::Dispatcher;
use crate::delivery::instrumented::InstrumentedOutput;
use crate::delivery::status::OutputStatus;
use crate::deployment::{DeploymentReport, DeploymentWithServers};
use crate::event::{Event, EventKind};
use crate::fields::DeploymentId;
use crate::group::{Change, Outcome};
use crate::health::{self, Health, HealthCheck, StoreHealthCheck};
use crate::log::{LogBatch, LogDeploymentId, LogMessage};
use crate::metrics::{Metrics, ReportKind, ReportResult, Threads};
use crate::output::Output;
use crate::retention;
use crate::server::{Hostname, Server, ServerReport};
use crate::store::{CreatedCursor, Deleted, Page, Store, StoreError};
use crate::time;

pub use builder::{OutboxLimits, TrackerBuilder};

/// For how long it is known whether the store takes reports.
const READY_FOR: Duration = Duration::from_secs(1);

/// Records deployments in one store and forwards them to any outputs. Cheap to clone; every clone is the same tracker.
///
/// A report that is answered `Ok` is durable, and on its way to every output. Dropping the future of a report does not
/// take it back: it is recorded or not, as if the answer had been lost.
#[derive(Debug, Clone)]
pub struct Tracker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    outputs: Vec<Arc<InstrumentedOutput>>,
    keep_logs: bool,
    outbox_limits: OutboxLimits,
    committer: Arc<Committer>,
    dispatcher: Arc<Dispatcher>,
    metrics: Arc<Metrics>,
    deleted: retention::Total,
    store_check: StoreHealthCheck,
    is_closed: AtomicBool,
    tasks: Mutex<Tasks>,
}

#[derive(Debug, Default)]
pub(crate) struct Tasks {
    pub lanes: JoinSet<()>,
    pub workers: JoinSet<()>,
    pub forwarders: JoinSet<()>,
    /// These run until the end and are aborted.
    pub backlog_polls: JoinSet<()>,
    /// As are these, before anything else ends.
    pub retention: JoinSet<()>,
}

/// Why a report was not recorded, or a query not answered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TrackerError {
    /// The record says otherwise, and a start does not overwrite.
    #[error("`{field}` is recorded with another value, or without one")]
    Conflict {
        /// The member that differs.
        field: &'static str,
    },
    /// There is no such record.
    #[error("no such record")]
    Unknown,
    /// The store keeps no log messages.
    #[error("log messages are not kept")]
    LogsNotKept,
    /// Not now: the same report may succeed later, but for [`Unavailable::Rejected`], [`Unavailable::Nowhere`] and
    /// [`Unavailable::Closed`].
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Tracker {
    /// A tracker on `store`, without outputs so far.
    pub fn builder(store: Arc<dyn Store>) -> TrackerBuilder {
        TrackerBuilder::new(store)
    }

    /// Records the start of a deployment. A repeat is `Ok` and changes nothing.
    ///
    /// # Errors
    /// [`TrackerError::Conflict`] when the deployment is recorded with other values, [`TrackerError::Unavailable`].
    pub async fn start_deployment(&self, report: DeploymentReport) -> Result<(), TrackerError> {
        let id = report.id;
        self.report(ReportKind::DeploymentStart, id, Change::StartDeployment(report)).await
    }

    /// Records the finish of a deployment: what the report gives replaces what is recorded. A repeat is `Ok` and
    /// changes nothing.
    ///
    /// # Errors
    /// [`TrackerError::Unknown`] when its start was not recorded, [`TrackerError::Unavailable`].
    pub async fn finish_deployment(&self, report: DeploymentReport) -> Result<(), TrackerError> {
        let id = report.id;
        self.report(ReportKind::DeploymentFinish, id, Change::FinishDeployment(report)).await
    }

    /// Records the start of a deployment on a server. A repeat is `Ok` and changes nothing; after the finish it fills
    /// in what is absent.
    ///
    /// # Errors
    /// [`TrackerError::Conflict`] when the server is recorded with other values, [`TrackerError::Unavailable`].
    pub async fn start_server(&self, report: ServerReport) -> Result<(), TrackerError> {
        let id = report.key.deployment_id;
        self.report(ReportKind::ServerStart, id, Change::StartServer(report)).await
    }

    /// Records the finish of a deployment on a server, whether its start was recorded or not. A repeat is `Ok` and
    /// changes nothing.
    ///
    /// # Errors
    /// [`TrackerError::Unavailable`].
    pub async fn finish_server(&self, report: ServerReport) -> Result<(), TrackerError> {
        let id = report.key.deployment_id;
        self.report(ReportKind::ServerFinish, id, Change::FinishServer(report)).await
    }

    /// Records log messages, all or none: `Ok` when each output that must have them has them or is owed them, and the
    /// store has them if it keeps logs.
    ///
    /// # Errors
    /// [`TrackerError::Unavailable`].
    pub async fn append_logs(&self, mut logs: LogBatch) -> Result<(), TrackerError> {
        let messages = logs.messages.len() as u64;
        if messages == 0 {
            self.0.metrics.logged(ReportResult::Unchanged, 0);
            return Ok(());
        }
        let id = DeploymentId::parse(logs.deployment_id.as_str()).unwrap_or(DeploymentId(Uuid::nil()));
        let reporter = logs.reporter.take();
        let event = Arc::new(Event::new(EventKind::Logged(logs), time::now(), reporter));
        let outcome =
            if self.0.keep_logs { self.commit(id, Change::KeepLogs(event)).await } else { self.send(event).await };
        self.0.metrics.logged((&outcome).into(), messages);
        answer(outcome)
    }

    async fn report(&self, kind: ReportKind, id: DeploymentId, change: Change) -> Result<(), TrackerError> {
        let outcome = self.commit(id, change).await;
        self.0.metrics.reported(kind, (&outcome).into());
        answer(outcome)
    }

    async fn commit(&self, id: DeploymentId, change: Change) -> Result<Outcome, Unavailable> {
        self.check_room()?;
        self.0.committer.commit(&id, change).await
    }

    async fn send(&self, event: Arc<Event>) -> Result<Outcome, Unavailable> {
        self.check_room()?;
        self.0.dispatcher.send(event).await.map(|()| Outcome::Recorded)
    }

    /// One deployment with its servers.
    ///
    /// # Errors
    /// [`TrackerError::Unknown`], [`TrackerError::Unavailable`].
    pub async fn deployment(&self, id: DeploymentId) -> Result<DeploymentWithServers, TrackerError> {
        answered(self.0.store.deployment(id).await)?.ok_or(TrackerError::Unknown)
    }

    /// Deployments with their servers, newest first.
    ///
    /// # Errors
    /// [`TrackerError::Unavailable`].
    pub async fn deployments(&self, page: Page<CreatedCursor>) -> Result<Vec<DeploymentWithServers>, TrackerError> {
        answered(self.0.store.deployments(page).await)
    }

    /// The distinct hostnames, descending.
    ///
    /// # Errors
    /// [`TrackerError::Unavailable`].
    pub async fn hostnames(&self, page: Page<Hostname>) -> Result<Vec<Hostname>, TrackerError> {
        answered(self.0.store.hostnames(page).await)
    }

    /// The records of one host, newest first.
    ///
    /// # Errors
    /// [`TrackerError::Unknown`] when there is none at all, [`TrackerError::Unavailable`].
    pub async fn servers(&self, hostname: Hostname, page: Page<CreatedCursor>) -> Result<Vec<Server>, TrackerError> {
        let servers = answered(self.0.store.servers(hostname.clone(), page).await)?;
        if servers.is_empty() && answered(self.0.store.servers(hostname, Page::first(1)).await)?.is_empty() {
            return Err(TrackerError::Unknown);
        }
        Ok(servers)
    }

    /// The log messages of a deployment, oldest first; none when it is unknown.
    ///
    /// # Errors
    /// [`TrackerError::LogsNotKept`], [`TrackerError::Unavailable`].
    pub async fn logs(&self, id: LogDeploymentId, page: Page<Uuid>) -> Result<Vec<LogMessage>, TrackerError> {
        if !self.0.keep_logs {
            return Err(TrackerError::LogsNotKept);
        }
        answered(self.0.store.logs(id, page).await)
    }

    /// Tests the store and every output, all at the same time, for [`health::CHECK_DEADLINE`] at the most. An output
    /// that can be reached fails nevertheless while it takes no deliveries. Of those who ask at the same time, one has the
    /// store tested for all.
    pub async fn health(&self) -> Health {
        let (generated_at, begun) = (time::now(), Instant::now());
        let mut running = JoinSet::new();
        for output in &self.0.outputs {
            let output = output.clone();
            running.spawn(async move { health::test(output.name(), output.check()).await });
        }
        let mut tests = vec![self.0.store_check.run(self.0.store.as_ref(), Duration::ZERO).await];
        tests.extend(running.join_all().await);
        tests[1..].sort_by(|a: &HealthCheck, b| a.name.cmp(&b.name));
        let outputs = self.outputs();
        for test in &mut tests {
            let failing = outputs.iter().find(|output| output.name == test.name && output.failing_since.is_some());
            if let Some((_, error)) = failing.and_then(|output| output.last_error.as_ref()) {
                test.error.get_or_insert_with(|| error.clone());
            }
        }
        Health { generated_at, duration: begun.elapsed(), tests, outputs }
    }

    /// How the outputs stand that must have everything.
    pub fn outputs(&self) -> Vec<OutputStatus> {
        self.0.dispatcher.statuses()
    }

    /// What was counted since the start. Figures go on changing while they are read.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tracker_core::{DeploymentId, DeploymentReport, MemoryStore, ReportKind, ReportResult, Tracker};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tracker = Tracker::builder(Arc::new(MemoryStore::new())).start();
    /// # let id = DeploymentId::parse("84e803f7-9562-4d95-b828-25b167aea34b")?;
    /// tracker.start_deployment(DeploymentReport::new(id)).await?;
    /// assert_eq!(tracker.metrics().reports(ReportKind::DeploymentStart, ReportResult::Recorded), 1);
    /// assert_eq!(tracker.metrics().commits.changes.count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// How busy the threads of the store are.
    pub fn threads(&self) -> Vec<Threads> {
        self.0.store.threads()
    }

    /// How many changes wait for a group commit.
    pub fn waiting_changes(&self) -> usize {
        self.0.committer.waiting()
    }

    /// How much was deleted since the start because it was old.
    pub fn deleted(&self) -> Deleted {
        retention::read(&self.0.deleted)
    }

    /// Tests whether a report can be made durable now: the store takes it, and the outbox has room. An output that is
    /// away does not matter as long as it has. The store is asked once a second at the most, however many want to know.
    ///
    /// # Errors
    /// [`TrackerError::Unavailable`].
    pub async fn ready(&self) -> Result<(), TrackerError> {
        self.check_room()?;
        match self.0.store_check.run(self.0.store.as_ref(), READY_FOR).await.error {
            None => Ok(()),
            Some(_) => Err(Unavailable::Store.into()),
        }
    }

    /// Takes no more reports, delivers what waits, and ends every task, within `deadline`. What could not be delivered by then
    /// is owed and delivered by the next run. Whether everything ended in time; if not, every task is aborted, the store is
    /// not closed, and who waits for an answer gets [`Unavailable::TimedOut`]. To be awaited: nothing ends when the last
    /// tracker is dropped.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        self.0.is_closed.store(true, Ordering::Release);
        let mut tasks = self.0.tasks.lock().await;
        let end = async {
            tasks.retention.shutdown().await;
            self.0.dispatcher.close().await;
            while tasks.workers.join_next().await.is_some() {}
            self.0.committer.close().await;
            while tasks.lanes.join_next().await.is_some() {}
            self.0.dispatcher.close_forwarders().await;
            while tasks.forwarders.join_next().await.is_some() {}
            tasks.backlog_polls.shutdown().await;
            self.0.store.close().await;
        };
        let in_time = tokio::time::timeout(deadline, end).await.is_ok();
        *tasks = Tasks::default();
        in_time
    }

    /// Refuses reports when it has been shut down, or as much is owed to an output as may be.
    fn check_room(&self) -> Result<(), Unavailable> {
        if self.0.is_closed.load(Ordering::Acquire) {
            return Err(Unavailable::Closed);
        }
        self.0.dispatcher.check_room(self.0.outbox_limits)
    }
}

fn answer(outcome: Result<Outcome, Unavailable>) -> Result<(), TrackerError> {
    match outcome? {
        Outcome::Recorded | Outcome::Unchanged => Ok(()),
        Outcome::Conflict { field } => Err(TrackerError::Conflict { field }),
        Outcome::Unknown => Err(TrackerError::Unknown),
    }
}

fn answered<T>(answer: Result<T, StoreError>) -> Result<T, TrackerError> {
    answer.map_err(|error| {
        log::warn!("a query failed: {}", crate::output::chain(&error));
        match error {
            StoreError::Unavailable(_) | StoreError::Unknown(_) | StoreError::NotYet(_) => Unavailable::Store.into(),
            StoreError::Rejected(_) => Unavailable::Rejected.into(),
        }
    })
}
