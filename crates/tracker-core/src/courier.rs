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

use crate::committer::{Committer, Pending, Unavailable};
use crate::complaint::Complaint;
use crate::couriers::{Direct, Parcel, WAITING};
use crate::event::Batch;
use crate::group::{Change, Outcome, Owed};
use crate::output::{Output, OutputError};
use crate::panics::caught;
use crate::queue::Queued;
use crate::relay::Relays;
use crate::standing::{OutputStatus, Standing};
use crate::store::{Backlog, OwedBatch, Store};
use crate::time;

/// How many parcels are taken up together.
const LOAD: usize = 256;
/// How many owed batches are read from the outbox at once.
const OWED: usize = 256;
/// How often an idle courier looks whether it has missed something.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The first and the longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(800));
/// When a delivery takes long.
const LONG: Duration = Duration::from_secs(5);
/// How many delivered batches a courier remembers, more than can be on their way to it in memory.
const REMEMBERED: usize = WAITING + OWED;

/// What goes to the output as one batch. Without `directs` it is owed already.
struct Load {
    batch: Arc<Batch>,
    directs: Vec<Direct>,
}

/// Delivers to one output.
pub(crate) struct Courier {
    output: Arc<dyn Output>,
    store: Arc<dyn Store>,
    committer: Arc<Committer>,
    relays: Relays,
    intake: mpsc::Receiver<Queued<Parcel>>,
    standing: Arc<Standing>,
    overflowed: Arc<AtomicBool>,
    is_open: bool,
    /// Delivered batches whose removal from the outbox is not confirmed yet.
    settling: Vec<(Vec<Uuid>, Pending)>,
    /// Batches that will never be delivered again.
    settled: Vec<Uuid>,
    /// Batches whose delivery has failed. What was given up may be on its way, and arrive after the delivery that succeeds:
    /// the output must go on recognising them.
    doubtful: HashSet<Uuid>,
    /// The latest batches delivered from the outbox: they may still wait in memory, too.
    delivered: VecDeque<Uuid>,
    complaint: Complaint,
}

impl Courier {
    pub(crate) fn new(
        output: Arc<dyn Output>,
        store: Arc<dyn Store>,
        committer: Arc<Committer>,
        relays: Relays,
        intake: mpsc::Receiver<Queued<Parcel>>,
        standing: Arc<Standing>,
        overflowed: Arc<AtomicBool>,
    ) -> Self {
        let complaint = Complaint::about(format!("output `{}`", output.name()));
        Self {
            output,
            store,
            committer,
            relays,
            intake,
            standing,
            overflowed,
            is_open: true,
            settling: Vec::new(),
            settled: Vec::new(),
            doubtful: HashSet::new(),
            delivered: VecDeque::new(),
            complaint,
        }
    }

    pub(crate) async fn run(mut self) {
        // What an earlier run left behind comes first.
        let mut is_behind = true;
        let mut parcels = Vec::with_capacity(LOAD);
        while self.is_open {
            self.standing.set_behind(is_behind);
            if is_behind {
                self.catch_up().await;
                is_behind = false;
                continue;
            }
            let taken = tokio::time::timeout(LOOK_EVERY, self.intake.recv_many(&mut parcels, LOAD)).await;
            self.is_open = taken != Ok(0);
            if taken.is_err() {
                // Nothing is on its way in memory.
                self.delivered.clear();
            }
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
        match deliver(self.output.as_ref(), &self.standing, &batches, &self.settled).await {
            Ok(()) => {
                self.works();
                self.settled.clear();
                self.confirm(loads)
            }
            Err(error) => {
                self.failed(&error);
                self.doubtful.extend(batches.iter().map(|batch| batch.id));
                self.owe(loads.into_iter().filter(|load| !load.directs.is_empty()).collect()).await;
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
                    loads.extend(direct_loads(&mut directs));
                    loads.push(Load { batch, directs: Vec::new() });
                }
                Parcel::Close => self.is_open = false,
            }
        }
        loads.extend(direct_loads(&mut directs));
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
                Ok(Ok(Outcome::Recorded)) => self.settled.extend(batches),
                // Another replica has taken them over, and may deliver them yet.
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(TryRecvError::Closed) => failed = true,
                Err(TryRecvError::Empty) => self.settling.push((batches, answer)),
            }
        }
        !failed
    }

    /// Delivers from the outbox until nothing is owed, whatever that takes. Meanwhile, what comes in is owed as well. Only
    /// for the last readings it waits in the queue, as long as that has room, or a stream of reports would keep the
    /// courier behind for ever.
    async fn catch_up(&mut self) {
        let mut pause = PAUSES.0;
        let mut is_nearly_done = false;
        while self.is_open {
            self.overflowed.store(false, Ordering::Release);
            let settled = std::mem::take(&mut self.settled);
            let drained =
                drain(self.output.clone(), self.store.clone(), self.committer.clone(), self.standing.clone(), settled);
            let drained = if is_nearly_done { Some(drained.await) } else { self.while_taking_in(drained).await };
            let has_missed_some = self.overflowed.load(Ordering::Acquire);
            match drained {
                Some(Ok(owed)) if owed.is_empty() && !has_missed_some => return self.works(),
                Some(Ok(owed)) if owed.is_empty() => is_nearly_done = !is_nearly_done,
                Some(Ok(owed)) => {
                    // What comes in while it is owed keeps the outbox from ever being found empty.
                    is_nearly_done = if is_nearly_done { !has_missed_some } else { owed.len() < OWED };
                    self.works();
                    pause = PAUSES.0;
                    self.delivered.extend(owed.iter().map(|owed| owed.batch.id));
                    let surplus = self.delivered.len().saturating_sub(REMEMBERED);
                    self.delivered.drain(..surplus);
                    let is_sure = |owed: &&OwedBatch| !self.doubtful.remove(&owed.batch.id) && !owed.is_taken_over;
                    self.settled = owed.iter().filter(is_sure).map(|owed| owed.batch.id).collect();
                }
                Some(Err(trouble)) => {
                    match trouble {
                        Trouble::Output(error, batches) => {
                            self.failed(&error);
                            self.doubtful.extend(batches.iter().map(|batch| batch.id));
                        }
                        Trouble::Store(error) => self.failed(error.as_ref()),
                    }
                    is_nearly_done = false;
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
                // It may be too new for a reading that is under way.
                (Parcel::Owed(_), _) => self.overflowed.store(true, Ordering::Release),
                (Parcel::Close, _) => self.is_open = false,
            }
        }
        if !directs.is_empty() {
            self.owe(direct_loads(&mut directs)).await;
        }
    }

    fn works(&mut self) {
        self.complaint.works();
        self.standing.works();
    }

    fn failed(&mut self, error: &dyn Error) {
        self.standing.failed(error);
        if self.complaint.failed(error) {
            let OutputStatus { name, backlog: Backlog { messages, bytes, oldest }, .. } = self.standing.status();
            let oldest =
                oldest.map_or_else(String::new, |oldest| format!(", the oldest since {}", time::rfc3339(&oldest)));
            log::warn!("output `{name}`: {messages} messages ({bytes} bytes) are owed to it{oldest}");
        }
    }

    /// Commits batches to the outbox, all at once, and answers those who wait for them.
    async fn owe(&self, loads: Vec<Load>) {
        self.overflowed.store(true, Ordering::Release);
        let output = self.output.name();
        let submitted: Vec<_> = loads
            .into_iter()
            .map(|Load { batch, directs }| {
                self.standing.owed(batch.messages(), batch.size());
                let owed = Owed { output: output.to_owned(), batch };
                (self.committer.submit(&output, Change::Owe(owed)), directs)
            })
            .collect();
        for (pending, directs) in submitted {
            let outcome = match pending {
                Ok(pending) => self.committer.answer(pending).await,
                Err(unavailable) => Err(unavailable),
            };
            self.answer(directs, outcome.map(drop));
        }
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

/// Makes batches of `directs`.
fn direct_loads(directs: &mut Vec<Direct>) -> Vec<Load> {
    let mut rest = std::mem::take(directs).into_iter();
    let events = rest.as_slice().iter().map(|direct| direct.event.clone()).collect();
    let load = |batch: Arc<Batch>| Load { directs: rest.by_ref().take(batch.events.len()).collect(), batch };
    Batch::cut(events).into_iter().map(load).collect()
}

/// Delivers. A call that takes long counts as a failure until it ends: an output that never answers is seen, and what waits
/// for it bounded.
async fn deliver(
    output: &dyn Output,
    standing: &Standing,
    batches: &[Arc<Batch>],
    settled: &[Uuid],
) -> Result<(), OutputError> {
    let mut delivery = output.deliver(batches, settled);
    if let Ok(delivered) = tokio::time::timeout(LONG, &mut delivery).await {
        return delivered;
    }
    let error = OutputError::message(format!("a delivery takes longer than {} s", LONG.as_secs()));
    log::warn!("output `{}`: {error}", output.name());
    standing.failed(&error);
    delivery.await
}

/// Delivers the oldest of what is owed and settles it; what that was, nothing when nothing is owed.
async fn drain(
    output: Arc<dyn Output>,
    store: Arc<dyn Store>,
    committer: Arc<Committer>,
    standing: Arc<Standing>,
    settled: Vec<Uuid>,
) -> Result<Vec<OwedBatch>, Trouble> {
    let owed = caught(|| store.owed(output.name(), OWED)).await.map_err(|error| Trouble::Store(error.into()))?;
    if owed.is_empty() && settled.is_empty() {
        return Ok(owed);
    }
    let batches: Vec<_> = owed.iter().map(|owed| owed.batch.clone()).collect();
    if let Err(error) = deliver(output.as_ref(), &standing, &batches, &settled).await {
        return Err(Trouble::Output(error, batches));
    }
    if owed.is_empty() {
        return Ok(owed);
    }
    let batches = batches.iter().map(|batch| batch.id).collect();
    let change = Change::Settle { output: output.name().to_owned(), batches };
    match committer.commit(&output.name(), change).await {
        Ok(Outcome::Recorded) => Ok(owed),
        // Another replica has taken some over, and may deliver them yet.
        Ok(_) => Ok(owed.into_iter().map(|owed| OwedBatch { is_taken_over: true, ..owed }).collect()),
        Err(error) => Err(Trouble::Store(error.into())),
    }
}

/// What keeps a courier from catching up.
enum Trouble {
    Output(OutputError, Vec<Arc<Batch>>),
    Store(Box<dyn Error + Send + Sync>),
}

/// Between three quarters of `pause` and all of it, so that replicas do not come back in step.
fn jitter(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    pause - pause / 4 * u32::try_from(random % 256).expect("less than 256") / 256
}
