//! The ways to all outputs: what has happened, or must go straight out, is put on them here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::committer::{Committer, Unavailable};
use crate::counted::Counted;
use crate::courier::Courier;
use crate::event::{Batch, Event};
use crate::group::{Decision, Owed};
use crate::output::{Delivery, Output};
use crate::panics::caught;
use crate::queue::{Queue, queue};
use crate::relay::{Relay, Relays};
use crate::standing::{OutputStatus, Standing};
use crate::store::Store;
use crate::time::{self, Timestamp};
use crate::tracker::{OutboxLimits, Tasks};

/// How many parcels may wait in memory for an output.
pub(crate) const WAITING: usize = 8_192;
/// How many bytes of parcels may wait in memory for an output.
const WAITING_BYTES: usize = 64 << 20;
/// How often the backlog is counted.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// What is owed for so long has been missed.
const LONG_AGO: Duration = Duration::from_secs(10);

pub(crate) type Reply = oneshot::Sender<Result<(), Unavailable>>;

/// Something on its way to an output.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// Committed, and owed in the outbox.
    Owed(Arc<Batch>),
    /// Nowhere but here; answered when it is delivered, or owed.
    Direct(Direct),
    /// The last one.
    Close,
}

/// An event that no store has.
#[derive(Debug)]
pub(crate) struct Direct {
    pub event: Arc<Event>,
    /// Tell the best-effort outputs when it is answered.
    pub announce: bool,
    pub reply: Reply,
}

/// The ways to all outputs.
#[derive(Debug)]
pub(crate) struct Couriers {
    ways: Vec<Way>,
    relays: Relays,
    outputs: Arc<[Arc<dyn Output>]>,
    /// How long one waits for an answer.
    deadline: Duration,
}

/// The way to one output.
#[derive(Debug)]
struct Way {
    output: Arc<dyn Output>,
    queue: Queue<Parcel>,
    standing: Arc<Standing>,
    /// Something is owed that is not in the queue: the courier must look into the outbox.
    overflowed: Arc<AtomicBool>,
}

impl Couriers {
    /// Starts a courier for each of `outputs` that must have every event, and a relay for each other.
    pub(crate) fn start(
        outputs: Vec<Arc<Counted>>,
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
                let standing = Arc::new(Standing::new(output.name()));
                let courier = Courier::new(
                    output.clone(),
                    store.clone(),
                    committer.clone(),
                    relays.clone(),
                    intake,
                    standing.clone(),
                    overflowed.clone(),
                );
                tasks.stock.spawn(take_stock(output.clone(), store.clone(), standing.clone(), overflowed.clone()));
                tasks.couriers.spawn(courier.run());
                Way { output: output.clone(), queue, standing, overflowed }
            })
            .collect();
        let outputs = durable.into_iter().map(|output| output as Arc<dyn Output>).collect();
        Arc::new(Self { ways, relays, outputs, deadline: committer.deadline() })
    }

    /// The outputs that must have every event.
    pub(crate) fn outputs(&self) -> Arc<[Arc<dyn Output>]> {
        self.outputs.clone()
    }

    /// How each output stands that must have every event.
    pub(crate) fn statuses(&self) -> Vec<OutputStatus> {
        self.ways.iter().map(|way| way.standing.status()).collect()
    }

    /// Refuses when as much is owed to an output as may be.
    pub(crate) fn check_room(&self, limits: OutboxLimits) -> Result<(), Unavailable> {
        let has_room = self.ways.iter().all(|way| way.standing.has_room(limits));
        if has_room { Ok(()) } else { Err(Unavailable::OutboxFull) }
    }

    /// Passes on what a commit made happen; to the couriers by way of the outbox only, if it must be.
    pub(crate) fn dispatch(&self, decision: &Decision, is_in_outbox_only: bool) {
        for Owed { output, batch } in &decision.owed {
            let has_happened = decision.batches.iter().any(|happened| happened.id == batch.id);
            let way = self.ways.iter().find(|way| has_happened && way.output.name() == output);
            if let Some(way) = way {
                way.dispatch(batch.clone(), is_in_outbox_only);
            }
        }
        for batch in &decision.batches {
            self.relays.announce(batch);
        }
    }

    /// Sends an event that no store keeps to every output that must have it.
    pub(crate) async fn send(&self, event: Arc<Event>) -> Result<(), Unavailable> {
        let mut answers = Vec::with_capacity(self.ways.len());
        for way in self.ways.iter().filter(|way| way.output.wants(&event)) {
            let (reply, answer) = oneshot::channel();
            let direct = Direct { event: event.clone(), announce: answers.is_empty(), reply };
            let bytes = event.size();
            // Only as long as no output has it, nothing was done.
            let refusal = if answers.is_empty() { Unavailable::Busy } else { Unavailable::TimedOut };
            way.queue.try_send(Parcel::Direct(direct), bytes).map_err(|_| refusal)?;
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
    pub(crate) fn look_into_outbox(&self) {
        for way in &self.ways {
            way.overflowed.store(true, Ordering::Release);
        }
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
    fn dispatch(&self, batch: Arc<Batch>, is_in_outbox_only: bool) {
        let bytes = batch.size();
        self.standing.owed(batch.messages(), bytes);
        if is_in_outbox_only
            || self.overflowed.load(Ordering::Acquire)
            || self.queue.try_send(Parcel::Owed(batch), bytes).is_err()
        {
            self.overflowed.store(true, Ordering::Release);
        }
    }
}

/// Counts the backlog again and again; when it cannot be counted the last figures stand. Sends the courier to the outbox
/// when something lies there that should have been delivered long ago, such as what was taken over from another replica.
async fn take_stock(
    output: Arc<dyn Output>,
    store: Arc<dyn Store>,
    standing: Arc<Standing>,
    overflowed: Arc<AtomicBool>,
) {
    // The oldest, and since when it has been that: other clocks may not be in step with this one.
    let mut oldest: Option<(Timestamp, Instant)> = None;
    loop {
        if let Ok(backlog) = caught(|| store.take_stock(output.name())).await {
            standing.counted(backlog);
            let known = oldest.filter(|(at, _)| backlog.oldest == Some(*at));
            oldest = known.or(backlog.oldest.map(|at| (at, Instant::now())));
            let is_old = |(at, since): (Timestamp, Instant)| {
                (time::now() - at).to_std().is_ok_and(|age| age > LONG_AGO) || since.elapsed() > LONG_AGO
            };
            if oldest.is_some_and(is_old) {
                overflowed.store(true, Ordering::Release);
            }
        }
        tokio::time::sleep(COUNT_EVERY).await;
    }
}
