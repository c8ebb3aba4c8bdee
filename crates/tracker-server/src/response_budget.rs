//! Bounds the memory of responses that clients have not read yet: back-pressure for long lists, and load shedding.
//!
//! Every response body in memory holds its share of the budget until the connection has taken it. Without that, a few
//! clients that request a lot and read nothing would fill the memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::web::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// Maximum bytes of records that one request reads at once, unless one record is larger.
pub(crate) const PIECE_BYTES: usize = 256 << 10;
/// Maximum bytes of a small body, and the size of a piece while larger ones exhaust their part of the budget.
const SMALL_BYTES: usize = 64 << 10;
/// Bodies up to this size do not count: the buffer of the connection has room for them.
const FREE_BYTES: usize = 4 << 10;

/// The memory that all responses share.
#[derive(Debug)]
pub(crate) struct ResponseBudget {
    /// Only for small bodies and small pieces of lists. A quarter of the budget.
    small: Pool,
    large: Pool,
    /// Whether it refused a share since the last call of [`Self::is_short`].
    has_refused: AtomicBool,
    /// Responses that wait for a share.
    waiting: AtomicUsize,
    /// How long a response that has begun waits for memory.
    deadline: Duration,
}

/// One permit per byte.
#[derive(Debug)]
struct Pool {
    permits: Arc<Semaphore>,
    size: usize,
}

impl Pool {
    fn new(size: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(size)), size }
    }

    /// The permits for a body. A body that is larger than the pool takes all of it.
    fn permits_for(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.size)).unwrap_or(u32::MAX)
    }

    fn try_take(&self, bytes: usize) -> Option<Share> {
        self.permits.clone().try_acquire_many_owned(self.permits_for(bytes)).ok().map(Share)
    }
}

impl ResponseBudget {
    pub(crate) fn new(bytes: u32, deadline: Duration) -> Self {
        let small = bytes as usize / 4;
        let large = bytes as usize - small;
        Self {
            small: Pool::new(small),
            large: Pool::new(large),
            has_refused: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            deadline,
        }
    }

    /// Whether a response waits for memory now, or was refused some since the last call.
    pub(crate) fn is_short(&self) -> bool {
        self.has_refused.swap(false, Ordering::Relaxed) || self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Takes a share for a body of `bytes`.
    pub(crate) fn try_take(&self, bytes: usize) -> Result<Share, ApiError> {
        let small = if bytes <= SMALL_BYTES { self.small.try_take(bytes) } else { None };
        small.or_else(|| self.large.try_take(bytes)).ok_or_else(|| {
            self.has_refused.store(true, Ordering::Relaxed);
            exhausted()
        })
    }

    /// Takes a share for a piece of a list that is not read yet.
    pub(crate) fn try_take_piece(&self) -> Result<Share, ApiError> {
        self.try_take(PIECE_BYTES).or_else(|_| self.try_take(SMALL_BYTES))
    }

    /// Waits for a share for a piece of a list of which at least `bytes` are expected.
    pub(crate) async fn take_piece(&self, bytes: usize) -> Result<Share, ApiError> {
        if let Ok(share) = self.try_take(bytes.max(PIECE_BYTES)) {
            return Ok(share);
        }
        let bytes = bytes.max(SMALL_BYTES);
        let pool = if bytes <= SMALL_BYTES { &self.small } else { &self.large };
        let _waiting = Waiting::new(&self.waiting);
        let permit = pool.permits.clone().acquire_many_owned(pool.permits_for(bytes));
        let permit = tokio::time::timeout(self.deadline, permit).await.map_err(|_| exhausted())?;
        permit.map(Share).map_err(|_| exhausted())
    }

    /// Fits `share` to the size of its body. `None` if the budget has no room for it.
    pub(crate) fn fit(&self, mut share: Share, bytes: usize) -> Option<Share> {
        if share.bytes() < bytes.min(self.large.size) {
            drop(share);
            return self.try_take(bytes).ok();
        }
        drop(share.0.split(share.bytes().saturating_sub(bytes)));
        Some(share)
    }
}

/// Counts a response that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) fn exhausted() -> ApiError {
    ApiError::overloaded("too many bytes of responses wait for clients that read slowly; retry later")
}

/// A part of the budget.
#[derive(Debug)]
pub(crate) struct Share(OwnedSemaphorePermit);

impl Share {
    pub(crate) fn bytes(&self) -> usize {
        self.0.num_permits()
    }

    /// Returns `bytes` such that the share ends when the connection has taken all of them.
    pub(crate) fn hold(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        struct Held<B> {
            bytes: B,
            _share: Share,
        }
        impl<B: AsRef<[u8]>> AsRef<[u8]> for Held<B> {
            fn as_ref(&self) -> &[u8] {
                self.bytes.as_ref()
            }
        }
        Bytes::from_owner(Held { bytes, _share: self })
    }
}

/// Marks a response whose body is part of the program: it takes no memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StaticBody;

/// Whether a body of `bytes` counts.
pub(crate) fn counts(bytes: u64) -> bool {
    bytes > FREE_BYTES as u64
}
