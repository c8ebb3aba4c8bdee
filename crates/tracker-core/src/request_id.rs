//! The id of the request that a report came with, for log lines.

use std::fmt;

use uuid::Uuid;

use crate::id::new_uuid;

/// The id of a request. Log lines carry it from the handler of the request to the commit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId(Uuid);

tokio::task_local! {
    static CURRENT: RequestId;
}

impl RequestId {
    /// A new id.
    #[must_use]
    pub fn new() -> Self {
        Self(new_uuid())
    }

    /// Runs `work`. Reports that it sends to a tracker carry this id.
    pub async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self, work).await
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The id of the current request, if there is one.
pub(crate) fn current() -> Option<RequestId> {
    CURRENT.try_get().ok()
}
