//! Where events are forwarded to.

use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;
use uuid::Uuid;

use crate::event::{Batch, Event};

/// What an output promises of delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Every event arrives: what cannot be delivered now is owed, kept in the store and tried again without end.
    AtLeastOnce,
    /// An event is sent once; what cannot be sent now is dropped.
    BestEffort,
}

/// Where events are forwarded to, such as a Redis list or StatsD.
///
/// A [`Tracker`](crate::Tracker) delivers to each output one call at a time and in order; outputs do not wait for
/// each other. `testing::output_suite` (feature `testing`) holds an implementation against what is said here.
#[async_trait]
pub trait Output: Debug + Send + Sync + 'static {
    /// The output's name in the health report, the log and the outbox: its own among those of a tracker, not `db`, and the
    /// same in every release.
    fn name(&self) -> &str;

    /// What the output promises.
    fn delivery(&self) -> Delivery;

    /// Whether the output forwards such an event at all. What it does not want is never owed to it.
    fn wants(&self, event: &Event) -> bool;

    /// Delivers batches, in order. Events that the output does not want may be among them; it passes over those.
    ///
    /// For [`Delivery::AtLeastOnce`]: `Ok` means that the other side has every batch. After an error, or when the
    /// future is dropped, each batch may or may not have arrived, and the caller delivers it again with the same id:
    /// a batch that has arrived before must not arrive twice. `acknowledged` are batches that will never come again; what
    /// the output keeps in order to recognise them can go. An event that the other side will never take is the output's to log
    /// and to pass over: an error is tried again without end, and everything newer waits.
    ///
    /// # Errors
    /// [`OutputError`] when the other side did not take the batches within the output's own deadline.
    async fn deliver(&self, batches: &[Arc<Batch>], acknowledged: &[Uuid]) -> Result<(), OutputError>;

    /// Tests the way to the other side, within two seconds.
    ///
    /// # Errors
    /// [`OutputError`] that says what is wrong.
    async fn check(&self) -> Result<(), OutputError>;

    /// Ends connections. Nothing is delivered afterwards.
    async fn close(&self) {}
}

/// A delivery or test that failed. It is worth another try, later.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct OutputError {
    /// The operation that failed, and where.
    message: String,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl OutputError {
    /// The operation `message` failed because of `source`.
    pub fn new(message: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { message: message.into(), source: Some(source.into()) }
    }

    /// The operation `message` failed, and the message says why.
    pub fn message(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }
}

/// An error and what caused it, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(cause.to_string().trim());
        source = cause.source();
    }
    line.replace('\n', " ")
}
