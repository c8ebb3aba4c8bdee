//! The suite of stores.

mod deployments;
mod lanes;
mod logs;
mod outbox;
mod retention;
mod servers;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{PATIENCE, within};
use crate::event::{Batch, Event, EventKind};
use crate::fields::DeploymentId;
use crate::group::{Change, Decision, Group, Outcome};
use crate::log::{LogDeploymentId, LogMessage};
use crate::output::{Delivery, Output, OutputError, chain};
use crate::server::{Hostname, Server};
use crate::store::{Backlog, CreatedCursor, Deleted, Page, PendingBatch, Store, StoreError};
use crate::time::{self, Timestamp};
use crate::{DeploymentReport, DeploymentWithServers};

/// Holds an empty store against what [`Store`] says.
///
/// # Panics
/// When it does not keep to that.
pub async fn store_suite(store: &dyn Store) {
    let store = &Tested(store);
    store.check().await;
    deployments::are_recorded(store).await;
    servers::are_recorded(store).await;
    servers::are_told_apart(store).await;
    deployments::come_back_whole(store).await;
    deployments::commit_as_one(store).await;
    lanes::commit_each(store).await;
    logs::are_kept(store).await;
    logs::are_told_apart(store).await;
    retention::deletes_old_records_and_no_younger_ones(store).await;
    outbox::keeps_pending_batches_until_they_are_acknowledged(store).await;
    outbox::is_read_in_parts(store).await;
}

/// An output that stores owe to: all that happens, or nothing of servers.
#[derive(Debug)]
struct Sink {
    name: &'static str,
    wants_servers: bool,
}

/// What every group is owed to: the second wants more than the first.
const SINKS: [Sink; 2] = [Sink { name: "sink", wants_servers: false }, Sink { name: "all", wants_servers: true }];

#[async_trait]
impl Output for Sink {
    fn name(&self) -> &'static str {
        self.name
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn wants(&self, event: &Event) -> bool {
        self.wants_servers || !matches!(event.kind, EventKind::ServerStarted(_) | EventKind::ServerFinished(_))
    }

    async fn deliver(&self, _: &[Arc<Batch>], _: &[Uuid]) -> Result<(), OutputError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), OutputError> {
        Ok(())
    }
}

/// The store under test, which is there: each of its answers comes in time, and is no error.
struct Tested<'a>(&'a dyn Store);

impl Tested<'_> {
    async fn commit(&self, changes: Vec<Change>) -> Decision {
        self.commit_in(0, changes).await
    }

    /// Commits, and sees that what was decided is there, to the millisecond.
    async fn commit_in(&self, lane: usize, changes: Vec<Change>) -> Decision {
        let outputs: Arc<[Arc<dyn Output>]> = SINKS.map(|sink| Arc::new(sink) as Arc<dyn Output>).into();
        let group = Arc::new(Group::new(changes, outputs));
        let decision = answer("commit", self.0.commit(lane, group)).await;
        for decided in decision.new_deployments.iter().chain(&decision.changed_deployments) {
            let recorded = self.deployment(decided.id).await.expect("it is there");
            assert_eq!(&recorded.deployment, decided);
        }
        for decided in decision.new_servers.iter().chain(&decision.changed_servers) {
            let recorded = self.servers(decided.hostname.clone(), all()).await;
            assert_eq!(recorded.iter().find(|server| server.key() == decided.key()), Some(decided));
        }
        decision
    }

    async fn outcome(&self, change: Change) -> Outcome {
        self.commit(vec![change]).await.outcomes.remove(0)
    }

    async fn deployment(&self, id: DeploymentId) -> Option<DeploymentWithServers> {
        answer("deployment", self.0.deployment(id)).await
    }

    async fn deployments(&self, page: Page<CreatedCursor>) -> Vec<DeploymentWithServers> {
        answer("deployments", self.0.deployments(page)).await
    }

    async fn hostnames(&self, page: Page<Hostname>) -> Vec<Hostname> {
        answer("hostnames", self.0.hostnames(page)).await
    }

    async fn servers(&self, hostname: Hostname, page: Page<CreatedCursor>) -> Vec<Server> {
        answer("servers", self.0.servers(hostname, page)).await
    }

    async fn logs(&self, id: LogDeploymentId, page: Page<Uuid>) -> Vec<LogMessage> {
        answer("logs", self.0.logs(id, page)).await
    }

    async fn pending(&self, output: &str, limit: usize) -> Vec<PendingBatch> {
        answer("owed", self.0.pending(output, limit)).await
    }

    async fn backlog(&self, output: &str) -> Backlog {
        answer("take_stock", self.0.backlog(output)).await
    }

    async fn logged(&self, after: Option<LogDeploymentId>, limit: u32) -> Vec<(LogDeploymentId, Uuid)> {
        answer("logged", self.0.logged(after, limit)).await
    }

    async fn delete_older(&self, ids: &[LogDeploymentId], before: Timestamp, limit: u32) -> Deleted {
        answer("delete_older", self.0.delete_older(ids.into(), before, limit)).await
    }

    async fn check(&self) {
        answer("check", self.0.check()).await;
    }

    fn lanes(&self) -> usize {
        self.0.lanes()
    }
}

async fn answer<T>(what: &str, asked: impl Future<Output = Result<T, StoreError>>) -> T {
    let answer = within(PATIENCE, what, asked).await;
    answer.unwrap_or_else(|error| panic!("{what}: {}", chain(&error)))
}

fn all<K>() -> Page<K> {
    Page::first(1000)
}

/// The records of a list, read `limit` at a time by where the last one stands: the same as all of it.
async fn read_on<T, K: Clone + PartialEq, F: Future<Output = Vec<T>>>(
    limit: u32,
    read: impl Fn(Page<K>) -> F,
    place: impl Fn(&T) -> K,
) -> Vec<T> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let part = read(Page { limit, after: after.clone(), offset: 0 }).await;
        assert!(part.len() <= limit as usize, "no more than wanted");
        assert!(!part.iter().any(|row| after.as_ref() == Some(&place(row))), "only what is behind the place");
        let Some(last) = part.last() else { return rows };
        after = Some(place(last));
        rows.extend(part);
    }
}

/// Reads a list of four records or more in every way there is.
async fn is_paged<T, K: Clone + Debug + PartialEq, F: Future<Output = Vec<T>>>(
    read: impl Fn(Page<K>) -> F,
    place: impl Fn(&T) -> K,
) {
    let places = async |page| read(page).await.iter().map(&place).collect::<Vec<_>>();
    let whole = places(all()).await;
    assert!(whole.len() >= 4, "{whole:?}");
    let read_on: Vec<_> = read_on(2, &read, &place).await.iter().map(&place).collect();
    assert_eq!(read_on, whole);
    let after = Some(whole[0].clone());
    assert_eq!(places(Page { offset: 1, ..Page::first(2) }).await, whole[1..3]);
    assert_eq!(places(Page { limit: 2, after, offset: 1 }).await, whole[2..4]);
    assert_eq!(places(Page { offset: i64::MAX as u64, ..all() }).await, []);
}

fn newest(listed: &DeploymentWithServers) -> CreatedCursor {
    CreatedCursor { created_at: listed.deployment.created_at, deployment_id: listed.deployment.id }
}

fn newest_server(server: &Server) -> CreatedCursor {
    CreatedCursor { created_at: server.created_at, deployment_id: server.deployment_id }
}

fn start(id: DeploymentId) -> Change {
    Change::StartDeployment(DeploymentReport::new(id))
}

/// Waits until what is recorded is younger than what was recorded before.
async fn a_moment() {
    let now = time::now();
    while time::now() <= now {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
