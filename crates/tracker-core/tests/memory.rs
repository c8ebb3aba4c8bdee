//! Runs the shared suites against the memory store and against an output in memory.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use tracker_core::testing::{self, OutputHarness};
use tracker_core::{Batch, Delivery, Event, MemoryStore, Output, OutputError};
use uuid::Uuid;

#[tokio::test]
async fn the_memory_store_passes_the_store_suite() {
    // Spawning requires that the suite's future is `Send`.
    let suite = tokio::spawn(async { testing::store_suite(&MemoryStore::new()).await });
    suite.await.expect("the store passes the suite");
}

/// An output that keeps events as JSON, like a Redis list.
#[derive(Debug, Default, Clone)]
struct List(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    elements: Vec<String>,
    markers: HashSet<Uuid>,
    is_away: bool,
}

impl List {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().expect("no test panics while it holds the lock")
    }

    fn reach(&self) -> Result<MutexGuard<'_, Contents>, OutputError> {
        let contents = self.contents();
        if contents.is_away { Err(OutputError::message("the list is unavailable")) } else { Ok(contents) }
    }
}

#[async_trait]
impl Output for List {
    fn name(&self) -> &'static str {
        "list"
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn wants(&self, _: &Event) -> bool {
        true
    }

    async fn deliver(&self, batches: &[Arc<Batch>]) -> Result<(), OutputError> {
        let mut contents = self.reach()?;
        for batch in batches {
            if contents.markers.insert(batch.id) {
                let elements = batch.events.iter().map(|event| serde_json::to_string(event).expect("events are JSON"));
                contents.elements.extend(elements);
            }
        }
        Ok(())
    }

    fn forget(&self, batches: &[Uuid]) {
        self.contents().markers.retain(|id| !batches.contains(id));
    }

    async fn check(&self) -> Result<(), OutputError> {
        self.reach().map(drop)
    }
}

#[async_trait]
impl OutputHarness for List {
    fn output(&self) -> Arc<dyn Output> {
        Arc::new(self.clone())
    }

    async fn received(&mut self) -> Vec<String> {
        self.contents().elements.clone()
    }

    async fn take_away(&mut self) {
        self.contents().is_away = true;
    }

    async fn bring_back(&mut self) {
        self.contents().is_away = false;
    }
}

#[tokio::test]
async fn a_list_in_memory_passes_the_output_suite() {
    let suite = tokio::spawn(async { testing::output_suite(&mut List::default()).await });
    suite.await.expect("the output passes the suite");
}
