//! Panics in stores and outputs, which must not end a task of ours.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use thiserror::Error;

use crate::output::OutputError;
use crate::store::StoreError;

/// Code that is not ours has panicked.
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

/// What the work that `begin` begins comes to; a panic in it is an error.
pub(crate) async fn catch_panic<T, E: From<PanicError>, F: Future<Output = Result<T, E>>>(
    begin: impl FnOnce() -> F,
) -> Result<T, E> {
    let error = |panic: Box<dyn Any + Send>| -> E { PanicError(message(panic.as_ref()).to_owned()).into() };
    let work = catch_unwind(AssertUnwindSafe(begin)).map_err(error)?;
    let mut work = pin!(work);
    let ended = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(result)) => Poll::Ready(result),
        Err(panic) => Poll::Ready(Err(error(panic))),
    });
    ended.await
}

fn message(panic: &dyn Any) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
