//! The trait that a destination of events implements.

use std::error::Error;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use thiserror::Error;
use uuid::Uuid;

use crate::event::{Batch, Event};

/// The delivery guarantee of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Every event arrives. The tracker keeps a batch that it cannot deliver in the outbox, and retries until the
    /// output acknowledges it.
    AtLeastOnce,
    /// The tracker sends each event once, and drops an event that it cannot send now.
    BestEffort,
}

/// A destination of events, such as a Redis list or StatsD.
///
/// A [`Tracker`](crate::Tracker) makes one [`Output::deliver`] call per output at a time, in order. Outputs do not wait
/// for each other. With the feature `testing`, `testing::output_suite` checks an implementation against these rules.
///
/// | method | called during a `deliver`? |
/// |---|---|
/// | [`deliver`](Output::deliver), [`forget`](Output::forget), [`close`](Output::close) | no, only after it has returned or its future was dropped |
/// | [`check`](Output::check), [`warning`](Output::warning), [`wants`](Output::wants) | yes, from any thread, also after `close` |
///
/// A destination that removes duplicates by batch id itself makes the simplest at-least-once output: `deliver` sends
/// each batch with [`Batch::id`] and returns `Ok` when the destination has confirmed all of them, and `forget` keeps its
/// default. An output that removes duplicates itself keeps the ids of the batches that have arrived, and drops them in
/// `forget` and after some time: see there.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use tracker_core::{Batch, Delivery, Event, EventKind, Output, OutputError, async_trait};
///
/// /// Prints the ids of deployments that have started.
/// #[derive(Debug, Default)]
/// struct Starts(Mutex<Vec<String>>);
///
/// #[async_trait]
/// impl Output for Starts {
///     fn name(&self) -> &str {
///         "starts"
///     }
///
///     fn delivery(&self) -> Delivery {
///         Delivery::BestEffort
///     }
///
///     fn wants(&self, event: &Event) -> bool {
///         matches!(event.kind, EventKind::DeploymentStarted(_))
///     }
///
///     async fn deliver(&self, batches: &[Arc<Batch>]) -> Result<(), OutputError> {
///         for event in batches.iter().flat_map(|batch| &batch.events) {
///             if let EventKind::DeploymentStarted(deployment) = &event.kind {
///                 self.0.lock().expect("no holder panics").push(deployment.id.to_string());
///             }
///         }
///         Ok(())
///     }
///
///     async fn check(&self) -> Result<(), OutputError> {
///         Ok(())
///     }
/// }
///
/// # use tracker_core::{DeploymentId, DeploymentReport, MemoryStore, Tracker};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let starts = Arc::new(Starts::default());
/// let tracker = Tracker::builder(MemoryStore::new()).output(starts.clone()).start();
/// let id = DeploymentId::random();
/// tracker.start_deployment(DeploymentReport::new(id)).await?;
/// tracker.shutdown(std::time::Duration::from_secs(5)).await;
/// assert_eq!(*starts.0.lock().expect("no holder panics"), [id.to_string()]);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Output: Debug + Send + Sync + 'static {
    /// The name of the output in health reports, metrics, log lines and the outbox. It must be unique within a tracker,
    /// must not be `db`, and must stay the same across releases.
    fn name(&self) -> &str;

    /// The delivery guarantee. It must not change.
    fn delivery(&self) -> Delivery;

    /// Whether the output wants `event`. The outbox never keeps an unwanted event for the output.
    fn wants(&self, event: &Event) -> bool;

    /// Delivers batches, in order. Batches may contain events that the output does not want; it skips them.
    ///
    /// A tracker passes up to 256 batches: about 4 MiB from the outbox, up to 64 MiB from memory. A batch of several
    /// events has up to 1 MiB and 1,000 messages; a single event may be larger. `batches` may be empty, as in the last
    /// call before the shutdown of a best-effort output: return `Ok`.
    ///
    /// With [`Delivery::AtLeastOnce`], `Ok` means that the destination has every batch. After an error, or when the
    /// future is dropped, each batch may or may not have arrived. The caller then delivers it again with the same id,
    /// and the output must recognize a batch that has arrived before. A dropped future may leave a thread or a task that
    /// still delivers; the output must then keep the next call from overtaking it.
    ///
    /// The caller retries after an error until it succeeds, and newer events wait meanwhile. The output must therefore
    /// log and skip an event that the destination will never accept.
    ///
    /// # Errors
    /// [`OutputError`] when the destination did not accept the batches within the output's own deadline.
    async fn deliver(&self, batches: &[Arc<Batch>]) -> Result<(), OutputError>;

    /// Tells the output that these batches will never be delivered again, so that it can drop the data by which it
    /// recognizes them, either at once or with the next delivery. Must not block. Does nothing by default.
    ///
    /// The tracker forgets a batch once its removal from the outbox is committed. It never forgets some batches: those
    /// that were acknowledged shortly before a shutdown or a crash, those whose delivery has failed once, and those that
    /// another instance has adopted. An output must therefore also drop ids by age, and keep them for longer than any
    /// outage of the tracker or the destination: a batch that has arrived may be delivered again after the outage.
    /// `RedisOutput` keeps ids for a week.
    fn forget(&self, batches: &[Uuid]) {
        let _ = batches;
    }

    /// Checks that the destination can be reached, within two seconds.
    ///
    /// # Errors
    /// [`OutputError`] that says what is wrong.
    async fn check(&self) -> Result<(), OutputError>;

    /// A restriction that an operator should know about although deliveries work, such as a weaker guarantee. `None` by
    /// default. Must not block.
    fn warning(&self) -> Option<String> {
        None
    }

    /// Closes connections. Nothing is delivered afterwards. Does nothing by default.
    async fn close(&self) {}
}

/// A delivery or health check that failed. Retrying may help.
///
/// `?` converts an [`io::Error`], and [`Self::context`] says which operation failed:
///
/// ```
/// use std::fs::File;
///
/// use tracker_core::{OutputError, chain};
///
/// fn open(path: &str) -> Result<File, OutputError> {
///     Ok(File::open(path)?)
/// }
///
/// let error = open("/no/such/file").map_err(|error| error.context("cannot read the spool")).unwrap_err();
/// assert_eq!(error.to_string(), "cannot read the spool");
/// assert!(chain(&error).starts_with("cannot read the spool: No such file"));
/// ```
#[derive(Debug, Error)]
#[error(transparent)]
pub struct OutputError(Cause);

#[derive(Debug, Error)]
enum Cause {
    #[error("{message}")]
    Failed {
        /// The operation that failed, and its target.
        message: String,
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    #[error(transparent)]
    Io(io::Error),
}

impl OutputError {
    /// The operation that `message` names failed because of `source`.
    pub fn new(message: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Cause::Failed { message: message.into(), source: Some(source.into()) })
    }

    /// An operation failed, and `message` says which and why.
    pub fn message(message: impl Into<String>) -> Self {
        Self(Cause::Failed { message: message.into(), source: None })
    }

    /// The operation that `message` names failed because of this error.
    #[must_use]
    pub fn context(self, message: impl Into<String>) -> Self {
        match self.0 {
            Cause::Io(error) => Self::new(message, error),
            Cause::Failed { .. } => Self::new(message, self),
        }
    }
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        Self(Cause::Io(error))
    }
}

/// An error and its sources, on one line.
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
