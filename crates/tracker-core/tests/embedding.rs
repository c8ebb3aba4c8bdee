//! The API as a program uses it that embeds a tracker.

use std::sync::Arc;
use std::time::Duration;

use tracker_core::testing::new_id;
use tracker_core::{
    Batch, Delivery, DeploymentReport, Event, MemoryStore, Output, OutputError, Store, Tracker, async_trait,
};

/// An output that counts as delivered at once.
#[derive(Debug)]
struct Sink(&'static str);

#[async_trait]
impl Output for Sink {
    fn name(&self) -> &str {
        self.0
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn wants(&self, _: &Event) -> bool {
        true
    }

    async fn deliver(&self, _: &[Arc<Batch>]) -> Result<(), OutputError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), OutputError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_builder_takes_values_and_shared_values() {
    let (store, output) = (Arc::new(MemoryStore::new()), Arc::new(Sink("shared")));
    let (any_store, any_output): (Arc<dyn Store>, Arc<dyn Output>) = (store.clone(), Arc::new(Sink("any")));
    for builder in [Tracker::builder(MemoryStore::new()), Tracker::builder(store.clone()), Tracker::builder(any_store)]
    {
        let tracker = builder.output(Sink("value")).output(output.clone()).output(any_output.clone()).start();
        tracker.start_deployment(DeploymentReport::new(new_id())).await.expect("the store works");
        let names: Vec<_> = tracker.outputs().into_iter().map(|output| output.name).collect();
        assert_eq!(names, ["value", "shared", "any"]);
        assert!(tracker.shutdown(Duration::from_secs(10)).await);
    }
    let shared = Tracker::builder(store).start();
    let query = tracker_core::DeploymentQuery::new(tracker_core::Page::first(10));
    assert_eq!(shared.deployments(query).await.expect("the store works").records.len(), 2);
    assert!(shared.shutdown(Duration::from_secs(10)).await);
}
