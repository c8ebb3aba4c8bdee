//! Polls the backlog of an output.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::delivery::status::StatusCell;
use crate::delivery::worker::Context;
use crate::output::Output;
use crate::panics::catch_panic;
use crate::store::{Backlog, Store, StoreError};
use crate::time::{self, Timestamp};

/// How often the backlog is read.
const INTERVAL: Duration = Duration::from_secs(1);
/// The worker may have missed a pending batch that is older than this.
const STALE: Duration = Duration::from_secs(10);

/// Reads the backlog into `status`, which keeps the last value on an error.
pub(super) async fn read(
    store: &Arc<dyn Store>,
    output: &Arc<dyn Output>,
    status: &StatusCell,
) -> Result<Backlog, StoreError> {
    let backlog = catch_panic(|| store.backlog(output.name())).await?;
    status.set_backlog(backlog);
    Ok(backlog)
}

/// Reads the backlog every second. Requests a resync while the oldest batch is
/// stale, for example because this instance has adopted it. Never ends.
pub(super) async fn poll(Context { output, store, status, resync, .. }: &Context) {
    // The creation time of the oldest batch, and when this instance first saw it: clocks of other instances may differ.
    let mut oldest: Option<(Timestamp, Instant)> = None;
    loop {
        if let Ok(backlog) = read(store, output, status).await {
            let known = oldest.filter(|(at, _)| backlog.oldest == Some(*at));
            oldest = known.or(backlog.oldest.map(|at| (at, Instant::now())));
            let is_stale = |(at, since): (Timestamp, Instant)| {
                (time::now() - at).to_std().is_ok_and(|age| age > STALE) || since.elapsed() > STALE
            };
            if oldest.is_some_and(is_stale) {
                resync.request();
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
