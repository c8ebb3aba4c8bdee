//! How an output stands: what is owed to it, and what went wrong last.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::output::chain;
use crate::store::Backlog;
use crate::time::{self, Timestamp};
use crate::tracker::OutboxLimits;

/// How an output that must have everything stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputStatus {
    /// The output's name.
    pub name: String,
    /// It does not get everything at once: the outbox fills, or is worked off.
    pub is_behind: bool,
    /// What is owed to it, counted a second ago; while it is behind, with all that has come since.
    pub backlog: Backlog,
    /// Since when deliveries fail, while they do.
    pub failing_since: Option<Timestamp>,
    /// What went wrong last, and when, if anything did since the start.
    pub last_error: Option<(Timestamp, String)>,
}

/// What an output's courier and those who ask for it share.
#[derive(Debug, Default)]
pub(crate) struct StatusCell {
    is_behind: AtomicBool,
    /// What was added to the backlog since it was read.
    added_messages: AtomicU64,
    added_bytes: AtomicU64,
    status: Mutex<OutputStatus>,
}

impl StatusCell {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            status: Mutex::new(OutputStatus { name: name.to_owned(), ..OutputStatus::default() }),
            ..Self::default()
        }
    }

    pub(crate) fn status(&self) -> OutputStatus {
        let is_behind = self.is_behind.load(Ordering::Relaxed);
        let mut status = self.lock().clone();
        status.is_behind = is_behind;
        if is_behind {
            status.backlog = self.grown(status.backlog);
        }
        status
    }

    pub(crate) fn set_behind(&self, is_behind: bool) {
        self.is_behind.store(is_behind, Ordering::Relaxed);
    }

    pub(crate) fn add_pending(&self, messages: usize, bytes: usize) {
        self.added_messages.fetch_add(messages as u64, Ordering::Relaxed);
        self.added_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn set_backlog(&self, backlog: Backlog) {
        self.added_messages.store(0, Ordering::Relaxed);
        self.added_bytes.store(0, Ordering::Relaxed);
        self.lock().backlog = backlog;
    }

    /// A delivery failed, and has not arrived. The output is behind from now on.
    pub(crate) fn failed(&self, error: &dyn Error) {
        self.set_behind(true);
        let mut status = self.lock();
        let now = time::now();
        status.failing_since.get_or_insert(now);
        status.last_error = Some((now, chain(error)));
    }

    pub(crate) fn succeeded(&self) {
        self.lock().failing_since = None;
    }

    /// Whether more may be owed. While all is well nothing stays in the outbox, and there is room.
    pub(crate) fn has_room(&self, limits: OutboxLimits) -> bool {
        if !self.is_behind.load(Ordering::Relaxed) {
            return true;
        }
        let Backlog { messages, bytes, .. } = self.grown(self.lock().backlog);
        messages < limits.max_messages && bytes < limits.max_bytes
    }

    /// What was counted, with what was added since.
    fn grown(&self, Backlog { messages, bytes, oldest }: Backlog) -> Backlog {
        Backlog {
            messages: messages + self.added_messages.load(Ordering::Relaxed),
            bytes: bytes + self.added_bytes.load(Ordering::Relaxed),
            oldest,
        }
    }

    fn lock(&self) -> MutexGuard<'_, OutputStatus> {
        // Every value in it is whole at any time.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
