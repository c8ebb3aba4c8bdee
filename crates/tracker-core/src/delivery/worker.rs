//! The delivery worker of one at-least-once output.

use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::oneshot::error::TryRecvError;
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::committer::{Committer, ReplyReceiver};
use crate::delivery::forwarder::Forwarders;
use crate::delivery::item::{OutgoingBatch, QueueItem, Received, UnpersistedEvent};
use crate::delivery::resync::Resync;
use crate::delivery::state::{Read, State};
use crate::delivery::status::{OutputStatus, StatusCell};
use crate::error::TrackerError;
use crate::event::Batch;
use crate::failure_log::FailureLog;
use crate::group::{Change, OutboxEntry, Outcome};
use crate::output::{Output, OutputError};
use crate::panics::catch_panic;
use crate::queue::Queued;
use crate::store::{Backlog, PendingBatch, Store};
use crate::time;

/// The maximum number of items that may wait in the queue of a worker.
pub(super) const QUEUE_ITEMS: usize = 8_192;
/// The maximum number of items that are taken from the queue at once.
const RECEIVE_ITEMS: usize = 256;
/// The maximum number of batches that are read from the outbox at once.
const READ_BATCHES: usize = 256;
/// How often an idle worker checks whether a resync was requested.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The first and the longest pause after a failure.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(800));
/// A delivery that takes longer counts as failing until it ends.
const SLOW_DELIVERY: Duration = Duration::from_secs(5);
/// The number of delivered batches that a worker remembers: more than can wait in its queue.
const RECENTLY_DELIVERED: usize = QUEUE_ITEMS + READ_BATCHES;

/// An output, and the parts that its worker shares with the rest of the tracker.
#[derive(Debug, Clone)]
pub(super) struct Context {
    pub output: Arc<dyn Output>,
    pub store: Arc<dyn Store>,
    pub committer: Arc<Committer>,
    pub forwarders: Forwarders,
    pub status: Arc<StatusCell>,
    pub resync: Arc<Resync>,
}

/// Moves events to one at-least-once output; [`crate::delivery`] describes the protocol.
pub(super) struct DeliveryWorker {
    context: Context,
    state: State,
    intake: Intake,
    delivery: Delivery,
    backoff: Backoff,
}

impl DeliveryWorker {
    pub(super) fn new(context: Context, queue: mpsc::Receiver<Queued<QueueItem>>) -> Self {
        Self {
            // An earlier run of the tracker may have left batches in the outbox.
            state: State::CatchingUp,
            intake: Intake { context: context.clone(), queue, is_open: true },
            delivery: Delivery::new(context.clone()),
            context,
            backoff: BACKOFF,
        }
    }

    /// Runs until the queue is closed. Runs again after a panic, which may have cost a batch that is in the outbox.
    pub(super) async fn run(&mut self) {
        self.state = State::CatchingUp;
        while self.intake.is_open {
            self.context.status.set_catching_up(self.state != State::Live);
            let next = match self.state {
                State::Live => self.deliver_from_queue().await,
                State::CatchingUp | State::Draining => self.deliver_from_outbox().await,
            };
            if next != self.state {
                log::debug!(
                    output = self.context.output.name(), from:? = self.state, to:? = next;
                    "delivery changes state"
                );
            }
            self.state = next;
        }
        self.delivery.close().await;
    }

    /// Delivers the items that wait in the queue.
    async fn deliver_from_queue(&mut self) -> State {
        let items = self.intake.receive().await;
        if items.is_empty() {
            // The queue is empty, so no batch in it can have been delivered from the outbox.
            self.delivery.recent.clear();
        }
        if !self.delivery.collect_acknowledgements() || self.context.resync.is_requested() {
            self.intake.persist(items).await;
            return State::CatchingUp;
        }
        let received = Received::new(items, |batch| self.delivery.recent.contains(&batch.id));
        self.intake.is_open &= !received.is_closed;
        if received.batches.is_empty() {
            return State::Live;
        }
        let batches: Vec<_> = received.batches.iter().map(|outgoing| outgoing.batch.clone()).collect();
        match self.delivery.deliver(&batches).await {
            Ok(()) => {
                self.delivery.succeeded();
                if self.delivery.confirm(received.batches) { State::Live } else { State::CatchingUp }
            }
            Err(error) => {
                self.delivery.failed(&error);
                let lost = received.batches.into_iter().filter(|outgoing| !outgoing.is_persisted());
                self.intake.enqueue(lost.collect()).await;
                State::CatchingUp
            }
        }
    }

    /// Delivers the oldest batches of the outbox.
    async fn deliver_from_outbox(&mut self) -> State {
        self.context.resync.clear();
        let drained = self.delivery.drain();
        let drained = match self.state {
            State::Draining => Some(drained.await),
            State::Live | State::CatchingUp => self.intake.persist_while(drained).await,
        };
        match drained {
            Some(Ok(read)) => {
                self.backoff.reset();
                self.state.after(read, self.context.resync.is_requested())
            }
            Some(Err(error)) => {
                self.delivery.failed(error.as_ref());
                self.intake.persist_while(tokio::time::sleep(self.backoff.next_pause())).await;
                State::CatchingUp
            }
            None => self.state,
        }
    }
}

/// The receiving side of a worker: takes items from the queue, and moves them to the outbox while the worker catches
/// up.
struct Intake {
    context: Context,
    queue: mpsc::Receiver<Queued<QueueItem>>,
    is_open: bool,
}

impl Intake {
    /// Waits for items, up to [`IDLE_CHECK_INTERVAL`].
    async fn receive(&mut self) -> Vec<Queued<QueueItem>> {
        let mut items = Vec::with_capacity(RECEIVE_ITEMS);
        let received = self.queue.recv_many(&mut items, RECEIVE_ITEMS);
        if tokio::time::timeout(IDLE_CHECK_INTERVAL, received).await == Ok(0) {
            self.is_open = false;
        }
        items
    }

    /// Runs `work`, and moves unpersisted events to the outbox meanwhile. Returns `None` when the worker is closed,
    /// which drops `work`.
    async fn persist_while<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        while self.is_open {
            let mut items = Vec::new();
            tokio::select! {
                done = &mut work => return Some(done),
                received = self.queue.recv_many(&mut items, RECEIVE_ITEMS) => {
                    self.is_open = received > 0;
                    self.persist(items).await;
                }
            }
        }
        None
    }

    /// Moves unpersisted events to the outbox. Persisted batches are in it already.
    async fn persist(&mut self, items: Vec<Queued<QueueItem>>) {
        let received = Received::new(items, |_| false);
        self.is_open &= !received.is_closed;
        let (persisted, unpersisted): (Vec<_>, Vec<_>) =
            received.batches.into_iter().partition(OutgoingBatch::is_persisted);
        if !persisted.is_empty() {
            // They may be too new for the read that is under way.
            self.context.resync.request();
        }
        if !unpersisted.is_empty() {
            self.enqueue(unpersisted).await;
        }
    }

    /// Commits unpersisted batches to the outbox, all at once, and answers their senders.
    async fn enqueue(&self, batches: Vec<OutgoingBatch>) {
        let Context { output, committer, status, resync, .. } = &self.context;
        resync.request();
        let submitted: Vec<_> = batches
            .into_iter()
            .map(|OutgoingBatch { batch, unpersisted }| {
                status.add_pending(batch.messages(), batch.size());
                let entry = OutboxEntry { output: output.name().to_owned(), batch };
                (committer.submit(&output.name(), Change::Enqueue(entry)), unpersisted)
            })
            .collect();
        for (reply, unpersisted) in submitted {
            let outcome = match reply {
                Ok(reply) => committer.answer(reply).await,
                Err(error) => Err(error),
            };
            answer(&self.context, unpersisted, &outcome.map(drop));
        }
    }
}

/// The sending side of a worker: delivers batches, and removes them from the outbox.
struct Delivery {
    context: Context,
    /// Delivered batches whose removal from the outbox is submitted, and not committed yet.
    acknowledging: Vec<(Vec<Uuid>, ReplyReceiver)>,
    /// Batches whose delivery has failed. An abandoned attempt may still arrive after the one that succeeds, so the
    /// output must not forget them.
    in_doubt: HashSet<Uuid>,
    /// The batches that were last delivered from the outbox. They may also wait in the queue.
    recent: VecDeque<Uuid>,
    failure_log: FailureLog,
}

impl Delivery {
    fn new(context: Context) -> Self {
        let failure_log = FailureLog::new(format!("output `{}`", context.output.name()));
        Self { context, acknowledging: Vec::new(), in_doubt: HashSet::new(), recent: VecDeque::new(), failure_log }
    }

    /// Delivers `batches`. A delivery that takes longer than [`SLOW_DELIVERY`] counts as failing until it ends, so that
    /// an output that never answers shows in the status, and the outbox limit applies.
    async fn deliver(&mut self, batches: &[Arc<Batch>]) -> Result<(), OutputError> {
        let Context { output, status, .. } = self.context.clone();
        let mut delivery = output.deliver(batches);
        let delivered = match tokio::time::timeout(SLOW_DELIVERY, &mut delivery).await {
            Ok(delivered) => delivered,
            Err(_) => {
                let error = OutputError::message(format!("a delivery takes longer than {} s", SLOW_DELIVERY.as_secs()));
                log::warn!(output = output.name(), batches = batches.len(); "output `{}`: {error}", output.name());
                status.failed(&error);
                delivery.await
            }
        };
        log::debug!(
            output = output.name(), batches = batches.len(), delivered = delivered.is_ok();
            "a delivery of {} batches to output `{}` has ended", batches.len(), output.name()
        );
        if delivered.is_err() {
            self.in_doubt.extend(batches.iter().map(|batch| batch.id));
        }
        delivered
    }

    /// Answers the senders of delivered batches, and submits the removal of the others from the outbox. Returns `false`
    /// when the removal cannot be submitted.
    fn confirm(&mut self, delivered: Vec<OutgoingBatch>) -> bool {
        let (persisted, unpersisted): (Vec<_>, Vec<_>) = delivered.into_iter().partition(OutgoingBatch::is_persisted);
        self.context.output.forget(&unpersisted.iter().map(|outgoing| outgoing.batch.id).collect::<Vec<_>>());
        for outgoing in unpersisted {
            answer(&self.context, outgoing.unpersisted, &Ok(()));
        }
        if persisted.is_empty() {
            return true;
        }
        let batches: Vec<_> = persisted.iter().map(|outgoing| outgoing.batch.id).collect();
        match self.context.committer.submit(&self.context.output.name(), self.acknowledge(batches.clone())) {
            Ok(reply) => {
                self.acknowledging.push((batches, reply));
                true
            }
            Err(_) => false,
        }
    }

    /// Handles the acknowledgements that have finished. Returns `false` when one has failed.
    fn collect_acknowledgements(&mut self) -> bool {
        let mut succeeded = true;
        for (batches, mut reply) in std::mem::take(&mut self.acknowledging) {
            match reply.try_recv() {
                Ok(Ok(Outcome::Recorded)) => self.context.output.forget(&batches),
                // Another instance has adopted some of the batches, and may still deliver them.
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(TryRecvError::Closed) => succeeded = false,
                Err(TryRecvError::Empty) => self.acknowledging.push((batches, reply)),
            }
        }
        succeeded
    }

    /// Delivers the oldest batches of the outbox, and removes them from it.
    async fn drain(&mut self) -> Result<Read, Box<dyn Error + Send + Sync>> {
        let Context { output, store, committer, .. } = self.context.clone();
        let pending = catch_panic(|| store.pending(output.name(), READ_BATCHES)).await?;
        if pending.is_empty() {
            self.succeeded();
            return Ok(Read::Empty);
        }
        let batches: Vec<_> = pending.iter().map(|pending| pending.batch.clone()).collect();
        self.deliver(&batches).await?;
        let ids: Vec<_> = batches.iter().map(|batch| batch.id).collect();
        let outcome = committer.commit(&output.name(), self.acknowledge(ids.clone())).await?;
        // Only now: while acknowledgements fail, the same batches are delivered again and again.
        self.succeeded();
        self.recent.extend(&ids);
        self.recent.drain(..self.recent.len().saturating_sub(RECENTLY_DELIVERED));
        let is_certain = |pending: &&PendingBatch| !self.in_doubt.remove(&pending.batch.id) && !pending.is_adopted;
        let certain: Vec<_> = pending.iter().filter(is_certain).map(|pending| pending.batch.id).collect();
        // Otherwise another instance has adopted some of the batches, and may still deliver them.
        if outcome == Outcome::Recorded {
            output.forget(&certain);
        }
        Ok(if pending.len() < READ_BATCHES { Read::Partial } else { Read::Full })
    }

    fn acknowledge(&self, batches: Vec<Uuid>) -> Change {
        Change::Acknowledge { output: self.context.output.name().to_owned(), batches }
    }

    fn succeeded(&mut self) {
        self.failure_log.succeeded();
        self.context.status.succeeded();
    }

    fn failed(&mut self, error: &dyn Error) {
        self.context.status.failed(error);
        if self.failure_log.failed(error) && self.context.status.is_backlog_known() {
            let OutputStatus { name, backlog: Backlog { messages, bytes, oldest }, .. } = self.context.status.status();
            let oldest = oldest.map_or_else(String::new, |at| format!(", the oldest from {}", time::rfc3339(&at)));
            log::warn!(
                output = name.as_str(), messages, bytes;
                "output `{name}`: {messages} messages ({bytes} bytes) are pending{oldest}"
            );
        }
    }

    /// Waits for the acknowledgements that are under way, and closes the output.
    async fn close(&mut self) {
        for (_, reply) in std::mem::take(&mut self.acknowledging) {
            // A batch whose acknowledgement fails is delivered again by the next run, and recognized as a duplicate.
            let _ = reply.await;
        }
        self.context.output.close().await;
    }
}

/// Answers the senders of unpersisted events, and passes the events to the best-effort outputs if `answer` is `Ok`.
fn answer(context: &Context, unpersisted: Vec<UnpersistedEvent>, answer: &Result<(), TrackerError>) {
    let forwarded = unpersisted.iter().filter(|unpersisted| unpersisted.forward && answer.is_ok());
    let events: Vec<_> = forwarded.map(|unpersisted| unpersisted.event.clone()).collect();
    if !events.is_empty() {
        context.forwarders.forward(&Arc::new(Batch::new(events)));
    }
    for unpersisted in unpersisted {
        // The sender may have stopped waiting.
        let _ = unpersisted.reply.send(answer.clone());
    }
}
