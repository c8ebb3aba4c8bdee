//! The store in memory, and an output that needs nothing but memory, against the suites.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tracker_core::testing::{self, OutputHarness};
use tracker_core::{Batch, Delivery, Event, MemoryStore, Output, OutputError};
use uuid::Uuid;

/// A suite may run in a task of its own.
#[tokio::test]
async fn the_memory_store_keeps_to_the_suite() {
    let suite = tokio::spawn(async { testing::store_suite(&MemoryStore::new()).await });
    suite.await.expect("it keeps to the suite");
}

/// A list of events as JSON, and the batches that it recognises; away when there is none.
#[derive(Debug, Default)]
struct Far {
    elements: Vec<String>,
    recognised: HashSet<Uuid>,
    is_away: bool,
}

#[derive(Debug, Default, Clone)]
struct List(Arc<Mutex<Far>>);

impl List {
    fn reach<T>(&self, there: impl FnOnce(&mut Far) -> T) -> Result<T, OutputError> {
        let mut far = self.0.lock().expect("no panic");
        if far.is_away { Err(OutputError::message("the list is away")) } else { Ok(there(&mut far)) }
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

    async fn deliver(&self, batches: &[Arc<Batch>], acknowledged: &[Uuid]) -> Result<(), OutputError> {
        self.reach(|far| {
            for batch in batches {
                if far.recognised.insert(batch.id) {
                    let elements = batch.events.iter().map(|event| serde_json::to_string(event).expect("JSON"));
                    far.elements.extend(elements);
                }
            }
            far.recognised.retain(|id| !acknowledged.contains(id));
        })
    }

    async fn check(&self) -> Result<(), OutputError> {
        self.reach(|_| ())
    }
}

#[async_trait]
impl OutputHarness for List {
    fn output(&self) -> Arc<dyn Output> {
        Arc::new(self.clone())
    }

    async fn received(&mut self) -> Vec<String> {
        self.0.lock().expect("no panic").elements.clone()
    }

    async fn take_away(&mut self) {
        self.0.lock().expect("no panic").is_away = true;
    }

    async fn bring_back(&mut self) {
        self.0.lock().expect("no panic").is_away = false;
    }
}

#[tokio::test]
async fn a_list_in_memory_keeps_to_what_an_output_promises() {
    let suite = tokio::spawn(async { testing::output_suite(&mut List::default()).await });
    suite.await.expect("it keeps to the suite");
}
