//! The request to read the outbox again.

use std::sync::atomic::{AtomicBool, Ordering};

/// A request to a delivery worker to read the outbox before it delivers anything newer, because the outbox may hold a
/// batch that the worker's queue does not.
#[derive(Debug, Default)]
pub(crate) struct Resync(AtomicBool);

impl Resync {
    /// Requests a read of the outbox.
    pub(crate) fn request(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether a read is requested.
    pub(crate) fn is_requested(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Clears the request. Must be called before a read, not after it: a request that arrives during the read may be
    /// about a batch that the read does not see.
    pub(crate) fn clear(&self) {
        self.0.store(false, Ordering::Release);
    }
}
