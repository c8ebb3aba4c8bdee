//! Suites that every [`Store`](crate::Store) and every [`Output`](crate::Output) runs, so that one implementation can
//! stand in for another.

mod outputs;
mod stores;

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::event::{Event, EventKind};
use crate::json;
use crate::log::{LogBatch, LogDeploymentId};
use crate::members::DeploymentId;
use crate::server::ServerReport;
use crate::{Deployment, DeploymentMembers, DeploymentReport, time};

pub use outputs::{OutputHarness, output_suite};
pub use stores::store_suite;

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
pub fn started(members: DeploymentMembers) -> Arc<Event> {
    let now = time::now();
    let deployment = Deployment { id: new_id(), members, created_at: now, updated_at: now };
    Arc::new(Event::new(EventKind::DeploymentStarted(deployment), now, None))
}

/// Log messages as outputs get them.
pub fn logged(body: &str) -> Arc<Event> {
    Arc::new(Event::new(EventKind::Logged(logs(new_id(), body)), time::now(), None))
}

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within 10 s.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
