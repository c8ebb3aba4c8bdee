//! A program with a deployment tracker inside: it reports a deployment, reads it, and shuts down. Run it with
//! `cargo run -p embedded`.

use std::error::Error;
use std::fs;
use std::time::Duration;

use jsonl_output::JsonlOutput;
use tracker_core::{DeploymentId, DeploymentReport, DeploymentResult, Tracker};
use tracker_sql::{DatabaseUrl, SqlStore, SqlStoreOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The crates of the tracker log failed deliveries and queries with the crate `log`.
    env_logger::init();
    let folder = tempfile::tempdir()?;
    let (database, events) = (folder.path().join("data.sqlite3"), folder.path().join("events.jsonl"));
    let url = DatabaseUrl::parse(&format!("sqlite:{}", database.display()))?;
    let store = SqlStore::open(url, SqlStoreOptions::default())?;
    let tracker = Tracker::builder(store).output(JsonlOutput::new(&events)).start();

    let id = DeploymentId::random();
    let mut start = DeploymentReport::new(id);
    start.fields.package = Some("shop".into());
    start.fields.version = Some("1.4.2".into());
    tracker.start_deployment(start.clone()).await?;
    tracker.start_deployment(start).await?; // A retry: the output receives nothing.

    let mut finish = DeploymentReport::new(id);
    finish.fields.result = Some(DeploymentResult::Success);
    tracker.finish_deployment(finish).await?;

    let record = tracker.deployment(id).await?;
    println!("{id} is recorded with the result {:?}", record.deployment.fields.result);

    // Delivers pending batches before it returns. What remains after the timeout, the next run delivers.
    if !tracker.shutdown(Duration::from_secs(5)).await {
        eprintln!("some events are not delivered yet");
    }
    print!("{}", fs::read_to_string(&events)?);
    Ok(())
}
