//! The ways to all outputs: what has happened, or must go straight out, is put on them here.

pub(crate) mod forwarder;
pub(crate) mod instrumented;
pub(crate) mod status;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::committer::{Committer, Unavailable};
use crate::delivery::forwarder::{Forwarder, Forwarders};
use crate::delivery::instrumented::InstrumentedOutput;
use crate::delivery::status::{OutputStatus, StatusCell};
use crate::delivery::worker::DeliveryWorker;
use crate::event::{Batch, Event};
use crate::group::{Decision, OutboxEntry};
use crate::output::{Delivery, Output};
use crate::panics::catch_panic;
use crate::queue::{Queue, queue};
use crate::store::Store;
use crate::time::{self, Timestamp};
use crate::tracker::{OutboxLimits, Tasks};

/// How many parcels may wait in memory for an output.
pub(crate) const WAITING: usize = 8_192;
/// How many bytes of parcels may wait in memory for an output.
const WAITING_BYTES: usize = 64 << 20;
/// How often the backlog is counted.
const BACKLOG_INTERVAL: Duration = Duration::from_secs(1);
/// What is owed for so long has been missed.
const STALE: Duration = Duration::from_secs(10);

pub(crate) type Reply = oneshot::Sender<Result<(), Unavailable>>;

/// Something on its way to an output.
#[derive(Debug)]
pub(crate) enum QueueItem {
    /// Committed, and owed in the outbox.
    Persisted(Arc<Batch>),
    /// Nowhere but here; answered when it is delivered, or owed.
    Unpersisted(UnpersistedEvent),
    /// The last one.
    Close,
}

/// An event that no store has.
#[derive(Debug)]
pub(crate) struct UnpersistedEvent {
    pub event: Arc<Event>,
    /// Tell the best-effort outputs when it is answered.
    pub forward: bool,
    pub reply: Reply,
}

/// The ways to all outputs.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    handles: Vec<OutputHandle>,
    forwarders: Forwarders,
    outputs: Arc<[Arc<dyn Output>]>,
    /// How long one waits for an answer.
    deadline: Duration,
}

/// The way to one output.
#[derive(Debug)]
struct OutputHandle {
    output: Arc<dyn Output>,
    queue: Queue<QueueItem>,
    status: Arc<StatusCell>,
    /// Something is owed that is not in the queue: the worker must look into the outbox.
    resync_requested: Arc<AtomicBool>,
}

impl Dispatcher {
    /// Starts a courier for each of `outputs` that must have every event, and a relay for each other.
    pub(crate) fn start(
        outputs: Vec<Arc<InstrumentedOutput>>,
        store: &Arc<dyn Store>,
        committer: &Arc<Committer>,
        tasks: &mut Tasks,
    ) -> Arc<Self> {
        let (durable, best_effort): (Vec<_>, Vec<_>) =
            outputs.into_iter().partition(|output| output.delivery() == Delivery::AtLeastOnce);
        let forwarders: Forwarders =
            best_effort.into_iter().map(|output| Forwarder::start(output, &mut tasks.forwarders)).collect();
        let handles = durable
            .iter()
            .map(|output| {
                let (queue, intake) = queue(WAITING, WAITING_BYTES);
                let resync_requested = Arc::new(AtomicBool::new(false));
                let status = Arc::new(StatusCell::new(output.name()));
                let worker = DeliveryWorker::new(
                    output.clone(),
                    store.clone(),
                    committer.clone(),
                    forwarders.clone(),
                    intake,
                    status.clone(),
                    resync_requested.clone(),
                );
                tasks.backlog_polls.spawn(poll_backlog(
                    output.clone(),
                    store.clone(),
                    status.clone(),
                    resync_requested.clone(),
                ));
                tasks.workers.spawn(worker.run());
                OutputHandle { output: output.clone(), queue, status, resync_requested }
            })
            .collect();
        let outputs = durable.into_iter().map(|output| output as Arc<dyn Output>).collect();
        Arc::new(Self { handles, forwarders, outputs, deadline: committer.deadline() })
    }

    /// The outputs that must have every event.
    pub(crate) fn outputs(&self) -> Arc<[Arc<dyn Output>]> {
        self.outputs.clone()
    }

    /// How each output stands that must have every event.
    pub(crate) fn statuses(&self) -> Vec<OutputStatus> {
        self.handles.iter().map(|handle| handle.status.status()).collect()
    }

    /// Refuses when as much is owed to an output as may be.
    pub(crate) fn check_room(&self, limits: OutboxLimits) -> Result<(), Unavailable> {
        let has_room = self.handles.iter().all(|handle| handle.status.has_room(limits));
        if has_room { Ok(()) } else { Err(Unavailable::OutboxFull) }
    }

    /// Passes on what a commit made happen; to the couriers by way of the outbox only, if it must be.
    pub(crate) fn dispatch(&self, decision: &Decision, is_in_outbox_only: bool) {
        for OutboxEntry { output, batch } in &decision.pending {
            let has_happened = decision.batches.iter().any(|push_event| push_event.id == batch.id);
            let handle = self.handles.iter().find(|handle| has_happened && handle.output.name() == output);
            if let Some(handle) = handle {
                handle.dispatch(batch.clone(), is_in_outbox_only);
            }
        }
        for batch in &decision.batches {
            self.forwarders.forward(batch);
        }
    }

    /// Sends an event that no store keeps to every output that must have it.
    pub(crate) async fn send(&self, event: Arc<Event>) -> Result<(), Unavailable> {
        let mut answers = Vec::with_capacity(self.handles.len());
        for handle in self.handles.iter().filter(|handle| handle.output.wants(&event)) {
            let (reply, answer) = oneshot::channel();
            let unpersisted = UnpersistedEvent { event: event.clone(), forward: answers.is_empty(), reply };
            let bytes = event.size();
            // Only as long as no output has it, nothing was done.
            let refusal = if answers.is_empty() { Unavailable::Busy } else { Unavailable::TimedOut };
            handle.queue.try_send(QueueItem::Unpersisted(unpersisted), bytes).map_err(|_| refusal)?;
            answers.push(answer);
        }
        if answers.is_empty() {
            return Err(Unavailable::Nowhere);
        }
        let answered = async {
            for answer in answers {
                answer.await.map_err(|_| Unavailable::TimedOut)??;
            }
            Ok(())
        };
        tokio::time::timeout(self.deadline, answered).await.unwrap_or(Err(Unavailable::TimedOut))
    }

    /// Has every courier look into the outbox before it delivers anything newer.
    pub(crate) fn request_resync(&self) {
        for handle in &self.handles {
            handle.resync_requested.store(true, Ordering::Release);
        }
    }

    /// Ends each worker after what waits for it.
    pub(crate) async fn close(&self) {
        for handle in &self.handles {
            // One that is gone has nothing left to end.
            let _ = handle.queue.send(QueueItem::Close).await;
        }
    }

    /// Ends each relay after what waits for it.
    pub(crate) async fn close_forwarders(&self) {
        self.forwarders.close().await;
    }
}

impl OutputHandle {
    fn dispatch(&self, batch: Arc<Batch>, is_in_outbox_only: bool) {
        let bytes = batch.size();
        self.status.add_pending(batch.messages(), bytes);
        if is_in_outbox_only
            || self.resync_requested.load(Ordering::Acquire)
            || self.queue.try_send(QueueItem::Persisted(batch), bytes).is_err()
        {
            self.resync_requested.store(true, Ordering::Release);
        }
    }
}

/// Counts the backlog again and again; when it cannot be counted the last figures stand. Sends the courier to the outbox
/// when something lies there that should have been delivered long ago, such as what was taken over from another replica.
async fn poll_backlog(
    output: Arc<dyn Output>,
    store: Arc<dyn Store>,
    status: Arc<StatusCell>,
    resync_requested: Arc<AtomicBool>,
) {
    // The oldest, and since when it has been that: other clocks may not be in step with this one.
    let mut oldest: Option<(Timestamp, Instant)> = None;
    loop {
        if let Ok(backlog) = catch_panic(|| store.backlog(output.name())).await {
            status.set_backlog(backlog);
            let known = oldest.filter(|(at, _)| backlog.oldest == Some(*at));
            oldest = known.or(backlog.oldest.map(|at| (at, Instant::now())));
            let is_old = |(at, since): (Timestamp, Instant)| {
                (time::now() - at).to_std().is_ok_and(|age| age > STALE) || since.elapsed() > STALE
            };
            if oldest.is_some_and(is_old) {
                resync_requested.store(true, Ordering::Release);
            }
        }
        tokio::time::sleep(BACKLOG_INTERVAL).await;
    }
}
