//! Saying that something fails, but not over and over.

use std::error::Error;
use std::time::{Duration, Instant};

use crate::output::chain;

const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Logs a failure at once, again at most once a minute while it lasts, and its end.
#[derive(Debug)]
pub struct FailureLog {
    subject: String,
    failing_since: Option<Instant>,
    logged: Option<Instant>,
}

impl FailureLog {
    /// For failures of `subject`, such as "output `redis`".
    pub fn new(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), failing_since: None, logged: None }
    }

    /// It failed. Whether that was logged this time.
    pub fn failed(&mut self, error: &dyn Error) -> bool {
        self.failing_since.get_or_insert_with(Instant::now);
        let is_due = self.logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL);
        if is_due {
            self.logged = Some(Instant::now());
            log::warn!("{}: {}", self.subject, chain(error));
        }
        is_due
    }

    /// It works.
    pub fn succeeded(&mut self) {
        if let Some(since) = self.failing_since.take() {
            self.logged = None;
            log::info!("{}: works again after {:.1} s", self.subject, since.elapsed().as_secs_f64());
        }
    }
}
