//! Delivery to an output that must have every event: from memory while all is well, from the store's outbox after a
//! failure or a restart, always in order.

use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use uuid::Uuid;

use crate::committer::{Committer, ReplyReceiver, Unavailable};
use crate::delivery::forwarder::Forwarders;
use crate::delivery::status::{OutputStatus, StatusCell};
use crate::delivery::{QueueItem, UnpersistedEvent, WAITING};
use crate::event::Batch;
use crate::failure_log::FailureLog;
use crate::group::{Change, OutboxEntry, Outcome};
use crate::output::{Output, OutputError};
use crate::panics::catch_panic;
use crate::queue::Queued;
use crate::store::{Backlog, PendingBatch, Store};
use crate::time;

/// How many parcels are taken up together.
const MAX_RECV: usize = 256;
/// How many owed batches are read from the outbox at once.
const PENDING: usize = 256;
/// How often an idle courier looks whether it has missed something.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The first and the longest pause after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(800));
/// When a delivery takes long.
const SLOW_DELIVERY: Duration = Duration::from_secs(5);
/// How many delivered batches a courier remembers, more than can be on their way to it in memory.
const RECENTLY_DELIVERED: usize = WAITING + PENDING;

/// What goes to the output as one batch. Without `unpersisted` it is owed already.
struct OutgoingBatch {
    batch: Arc<Batch>,
    unpersisted: Vec<UnpersistedEvent>,
}

/// Delivers to one output.
pub(crate) struct DeliveryWorker {
    output: Arc<dyn Output>,
    store: Arc<dyn Store>,
    committer: Arc<Committer>,
    forwarders: Forwarders,
    intake: mpsc::Receiver<Queued<QueueItem>>,
    status: Arc<StatusCell>,
    resync_requested: Arc<AtomicBool>,
    is_open: bool,
    /// Delivered batches whose removal from the outbox is not confirmed yet.
    acknowledging: Vec<(Vec<Uuid>, ReplyReceiver)>,
    /// Batches that will never be delivered again.
    acknowledged: Vec<Uuid>,
    /// Batches whose delivery has failed. What was given up may be on its way, and arrive after the delivery that succeeds:
    /// the output must go on recognising them.
    in_doubt: HashSet<Uuid>,
    /// The latest batches delivered from the outbox: they may still wait in memory, too.
    delivered: VecDeque<Uuid>,
    failure_log: FailureLog,
}

impl DeliveryWorker {
    pub(crate) fn new(
        output: Arc<dyn Output>,
        store: Arc<dyn Store>,
        committer: Arc<Committer>,
        forwarders: Forwarders,
        intake: mpsc::Receiver<Queued<QueueItem>>,
        status: Arc<StatusCell>,
        resync_requested: Arc<AtomicBool>,
    ) -> Self {
        let failure_log = FailureLog::new(format!("output `{}`", output.name()));
        Self {
            output,
            store,
            committer,
            forwarders,
            intake,
            status,
            resync_requested,
            is_open: true,
            acknowledging: Vec::new(),
            acknowledged: Vec::new(),
            in_doubt: HashSet::new(),
            delivered: VecDeque::new(),
            failure_log,
        }
    }

    pub(crate) async fn run(mut self) {
        // What an earlier run left behind comes first.
        let mut is_behind = true;
        let mut items = Vec::with_capacity(MAX_RECV);
        while self.is_open {
            self.status.set_behind(is_behind);
            if is_behind {
                self.catch_up().await;
                is_behind = false;
                continue;
            }
            let taken = tokio::time::timeout(IDLE_CHECK_INTERVAL, self.intake.recv_many(&mut items, MAX_RECV)).await;
            self.is_open = taken != Ok(0);
            if taken.is_err() {
                // Nothing is on its way in memory.
                self.delivered.clear();
            }
            is_behind = !self.forward(std::mem::take(&mut items)).await;
        }
        for (_, answer) in std::mem::take(&mut self.acknowledging) {
            // What is not settled is delivered again by the next run, and recognised as a repeat.
            let _ = answer.await;
        }
        self.output.close().await;
    }

    /// Delivers parcels from memory; `false` when the outbox must be looked into.
    async fn forward(&mut self, items: Vec<Queued<QueueItem>>) -> bool {
        let are_acknowledged = self.collect_acknowledged();
        if !are_acknowledged || self.resync_requested.load(Ordering::Acquire) {
            self.enqueue_unpersisted(items).await;
            return false;
        }
        let (outgoing, _permits) = self.group_items(items);
        if outgoing.is_empty() {
            return true;
        }
        let batches: Vec<_> = outgoing.iter().map(|outgoing_batch| outgoing_batch.batch.clone()).collect();
        match deliver(self.output.as_ref(), &self.status, &batches, &self.acknowledged).await {
            Ok(()) => {
                self.succeeded();
                self.acknowledged.clear();
                self.confirm(outgoing)
            }
            Err(error) => {
                self.failed(&error);
                self.in_doubt.extend(batches.iter().map(|batch| batch.id));
                self.enqueue(
                    outgoing.into_iter().filter(|outgoing_batch| !outgoing_batch.unpersisted.is_empty()).collect(),
                )
                .await;
                false
            }
        }
    }

    /// Makes batches of parcels, in order; log messages that stand together become one.
    fn group_items(&mut self, items: Vec<Queued<QueueItem>>) -> (Vec<OutgoingBatch>, Vec<OwnedSemaphorePermit>) {
        let (mut outgoing, mut permits) = (Vec::new(), Vec::with_capacity(items.len()));
        let mut unpersisted = Vec::new();
        for item in items {
            let (item, permit) = item.into_parts();
            permits.push(permit);
            match item {
                QueueItem::Unpersisted(event) => unpersisted.push(event),
                QueueItem::Persisted(batch) if self.delivered.contains(&batch.id) => {}
                QueueItem::Persisted(batch) => {
                    outgoing.extend(into_batches(&mut unpersisted));
                    outgoing.push(OutgoingBatch { batch, unpersisted: Vec::new() });
                }
                QueueItem::Close => self.is_open = false,
            }
        }
        outgoing.extend(into_batches(&mut unpersisted));
        (outgoing, permits)
    }

    /// Answers those who wait, and takes what was delivered out of the outbox; `false` when that cannot be.
    fn confirm(&mut self, outgoing: Vec<OutgoingBatch>) -> bool {
        let mut acknowledged_ids = Vec::new();
        for OutgoingBatch { batch, unpersisted } in outgoing {
            if unpersisted.is_empty() {
                acknowledged_ids.push(batch.id);
            } else {
                self.acknowledged.push(batch.id);
                self.answer(unpersisted, Ok(()));
            }
        }
        if acknowledged_ids.is_empty() {
            return true;
        }
        let change = Change::Acknowledge { output: self.output.name().to_owned(), batches: acknowledged_ids.clone() };
        match self.committer.submit(&self.output.name(), change) {
            Ok(answer) => {
                self.acknowledging.push((acknowledged_ids, answer));
                true
            }
            Err(_) => false,
        }
    }

    /// Takes note of the settlements that are confirmed by now; `false` when one failed.
    fn collect_acknowledged(&mut self) -> bool {
        let mut failed = false;
        for (batches, mut answer) in std::mem::take(&mut self.acknowledging) {
            match answer.try_recv() {
                Ok(Ok(Outcome::Recorded)) => self.acknowledged.extend(batches),
                // Another replica has taken them over, and may deliver them yet.
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(TryRecvError::Closed) => failed = true,
                Err(TryRecvError::Empty) => self.acknowledging.push((batches, answer)),
            }
        }
        !failed
    }

    /// Delivers from the outbox until nothing is owed, whatever that takes. Meanwhile, what comes in is owed as well. Only
    /// for the last readings it waits in the queue, as long as that has room, or a stream of reports would keep the
    /// courier behind for ever.
    async fn catch_up(&mut self) {
        let mut pause = BACKOFF.0;
        let mut is_last_read = false;
        while self.is_open {
            self.resync_requested.store(false, Ordering::Release);
            let acknowledged = std::mem::take(&mut self.acknowledged);
            let drained = drain(
                self.output.clone(),
                self.store.clone(),
                self.committer.clone(),
                self.status.clone(),
                acknowledged,
            );
            let drained = if is_last_read { Some(drained.await) } else { self.while_receiving(drained).await };
            let was_requested = self.resync_requested.load(Ordering::Acquire);
            match drained {
                Some(Ok(pending)) if pending.is_empty() && !was_requested => return self.succeeded(),
                Some(Ok(pending)) if pending.is_empty() => is_last_read = !is_last_read,
                Some(Ok(pending)) => {
                    // What comes in while it is owed keeps the outbox from ever being found empty.
                    is_last_read = if is_last_read { !was_requested } else { pending.len() < PENDING };
                    self.succeeded();
                    pause = BACKOFF.0;
                    self.delivered.extend(pending.iter().map(|pending| pending.batch.id));
                    let surplus = self.delivered.len().saturating_sub(RECENTLY_DELIVERED);
                    self.delivered.drain(..surplus);
                    let is_sure =
                        |pending: &&PendingBatch| !self.in_doubt.remove(&pending.batch.id) && !pending.is_adopted;
                    self.acknowledged = pending.iter().filter(is_sure).map(|pending| pending.batch.id).collect();
                }
                Some(Err(error)) => {
                    match error {
                        DrainError::Output(error, batches) => {
                            self.failed(&error);
                            self.in_doubt.extend(batches.iter().map(|batch| batch.id));
                        }
                        DrainError::Store(error) => self.failed(error.as_ref()),
                    }
                    is_last_read = false;
                    self.while_receiving(tokio::time::sleep(jitter(pause))).await;
                    pause = BACKOFF.1.min(pause * 2);
                }
                None => {}
            }
        }
    }

    /// Does `work`, and meanwhile owes what comes in; `None` when the courier was closed.
    async fn while_receiving<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut items = Vec::new();
        while self.is_open {
            tokio::select! {
                done = &mut work => return Some(done),
                taken = self.intake.recv_many(&mut items, MAX_RECV) => {
                    self.is_open = taken > 0;
                    self.enqueue_unpersisted(std::mem::take(&mut items)).await;
                }
            }
        }
        None
    }

    /// Owes the parcels that are not owed already.
    async fn enqueue_unpersisted(&mut self, items: Vec<Queued<QueueItem>>) {
        let mut unpersisted = Vec::new();
        let mut permits = Vec::new();
        for item in items {
            match item.into_parts() {
                (QueueItem::Unpersisted(event), permit) => {
                    unpersisted.push(event);
                    permits.push(permit);
                }
                // It may be too new for a reading that is under way.
                (QueueItem::Persisted(_), _) => self.resync_requested.store(true, Ordering::Release),
                (QueueItem::Close, _) => self.is_open = false,
            }
        }
        if !unpersisted.is_empty() {
            self.enqueue(into_batches(&mut unpersisted)).await;
        }
    }

    fn succeeded(&mut self) {
        self.failure_log.succeeded();
        self.status.succeeded();
    }

    fn failed(&mut self, error: &dyn Error) {
        self.status.failed(error);
        if self.failure_log.failed(error) {
            let OutputStatus { name, backlog: Backlog { messages, bytes, oldest }, .. } = self.status.status();
            let oldest =
                oldest.map_or_else(String::new, |oldest| format!(", the oldest since {}", time::rfc3339(&oldest)));
            log::warn!("output `{name}`: {messages} messages ({bytes} bytes) are owed to it{oldest}");
        }
    }

    /// Commits batches to the outbox, all at once, and answers those who wait for them.
    async fn enqueue(&self, outgoing: Vec<OutgoingBatch>) {
        self.resync_requested.store(true, Ordering::Release);
        let output = self.output.name();
        let submitted: Vec<_> = outgoing
            .into_iter()
            .map(|OutgoingBatch { batch, unpersisted }| {
                self.status.add_pending(batch.messages(), batch.size());
                let pending = OutboxEntry { output: output.to_owned(), batch };
                (self.committer.submit(&output, Change::Enqueue(pending)), unpersisted)
            })
            .collect();
        for (pending, unpersisted) in submitted {
            let outcome = match pending {
                Ok(pending) => self.committer.answer(pending).await,
                Err(unavailable) => Err(unavailable),
            };
            self.answer(unpersisted, outcome.map(drop));
        }
    }

    fn answer(&self, unpersisted: Vec<UnpersistedEvent>, answer: Result<(), Unavailable>) {
        let forwarded = unpersisted.iter().filter(|event| event.forward && answer.is_ok());
        let events: Vec<_> = forwarded.map(|event| event.event.clone()).collect();
        if !events.is_empty() {
            self.forwarders.forward(&Arc::new(Batch::new(events)));
        }
        for event in unpersisted {
            // The one who asked may have hung up.
            let _ = event.reply.send(answer);
        }
    }
}

/// Makes batches of `unpersisted`.
fn into_batches(unpersisted: &mut Vec<UnpersistedEvent>) -> Vec<OutgoingBatch> {
    let mut rest = std::mem::take(unpersisted).into_iter();
    let events = rest.as_slice().iter().map(|event| event.event.clone()).collect();
    let outgoing_batch =
        |batch: Arc<Batch>| OutgoingBatch { unpersisted: rest.by_ref().take(batch.events.len()).collect(), batch };
    Batch::cut(events).into_iter().map(outgoing_batch).collect()
}

/// Delivers. A call that takes long counts as a failure until it ends: an output that never answers is seen, and what waits
/// for it bounded.
async fn deliver(
    output: &dyn Output,
    status: &StatusCell,
    batches: &[Arc<Batch>],
    acknowledged: &[Uuid],
) -> Result<(), OutputError> {
    let mut delivery = output.deliver(batches, acknowledged);
    if let Ok(delivered) = tokio::time::timeout(SLOW_DELIVERY, &mut delivery).await {
        return delivered;
    }
    let error = OutputError::message(format!("a delivery takes longer than {} s", SLOW_DELIVERY.as_secs()));
    log::warn!("output `{}`: {error}", output.name());
    status.failed(&error);
    delivery.await
}

/// Delivers the oldest of what is owed and settles it; what that was, nothing when nothing is owed.
async fn drain(
    output: Arc<dyn Output>,
    store: Arc<dyn Store>,
    committer: Arc<Committer>,
    status: Arc<StatusCell>,
    acknowledged: Vec<Uuid>,
) -> Result<Vec<PendingBatch>, DrainError> {
    let pending =
        catch_panic(|| store.pending(output.name(), PENDING)).await.map_err(|error| DrainError::Store(error.into()))?;
    if pending.is_empty() && acknowledged.is_empty() {
        return Ok(pending);
    }
    let batches: Vec<_> = pending.iter().map(|pending| pending.batch.clone()).collect();
    if let Err(error) = deliver(output.as_ref(), &status, &batches, &acknowledged).await {
        return Err(DrainError::Output(error, batches));
    }
    if pending.is_empty() {
        return Ok(pending);
    }
    let batches = batches.iter().map(|batch| batch.id).collect();
    let change = Change::Acknowledge { output: output.name().to_owned(), batches };
    match committer.commit(&output.name(), change).await {
        Ok(Outcome::Recorded) => Ok(pending),
        // Another replica has taken some over, and may deliver them yet.
        Ok(_) => Ok(pending.into_iter().map(|pending| PendingBatch { is_adopted: true, ..pending }).collect()),
        Err(error) => Err(DrainError::Store(error.into())),
    }
}

/// What keeps a courier from catching up.
enum DrainError {
    Output(OutputError, Vec<Arc<Batch>>),
    Store(Box<dyn Error + Send + Sync>),
}

/// Between three quarters of `pause` and all of it, so that replicas do not come back in step.
fn jitter(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    pause - pause / 4 * u32::try_from(random % 256).expect("less than 256") / 256
}
