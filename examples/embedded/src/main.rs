//! A program with a deployment tracker inside: it reports a deployment, reads the records, and shuts down.
//!
//! `cargo run -p embedded` uses a temporary folder. `cargo run -p embedded -- FOLDER` keeps the database and the events
//! in a folder that exists, so that the next run delivers what this one could not.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use jsonl_output::JsonlOutput;
use tokio::signal::ctrl_c;
use tokio::time::{sleep, timeout};
use tracker_core::{
    DeploymentId, DeploymentQuery, DeploymentReport, DeploymentResult, LogBatch, LogMessage, LogQuery, Page,
    ServerReport, Tracker,
};
use tracker_sql::{DatabaseUrl, SqlStore, SqlStoreOptions};

/// How long the end of the program waits for an output that is catching up.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the tasks of the tracker may take to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The crates of the tracker log failed deliveries and queries as warnings. `env_logger::init()` would hide them.
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let temporary = tempfile::tempdir()?;
    let folder = env::args_os().nth(1).map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let (database, events) = (folder.join("data.sqlite3"), folder.join("events.jsonl"));
    let url = DatabaseUrl::parse(&format!("sqlite:{}", database.display()))?;
    let store = SqlStore::open(url, SqlStoreOptions::default())?;
    let tracker = Tracker::builder(store).output(JsonlOutput::new(&events)).start();

    let ended = tokio::select! {
        deployed = deploy(&tracker) => deployed,
        interrupted = ctrl_c() => interrupted.map_err(Into::into),
    };
    // After an error and after Ctrl-C, too: otherwise events that are on their way arrive only in the next run.
    shut_down(&tracker).await;
    ended?;
    print!("{}", fs::read_to_string(&events).unwrap_or_default());
    Ok(())
}

/// Reports a deployment to one server, and reads it back.
async fn deploy(tracker: &Tracker) -> Result<(), Box<dyn Error>> {
    let id = DeploymentId::random();
    let mut start = DeploymentReport::new(id);
    start.fields.package = Some("shop".into());
    start.fields.version = Some("1.4.2".into());
    tracker.start_deployment(start.clone()).await?;
    tracker.start_deployment(start).await?; // A retry: the output receives nothing.

    let mut server = ServerReport::new(id, "web-1".parse()?);
    tracker.start_server(server.clone()).await?;
    tracker.append_logs(LogBatch::new(id, ["copying", "restarting"].map(LogMessage::text))).await?;
    server.fields.result = Some(DeploymentResult::Success);
    tracker.finish_server(server).await?;

    let mut finish = DeploymentReport::new(id);
    finish.fields.result = Some(DeploymentResult::Success);
    tracker.finish_deployment(finish).await?;

    let record = tracker.deployment(id).await?;
    println!("{id} is recorded with the result {:?}", record.deployment.fields.result);
    for server in &record.servers {
        println!("  server {}: {:?}", server.hostname.as_str(), server.fields.result);
    }
    // The store keeps log messages, because the output does not want them.
    for message in tracker.logs(LogQuery::new(id.into(), Page::first(100))).await?.records {
        println!("  log {}", message.object());
    }
    let (mut deployments, mut next) = (0, Some(Page::first(100)));
    while let Some(page) = next {
        let list = tracker.deployments(DeploymentQuery::new(page)).await?;
        deployments += list.records.len();
        next = list.next;
    }
    println!("deployments in the store: {deployments}");
    Ok(())
}

/// Shuts the tracker down, and prints the number of messages that an output has not received.
async fn shut_down(tracker: &Tracker) {
    // `shutdown` delivers what waits in memory, but leaves the outbox of an output that catches up to the next run.
    let caught_up = async {
        while tracker.outputs().iter().any(|output| output.is_catching_up) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    if timeout(CATCH_UP_TIMEOUT, caught_up).await.is_err() {
        eprintln!("an output still fails or is slow");
    }
    if !tracker.shutdown(SHUTDOWN_TIMEOUT).await {
        eprintln!("the tracker did not end in time");
    }
    for output in tracker.outputs() {
        let messages = output.backlog.messages;
        if messages > 0 {
            eprintln!("output `{}`: {messages} messages are pending; the next run delivers them", output.name);
        }
    }
}
