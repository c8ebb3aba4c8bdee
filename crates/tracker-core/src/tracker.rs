//! The tracker: one method for each use case.

mod builder;

use std::any::TypeId;
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt, TryFutureExt};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::committer::Committer;
use crate::delivery::instrumented::InstrumentedOutput;
use crate::delivery::status::{OutboxLimits, OutputStatus};
use crate::delivery::{DeliveryTasks, Dispatcher};
use crate::deployment::{DeploymentReport, DeploymentWithServers};
use crate::error::{TrackerError, UnavailableReason};
use crate::event::{Event, EventKind};
use crate::failure_log::FailureLogs;
use crate::group::{Change, Outcome};
use crate::health::{Health, HealthCheck, StoreHealthCheck};
use crate::id::DeploymentId;
use crate::list::{CreatedCursor, Listed, Page};
use crate::log::{LogBatch, LogMessage};
use crate::metrics::{Metrics, ReportKind, ReportResult};
use crate::retention;
use crate::server::{Hostname, Server, ServerReport};
use crate::shared::IntoShared;
use crate::store::{Deleted, DeploymentQuery, HostnameQuery, LogQuery, ServerQuery, Store, StoreError, Threads};
use crate::store_failures::StoreFailures;
use crate::time;

pub use builder::TrackerBuilder;

/// The maximum age of a store check that [`Tracker::ready`] reuses.
const READY_MAX_AGE: Duration = Duration::from_secs(1);

/// How long a shutdown waits for the backlogs that [`Tracker::outputs`] then returns.
const LAST_BACKLOG_DEADLINE: Duration = Duration::from_secs(1);

/// Records deployments in one store, and forwards them to any number of outputs. Cheap to clone; all clones share one
/// tracker.
///
/// Once a report returns `Ok`, it is durable and on its way to every output. Dropping the future of a report does not
/// cancel it: the report may or may not be recorded, as if its answer had been lost.
///
/// Await [`Tracker::shutdown`] before you drop the last clone: dropping it aborts every task, and is logged as a warning
/// if the tracker was used.
///
/// The tracker logs failures of the store and of outputs as warnings, with the crate [`log`](https://docs.rs/log). A
/// program that embeds a tracker must install a logger that shows warnings, as the [page of the crate](crate) does;
/// otherwise these failures are invisible.
#[derive(Debug, Clone)]
pub struct Tracker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    outputs: Vec<Arc<InstrumentedOutput>>,
    keeps_logs: bool,
    outbox_limits: OutboxLimits,
    committer: Arc<Committer>,
    dispatcher: Arc<Dispatcher>,
    metrics: Arc<Metrics>,
    deleted: retention::Total,
    store_check: StoreHealthCheck,
    failures: Arc<StoreFailures>,
    /// The failures of queries, by the type of the query and the kind of the error.
    query_logs: FailureLogs<(TypeId, Discriminant<StoreError>)>,
    is_closed: AtomicBool,
    tasks: Mutex<Tasks>,
}

/// A query, to be run once or to be repeated as a probe.
type Query<Q, T> = fn(Arc<dyn Store>, Q) -> BoxFuture<'static, Result<T, StoreError>>;

#[derive(Debug, Default)]
struct Tasks {
    lanes: JoinSet<()>,
    delivery: DeliveryTasks,
    retention: JoinSet<()>,
}

impl Tracker {
    /// Builds a tracker on `store`, which is a [`Store`] or an [`Arc`] of one.
    pub fn builder(store: impl IntoShared<dyn Store>) -> TrackerBuilder {
        TrackerBuilder::new(store.into_shared())
    }

    /// Records the start of a deployment. A duplicate returns `Ok` and changes nothing.
    ///
    /// # Errors
    /// [`TrackerError::Conflict`] when a field is recorded with another value or without one,
    /// [`TrackerError::Rejected`], [`TrackerError::Unavailable`].
    pub async fn start_deployment(&self, report: DeploymentReport) -> Result<(), TrackerError> {
        let id = report.id;
        self.report(ReportKind::DeploymentStart, id, Change::StartDeployment(report)).await
    }

    /// Records the finish of a deployment: the reported fields overwrite the recorded ones. A duplicate returns `Ok`
    /// and changes nothing.
    ///
    /// # Errors
    /// [`TrackerError::Unknown`] when the start was not recorded, [`TrackerError::Rejected`],
    /// [`TrackerError::Unavailable`].
    pub async fn finish_deployment(&self, report: DeploymentReport) -> Result<(), TrackerError> {
        let id = report.id;
        self.report(ReportKind::DeploymentFinish, id, Change::FinishDeployment(report)).await
    }

    /// Records the start of a deployment on a server. A duplicate returns `Ok` and changes nothing. A start that
    /// arrives after the finish adds the fields that the record lacks.
    ///
    /// # Errors
    /// [`TrackerError::Conflict`] when a field is recorded with another value or without one,
    /// [`TrackerError::Rejected`], [`TrackerError::Unavailable`].
    pub async fn start_server(&self, report: ServerReport) -> Result<(), TrackerError> {
        let id = report.key.deployment_id;
        self.report(ReportKind::ServerStart, id, Change::StartServer(report)).await
    }

    /// Records the finish of a deployment on a server, whether or not its start was recorded. A duplicate returns `Ok`
    /// and changes nothing.
    ///
    /// # Errors
    /// [`TrackerError::Rejected`], [`TrackerError::Unavailable`].
    pub async fn finish_server(&self, report: ServerReport) -> Result<(), TrackerError> {
        let id = report.key.deployment_id;
        self.report(ReportKind::ServerFinish, id, Change::FinishServer(report)).await
    }

    /// Records log messages, all or none. After `Ok`, the store has them, if it keeps logs, and each at-least-once
    /// output has them or has them in its outbox.
    ///
    /// # Errors
    /// [`TrackerError::NoLogDestination`], [`TrackerError::Rejected`], [`TrackerError::Unavailable`].
    pub async fn append_logs(&self, mut logs: LogBatch) -> Result<(), TrackerError> {
        let messages = logs.messages.len() as u64;
        if messages == 0 {
            self.0.metrics.logged(ReportResult::Unchanged, 0);
            return Ok(());
        }
        let id = DeploymentId::parse(logs.deployment_id.as_str()).unwrap_or(DeploymentId(Uuid::nil()));
        let (at, reporter) = (time::now(), logs.reporter.take());
        let event = |part| Arc::new(Event::new(EventKind::Logged(part), at, reporter.clone()));
        let events: Vec<_> = logs.cut().into_iter().map(event).collect();
        let outcome = if self.0.keeps_logs {
            self.commit(id, Change::KeepLogs(events)).await
        } else if let [event] = events.as_slice() {
            self.send(event.clone()).await
        } else if self.0.dispatcher.is_wanted(&events[0]) {
            // An output takes one event at a time. Only the store can take several, all or none.
            self.commit(id, Change::ForwardLogs(events)).await
        } else {
            Err(TrackerError::NoLogDestination)
        };
        self.0.metrics.logged((&outcome).into(), messages);
        answer(outcome)
    }

    async fn report(&self, kind: ReportKind, id: DeploymentId, change: Change) -> Result<(), TrackerError> {
        let outcome = self.commit(id, change).await;
        self.0.metrics.reported(kind, (&outcome).into());
        answer(outcome)
    }

    async fn commit(&self, id: DeploymentId, change: Change) -> Result<Outcome, TrackerError> {
        self.check_accepting()?;
        self.0.committer.commit(&id, change).await
    }

    async fn send(&self, event: Arc<Event>) -> Result<Outcome, TrackerError> {
        self.check_accepting()?;
        self.0.dispatcher.send(event).await.map(|()| Outcome::Recorded)
    }

    /// Reads one deployment with its servers.
    ///
    /// # Errors
    /// [`TrackerError::Unknown`], [`TrackerError::Unavailable`].
    pub async fn deployment(&self, id: DeploymentId) -> Result<DeploymentWithServers, TrackerError> {
        let found = self.query(id, |store, id| Box::pin(async move { store.deployment(id).await })).await?;
        found.ok_or(TrackerError::Unknown)
    }

    /// Lists deployments with their servers, a page at a time. [`Listed`] has an example that reads all pages.
    ///
    /// # Errors
    /// [`TrackerError::Unavailable`].
    pub async fn deployments(
        &self,
        query: DeploymentQuery,
    ) -> Result<Listed<DeploymentWithServers, CreatedCursor>, TrackerError> {
        self.query(query, |store, query| Box::pin(async move { store.deployments(query).await })).await
    }

    /// Lists hostnames.
    ///
    /// # Errors
    /// [`TrackerError::Unavailable`].
    pub async fn hostnames(&self, query: HostnameQuery) -> Result<Listed<Hostname, Hostname>, TrackerError> {
        self.query(query, |store, query| Box::pin(async move { store.hostnames(query).await })).await
    }

    /// Lists the records of one server.
    ///
    /// # Errors
    /// [`TrackerError::Unknown`] when there is no record of the server, [`TrackerError::Unavailable`].
    pub async fn servers(&self, query: ServerQuery) -> Result<Listed<Server, CreatedCursor>, TrackerError> {
        let any = ServerQuery::new(query.hostname.clone(), Page::first(1));
        let list =
            async |query| self.query(query, |store, query| Box::pin(async move { store.servers(query).await })).await;
        let servers = list(query).await?;
        if servers.has_no_rows() && list(any).await?.has_no_rows() {
            return Err(TrackerError::Unknown);
        }
        Ok(servers)
    }

    /// Lists the log messages of a deployment. The list is empty when the deployment is unknown.
    ///
    /// # Errors
    /// [`TrackerError::LogsNotKept`], [`TrackerError::Unavailable`].
    pub async fn logs(&self, query: LogQuery) -> Result<Listed<LogMessage, Uuid>, TrackerError> {
        if !self.0.keeps_logs {
            return Err(TrackerError::LogsNotKept);
        }
        self.query(query, |store, query| Box::pin(async move { store.logs(query).await })).await
    }

    /// Checks the store and every output concurrently, each for up to [`CHECK_DEADLINE`](crate::health::CHECK_DEADLINE). An output whose
    /// deliveries fail is unhealthy even if its check succeeds. Concurrent callers share one check of each.
    pub async fn health(&self) -> Health {
        let (generated_at, begun) = (time::now(), Instant::now());
        let mut running = JoinSet::new();
        for output in &self.0.outputs {
            let output = output.clone();
            running.spawn(async move { output.health().await });
        }
        let mut checks = vec![self.0.store_check.run(&self.0.store, &self.0.failures, Duration::ZERO).await];
        checks.extend(running.join_all().await);
        checks[1..].sort_by(|a: &HealthCheck, b| a.name.cmp(&b.name));
        let outputs = self.outputs();
        for check in &mut checks {
            let failing = outputs.iter().find(|output| output.name == check.name && output.failing_since.is_some());
            if let Some((_, error)) = failing.and_then(|output| output.last_error.as_ref()) {
                check.error.get_or_insert_with(|| error.clone());
            }
        }
        Health { generated_at, duration: begun.elapsed(), checks, outputs }
    }

    /// The status of each at-least-once output. After [`Self::shutdown`], its backlog is what the next run delivers.
    pub fn outputs(&self) -> Vec<OutputStatus> {
        self.0.dispatcher.statuses()
    }

    /// The metrics since the start. They keep changing while you read them.
    ///
    /// ```
    /// # use tracker_core::{DeploymentId, DeploymentReport, MemoryStore, ReportKind, ReportResult, Tracker};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tracker = Tracker::builder(MemoryStore::new()).start();
    /// # let id = DeploymentId::random();
    /// tracker.start_deployment(DeploymentReport::new(id)).await?;
    /// assert_eq!(tracker.metrics().reports(ReportKind::DeploymentStart, ReportResult::Recorded), 1);
    /// assert_eq!(tracker.metrics().commits.changes.count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The load of the threads of the store.
    pub fn threads(&self) -> Vec<Threads> {
        self.0.store.threads()
    }

    /// The number of changes that wait for a group commit.
    pub fn waiting_changes(&self) -> usize {
        self.0.committer.waiting()
    }

    /// The number of records that retention has deleted since the start.
    pub fn deleted(&self) -> Deleted {
        retention::read(&self.0.deleted)
    }

    /// Checks whether the tracker can make a report durable now: the store works, and every outbox has room. An
    /// unavailable output does not matter until its outbox is full. However many callers there are, they check the
    /// store at most once a second, and once after each failure.
    ///
    /// The check writes a row in each lane. After a commit has failed, the row is as large as the failed group. After a
    /// query has failed, the check repeats it, unless another query has succeeded since.
    ///
    /// # Errors
    /// [`TrackerError::Unavailable`].
    pub async fn ready(&self) -> Result<(), TrackerError> {
        self.check_accepting()?;
        match self.0.store_check.run(&self.0.store, &self.0.failures, READY_MAX_AGE).await.error {
            None => Ok(()),
            Some(_) => Err(UnavailableReason::Store.into()),
        }
    }

    /// Stops accepting reports, delivers the batches that wait in memory, and ends every task, within `deadline`. Await
    /// this before you drop the last clone of the tracker: dropping it aborts every task.
    ///
    /// It does not wait for an output that is catching up, for example because its destination is unreachable: the
    /// pending batches of that output stay in the outbox for the next run. [`Self::outputs`] then says how many there
    /// are. A program that wants to wait for these outputs does so before the shutdown, until
    /// [`OutputStatus::is_catching_up`] is `false`.
    ///
    /// Returns whether every task ended in time, which does not mean that every batch was delivered. If not, it aborts
    /// every task and does not close the store, and callers that still wait get [`UnavailableReason::TimedOut`].
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        self.0.is_closed.store(true, Ordering::Release);
        let mut tasks = self.0.tasks.lock().await;
        let end = async {
            tasks.retention.shutdown().await;
            // Delivery workers submit acknowledgements to the lanes, so they end before the lanes.
            self.0.dispatcher.close_workers().await;
            while tasks.delivery.workers.join_next().await.is_some() {}
            // Lanes hand events to the forwarders, so they end before the forwarders.
            self.0.committer.close().await;
            while tasks.lanes.join_next().await.is_some() {}
            self.0.dispatcher.close_forwarders().await;
            while tasks.delivery.forwarders.join_next().await.is_some() {}
            tasks.delivery.backlog_polls.shutdown().await;
            // If the store does not answer, the status keeps the last backlog.
            let _ = tokio::time::timeout(LAST_BACKLOG_DEADLINE, self.0.dispatcher.read_backlogs(&self.0.store)).await;
            self.0.store.close().await;
        };
        let in_time = tokio::time::timeout(deadline, end).await.is_ok();
        *tasks = Tasks::default();
        in_time
    }

    /// Runs a query, and records whether it failed.
    async fn query<Q: Clone + Send + Sync + 'static, T: 'static>(
        &self,
        query: Q,
        run: Query<Q, T>,
    ) -> Result<T, TrackerError> {
        let begun = Instant::now();
        match run(self.0.store.clone(), query.clone()).await {
            Ok(found) => {
                self.0.failures.query_succeeded(begun);
                Ok(found)
            }
            Err(error) => {
                self.0.query_logs.failed((TypeId::of::<Q>(), discriminant(&error)), "a query failed", &error);
                let is_failure =
                    matches!(error, StoreError::Unavailable(_) | StoreError::Unknown(_) | StoreError::Unexpected(_));
                if is_failure {
                    let repeat = move |store| run(store, query.clone()).map_ok(drop).boxed();
                    self.0.failures.query_failed(Arc::new(repeat));
                }
                // A query changes nothing, so nothing is in doubt, and the store cannot reject it for good.
                Err(UnavailableReason::Store.into())
            }
        }
    }

    /// Fails when the tracker has been shut down, or when the outbox of an output is at its limit.
    fn check_accepting(&self) -> Result<(), TrackerError> {
        if self.0.is_closed.load(Ordering::Acquire) {
            return Err(UnavailableReason::Closed.into());
        }
        self.0.dispatcher.check_limits(self.0.outbox_limits)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A logger that panics during a panic would abort the process.
        if !*self.is_closed.get_mut() && self.metrics.is_used() && !std::thread::panicking() {
            log::warn!(
                "a tracker was dropped without `shutdown`, which aborts its tasks: best-effort outputs lose events, and \
                 other pending batches wait in the outbox; await `Tracker::shutdown` first"
            );
        }
    }
}

fn answer(outcome: Result<Outcome, TrackerError>) -> Result<(), TrackerError> {
    match outcome? {
        Outcome::Recorded | Outcome::Unchanged => Ok(()),
        Outcome::Conflict { field } => Err(TrackerError::Conflict { field }),
        Outcome::Unknown => Err(TrackerError::Unknown),
    }
}
