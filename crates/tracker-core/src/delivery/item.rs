//! The items that wait for a delivery worker.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::error::TrackerError;
use crate::event::{Batch, Event};
use crate::queue::Queued;

/// An item in the queue of a delivery worker.
#[derive(Debug)]
pub(crate) enum QueueItem {
    /// A batch that is in the outbox.
    Persisted(Arc<Batch>),
    /// An event that is in no store.
    Unpersisted(UnpersistedEvent),
    /// The last item.
    Close,
}

/// An event that is in no store. Its sender waits until it is delivered or in the outbox.
#[derive(Debug)]
pub(crate) struct UnpersistedEvent {
    pub event: Arc<Event>,
    /// Whether this worker passes the event to the best-effort outputs.
    pub forward: bool,
    pub reply: oneshot::Sender<Result<(), TrackerError>>,
}

/// A batch to deliver. `unpersisted` has the events that it was made of, and is empty if the batch is in the outbox.
#[derive(Debug)]
pub(crate) struct OutgoingBatch {
    pub batch: Arc<Batch>,
    pub unpersisted: Vec<UnpersistedEvent>,
}

impl OutgoingBatch {
    /// Whether the batch is in the outbox.
    pub(crate) fn is_persisted(&self) -> bool {
        self.unpersisted.is_empty()
    }

    /// Makes batches of unpersisted events.
    pub(crate) fn of(unpersisted: Vec<UnpersistedEvent>) -> Vec<Self> {
        let events = unpersisted.iter().map(|unpersisted| unpersisted.event.clone()).collect();
        let mut rest = unpersisted.into_iter();
        let batches = Batch::cut(events).into_iter();
        batches.map(|batch| Self { unpersisted: rest.by_ref().take(batch.events.len()).collect(), batch }).collect()
    }
}

/// Queue items, sorted for delivery.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// In the order of the queue. Successive unpersisted events share a batch.
    pub batches: Vec<OutgoingBatch>,
    pub is_closed: bool,
    /// The permits of the items' bytes, to be held until the batches are delivered.
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Received {
    /// Sorts `items`, and skips persisted batches for which `is_delivered` holds.
    pub(crate) fn new(items: Vec<Queued<QueueItem>>, is_delivered: impl Fn(&Batch) -> bool) -> Self {
        let mut received = Self::default();
        let mut unpersisted = Vec::new();
        for item in items {
            let (item, permit) = item.into_parts();
            received._permits.push(permit);
            match item {
                QueueItem::Unpersisted(event) => unpersisted.push(event),
                QueueItem::Persisted(batch) if is_delivered(&batch) => {}
                QueueItem::Persisted(batch) => {
                    received.batches.extend(OutgoingBatch::of(std::mem::take(&mut unpersisted)));
                    received.batches.push(OutgoingBatch { batch, unpersisted: Vec::new() });
                }
                QueueItem::Close => received.is_closed = true,
            }
        }
        received.batches.extend(OutgoingBatch::of(unpersisted));
        received
    }
}
