//! How a tracker is put together.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};

use super::{Inner, Tasks, Tracker};
use crate::committer::Committer;
use crate::delivery::Dispatcher;
use crate::delivery::instrumented::InstrumentedOutput;
use crate::health::{self, StoreHealthCheck};
use crate::metrics::Metrics;
use crate::output::{Delivery, Output};
use crate::retention::{self, Retention};
use crate::store::Store;

/// How much may be owed to each output. Beyond that, reports are refused with [`Unavailable::OutboxFull`](crate::Unavailable::OutboxFull).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Messages: of a log batch each message, of anything else one. 1,000,000 by default.
    pub max_messages: u64,
    /// Bytes in the store. 1 GiB by default.
    pub max_bytes: u64,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self { max_messages: 1_000_000, max_bytes: 1 << 30 }
    }
}

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
        }
    }

    /// Forwards to `output`, too.
    #[must_use]
    pub fn output(mut self, output: Arc<dyn Output>) -> Self {
        self.outputs.push(Arc::new(InstrumentedOutput::new(output)));
        self
    }

    /// Whether the store keeps log messages. By default it does when no output must have every event.
    #[must_use]
    pub fn keep_logs(mut self, keep: bool) -> Self {
        self.keep_logs = Some(keep);
        self
    }

    /// How much may be owed to each output.
    #[must_use]
    pub fn outbox_limits(mut self, limits: OutboxLimits) -> Self {
        self.outbox_limits = limits;
        self
    }

    /// How many reports may wait for each writing connection of the store, 16,384 by default. Beyond that they are refused
    /// with [`Unavailable::Busy`](crate::Unavailable::Busy).
    #[must_use]
    pub fn max_waiting(mut self, reports: usize) -> Self {
        self.max_waiting = reports.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How long a report waits for its commit, 5 s by default. After that it is unknown whether it was recorded.
    #[must_use]
    pub fn commit_deadline(mut self, deadline: Duration) -> Self {
        self.commit_deadline = deadline;
        self
    }

    /// Deletes what was recorded under an id, the deployment with its servers and log messages, once nothing of it is
    /// younger than `age`; nothing, by default. A report on a deployment that was deleted is one on a new deployment.
    #[must_use]
    pub fn delete_after(mut self, age: Option<Duration>) -> Self {
        self.delete_after = age;
        self
    }

    /// Starts the tracker. Its tasks run on the current tokio runtime until [`Tracker::shutdown`].
    ///
    /// # Panics
    /// When there is no current tokio runtime, and when an output's [name](Output::name) is empty, that of another output, or
    /// `db`, which is the store's in the health report: what is owed to one would be taken for what is owed to the other.
    pub fn start(self) -> Tracker {
        let mut names = HashSet::from(["", health::STORE]);
        for output in &self.outputs {
            assert!(names.insert(output.name()), "an output needs a name of its own, not `{}`", output.name());
        }
        let durable = self.outputs.iter().any(|output| output.delivery() == Delivery::AtLeastOnce);
        let (committer, lanes) = Committer::new(self.store.lanes(), self.max_waiting, self.commit_deadline);
        let mut tasks = Tasks::default();
        let metrics = Arc::new(Metrics::new(&self.outputs));
        let dispatcher = Dispatcher::start(self.outputs.clone(), &self.store, &committer, &mut tasks);
        Committer::run(lanes, &self.store, &dispatcher, &metrics, &mut tasks.lanes);
        let deleted = retention::Total::default();
        if let Some(age) = self.delete_after {
            tasks.retention.spawn(Retention::new(self.store.clone(), age, deleted.clone()).run());
        }
        Tracker(Arc::new(Inner {
            store: self.store,
            outputs: self.outputs,
            keep_logs: self.keep_logs.unwrap_or(!durable),
            outbox_limits: self.outbox_limits,
            committer,
            dispatcher,
            metrics,
            deleted,
            store_check: StoreHealthCheck::default(),
            is_closed: AtomicBool::new(false),
            tasks: Mutex::new(tasks),
        }))
    }
}
