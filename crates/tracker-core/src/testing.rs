//! Test suites that every [`Store`](crate::Store) and every [`Output`](crate::Output) must pass,
//! and builders of reports and events for tests.

mod outputs;
mod stores;

use std::sync::Arc;
use std::time::Duration;

use crate::event::{Event, EventKind};
use crate::id::{DeploymentId, new_uuid};
use crate::json;
use crate::log::{LogBatch, LogDeploymentId};
use crate::server::{Hostname, Server, ServerFields, ServerReport};
use crate::{Deployment, DeploymentFields, DeploymentReport, time};

pub use outputs::{OutputHarness, output_suite};
pub use stores::store_suite;

/// The deadline of calls and conditions in tests.
const DEADLINE: Duration = Duration::from_secs(10);

/// Creates a new deployment id.
pub fn new_id() -> DeploymentId {
    DeploymentId(new_uuid())
}

/// Reads a deployment report from a JSON body.
///
/// # Panics
/// Panics if the body is not valid.
pub fn deployment_report(id: DeploymentId, body: &str) -> DeploymentReport {
    DeploymentReport::read(id, json::read(body.as_bytes()).expect("valid JSON")).expect("valid deployment report")
}

/// Reads a server report from a JSON body.
///
/// # Panics
/// Panics if the body is not valid.
pub fn server_report(id: DeploymentId, body: &str) -> ServerReport {
    ServerReport::read(id, json::read(body.as_bytes()).expect("valid JSON")).expect("valid server report")
}

/// Reads log messages from a JSON body.
///
/// # Panics
/// Panics if the body is not valid.
pub fn logs(id: DeploymentId, body: &str) -> LogBatch {
    let id = LogDeploymentId::new(&id.to_string()).expect("a UUID is a valid id");
    LogBatch::read(id, json::read(body.as_bytes()).expect("valid JSON")).expect("valid log messages")
}

/// The event of a deployment's start.
pub fn started(fields: DeploymentFields) -> Arc<Event> {
    new_event(EventKind::DeploymentStarted(deployment(fields)))
}

/// The event of a deployment's finish.
pub fn finished(fields: DeploymentFields) -> Arc<Event> {
    new_event(EventKind::DeploymentFinished(deployment(fields)))
}

/// The event of a start on one server.
pub fn server_started(hostname: &str, fields: ServerFields) -> Arc<Event> {
    new_event(EventKind::ServerStarted(server(hostname, fields)))
}

/// The event of a finish on one server.
pub fn server_finished(hostname: &str, fields: ServerFields) -> Arc<Event> {
    new_event(EventKind::ServerFinished(server(hostname, fields)))
}

/// The event of log messages in a JSON body.
///
/// # Panics
/// Panics if the body is not valid.
pub fn logged(body: &str) -> Arc<Event> {
    new_event(EventKind::Logged(logs(new_id(), body)))
}

fn new_event(kind: EventKind) -> Arc<Event> {
    Arc::new(Event::new(kind, time::now(), None))
}

fn deployment(fields: DeploymentFields) -> Deployment {
    let now = Some(time::now());
    Deployment { id: new_id(), fields, created_at: now, updated_at: now }
}

fn server(hostname: &str, fields: ServerFields) -> Server {
    let now = Some(time::now());
    Server { hostname: Hostname::stored(hostname), deployment_id: new_id(), fields, created_at: now, updated_at: now }
}

/// Polls `condition` every 10 ms until it holds. `description` says what the test waits for, such
/// as "the outbox is empty".
///
/// # Panics
/// Panics with `description` if the condition does not hold within 10 s, or if `condition` itself
/// does not return.
pub async fn eventually(description: &str, mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !condition().await {
            poll_interval().await;
        }
    };
    within(DEADLINE, description, holds).await;
}

async fn poll_interval() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// Runs `future`, and panics with `description` if it takes longer than `deadline`.
async fn within<T>(deadline: Duration, description: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(deadline, future).await {
        Ok(output) => output,
        Err(_) => panic!("not within {deadline:?}: {description}"),
    }
}
