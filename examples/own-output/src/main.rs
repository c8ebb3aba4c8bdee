//! Reports one deployment to a tracker with an output of its own, and prints what the output wrote.
//!
//! Run it with `cargo run -p own-output`. The output is in `journal.rs`; docs/embedding.md explains it.

mod journal;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tracker_core::{DeploymentId, DeploymentReport, DeploymentResult, MemoryStore, Tracker};

use crate::journal::JournalOutput;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let journal = folder.path().join("deployments.jsonl");
    let store = Arc::new(MemoryStore::new());
    let tracker = Tracker::builder(store).output(Arc::new(JournalOutput::new(&journal))).start();

    let id = DeploymentId::parse("84e803f7-9562-4d95-b828-25b167aea34b")?;
    let mut start = DeploymentReport::new(id);
    start.fields.package = Some("shop".into());
    start.fields.version = Some("1.4.2".into());
    tracker.start_deployment(start.clone()).await?;
    tracker.start_deployment(start).await?; // A retry: the output receives nothing.

    let mut finish = DeploymentReport::new(id);
    finish.fields.result = Some(DeploymentResult::Success);
    tracker.finish_deployment(finish).await?;

    // Delivers pending batches before it returns.
    tracker.shutdown(Duration::from_secs(5)).await;
    print!("{}", fs::read_to_string(&journal)?);
    Ok(())
}
