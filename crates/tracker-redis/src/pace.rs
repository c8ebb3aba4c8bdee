//! Deadlines that depend on the size of a push, for links of any speed.
//!
//! The rate is the number of bytes that the link is expected to carry in a second. It bounds the size of a push and of
//! the pieces in which a large batch is sent, and a deadline grows by a second for as many bytes. A timeout halves the
//! rate, and each push that uses it raises it by a quarter. The output therefore notices soon on a fast link that a
//! server has stopped answering, and a large push still arrives on a slow link.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fred::error::{Error, ErrorKind};

/// The bounds of the rate, in bytes per second. Redis does nothing else during a push, so the maximum is low.
const MIN_RATE: usize = 8 << 10;
const MAX_RATE: usize = 1 << 20;

/// The timeout of an operation, and the rate of the link.
#[derive(Debug)]
pub(crate) struct Pace {
    timeout: Duration,
    rate: AtomicUsize,
}

impl Pace {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, rate: AtomicUsize::new(MAX_RATE) }
    }

    /// The maximum number of bytes to send at once.
    pub(crate) fn rate(&self) -> usize {
        self.rate.load(Ordering::Relaxed)
    }

    /// Runs `work`, which sends `bytes` and waits for the answer.
    pub(crate) async fn within<T>(
        &self,
        bytes: usize,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let rate = self.rate();
        let allowance = Duration::from_micros(1_000_000 * bytes as u64 / rate as u64);
        match tokio::time::timeout(self.timeout + allowance, work).await {
            Ok(done) => done,
            Err(elapsed) => {
                // A timeout of a small command says nothing about the link.
                if bytes > MIN_RATE {
                    self.rate.store((rate.min(bytes) / 2).max(MIN_RATE), Ordering::Relaxed);
                }
                Err(Error::new(ErrorKind::Timeout, elapsed.to_string()))
            }
        }
    }

    /// Records that a push of `bytes` has arrived.
    pub(crate) fn arrived(&self, bytes: usize) {
        let rate = self.rate();
        if bytes >= rate / 2 {
            self.rate.store((rate + rate / 4).min(MAX_RATE), Ordering::Relaxed);
        }
    }
}
