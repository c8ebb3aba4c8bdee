//! Group commit: the queues of changes that wait for the store, one for each lane.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::error::{TrackerError, UnavailableReason};
use crate::group::{Change, Outcome};
use crate::queue::{Queue, Queued, queue};
use crate::request_id::{self, RequestId};

/// The maximum size of the changes that may wait in a lane, in bytes.
const QUEUE_BYTES: usize = 64 << 20;

/// The receiving end of the answer to a change.
pub(crate) type ReplyReceiver = oneshot::Receiver<Result<Outcome, TrackerError>>;
/// The sending end of the answer to a change.
pub(crate) type Reply = oneshot::Sender<Result<Outcome, TrackerError>>;

/// An item in the queue of a lane.
#[derive(Debug)]
pub(crate) enum Message {
    Commit(Box<Submitted>),
    Close,
}

/// A change that waits for its commit.
#[derive(Debug)]
pub(crate) struct Submitted {
    pub change: Change,
    pub reply: Reply,
    /// The request that the change came with, for log lines.
    pub request_id: Option<RequestId>,
}

/// Accepts changes, and answers each one once it is durable.
#[derive(Debug)]
pub(crate) struct Committer {
    lanes: Vec<Queue<Message>>,
    deadline: Duration,
}

/// The receiving end of a lane.
pub(crate) type Lane = mpsc::Receiver<Queued<Message>>;

impl Committer {
    /// A committer with `lanes` lanes, each of which holds up to `max_waiting` changes. A change is answered within
    /// `deadline`.
    pub(crate) fn new(lanes: usize, max_waiting: usize, deadline: Duration) -> (Arc<Self>, Vec<Lane>) {
        let (senders, receivers) = (0..lanes.max(1)).map(|_| queue(max_waiting, QUEUE_BYTES)).unzip();
        (Arc::new(Self { lanes: senders, deadline }), receivers)
    }

    /// Commits `change`, after all earlier changes with the same `key`. Dropping the future does not cancel the change.
    pub(crate) async fn commit(&self, key: &impl Hash, change: Change) -> Result<Outcome, TrackerError> {
        self.answer(self.submit(key, change)?).await
    }

    /// Waits for an answer, up to the deadline.
    pub(crate) async fn answer(&self, reply: ReplyReceiver) -> Result<Outcome, TrackerError> {
        match tokio::time::timeout(self.deadline, reply).await {
            Ok(Ok(outcome)) => outcome,
            // The lane panicked while it had the change.
            Ok(Err(_)) => Err(UnavailableReason::InDoubt.into()),
            Err(_) => Err(UnavailableReason::TimedOut.into()),
        }
    }

    /// Like [`Self::commit`], without waiting for the answer.
    pub(crate) fn submit(&self, key: &impl Hash, change: Change) -> Result<ReplyReceiver, TrackerError> {
        let (reply, receiver) = oneshot::channel();
        let bytes = change.size();
        let submitted = Submitted { change, reply, request_id: request_id::current() };
        let message = Message::Commit(Box::new(submitted));
        self.lane(key).try_send(message, bytes).map_err(|_| UnavailableReason::Busy)?;
        Ok(receiver)
    }

    fn lane(&self, key: &impl Hash) -> &Queue<Message> {
        if let [only] = self.lanes.as_slice() {
            return only;
        }
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let lanes = self.lanes.len() as u64;
        &self.lanes[usize::try_from(hasher.finish() % lanes).expect("the remainder is less than a usize")]
    }

    /// The number of changes that wait in all lanes.
    pub(crate) fn waiting(&self) -> usize {
        self.lanes.iter().map(Queue::waiting).sum()
    }

    /// How long a change waits for its commit.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Ends each lane after the changes in its queue.
    pub(crate) async fn close(&self) {
        for lane in &self.lanes {
            // The lane may have ended already.
            let _ = lane.send(Message::Close).await;
        }
    }
}
