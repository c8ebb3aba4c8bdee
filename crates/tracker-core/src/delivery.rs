//! Fans committed events out to every output: one delivery worker per at-least-once output, one forwarder per
//! best-effort output.
//!
//! # Delivery to an at-least-once output
//!
//! A group of reports commits together with its outbox rows: one for each batch and each output that wants it. The lane
//! then hands each batch to the queue of the output's delivery worker. The worker delivers the batch, and removes it
//! from the outbox once the output has acknowledged it. The outbox is authoritative; the queue only saves a read.
//!
//! ## States
//!
//! | state | source | incoming items |
//! |---|---|---|
//! | `Live` | the queue | are delivered, one call at a time |
//! | `CatchingUp` | the outbox, oldest batch first | leave the queue; an event that is in no store goes to the outbox |
//! | `Draining` | the rest of the outbox | stay in the queue, as long as it has room |
//!
//! A worker starts in `CatchingUp`, because an earlier run may have left batches. It reads the outbox, up to 256
//! batches at a time:
//!
//! - In `CatchingUp`, a full read changes nothing. A partial read means that the end of the outbox is near, and leads
//!   to `Draining`. Without that state, a steady stream of reports would keep the outbox from ever being empty.
//! - In either state, an empty read leads to `Live`. If a *resync* was requested during that read, it leads from
//!   `CatchingUp` to `Draining`.
//! - In `Draining`, any read during which a resync was requested leads to `CatchingUp`, because the queue may have
//!   overflowed.
//! - After a failure, the worker waits (exponential backoff with jitter) and goes to `CatchingUp`.
//!
//! `Live` ends when a delivery or an acknowledgement fails, or when a resync is requested.
//!
//! ## Resync
//!
//! A resync request means that the outbox may hold a batch that the queue does not. The worker must read the outbox
//! before it delivers anything newer. The reasons are:
//!
//! - The queue was full.
//! - While it was catching up, the worker took an item from the queue that its current read may not see.
//! - A commit took longer than `SLOW_COMMIT` (see [`crate::lane`]). Its rows became visible before its answer arrived,
//!   so the worker may already have delivered the batch from the outbox. The batch therefore stays out of the queue.
//! - A commit is in doubt: its answer was lost, and it may still take effect. For `IN_DOUBT_WINDOW` after that, each
//!   commit of the lane requests a resync before its reports are answered, so that no later event overtakes the one in
//!   doubt. A duplicate report requests it too, because the original may be the one in doubt.
//! - The backlog poll found a batch that is older than `STALE`, such as one that this instance has adopted.
//!
//! ## Invariants
//!
//! 1. A batch leaves the outbox only after the output has acknowledged it.
//! 2. A batch has the same id in every delivery, so that an output can recognize a duplicate.
//! 3. An output may forget a batch only when nothing can deliver it again: its removal from the outbox is committed, no
//!    attempt has failed (an abandoned attempt may still arrive), and no instance has adopted it.
//! 4. The events of one deployment reach an output in the order of their commits, as long as they go through one
//!    instance.
//! 5. An event that is in no store (a log message that the store does not keep) is answered with `Ok` only when every
//!    output that wants it has acknowledged it or has it in its outbox.
//! 6. An output delays neither the answer to a report that the store keeps, nor another output.

mod backlog;
pub(crate) mod forwarder;
pub(crate) mod instrumented;
mod item;
mod resync;
mod state;
pub(crate) mod status;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::committer::Committer;
use crate::delivery::forwarder::{Forwarder, Forwarders};
use crate::delivery::instrumented::InstrumentedOutput;
use crate::delivery::item::{QueueItem, UnpersistedEvent};
use crate::delivery::resync::Resync;
use crate::delivery::status::{OutboxLimits, OutputStatus, StatusCell};
use crate::delivery::worker::{Context, DeliveryWorker, QUEUE_ITEMS};
use crate::error::{TrackerError, UnavailableReason};
use crate::event::{Batch, Event};
use crate::group::{Decision, OutboxEntry};
use crate::output::{Delivery, Output};
use crate::panics::supervise;
use crate::queue::{Queue, queue};
use crate::store::Store;

/// The maximum size of the items that may wait in the queue of a worker, in bytes.
const QUEUE_BYTES: usize = 64 << 20;

/// The tasks of the outputs. Workers end after [`Dispatcher::close_workers`], forwarders after
/// [`Dispatcher::close_forwarders`]. Backlog polls never end; the shutdown aborts them.
#[derive(Debug, Default)]
pub(crate) struct DeliveryTasks {
    pub workers: JoinSet<()>,
    pub forwarders: JoinSet<()>,
    pub backlog_polls: JoinSet<()>,
}

/// Hands events to all outputs.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    handles: Vec<OutputHandle>,
    forwarders: Forwarders,
    outputs: Arc<[Arc<dyn Output>]>,
    /// How long the sender of an unpersisted event waits.
    deadline: Duration,
}

/// The sending side of one delivery worker.
#[derive(Debug)]
struct OutputHandle {
    output: Arc<dyn Output>,
    queue: Queue<QueueItem>,
    status: Arc<StatusCell>,
    resync: Arc<Resync>,
}

impl Dispatcher {
    /// Starts a delivery worker for each at-least-once output, and a forwarder for each best-effort output.
    pub(crate) fn start(
        outputs: Vec<Arc<InstrumentedOutput>>,
        store: &Arc<dyn Store>,
        committer: &Arc<Committer>,
        tasks: &mut DeliveryTasks,
    ) -> Arc<Self> {
        let (durable, best_effort): (Vec<_>, Vec<_>) =
            outputs.into_iter().partition(|output| output.delivery() == Delivery::AtLeastOnce);
        let forwarders: Forwarders =
            best_effort.into_iter().map(|output| Forwarder::start(output, &mut tasks.forwarders)).collect();
        let outputs: Arc<[_]> = durable.into_iter().map(|output| output as Arc<dyn Output>).collect();
        let start = |output: &Arc<dyn Output>| {
            let (queue, receiver) = queue(QUEUE_ITEMS, QUEUE_BYTES);
            let context = Context {
                output: output.clone(),
                store: store.clone(),
                committer: committer.clone(),
                forwarders: forwarders.clone(),
                status: Arc::new(StatusCell::new(output.name())),
                resync: Arc::default(),
            };
            let (status, resync) = (context.status.clone(), context.resync.clone());
            let (polled, poll) = (context.clone(), format!("the backlog poll of output `{}`", output.name()));
            tasks.backlog_polls.spawn(supervise(poll, async move || backlog::poll(&polled).await));
            let name = format!("the delivery worker of output `{}`", output.name());
            let mut worker = DeliveryWorker::new(context, receiver);
            tasks.workers.spawn(supervise(name, async move || worker.run().await));
            OutputHandle { output: output.clone(), queue, status, resync }
        };
        let handles = outputs.iter().map(start).collect();
        Arc::new(Self { handles, forwarders, outputs, deadline: committer.deadline() })
    }

    /// The at-least-once outputs.
    pub(crate) fn outputs(&self) -> Arc<[Arc<dyn Output>]> {
        self.outputs.clone()
    }

    /// The status of each at-least-once output.
    pub(crate) fn statuses(&self) -> Vec<OutputStatus> {
        self.handles.iter().map(|handle| handle.status.status()).collect()
    }

    /// Reads the backlog of each output.
    pub(crate) async fn read_backlogs(&self, store: &Arc<dyn Store>) {
        for handle in &self.handles {
            let _ = backlog::read(store, &handle.output, &handle.status).await;
        }
    }

    /// Fails with [`UnavailableReason::OutboxFull`] when the outbox of an output is at its limit.
    pub(crate) fn check_limits(&self, limits: OutboxLimits) -> Result<(), TrackerError> {
        let has_room = self.handles.iter().all(|handle| handle.status.has_room(limits));
        if has_room { Ok(()) } else { Err(UnavailableReason::OutboxFull.into()) }
    }

    /// Hands the events of a commit to the outputs. With `outbox_only`, the delivery workers must read them from the
    /// outbox.
    pub(crate) fn dispatch(&self, decision: &Decision, outbox_only: bool) {
        for OutboxEntry { output, batch } in &decision.pending {
            // A worker already knows about an entry that it has made of unpersisted events.
            let is_new = decision.batches.iter().any(|new| new.id == batch.id);
            let handle = self.handles.iter().find(|handle| is_new && handle.output.name() == output);
            if let Some(handle) = handle {
                handle.dispatch(batch.clone(), outbox_only);
            }
        }
        for batch in &decision.batches {
            self.forwarders.forward(batch);
        }
    }

    /// Whether an at-least-once output wants `event`.
    pub(crate) fn is_wanted(&self, event: &Event) -> bool {
        self.handles.iter().any(|handle| handle.output.wants(event))
    }

    /// Sends an event that no store keeps to every at-least-once output that wants it, and waits until each output has
    /// it or has it in its outbox.
    pub(crate) async fn send(&self, event: Arc<Event>) -> Result<(), TrackerError> {
        let mut answers = Vec::with_capacity(self.handles.len());
        for handle in self.handles.iter().filter(|handle| handle.output.wants(&event)) {
            let (reply, answer) = oneshot::channel();
            // The first output passes the event on to the best-effort outputs.
            let unpersisted = UnpersistedEvent { event: event.clone(), forward: answers.is_empty(), reply };
            // `Busy` promises that nothing was done, which holds as long as no output has the event.
            let refusal = if answers.is_empty() { UnavailableReason::Busy } else { UnavailableReason::TimedOut };
            handle.queue.try_send(QueueItem::Unpersisted(unpersisted), event.size()).map_err(|_| refusal)?;
            answers.push(answer);
        }
        if answers.is_empty() {
            return Err(TrackerError::NoLogDestination);
        }
        let answered = async {
            for answer in answers {
                // The worker panicked while it had the event.
                answer.await.map_err(|_| UnavailableReason::InDoubt)??;
            }
            Ok(())
        };
        tokio::time::timeout(self.deadline, answered).await.unwrap_or(Err(UnavailableReason::TimedOut.into()))
    }

    /// Requests a resync of every delivery worker.
    pub(crate) fn request_resync(&self) {
        self.handles.iter().for_each(|handle| handle.resync.request());
    }

    /// Ends each delivery worker after the items in its queue.
    pub(crate) async fn close_workers(&self) {
        for handle in &self.handles {
            // The worker may have ended already.
            let _ = handle.queue.send(QueueItem::Close).await;
        }
    }

    /// Ends each forwarder after the batches in its queue.
    pub(crate) async fn close_forwarders(&self) {
        self.forwarders.close().await;
    }
}

impl OutputHandle {
    fn dispatch(&self, batch: Arc<Batch>, outbox_only: bool) {
        let bytes = batch.size();
        self.status.add_pending(batch.messages(), bytes);
        // While a resync is requested, the worker reads the outbox anyway.
        let is_left_to_outbox = outbox_only
            || self.resync.is_requested()
            || self.queue.try_send(QueueItem::Persisted(batch), bytes).is_err();
        if is_left_to_outbox {
            self.resync.request();
        }
    }
}
