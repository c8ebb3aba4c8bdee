//! A queue bounded by items and by bytes. It refuses an item that does not fit.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The sending side of a queue.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    sender: mpsc::Sender<Queued<T>>,
    bytes: Arc<Semaphore>,
    max_bytes: usize,
}

/// An item in the queue, with the permit for its bytes.
#[derive(Debug)]
pub(crate) struct Queued<T> {
    item: T,
    permit: OwnedSemaphorePermit,
}

impl<T> Queued<T> {
    /// The item and its permit. The bytes count towards the bound until the permit is dropped.
    pub(crate) fn into_parts(self) -> (T, OwnedSemaphorePermit) {
        (self.item, self.permit)
    }
}

/// The queue has reached a bound, or is closed.
#[derive(Debug)]
pub(crate) struct FullError;

/// Creates a queue of at most `max_items` items and `max_bytes` bytes.
pub(crate) fn queue<T>(max_items: usize, max_bytes: usize) -> (Queue<T>, mpsc::Receiver<Queued<T>>) {
    let (sender, receiver) = mpsc::channel(max_items);
    (Queue { sender, bytes: Arc::new(Semaphore::new(max_bytes)), max_bytes }, receiver)
}

impl<T> Queue<T> {
    /// Adds `item` if it fits now. An item larger than `max_bytes` fits while no other item takes bytes.
    pub(crate) fn try_send(&self, item: T, bytes: usize) -> Result<(), FullError> {
        let permit = u32::try_from(bytes.min(self.max_bytes)).map_err(|_| FullError)?;
        let permit = self.bytes.clone().try_acquire_many_owned(permit).map_err(|_| FullError)?;
        self.sender.try_send(Queued { item, permit }).map_err(|_| FullError)
    }

    /// The number of items in the queue.
    pub(crate) fn waiting(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }

    /// Adds `item` as soon as the queue has room for one more item. The item takes no bytes.
    pub(crate) async fn send(&self, item: T) -> Result<(), FullError> {
        let permit = self.bytes.clone().acquire_many_owned(0).await.map_err(|_| FullError)?;
        self.sender.send(Queued { item, permit }).await.map_err(|_| FullError)
    }
}
