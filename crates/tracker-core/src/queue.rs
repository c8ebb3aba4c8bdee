//! A queue with two bounds: items and bytes. What does not fit is refused at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The sending side. Clones share the bounds.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    sender: mpsc::Sender<Queued<T>>,
    bytes: Arc<Semaphore>,
    max_bytes: usize,
}

/// An item, and its share of the bytes until it is dropped.
#[derive(Debug)]
pub(crate) struct Queued<T> {
    item: T,
    permit: OwnedSemaphorePermit,
}

impl<T> Queued<T> {
    /// The item, and its share of the bytes.
    pub(crate) fn into_parts(self) -> (T, OwnedSemaphorePermit) {
        (self.item, self.permit)
    }
}

/// The queue is at one of its bounds, or closed.
#[derive(Debug)]
pub(crate) struct Full;

pub(crate) fn queue<T>(max_items: usize, max_bytes: usize) -> (Queue<T>, mpsc::Receiver<Queued<T>>) {
    let (sender, receiver) = mpsc::channel(max_items);
    (Queue { sender, bytes: Arc::new(Semaphore::new(max_bytes)), max_bytes }, receiver)
}

impl<T> Queue<T> {
    /// Puts `item` in, if it fits now. One that is larger than the bound takes all of it.
    pub(crate) fn try_send(&self, item: T, bytes: usize) -> Result<(), Full> {
        let permit = u32::try_from(bytes.min(self.max_bytes)).map_err(|_| Full)?;
        let permit = self.bytes.clone().try_acquire_many_owned(permit).map_err(|_| Full)?;
        self.sender.try_send(Queued { item, permit }).map_err(|_| Full)
    }

    /// How many items wait.
    pub(crate) fn waiting(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }

    /// Waits until there is room for an item of no size.
    pub(crate) async fn send(&self, item: T) -> Result<(), Full> {
        let permit = self.bytes.clone().acquire_many_owned(0).await.map_err(|_| Full)?;
        self.sender.send(Queued { item, permit }).await.map_err(|_| Full)
    }
}
