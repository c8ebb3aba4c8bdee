//! Panics, which must not end a task of the tracker or a thread of a store for good.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use thiserror::Error;

use crate::output::OutputError;
use crate::store::StoreError;

/// The pause between a panic and the restart, so that a task that always panics neither takes a core nor fills the log.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

static PANICS: AtomicU64 = AtomicU64::new(0);

/// The number of panics that this process has caught since its start.
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// A store or an output has panicked.
#[derive(Debug, Error)]
#[error("it panicked: {0}")]
pub(crate) struct PanicError(String);

impl From<PanicError> for OutputError {
    fn from(panic: PanicError) -> Self {
        Self::message(panic.to_string())
    }
}

impl From<PanicError> for StoreError {
    fn from(panic: PanicError) -> Self {
        Self::Unknown(panic.into())
    }
}

/// Runs the future that `begin` makes, and turns a panic in either into an error.
pub(crate) async fn catch_panic<T, E: From<PanicError>, F: Future<Output = Result<T, E>>>(
    begin: impl FnOnce() -> F,
) -> Result<T, E> {
    let work = AssertUnwindSafe(async { begin().await });
    work.catch_unwind().await.unwrap_or_else(|panic| Err(PanicError(caught(panic.as_ref()).to_owned()).into()))
}

/// Runs a task until it returns. After a panic, logs it, pauses, and runs the task again with what `run` has captured.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut runs = 0;
/// tracker_core::supervise("the example", async || {
///     runs += 1;
///     assert!(runs > 1, "the first run panics");
/// })
/// .await;
/// assert_eq!((runs, tracker_core::panics()), (2, 1));
/// # }
/// ```
pub async fn supervise(task: impl Into<String>, mut run: impl AsyncFnMut()) {
    let task = task.into();
    while let Err(panic) = AssertUnwindSafe(async { run().await }).catch_unwind().await {
        log_restart(&task, caught(panic.as_ref()));
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

/// As [`supervise`], for a thread.
pub fn supervise_thread(task: &str, mut run: impl FnMut()) {
    while let Err(panic) = catch_unwind(AssertUnwindSafe(&mut run)) {
        log_restart(task, caught(panic.as_ref()));
        std::thread::sleep(RESTART_PAUSE);
    }
}

fn log_restart(task: &str, text: &str) {
    log::error!(task; "{task} panicked and restarts; please report this bug: {text}");
}

/// Counts a panic, and returns its text.
fn caught(panic: &dyn Any) -> &str {
    PANICS.fetch_add(1, Ordering::Relaxed);
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
