//! Delivery to an output that must have every event: from memory while all is well, from the store's outbox after a
//! failure or a restart, always in order.

use std::collections::VecDeque;
use std::error::Error;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use uuid::Uuid;

use crate::committer::{Committer, Pending, Unavailable};
use crate::complaint::Complaint;
use crate::event::{Batch, Event};
use crate::group::{Change, Decision, Owed};
use crate::output::{Delivery, Output};
use crate::queue::{Queue, Queued, queue};
use crate::relay::{Relay, Relays};
use crate::store::Store;
use crate::tracker::Tasks;

/// How many parcels are taken up together.
const LOAD: usize = 256;
/// How many parcels may wait in memory for an output.
const WAITING: usize = 8_192;
/// How many bytes of parcels may wait in memory for an output.
const WAITING_BYTES: usize = 64 << 20;
/// How many owed batches are read from the outbox at once.
const OWED: usize = 64;
/// How often an idle courier looks whether it has missed something.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The first and the longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(800));
/// How many delivered batches a courier remembers, more than can be on their way to it in memory.
const REMEMBERED: usize = WAITING + 64;

type Reply = oneshot::Sender<Result<(), Unavailable>>;

#[derive(Debug)]
enum Parcel {
    /// Committed, and owed in the outbox.
    Owed(Arc<Batch>),
    /// Nowhere but here; answered when it is delivered, or owed.
    Direct(Direct),
    Close,
}

#[derive(Debug)]
struct Direct {
    event: Arc<Event>,
    /// Tell the best-effort outputs when it is answered.
    announce: bool,
    reply: Reply,
}

/// The ways to all outputs.
#[derive(Debug)]
pub(crate) struct Couriers {
    ways: Vec<Way>,
    relays: Relays,
    outputs: Arc<[Arc<dyn Output>]>,
}

/// The way to one output.
#[derive(Debug)]
struct Way {
    output: Arc<dyn Output>,
    queue: Queue<Parcel>,
    /// Something owed did not fit into the queue: the courier must look into the outbox.
    overflowed: Arc<AtomicBool>,
}

impl Couriers {
    /// Starts a courier for each of `outputs` that must have every event, and a relay for each other.
    pub(crate) fn start(
        outputs: Vec<Arc<dyn Output>>,
        store: &Arc<dyn Store>,
        committer: &Arc<Committer>,
        tasks: &mut Tasks,
    ) -> Arc<Self> {
        let (durable, best_effort): (Vec<_>, Vec<_>) =
            outputs.into_iter().partition(|output| output.delivery() == Delivery::AtLeastOnce);
        let relays: Relays = best_effort.into_iter().map(|output| Relay::start(output, &mut tasks.relays)).collect();
        let ways = durable
            .iter()
            .map(|output| {
                let (queue, intake) = queue(WAITING, WAITING_BYTES);
                let overflowed = Arc::new(AtomicBool::new(false));
                let courier = Courier {
                    output: output.clone(),
                    store: store.clone(),
                    committer: committer.clone(),
                    relays: relays.clone(),
                    intake,
                    overflowed: overflowed.clone(),
                    is_open: true,
                    settling: Vec::new(),
                    settled: Vec::new(),
                    delivered: VecDeque::new(),
                    complaint: Complaint::about(format!("output `{}`", output.name())),
                };
                tasks.couriers.spawn(courier.run());
                Way { output: output.clone(), queue, overflowed }
            })
            .collect();
        Arc::new(Self { ways, relays, outputs: durable.into() })
    }

    /// The outputs that must have every event.
    pub(crate) fn outputs(&self) -> Arc<[Arc<dyn Output>]> {
        self.outputs.clone()
    }

    /// Passes on what a commit made happen.
    pub(crate) fn dispatch(&self, decision: &Decision) {
        for Owed { output, batch } in decision.owed.iter().filter(|owed| owed.batch.id == decision.batch.id) {
            if let Some(way) = self.ways.iter().find(|way| way.output.name() == output) {
                way.dispatch(batch.clone());
            }
        }
        self.relays.announce(&decision.batch);
    }

    /// Sends an event that no store keeps to every output that must have it.
    pub(crate) async fn send(&self, event: Arc<Event>) -> Result<(), Unavailable> {
        let mut answers = Vec::with_capacity(self.ways.len());
        for way in self.ways.iter().filter(|way| way.output.wants(&event)) {
            let (reply, answer) = oneshot::channel();
            let direct = Direct { event: event.clone(), announce: answers.is_empty(), reply };
            let bytes = event.size();
            way.queue.try_send(Parcel::Direct(direct), bytes).map_err(|_| Unavailable::Busy)?;
            answers.push(answer);
        }
        if answers.is_empty() {
            return Err(Unavailable::Nowhere);
        }
        for answer in answers {
            answer.await.map_err(|_| Unavailable::TimedOut)??;
        }
        Ok(())
    }

    /// Ends each courier after what waits for it.
    pub(crate) async fn close(&self) {
        for way in &self.ways {
            // One that is gone has nothing left to end.
            let _ = way.queue.send(Parcel::Close).await;
        }
    }

    /// Ends each relay after what waits for it.
    pub(crate) async fn close_relays(&self) {
        self.relays.close().await;
    }
}

impl Way {
    fn dispatch(&self, batch: Arc<Batch>) {
        let bytes = batch.events.iter().map(|event| event.size()).sum();
        if self.overflowed.load(Ordering::Acquire) || self.queue.try_send(Parcel::Owed(batch), bytes).is_err() {
            self.overflowed.store(true, Ordering::Release);
        }
    }
}

/// What goes to the output as one batch. Without `directs` it is owed already.
struct Load {
    batch: Arc<Batch>,
    directs: Vec<Direct>,
}

struct Courier {
    output: Arc<dyn Output>,
    store: Arc<dyn Store>,
    committer: Arc<Committer>,
    relays: Relays,
    intake: mpsc::Receiver<Queued<Parcel>>,
    overflowed: Arc<AtomicBool>,
    is_open: bool,
    /// Delivered batches whose removal from the outbox is not confirmed yet.
    settling: Vec<(Vec<Uuid>, Pending)>,
    /// Batches that will never be delivered again.
    settled: Vec<Uuid>,
    /// The latest batches delivered from the outbox: they may still wait in memory, too.
    delivered: VecDeque<Uuid>,
    complaint: Complaint,
}

impl Courier {
    async fn run(mut self) {
        // What an earlier run left behind comes first.
        let mut is_behind = true;
        let mut parcels = Vec::with_capacity(LOAD);
        while self.is_open {
            if is_behind {
                self.catch_up().await;
                is_behind = false;
                continue;
            }
            let taken = tokio::time::timeout(LOOK_EVERY, self.intake.recv_many(&mut parcels, LOAD)).await;
            self.is_open = taken != Ok(0);
            is_behind = !self.forward(std::mem::take(&mut parcels)).await;
        }
        for (_, answer) in std::mem::take(&mut self.settling) {
            // What is not settled is delivered again by the next run, and recognised as a repeat.
            let _ = answer.await;
        }
        self.output.close().await;
    }

    /// Delivers parcels from memory; `false` when the outbox must be looked into.
    async fn forward(&mut self, parcels: Vec<Queued<Parcel>>) -> bool {
        let is_settled = self.note_settled();
        if !is_settled || self.overflowed.load(Ordering::Acquire) {
            self.owe_directs(parcels).await;
            return false;
        }
        let (loads, _shares) = self.load(parcels);
        if loads.is_empty() {
            return true;
        }
        let batches: Vec<_> = loads.iter().map(|load| load.batch.clone()).collect();
        match self.output.deliver(&batches, &self.settled).await {
            Ok(()) => {
                self.complaint.works();
                self.settled.clear();
                self.confirm(loads)
            }
            Err(error) => {
                self.complaint.failed(&error);
                for load in loads.into_iter().filter(|load| !load.directs.is_empty()) {
                    self.owe(load).await;
                }
                false
            }
        }
    }

    /// Makes batches of parcels, in order; log messages that stand together become one.
    fn load(&mut self, parcels: Vec<Queued<Parcel>>) -> (Vec<Load>, Vec<OwnedSemaphorePermit>) {
        let (mut loads, mut shares) = (Vec::new(), Vec::with_capacity(parcels.len()));
        let mut directs = Vec::new();
        for parcel in parcels {
            let (parcel, share) = parcel.into_parts();
            shares.push(share);
            match parcel {
                Parcel::Direct(direct) => directs.push(direct),
                Parcel::Owed(batch) if self.delivered.contains(&batch.id) => {}
                Parcel::Owed(batch) => {
                    loads.extend(direct_load(&mut directs));
                    loads.push(Load { batch, directs: Vec::new() });
                }
                Parcel::Close => self.is_open = false,
            }
        }
        loads.extend(direct_load(&mut directs));
        (loads, shares)
    }

    /// Answers those who wait, and takes what was delivered out of the outbox; `false` when that cannot be.
    fn confirm(&mut self, loads: Vec<Load>) -> bool {
        let mut paid = Vec::new();
        for Load { batch, directs } in loads {
            if directs.is_empty() {
                paid.push(batch.id);
            } else {
                self.settled.push(batch.id);
                self.answer(directs, Ok(()));
            }
        }
        if paid.is_empty() {
            return true;
        }
        let change = Change::Settle { output: self.output.name().to_owned(), batches: paid.clone() };
        match self.committer.submit(&self.output.name(), change) {
            Ok(answer) => {
                self.settling.push((paid, answer));
                true
            }
            Err(_) => false,
        }
    }

    /// Takes note of the settlements that are confirmed by now; `false` when one failed.
    fn note_settled(&mut self) -> bool {
        let mut failed = false;
        for (batches, mut answer) in std::mem::take(&mut self.settling) {
            match answer.try_recv() {
                Ok(Ok(_)) => self.settled.extend(batches),
                Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => failed = true,
                Err(oneshot::error::TryRecvError::Empty) => self.settling.push((batches, answer)),
            }
        }
        !failed
    }

    /// Delivers from the outbox until nothing is owed, whatever that takes. Meanwhile, what comes in is owed as well.
    async fn catch_up(&mut self) {
        let mut pause = PAUSES.0;
        while self.is_open {
            self.overflowed.store(false, Ordering::Release);
            let settled = std::mem::take(&mut self.settled);
            let drained = drain(self.output.clone(), self.store.clone(), self.committer.clone(), settled);
            match self.while_taking_in(drained).await {
                Some(Ok(batches)) if batches.is_empty() => return,
                Some(Ok(batches)) => {
                    self.complaint.works();
                    pause = PAUSES.0;
                    self.delivered.extend(&batches);
                    let surplus = self.delivered.len().saturating_sub(REMEMBERED);
                    self.delivered.drain(..surplus);
                    self.settled = batches;
                }
                Some(Err(error)) => {
                    self.complaint.failed(error.as_ref());
                    self.while_taking_in(tokio::time::sleep(jitter(pause))).await;
                    pause = PAUSES.1.min(pause * 2);
                }
                None => {}
            }
        }
    }

    /// Does `work`, and meanwhile owes what comes in; `None` when the courier was closed.
    async fn while_taking_in<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut parcels = Vec::new();
        while self.is_open {
            tokio::select! {
                done = &mut work => return Some(done),
                taken = self.intake.recv_many(&mut parcels, LOAD) => {
                    self.is_open = taken > 0;
                    self.owe_directs(std::mem::take(&mut parcels)).await;
                }
            }
        }
        None
    }

    /// Owes the parcels that are not owed already.
    async fn owe_directs(&mut self, parcels: Vec<Queued<Parcel>>) {
        let mut directs = Vec::new();
        let mut shares = Vec::new();
        for parcel in parcels {
            match parcel.into_parts() {
                (Parcel::Direct(direct), share) => {
                    directs.push(direct);
                    shares.push(share);
                }
                (Parcel::Owed(_), _) => {}
                (Parcel::Close, _) => self.is_open = false,
            }
        }
        if let Some(load) = direct_load(&mut directs) {
            self.owe(load).await;
        }
    }

    /// Commits a batch to the outbox and answers those who wait for it.
    async fn owe(&self, load: Load) {
        let owed = Owed { output: self.output.name().to_owned(), batch: load.batch };
        let outcome = self.committer.commit(&self.output.name(), Change::Owe(owed)).await;
        self.answer(load.directs, outcome.map(drop));
    }

    fn answer(&self, directs: Vec<Direct>, answer: Result<(), Unavailable>) {
        let announced = directs.iter().filter(|direct| direct.announce && answer.is_ok());
        let events: Vec<_> = announced.map(|direct| direct.event.clone()).collect();
        if !events.is_empty() {
            self.relays.announce(&Arc::new(Batch::new(events)));
        }
        for direct in directs {
            // The one who asked may have hung up.
            let _ = direct.reply.send(answer);
        }
    }
}

fn direct_load(directs: &mut Vec<Direct>) -> Option<Load> {
    if directs.is_empty() {
        return None;
    }
    let directs = std::mem::take(directs);
    let batch = Arc::new(Batch::new(directs.iter().map(|direct| direct.event.clone()).collect()));
    Some(Load { batch, directs })
}

/// Delivers the oldest of what is owed and settles it; what that was, nothing when nothing is owed.
async fn drain(
    output: Arc<dyn Output>,
    store: Arc<dyn Store>,
    committer: Arc<Committer>,
    settled: Vec<Uuid>,
) -> Result<Vec<Uuid>, Box<dyn Error + Send + Sync>> {
    let owed = store.owed(output.name(), OWED).await?;
    if owed.is_empty() {
        return Ok(Vec::new());
    }
    output.deliver(&owed, &settled).await?;
    let batches: Vec<_> = owed.iter().map(|batch| batch.id).collect();
    let change = Change::Settle { output: output.name().to_owned(), batches: batches.clone() };
    committer.commit(&output.name(), change).await?;
    Ok(batches)
}

/// Between three quarters of `pause` and all of it, so that replicas do not come back in step.
fn jitter(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    pause - pause / 4 * u32::try_from(random % 256).expect("less than 256") / 256
}
