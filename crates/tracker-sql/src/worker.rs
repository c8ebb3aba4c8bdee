//! Threads that execute jobs from a queue, each on a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::oneshot;
use tracker_core::{Threads, supervise_thread};

use crate::connector::Connector;
use crate::database::Database;
use crate::error::DbError;
use crate::spares::Connection;

/// How long jobs share a snapshot. Short, because SQLite cannot restart its write-ahead log while a snapshot is open,
/// so the log grows.
const MAX_SNAPSHOT_AGE: Duration = Duration::from_micros(200);

struct Job {
    sent: Instant,
    run: Box<dyn FnOnce(&mut Worker) + Send>,
}

/// Whether jobs that wait in the queue may read one snapshot of the database. All of them must only read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snapshots {
    Shared,
    Never,
}

/// Threads with a common queue. They end when this handle is dropped.
#[derive(Debug)]
pub struct Workers {
    jobs: Sender<Job>,
    stats: Arc<PoolStats>,
}

/// Numbers for the metrics.
#[derive(Debug, Default)]
struct PoolStats {
    threads: u64,
    waiting: AtomicU64,
    busy: AtomicU64,
    refused: AtomicU64,
    late: AtomicU64,
}

impl Workers {
    /// Starts threads with a queue for `max_waiting` jobs.
    pub fn start(name: &str, threads: usize, max_waiting: usize, snapshots: Snapshots, connector: &Connector) -> Self {
        let (jobs, queue) = bounded::<Job>(max_waiting);
        let stats = Arc::new(PoolStats { threads: threads as u64, ..PoolStats::default() });
        for _ in 0..threads {
            let (queue, stats) = (queue.clone(), stats.clone());
            let mut worker = Worker { connector: connector.clone(), connection: None, snapshot: None };
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || supervise_thread("a database thread", || worker.work(&queue, &stats, snapshots)))
                .expect("the system can start a few threads when the store opens");
        }
        Self { jobs, stats }
    }

    /// The summed load of `pools`, under `name`.
    pub fn stats(name: &'static str, pools: &[Self]) -> Threads {
        let sum = |counter: fn(&PoolStats) -> &AtomicU64| {
            pools.iter().map(|pool| counter(&pool.stats).load(Ordering::Relaxed)).sum()
        };
        Threads {
            name,
            threads: pools.iter().map(|pool| pool.stats.threads).sum(),
            busy: sum(|stats| &stats.busy),
            waiting: sum(|stats| &stats.waiting),
            refused: sum(|stats| &stats.refused),
            late: sum(|stats| &stats.late),
        }
    }

    /// Runs `job`, retrying once on a new connection if a stale one failed before the job had any effect.
    /// Without a deadline it waits indefinitely. Dropping the future does not cancel a job that has begun.
    pub async fn run<T: Send + 'static>(
        &self,
        deadline: Option<Duration>,
        job: impl Fn(&mut dyn Database) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let (reply, answer) = oneshot::channel();
        let run = Box::new(move |worker: &mut Worker| {
            // Skip a job that the caller gave up before it began.
            if reply.is_closed() {
                return;
            }
            // The caller may have given up meanwhile.
            let _ = reply.send(worker.run(job));
        });
        // Count the job before sending it, or a thread could receive and subtract it first.
        self.stats.waiting.fetch_add(1, Ordering::Relaxed);
        self.jobs.try_send(Job { sent: Instant::now(), run }).map_err(|error| {
            self.stats.waiting.fetch_sub(1, Ordering::Relaxed);
            self.stats.refused.fetch_add(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => DbError::Overload("too many statements are waiting for the database"),
                TrySendError::Disconnected(_) => DbError::Overload("the database threads have ended"),
            }
        })?;
        let abandoned = Err(DbError::Abandoned);
        let Some(deadline) = deadline else { return answer.await.unwrap_or(abandoned) };
        match tokio::time::timeout(deadline, answer).await {
            Ok(answer) => answer.unwrap_or(abandoned),
            Err(_) => {
                self.stats.late.fetch_add(1, Ordering::Relaxed);
                Err(DbError::Overload("the database did not answer in time"))
            }
        }
    }
}

/// A job that counts as busy until it ends, or panics.
struct Busy<'a>(&'a AtomicU64);

impl<'a> Busy<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Worker {
    connector: Connector,
    connection: Option<Connection>,
    /// When the snapshot began, if the connection has one.
    snapshot: Option<Instant>,
}

impl Worker {
    /// Runs jobs until the handle is dropped. Runs again after a panic, whose caller gets [`DbError::Abandoned`].
    fn work(&mut self, queue: &Receiver<Job>, stats: &PoolStats, snapshots: Snapshots) {
        // After a panic, dropping the connection rolls its transaction back.
        (self.connection, self.snapshot) = (None, None);
        loop {
            let next = queue.try_recv().or_else(|_| {
                self.end_snapshot();
                self.connector.lend(&mut self.connection, true);
                queue.recv()
            });
            let Ok(Job { sent, run }) = next else { return };
            stats.waiting.fetch_sub(1, Ordering::Relaxed);
            let _busy = Busy::new(&stats.busy);
            // A job must see everything that was committed before it was sent.
            if self.snapshot.is_some_and(|begun| sent >= begun || begun.elapsed() > MAX_SNAPSHOT_AGE) {
                self.end_snapshot();
            }
            if snapshots == Snapshots::Shared && self.snapshot.is_none() && !queue.is_empty() {
                self.begin_snapshot();
            }
            run(self);
            self.connector.lend(&mut self.connection, false);
        }
    }

    /// Begins a snapshot for the waiting jobs, so that SQLite locks the file once instead of once for each job.
    fn begin_snapshot(&mut self) {
        let begun = Instant::now();
        match self.connection.as_mut().map(|connection| connection.begin_snapshot()) {
            Some(Ok(())) => self.snapshot = Some(begun),
            // The job reconnects, and reports the error if it persists.
            Some(Err(_)) => self.connection = None,
            None => {}
        }
    }

    fn end_snapshot(&mut self) {
        if self.snapshot.take().is_some()
            && self.connection.as_mut().is_some_and(|connection| connection.end_snapshot().is_err())
        {
            self.connection = None;
        }
    }

    /// Runs `job` on the connection, on a spare one, or on a new one. Drops the connection after an error
    /// that it may have caused. Retries once if the connection was not new and the job had no effect.
    fn run<T>(&mut self, job: impl Fn(&mut dyn Database) -> Result<T, DbError>) -> Result<T, DbError> {
        self.connection = self.connection.take().or_else(|| self.connector.spare());
        let was_open = self.connection.is_some();
        let job = |connection: &mut dyn Database| job(connection).map_err(|error| connection.classify(error));
        match job(self.connection()?) {
            Err(error) if error.breaks_connection() => {
                (self.connection, self.snapshot) = (None, None);
                if !was_open || !error.is_retryable() {
                    return Err(error);
                }
                // The error of the job is more useful than that of the connection attempt.
                let Ok(connection) = self.connection() else { return Err(error) };
                let result = job(connection);
                if result.as_ref().is_err_and(DbError::breaks_connection) {
                    (self.connection, self.snapshot) = (None, None);
                }
                result
            }
            result => result,
        }
    }

    fn connection(&mut self) -> Result<&mut dyn Database, DbError> {
        if self.connection.is_none() {
            self.connection = Some(self.connector.connect_or_wait()?);
        }
        Ok(self.connection.as_deref_mut().expect("connected above"))
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use tracker_core::testing::eventually;

    use super::*;
    use crate::url::DatabaseUrl;

    #[tokio::test]
    async fn a_thread_survives_a_job_that_panics() {
        let connector = Connector::new(DatabaseUrl::Sqlite(":memory:".into()), None);
        let workers = Workers::start("test", 1, 16, Snapshots::Shared, &connector);
        let caught = tracker_core::panics();
        let panicked = workers.run(None, |_| -> Result<(), DbError> { panic!("a bug in a statement") }).await;
        assert!(matches!(panicked, Err(DbError::Abandoned)), "{panicked:?}");
        assert_eq!(workers.run(None, |_| Ok(42)).await.expect("the thread runs again"), 42);
        assert_eq!(tracker_core::panics(), caught + 1);
        let workers = [workers];
        eventually("the thread has no job", async || {
            let load = Workers::stats("test", &workers);
            (load.busy, load.waiting) == (0, 0)
        })
        .await;
    }
}
