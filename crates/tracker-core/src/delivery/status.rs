//! The status of an output: its state, its backlog and its last error.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::output::chain;
use crate::store::Backlog;
use crate::time::{self, Timestamp};

/// The limits of each output's outbox. Beyond them, the tracker refuses reports with
/// [`UnavailableReason::OutboxFull`](crate::UnavailableReason::OutboxFull).
///
/// ```
/// let limits = tracker_core::OutboxLimits::default().max_messages(10_000);
/// assert_eq!((limits.max_messages, limits.max_bytes), (10_000, 1 << 30));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxLimits {
    /// The maximum number of messages. Each message of a log batch counts, and any other event counts as one. Defaults
    /// to 1,000,000.
    pub max_messages: u64,
    /// The maximum size in the store, in bytes. Defaults to 1 GiB.
    pub max_bytes: u64,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self { max_messages: 1_000_000, max_bytes: 1 << 30 }
    }
}

crate::setters! {
    OutboxLimits {
        max_messages: u64,
        max_bytes: u64,
    }
}

/// The status of an at-least-once output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OutputStatus {
    /// The name of the output.
    pub name: String,
    /// Whether the worker delivers from the outbox instead of from memory, because the tracker has just started, a
    /// delivery has failed, or the output is too slow.
    pub is_catching_up: bool,
    /// The backlog that the last poll found, normally about a second ago. While the output catches up, it includes
    /// every batch that was added since.
    pub backlog: Backlog,
    /// Since when deliveries have been failing, if they are.
    pub failing_since: Option<Timestamp>,
    /// The last error since the start of the tracker, and its time.
    pub last_error: Option<(Timestamp, String)>,
}

/// The status that a delivery worker updates and others read.
#[derive(Debug, Default)]
pub(crate) struct StatusCell {
    is_catching_up: AtomicBool,
    /// The messages and bytes that were added since the backlog was read.
    added_messages: AtomicU64,
    added_bytes: AtomicU64,
    report: Mutex<Report>,
}

#[derive(Debug, Clone, Default)]
struct Report {
    name: String,
    /// `None` until the first poll.
    backlog: Option<Backlog>,
    failing_since: Option<Timestamp>,
    last_error: Option<(Timestamp, String)>,
}

impl StatusCell {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            // A worker starts with what an earlier run left in the outbox.
            is_catching_up: AtomicBool::new(true),
            report: Mutex::new(Report { name: name.to_owned(), ..Report::default() }),
            ..Self::default()
        }
    }

    pub(crate) fn status(&self) -> OutputStatus {
        let is_catching_up = self.is_catching_up.load(Ordering::Relaxed);
        let Report { name, backlog, failing_since, last_error } = self.lock().clone();
        let backlog = backlog.unwrap_or_default();
        let backlog = if is_catching_up { self.with_added(backlog) } else { backlog };
        OutputStatus { name, is_catching_up, backlog, failing_since, last_error }
    }

    /// Whether the backlog has been polled. Before that, the status lacks what an earlier run left.
    pub(crate) fn is_backlog_known(&self) -> bool {
        self.lock().backlog.is_some()
    }

    pub(crate) fn set_catching_up(&self, is_catching_up: bool) {
        self.is_catching_up.store(is_catching_up, Ordering::Relaxed);
    }

    pub(crate) fn add_pending(&self, messages: usize, bytes: usize) {
        self.added_messages.fetch_add(messages as u64, Ordering::Relaxed);
        self.added_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn set_backlog(&self, backlog: Backlog) {
        self.added_messages.store(0, Ordering::Relaxed);
        self.added_bytes.store(0, Ordering::Relaxed);
        self.lock().backlog = Some(backlog);
    }

    /// Records that a delivery attempt has failed, although its batches may have arrived. The output counts as catching
    /// up from now on.
    pub(crate) fn failed(&self, error: &dyn Error) {
        self.set_catching_up(true);
        let mut report = self.lock();
        let now = time::now();
        report.failing_since.get_or_insert(now);
        report.last_error = Some((now, chain(error)));
    }

    pub(crate) fn succeeded(&self) {
        self.lock().failing_since = None;
    }

    /// Whether the outbox has room for more. It always has while the output is live, because batches then leave the
    /// outbox at once.
    pub(crate) fn has_room(&self, limits: OutboxLimits) -> bool {
        if !self.is_catching_up.load(Ordering::Relaxed) {
            return true;
        }
        let Backlog { messages, bytes, .. } = self.with_added(self.lock().backlog.unwrap_or_default());
        messages < limits.max_messages && bytes < limits.max_bytes
    }

    /// `backlog` with the batches that were added since it was read.
    fn with_added(&self, Backlog { messages, bytes, oldest }: Backlog) -> Backlog {
        Backlog {
            messages: messages + self.added_messages.load(Ordering::Relaxed),
            bytes: bytes + self.added_bytes.load(Ordering::Relaxed),
            oldest,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        // Each field is consistent at any time, so a poisoned lock does no harm.
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backlog_is_unknown_until_the_first_poll() {
        let status = StatusCell::new("list");
        status.add_pending(1, 100);
        assert!(!status.is_backlog_known(), "an earlier run may have left more than was added");
        status.set_backlog(Backlog::default());
        assert!(status.is_backlog_known());
    }
}
