//! Suites that every [`Store`](crate::Store) and every [`Output`](crate::Output) runs, so that one implementation can
//! stand in for another.

mod outputs;
mod stores;

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::event::{Event, EventKind};
use crate::fields::DeploymentId;
use crate::json;
use crate::log::{LogBatch, LogDeploymentId};
use crate::server::{Hostname, Server, ServerFields, ServerReport};
use crate::{Deployment, DeploymentFields, DeploymentReport, time};

pub use outputs::{OutputHarness, output_suite};
pub use stores::store_suite;

/// How long something may take that is there, or comes soon.
const PATIENCE: Duration = Duration::from_secs(10);

/// A new deployment id.
pub fn new_id() -> DeploymentId {
    DeploymentId(Uuid::now_v7())
}

/// The report that a JSON body makes.
///
/// # Panics
/// When it is refused.
pub fn deployment_report(id: DeploymentId, body: &str) -> DeploymentReport {
    DeploymentReport::read(id, json::read(body.as_bytes()).expect("JSON")).expect("a deployment report")
}

/// The report on a server that a JSON body makes.
///
/// # Panics
/// When it is refused.
pub fn server_report(id: DeploymentId, body: &str) -> ServerReport {
    ServerReport::read(id, json::read(body.as_bytes()).expect("JSON")).expect("a server report")
}

/// The log messages that a JSON body makes.
///
/// # Panics
/// When it is refused.
pub fn logs(id: DeploymentId, body: &str) -> LogBatch {
    let id = LogDeploymentId::new(&id.to_string()).expect("a UUID");
    LogBatch::read(id, json::read(body.as_bytes()).expect("JSON")).expect("log messages")
}

/// A deployment's start as outputs get it.
pub fn started(fields: DeploymentFields) -> Arc<Event> {
    push_event(EventKind::DeploymentStarted(deployment(fields)))
}

/// A deployment's finish as outputs get it.
pub fn finished(fields: DeploymentFields) -> Arc<Event> {
    push_event(EventKind::DeploymentFinished(deployment(fields)))
}

/// A deployment's start on a server as outputs get it.
pub fn server_started(hostname: &str, fields: ServerFields) -> Arc<Event> {
    push_event(EventKind::ServerStarted(server(hostname, fields)))
}

/// A deployment's finish on a server as outputs get it.
pub fn server_finished(hostname: &str, fields: ServerFields) -> Arc<Event> {
    push_event(EventKind::ServerFinished(server(hostname, fields)))
}

/// Log messages as outputs get them.
pub fn logged(body: &str) -> Arc<Event> {
    push_event(EventKind::Logged(logs(new_id(), body)))
}

fn push_event(kind: EventKind) -> Arc<Event> {
    Arc::new(Event::new(kind, time::now(), None))
}

fn deployment(fields: DeploymentFields) -> Deployment {
    let now = time::now();
    Deployment { id: new_id(), fields, created_at: now, updated_at: now }
}

fn server(hostname: &str, fields: ServerFields) -> Server {
    let now = time::now();
    Server { hostname: Hostname::stored(hostname), deployment_id: new_id(), fields, created_at: now, updated_at: now }
}

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within 10 s.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !condition().await {
            pause().await;
        }
    };
    within(PATIENCE, what, holds).await;
}

/// A little time before something is looked at again.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// What `wait` comes to. What never answers fails, and holds up nobody.
async fn within<T>(limit: Duration, what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, wait).await {
        Ok(answer) => answer,
        Err(_) => panic!("not within {limit:?}: {what}"),
    }
}
