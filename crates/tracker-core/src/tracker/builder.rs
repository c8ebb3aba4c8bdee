//! Builds and starts a tracker.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};
use uuid::Uuid;

use super::{Inner, Tasks, Tracker};
use crate::committer::Committer;
use crate::delivery::Dispatcher;
use crate::delivery::instrumented::InstrumentedOutput;
use crate::delivery::status::OutboxLimits;
use crate::event::{Event, EventKind};
use crate::failure_log::FailureLogs;
use crate::health::{self, StoreHealthCheck};
use crate::id::DeploymentId;
use crate::lane;
use crate::log::LogBatch;
use crate::metrics::Metrics;
use crate::output::{Delivery, Output};
use crate::panics::supervise;
use crate::retention::{self, Retention};
use crate::shared::IntoShared;
use crate::store::Store;
use crate::store_failures::StoreFailures;
use crate::time;

/// Builds a [`Tracker`].
#[derive(Debug)]
pub struct TrackerBuilder {
    store: Arc<dyn Store>,
    outputs: Vec<Arc<InstrumentedOutput>>,
    keep_logs: Option<bool>,
    commit_deadline: Duration,
    outbox_limits: OutboxLimits,
    max_waiting: usize,
    delete_after: Option<Duration>,
    first_deletion: Duration,
}

impl TrackerBuilder {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            outputs: Vec::new(),
            keep_logs: None,
            commit_deadline: Duration::from_secs(5),
            outbox_limits: OutboxLimits::default(),
            max_waiting: 16_384,
            delete_after: None,
            first_deletion: retention::FIRST_SEARCH,
        }
    }

    /// Adds an output: an [`Output`] or an [`Arc`] of one.
    #[must_use]
    pub fn output(mut self, output: impl IntoShared<dyn Output>) -> Self {
        self.outputs.push(Arc::new(InstrumentedOutput::new(output.into_shared())));
        self
    }

    /// Sets whether the store keeps log messages. By default, it keeps them if no at-least-once output wants them. If it
    /// does not keep them, [`Tracker::logs`] fails with
    /// [`TrackerError::LogsNotKept`](crate::TrackerError::LogsNotKept).
    #[must_use]
    pub fn keep_logs(mut self, keep: bool) -> Self {
        self.keep_logs = Some(keep);
        self
    }

    /// Whether the store will keep log messages: as [`Self::keep_logs`] says, or by default if no at-least-once output
    /// wants them, because the messages would otherwise be lost.
    pub fn keeps_logs(&self) -> bool {
        self.keep_logs.unwrap_or_else(|| !self.has_log_output())
    }

    /// Whether the tracker will accept log messages: the store keeps them, or an at-least-once output wants them.
    pub fn takes_logs(&self) -> bool {
        self.keeps_logs() || self.has_log_output()
    }

    fn has_log_output(&self) -> bool {
        let nil = DeploymentId(Uuid::nil());
        let event = Event::new(EventKind::Logged(LogBatch::new(nil, [])), time::now(), None);
        self.outputs.iter().any(|output| output.delivery() == Delivery::AtLeastOnce && output.wants(&event))
    }

    /// Sets the limits of each output's outbox.
    #[must_use]
    pub fn outbox_limits(mut self, limits: OutboxLimits) -> Self {
        self.outbox_limits = limits;
        self
    }

    /// Sets the maximum number of reports that wait in each lane of the store. Defaults to 16,384. The tracker refuses
    /// further reports with [`UnavailableReason::Busy`](crate::UnavailableReason::Busy).
    #[must_use]
    pub fn max_waiting(mut self, reports: usize) -> Self {
        self.max_waiting = reports.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Sets how long a report waits for its commit. Defaults to 5 s. After that, the report may or may not be recorded.
    #[must_use]
    pub fn commit_deadline(mut self, deadline: Duration) -> Self {
        self.commit_deadline = deadline;
        self
    }

    /// Deletes a deployment with its servers and log messages once all of them are older than `age`. By default, the
    /// tracker deletes nothing. A report on a deleted deployment counts as a report on a new one.
    ///
    /// The tracker also deletes nothing while its clock contradicts the records: if the newest record from before the
    /// start was already older than `age` when the tracker started.
    #[must_use]
    pub fn delete_after(mut self, age: Option<Duration>) -> Self {
        self.delete_after = age;
        self
    }

    /// Sets how long after its start the tracker deletes nothing. Defaults to an hour, in which a machine that boots
    /// with a wrong clock can still set it. Choose a shorter time only if the clock is known to be right.
    #[must_use]
    pub fn first_deletion(mut self, after: Duration) -> Self {
        self.first_deletion = after;
        self
    }

    /// Starts the tracker. Its tasks run on the current tokio runtime until [`Tracker::shutdown`].
    ///
    /// # Panics
    /// When there is no current tokio runtime, or when the [name](Output::name) of an output is empty, not unique, or
    /// `db`, which is the name of the store in the health report.
    pub fn start(self) -> Tracker {
        let mut names = HashSet::from(["", health::STORE]);
        for output in &self.outputs {
            assert!(names.insert(output.name()), "an output needs a unique name, not `{}`", output.name());
        }
        let keeps_logs = self.keeps_logs();
        let mut tasks = Tasks::default();
        let (committer, lanes) = Committer::new(self.store.lanes(), self.max_waiting, self.commit_deadline);
        let metrics = Arc::new(Metrics::new(self.outputs.iter().map(|output| output.metrics()).collect()));
        let dispatcher = Dispatcher::start(self.outputs.clone(), &self.store, &committer, &mut tasks.delivery);
        let failures = Arc::new(StoreFailures::new(lanes.len()));
        lane::start(lanes, &self.store, &dispatcher, &metrics, &failures, &mut tasks.lanes);
        let deleted = retention::Total::default();
        if let Some(age) = self.delete_after {
            let mut retention = Retention::new(self.store.clone(), age, self.first_deletion, deleted.clone());
            tasks.retention.spawn(supervise("the deletion of old records", async move || retention.run().await));
        }
        Tracker(Arc::new(Inner {
            store: self.store,
            outputs: self.outputs,
            keeps_logs,
            outbox_limits: self.outbox_limits,
            committer,
            dispatcher,
            metrics,
            deleted,
            store_check: StoreHealthCheck::default(),
            failures,
            query_logs: FailureLogs::default(),
            is_closed: AtomicBool::new(false),
            tasks: Mutex::new(tasks),
        }))
    }
}
