//! Returns memory to the system that the allocator, mimalloc, no longer uses.

use std::hint::black_box;
use std::time::Duration;

/// mimalloc keeps freed pages for a second, in case that they are used again.
const INTERVAL: Duration = Duration::from_secs(1);
/// An allocation of this size has pages of its own. They are never written, so they take no memory.
const OWN_PAGES: usize = 16 << 20;

/// Returns freed memory to the system, until the future is dropped.
///
/// mimalloc returns freed pages only when later pages are freed. Without these, a server that is idle after a peak would
/// keep the memory of the peak.
pub async fn return_freed_memory() {
    loop {
        tokio::time::sleep(INTERVAL).await;
        drop(black_box(Vec::<u8>::with_capacity(OWN_PAGES)));
    }
}
