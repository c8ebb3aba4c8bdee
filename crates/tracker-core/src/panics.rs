//! Panics in stores and outputs, which must not end a task of the tracker.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use thiserror::Error;

use crate::output::OutputError;
use crate::store::StoreError;

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
    work.catch_unwind().await.unwrap_or_else(|panic| Err(PanicError(message(panic.as_ref()).to_owned()).into()))
}

fn message(panic: &dyn Any) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
