//! The suite for stores.

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

use super::{DEADLINE, within};
use crate::event::{Batch, Event, EventKind};
use crate::group::{Change, Decision, Group, Outcome};
use crate::id::DeploymentId;
use crate::log::{LogDeploymentId, LogMessage};
use crate::output::{Delivery, Output, OutputError, chain};
use crate::server::{Hostname, Server};
use crate::store::{
    Backlog, CreatedCursor, Deleted, DeploymentQuery, HostnameQuery, LogQuery, Page, PendingBatch, ServerQuery, Store,
    StoreError,
};
use crate::time::{self, Timestamp};
use crate::{DeploymentReport, DeploymentWithServers};

/// Tests that a store keeps every promise of [`Store`]. The store must be empty.
///
/// # Panics
/// Panics with the promise that the store breaks.
pub async fn store_suite(store: &dyn Store) {
    let store = &Tested(store);
    store.check().await;
    deployments::are_recorded(store).await;
    servers::are_recorded(store).await;
    servers::are_distinct(store).await;
    deployments::are_read_back_whole(store).await;
    deployments::commit_together(store).await;
    lanes::commit_independently(store).await;
    logs::are_kept(store).await;
    logs::are_distinct(store).await;
    retention::deletes_only_old_records(store).await;
    outbox::keeps_pending_batches_until_they_are_acknowledged(store).await;
    outbox::is_read_in_bounded_parts(store).await;
}

/// An output for which the store keeps pending batches.
#[derive(Debug)]
struct Sink {
    name: &'static str,
    wants_servers: bool,
}

/// The outputs of every group. The first one does not want events of servers.
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

    async fn deliver(&self, _: &[Arc<Batch>]) -> Result<(), OutputError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), OutputError> {
        Ok(())
    }
}

/// The store under test. Each method panics if the store fails or does not answer in time.
struct Tested<'a>(&'a dyn Store);

impl Tested<'_> {
    async fn commit(&self, changes: Vec<Change>) -> Decision {
        self.commit_in(0, changes).await
    }

    /// Commits, and asserts that the store then has every record of the decision.
    async fn commit_in(&self, lane: usize, changes: Vec<Change>) -> Decision {
        let outputs: Arc<[Arc<dyn Output>]> = SINKS.map(|sink| Arc::new(sink) as Arc<dyn Output>).into();
        let group = Arc::new(Group::new(changes, outputs));
        let decision = answer("commit", self.0.commit(lane, group)).await;
        for decided in decision.new_deployments.iter().chain(&decision.changed_deployments) {
            let recorded = self.deployment(decided.id).await.expect("a committed deployment is readable");
            assert_eq!(&recorded.deployment, decided, "a committed deployment is read back unchanged");
        }
        for decided in decision.new_servers.iter().chain(&decision.changed_servers) {
            let recorded = self.servers(decided.hostname.clone(), all()).await;
            let found = recorded.iter().find(|server| server.key() == decided.key());
            assert_eq!(found, Some(decided), "a committed server is read back unchanged");
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
        answer("deployments", self.0.deployments(DeploymentQuery::new(page))).await
    }

    async fn hostnames(&self, page: Page<Hostname>) -> Vec<Hostname> {
        answer("hostnames", self.0.hostnames(HostnameQuery::new(page))).await
    }

    async fn servers(&self, hostname: Hostname, page: Page<CreatedCursor>) -> Vec<Server> {
        answer("servers", self.0.servers(ServerQuery::new(hostname, page))).await
    }

    async fn logs(&self, id: LogDeploymentId, page: Page<Uuid>) -> Vec<LogMessage> {
        answer("logs", self.0.logs(LogQuery::new(id, page))).await
    }

    async fn pending(&self, output: &str, limit: usize) -> Vec<PendingBatch> {
        answer("pending", self.0.pending(output, limit)).await
    }

    async fn backlog(&self, output: &str) -> Backlog {
        answer("backlog", self.0.backlog(output)).await
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

async fn answer<T>(method: &str, call: impl Future<Output = Result<T, StoreError>>) -> T {
    let answer = within(DEADLINE, &format!("`{method}` returns"), call).await;
    answer.unwrap_or_else(|error| panic!("`{method}` failed: {}", chain(&error)))
}

fn all<K>() -> Page<K> {
    Page::first(1000)
}

/// Reads a list by cursor, `limit` records at a time.
async fn read_pages<T, K: Clone + PartialEq, F: Future<Output = Vec<T>>>(
    limit: u32,
    read: impl Fn(Page<K>) -> F,
    cursor: impl Fn(&T) -> K,
) -> Vec<T> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = read(Page { limit, after: after.clone(), offset: 0 }).await;
        assert!(page.len() <= limit as usize, "a page has at most `limit` records");
        assert!(
            !page.iter().any(|row| after.as_ref() == Some(&cursor(row))),
            "a page has only records after the cursor"
        );
        let Some(last) = page.last() else { return rows };
        after = Some(cursor(last));
        rows.extend(page);
    }
}

/// Asserts that a list of at least four records reads the same by cursor, by offset and by both.
async fn is_paged<T, K: Clone + Debug + PartialEq, F: Future<Output = Vec<T>>>(
    read: impl Fn(Page<K>) -> F,
    cursor: impl Fn(&T) -> K,
) {
    let cursors = async |page| read(page).await.iter().map(&cursor).collect::<Vec<_>>();
    let whole = cursors(all()).await;
    assert!(whole.len() >= 4, "the list has at least four records: {whole:?}");
    let by_cursor: Vec<_> = read_pages(2, &read, &cursor).await.iter().map(&cursor).collect();
    assert_eq!(by_cursor, whole, "pages by cursor add up to the whole list");
    let after = Some(whole[0].clone());
    let by_offset = cursors(Page { offset: 1, ..Page::first(2) }).await;
    assert_eq!(by_offset, whole[1..3], "`offset` skips records");
    let by_both = cursors(Page { limit: 2, after, offset: 1 }).await;
    assert_eq!(by_both, whole[2..4], "`offset` skips records after the cursor");
    let beyond = cursors(Page { offset: i64::MAX as u64, ..all() }).await;
    assert_eq!(beyond, [], "a page beyond the end is empty");
}

fn deployment_cursor(listed: &DeploymentWithServers) -> CreatedCursor {
    CreatedCursor { created_at: listed.deployment.created_at, deployment_id: listed.deployment.id }
}

fn server_cursor(server: &Server) -> CreatedCursor {
    CreatedCursor { created_at: server.created_at, deployment_id: server.deployment_id }
}

fn start(id: DeploymentId) -> Change {
    Change::StartDeployment(DeploymentReport::new(id))
}

/// Waits for the next millisecond, so that later records have a later time than earlier ones.
async fn next_millisecond() {
    let now = time::now();
    while time::now() <= now {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
