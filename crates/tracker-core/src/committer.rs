//! Group commit: what waits for the store is committed together, one transaction a lane at a time.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::delivery::Dispatcher;
use crate::event::{BATCH_BYTES, GROUP_MESSAGES};
use crate::failure_log::FailureLog;
use crate::group::{Change, Decision, Group, Outcome};
use crate::metrics::Metrics;
use crate::panics::catch_panic;
use crate::queue::{Queue, Queued, queue};
use crate::store::{Store, StoreError};

/// How many changes commit together at the most.
const GROUP: usize = 512;
/// A commit that takes longer may have been read from the outbox, and delivered, before its answer is here.
const SLOW_COMMIT: Duration = Duration::from_millis(500);
/// How long a commit whose answer was lost may still come through.
const IN_DOUBT_WINDOW: Duration = Duration::from_mins(1);
/// How many bytes of changes may wait in a lane.
const WAITING_BYTES: usize = 64 << 20;

/// Why a change is not known to be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// Too many wait already: nothing was done.
    #[error("too many reports wait for the database")]
    Busy,
    /// Neither the store nor an output answered in time; the change may still be made.
    #[error("the report could not be made durable in time")]
    TimedOut,
    /// The store cannot be reached.
    #[error("the database is not available")]
    Store,
    /// The store will not take this change, whenever it is sent.
    #[error("the database does not take this report")]
    Rejected,
    /// As much is owed to an output as may be: nothing was done.
    #[error("too many messages wait for an output that is away")]
    OutboxFull,
    /// Neither an output nor the store takes log messages.
    #[error("no output and no store is there to take log messages")]
    Nowhere,
    /// The tracker has been shut down: nothing was done.
    #[error("the service is being stopped")]
    Closed,
}

/// An answer that is on its way.
pub(crate) type ReplyReceiver = oneshot::Receiver<Result<Outcome, Unavailable>>;
type Reply = oneshot::Sender<Result<Outcome, Unavailable>>;

#[derive(Debug)]
enum Message {
    Commit(Box<Change>, Reply),
    Close,
}

/// Takes changes and answers when they are durable.
#[derive(Debug)]
pub(crate) struct Committer {
    lanes: Vec<Queue<Message>>,
    deadline: Duration,
}

/// The receiving end of a lane, before it runs.
pub(crate) struct Lane(mpsc::Receiver<Queued<Message>>);

impl Committer {
    pub(crate) fn new(lanes: usize, max_waiting: usize, deadline: Duration) -> (Arc<Self>, Vec<Lane>) {
        let (senders, receivers) = (0..lanes.max(1))
            .map(|_| {
                let (sender, receiver) = queue(max_waiting, WAITING_BYTES);
                (sender, Lane(receiver))
            })
            .unzip();
        (Arc::new(Self { lanes: senders, deadline }), receivers)
    }

    /// Commits `change`, after all earlier ones of the same `key`. When the future is dropped the change is made all
    /// the same.
    pub(crate) async fn commit(&self, key: &impl Hash, change: Change) -> Result<Outcome, Unavailable> {
        self.answer(self.submit(key, change)?).await
    }

    /// Waits for an answer, as long as one waits for a commit.
    pub(crate) async fn answer(&self, answer: ReplyReceiver) -> Result<Outcome, Unavailable> {
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(Unavailable::TimedOut),
        }
    }

    /// As [`Self::commit`], without waiting for the answer.
    pub(crate) fn submit(&self, key: &impl Hash, change: Change) -> Result<ReplyReceiver, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let bytes = change.size();
        self.lane(key).try_send(Message::Commit(Box::new(change), reply), bytes).map_err(|_| Unavailable::Busy)?;
        Ok(answer)
    }

    fn lane(&self, key: &impl Hash) -> &Queue<Message> {
        if let [only] = self.lanes.as_slice() {
            return only;
        }
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let lanes = self.lanes.len() as u64;
        &self.lanes[usize::try_from(hasher.finish() % lanes).expect("less than a usize")]
    }

    /// How many changes wait in all lanes.
    pub(crate) fn waiting(&self) -> usize {
        self.lanes.iter().map(Queue::waiting).sum()
    }

    /// How long one waits for a commit.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Ends each lane after what waits in it.
    pub(crate) async fn close(&self) {
        for lane in &self.lanes {
            // A lane that is gone has nothing left to end.
            let _ = lane.send(Message::Close).await;
        }
    }

    /// Starts the lanes.
    pub(crate) fn run(
        lanes: Vec<Lane>,
        store: &Arc<dyn Store>,
        dispatcher: &Arc<Dispatcher>,
        metrics: &Arc<Metrics>,
        tasks: &mut JoinSet<()>,
    ) {
        for (number, Lane(waiting)) in lanes.into_iter().enumerate() {
            let writer = LaneWorker {
                number,
                store: store.clone(),
                dispatcher: dispatcher.clone(),
                metrics: metrics.clone(),
                in_doubt_until: None,
                failure_log: FailureLog::new("database"),
            };
            tasks.spawn(writer.run(waiting));
        }
    }
}

struct LaneWorker {
    number: usize,
    store: Arc<dyn Store>,
    dispatcher: Arc<Dispatcher>,
    metrics: Arc<Metrics>,
    /// Until when a commit whose answer was lost may still come through.
    in_doubt_until: Option<Instant>,
    failure_log: FailureLog,
}

impl LaneWorker {
    async fn run(mut self, mut waiting: mpsc::Receiver<Queued<Message>>) {
        let mut taken = Vec::with_capacity(GROUP);
        let mut is_open = true;
        while is_open && waiting.recv_many(&mut taken, GROUP).await > 0 {
            let mut rest = taken.drain(..).peekable();
            while rest.peek().is_some() {
                let (mut changes, mut replies, mut permits) = (Vec::new(), Vec::new(), Vec::new());
                let (mut bytes, mut messages) = (0, 0);
                while let Some(queued) = rest.next_if(|_| bytes < BATCH_BYTES && messages < GROUP_MESSAGES) {
                    let (message, permit) = queued.into_parts();
                    match message {
                        Message::Commit(change, reply) => {
                            bytes += change.size();
                            messages += change.messages();
                            changes.push(*change);
                            replies.push(reply);
                            permits.push(permit);
                        }
                        Message::Close => is_open = false,
                    }
                }
                if !changes.is_empty() {
                    self.commit(changes, replies).await;
                }
            }
        }
    }

    async fn commit(&mut self, changes: Vec<Change>, replies: Vec<Reply>) {
        let group = Arc::new(Group::new(changes, self.dispatcher.outputs()));
        let begun = Instant::now();
        let committed = catch_panic(|| self.store.commit(self.number, group.clone())).await;
        let took = begun.elapsed();
        let metrics = &self.metrics.commits;
        metrics.changes.record(group.changes().len() as u64);
        metrics.durations.record_time(took);
        metrics.failures.add(committed.is_err().into());
        match committed {
            Ok(decision) => {
                // Others see what is committed before its answer is here: after a while it may be delivered already.
                let is_slow = took > SLOW_COMMIT;
                let is_in_doubt = self.in_doubt_until.is_some_and(|until| Instant::now() < until);
                if is_in_doubt && group.changes().iter().any(Change::is_report) {
                    // A repeat owes nothing: what it repeats may have come through since the couriers looked last.
                    self.dispatcher.request_resync();
                }
                self.committed(&decision, replies, is_slow || is_in_doubt);
            }
            // One change spoils the group: alone, each shows which.
            Err(StoreError::Rejected(_) | StoreError::NotYet(_)) if replies.len() > 1 => {
                for (change, reply) in group.changes().iter().zip(replies) {
                    Box::pin(self.commit(vec![change.clone()], vec![reply])).await;
                }
            }
            Err(error) => {
                if matches!(error, StoreError::Unknown(_)) {
                    // If it is committed, now or later, it is older than what comes next.
                    self.in_doubt_until = Some(Instant::now() + IN_DOUBT_WINDOW);
                    self.dispatcher.request_resync();
                }
                self.failure_log.failed(&error);
                let unavailable = match error {
                    StoreError::Unavailable(_) | StoreError::Unknown(_) | StoreError::NotYet(_) => Unavailable::Store,
                    StoreError::Rejected(_) => Unavailable::Rejected,
                };
                for reply in replies {
                    let _ = reply.send(Err(unavailable));
                }
            }
        }
    }

    /// Passes on what happened, and only then answers: whoever has an answer finds all earlier events under way. Unless the
    /// couriers must find it in the outbox, it is handed to them.
    fn committed(&mut self, decision: &Decision, replies: Vec<Reply>, is_in_outbox_only: bool) {
        self.failure_log.succeeded();
        self.dispatcher.dispatch(decision, is_in_outbox_only);
        for (outcome, reply) in decision.outcomes.iter().zip(replies) {
            // The one who asked may have hung up.
            let _ = reply.send(Ok(outcome.clone()));
        }
    }
}
