//! Runs the shared suites against the memory store and against an output in memory.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use tracker_core::testing::{self, OutputHarness};
use tracker_core::{Batch, Delivery, Event, EventKind, MemoryStore, Output, OutputError};
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
    outage: Option<Outage>,
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outage {
    Refuses,
    IsSilent,
}

/// How a list breaks a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Has the name of the store.
    IsNamedDb,
    /// Writes events that it does not want.
    WritesUnwanted,
    /// Loses the finishes.
    LosesFinishes,
    /// Waits for its destination without a deadline.
    HasNoDeadline,
}

impl List {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().expect("no test panics while it holds the lock")
    }

    fn reach(&self) -> Result<MutexGuard<'_, Contents>, OutputError> {
        let contents = self.contents();
        if contents.outage.is_some() { Err(OutputError::message("the list is unavailable")) } else { Ok(contents) }
    }
}

#[async_trait]
impl Output for List {
    fn name(&self) -> &'static str {
        if self.contents().fault == Some(Fault::IsNamedDb) { "db" } else { "list" }
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn wants(&self, event: &Event) -> bool {
        self.contents().fault != Some(Fault::WritesUnwanted) || !matches!(event.kind, EventKind::Logged(_))
    }

    async fn deliver(&self, batches: &[Arc<Batch>]) -> Result<(), OutputError> {
        let is_stuck = |contents: MutexGuard<'_, Contents>| {
            contents.outage == Some(Outage::IsSilent) && contents.fault == Some(Fault::HasNoDeadline)
        };
        if is_stuck(self.contents()) {
            std::future::pending::<()>().await;
        }
        let mut contents = self.reach()?;
        let loses_finishes = contents.fault == Some(Fault::LosesFinishes);
        for batch in batches {
            if contents.markers.insert(batch.id) {
                let events = batch.events.iter();
                let events =
                    events.filter(|event| !loses_finishes || !matches!(event.kind, EventKind::DeploymentFinished(_)));
                let elements = events.map(|event| serde_json::to_string(event).expect("events are JSON"));
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
        self.contents().outage = Some(Outage::Refuses);
    }

    async fn fall_silent(&mut self) {
        self.contents().outage = Some(Outage::IsSilent);
    }

    async fn bring_back(&mut self) {
        self.contents().outage = None;
    }
}

#[tokio::test]
async fn a_list_in_memory_passes_the_output_suite() {
    let suite = tokio::spawn(async { testing::output_suite(&mut List::default()).await });
    suite.await.expect("the output passes the suite");
}

#[tokio::test]
async fn the_suite_names_the_promise_that_an_output_breaks_and_shows_what_arrived() {
    let cases = [
        (Fault::IsNamedDb, "`name` is neither empty nor `db`", ": `db`"),
        (Fault::WritesUnwanted, "an event for which `wants` returns `false` is skipped", "onexearlyxfirst"),
        (Fault::LosesFinishes, "every wanted event arrives within 10s: [\"onexearlyxfinished\"", "onexearlyxstarted"),
        (Fault::HasNoDeadline, "`deliver` returns, with an error if the destination does not answer", "within 10s"),
    ];
    for (fault, promise, detail) in cases {
        let suite = tokio::spawn(async move {
            let mut list = List::default();
            list.contents().fault = Some(fault);
            // The suite waits in vain for its deadlines.
            tokio::time::pause();
            testing::output_suite(&mut list).await;
        });
        let panic = suite.await.expect_err("the suite panics").into_panic();
        tokio::time::resume();
        let message = panic.downcast_ref::<String>().expect("a formatted message");
        assert!(message.contains(promise) && message.contains(detail), "{fault:?}: {message}");
    }
}
