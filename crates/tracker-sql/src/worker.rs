//! Threads that own a connection each and do, one after the other, what is sent to them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::oneshot;
use tracker_core::Threads;

use crate::connection::{Connection, Connector};
use crate::error::Error;

/// For how long jobs share a snapshot: while one is there, SQLite cannot begin its write-ahead log anew, which grows.
const SNAPSHOT: Duration = Duration::from_micros(200);

struct Job {
    sent: Instant,
    run: Box<dyn FnOnce(&mut Worker) + Send>,
}

/// A group of threads with a common queue. The threads end when it is dropped.
#[derive(Debug)]
pub struct Workers {
    jobs: Sender<Job>,
    load: Arc<PoolStats>,
}

/// What the threads have to do.
#[derive(Debug, Default)]
struct PoolStats {
    threads: u64,
    waiting: AtomicU64,
    busy: AtomicU64,
    refused: AtomicU64,
    late: AtomicU64,
}

impl Workers {
    /// Starts `threads` threads, for which `max_waiting` jobs may wait. Jobs that only read may share snapshots.
    pub fn start(name: &str, threads: usize, max_waiting: usize, is_sharing: bool, connector: &Connector) -> Self {
        let (jobs, queue) = bounded::<Job>(max_waiting);
        let load = Arc::new(PoolStats { threads: threads as u64, ..PoolStats::default() });
        for _ in 0..threads {
            let (queue, load) = (queue.clone(), load.clone());
            let worker = Worker { connector: connector.clone(), connection: None, snapshot: None };
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || worker.work(&queue, &load, is_sharing))
                .expect("the system has room for a few threads at start");
        }
        Self { jobs, load }
    }

    /// What the threads of all `groups` have to do.
    pub fn load(name: &'static str, groups: &[Self]) -> Threads {
        let sum = |figure: fn(&PoolStats) -> &AtomicU64| {
            groups.iter().map(|group| figure(&group.load).load(Ordering::Relaxed)).sum()
        };
        Threads {
            name,
            threads: groups.iter().map(|group| group.load.threads).sum(),
            busy: sum(|load| &load.busy),
            waiting: sum(|load| &load.waiting),
            refused: sum(|load| &load.refused),
            late: sum(|load| &load.late),
        }
    }

    /// Does `job` on a connection, again if that was lost before anything was done. Without a deadline it waits as long
    /// as the database does. When the future is dropped the job is done all the same, if it has begun.
    pub async fn run<T: Send + 'static>(
        &self,
        deadline: Option<Duration>,
        job: impl Fn(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let run = Box::new(move |worker: &mut Worker| {
            // Whoever asked has given up before it was begun.
            if reply.is_closed() {
                return;
            }
            // The one who asked may have given up.
            let _ = reply.send(worker.run(job));
        });
        // Before it is sent, or a thread could take it off first.
        self.load.waiting.fetch_add(1, Ordering::Relaxed);
        self.jobs.try_send(Job { sent: Instant::now(), run }).map_err(|error| {
            self.load.waiting.fetch_sub(1, Ordering::Relaxed);
            self.load.refused.fetch_add(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => Error::Overload("too many statements wait for the database"),
                TrySendError::Disconnected(_) => Error::Overload("the database's threads have ended"),
            }
        })?;
        let lost = Err(Error::Abandoned);
        let Some(deadline) = deadline else { return answer.await.unwrap_or(lost) };
        match tokio::time::timeout(deadline, answer).await {
            Ok(answer) => answer.unwrap_or(lost),
            Err(_) => {
                self.load.late.fetch_add(1, Ordering::Relaxed);
                Err(Error::Overload("the database did not answer in time"))
            }
        }
    }
}

struct Worker {
    connector: Connector,
    connection: Option<Connection>,
    /// Since when the connection has a snapshot that jobs share.
    snapshot: Option<Instant>,
}

impl Worker {
    fn work(mut self, queue: &Receiver<Job>, load: &PoolStats, is_sharing: bool) {
        loop {
            let next = queue.try_recv().or_else(|_| {
                self.end_snapshot();
                queue.recv()
            });
            let Ok(Job { sent, run }) = next else { return };
            load.waiting.fetch_sub(1, Ordering::Relaxed);
            load.busy.fetch_add(1, Ordering::Relaxed);
            // What was committed before a job was sent must be in its snapshot.
            if self.snapshot.is_some_and(|begun| sent >= begun || begun.elapsed() > SNAPSHOT) {
                self.end_snapshot();
            }
            if is_sharing && self.snapshot.is_none() && !queue.is_empty() {
                self.begin_snapshot();
            }
            if catch_unwind(AssertUnwindSafe(|| run(&mut self))).is_err() {
                // Whoever asked has no answer; what the connection was in the midst of is rolled back.
                (self.connection, self.snapshot) = (None, None);
            }
            load.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Lets the jobs that wait read one state of the database, which takes its locks once. Without it each takes them.
    fn begin_snapshot(&mut self) {
        let begun = Instant::now();
        match self.connection.as_mut().map(Connection::begin_snapshot) {
            Some(Ok(())) => self.snapshot = Some(begun),
            // The job connects anew, and has the error if there still is one.
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

    /// Does `job`, on a new connection if there is none. A connection that an error may come from is dropped; if it was
    /// an old one, whose other side may have gone since, and nothing was done, the job is begun again on a new one.
    fn run<T>(&mut self, job: impl Fn(&mut Connection) -> Result<T, Error>) -> Result<T, Error> {
        let was_open = self.connection.is_some();
        match job(self.connection()?) {
            Err(error) if error.breaks_connection() => {
                (self.connection, self.snapshot) = (None, None);
                if !was_open || !error.is_retryable() {
                    return Err(error);
                }
                // What kept the first attempt says more than that there is no second.
                let Ok(connection) = self.connection() else { return Err(error) };
                job(connection)
            }
            result => result,
        }
    }

    fn connection(&mut self) -> Result<&mut Connection, Error> {
        if self.connection.is_none() {
            self.connection = Some(self.connector.connect()?);
        }
        Ok(self.connection.as_mut().expect("connected above"))
    }
}
