//! Logs repeated failures without flooding the log.

use std::collections::HashMap;
use std::error::Error;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::output::chain;

/// The minimum time between two warnings about the same subject.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Logs the first failure at once, then at most one a minute, and finally the recovery.
#[derive(Debug)]
pub struct FailureLog {
    subject: String,
    failing_since: Option<Instant>,
    logged_at: Option<Instant>,
}

impl FailureLog {
    /// Creates a log for failures of `subject`, such as "output `redis`".
    pub fn new(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), failing_since: None, logged_at: None }
    }

    /// Records a failure. Returns whether it was logged.
    pub fn failed(&mut self, error: &dyn Error) -> bool {
        self.failing_since.get_or_insert_with(Instant::now);
        let is_due = self.logged_at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL);
        if is_due {
            self.logged_at = Some(Instant::now());
            log::warn!(subject = self.subject.as_str(); "{}: {}", self.subject, chain(error));
        }
        is_due
    }

    /// Records a success, and logs it if the last call recorded a failure.
    pub fn succeeded(&mut self) {
        if let Some(since) = self.failing_since.take() {
            self.logged_at = None;
            let seconds = since.elapsed().as_secs_f64();
            log::info!(subject = self.subject.as_str(), seconds; "{}: works again after {seconds:.1} s", self.subject);
        }
    }
}

/// Logs the failures of many callers: at most one a minute of each class.
#[derive(Debug)]
pub(crate) struct FailureLogs<C>(Mutex<HashMap<C, FailureLog>>);

impl<C> Default for FailureLogs<C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<C: Eq + Hash> FailureLogs<C> {
    /// Records a failure of `class`. The number of classes must be bounded.
    pub(crate) fn failed(&self, class: C, subject: &str, error: &dyn Error) {
        // A panic cannot leave a log half changed.
        let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logs.entry(class).or_insert_with(|| FailureLog::new(subject)).failed(error);
    }
}
