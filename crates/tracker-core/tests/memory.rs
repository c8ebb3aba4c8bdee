//! The store in memory against the suite.

use tracker_core::{MemoryStore, testing};

#[tokio::test]
async fn the_memory_store_keeps_to_the_suite() {
    testing::store_suite(&MemoryStore::new()).await;
}
