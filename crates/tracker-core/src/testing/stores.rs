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
use crate::list::{CreatedCursor, Listed, Page, Record};
use crate::log::{LogDeploymentId, LogMessage};
use crate::output::{Delivery, Output, OutputError, chain};
use crate::server::{Hostname, Server};
use crate::store::{
    Backlog, Deleted, DeploymentQuery, HostnameQuery, LogQuery, PendingBatch, ServerQuery, Store, StoreError,
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
    deployments::are_read_in_bounded_parts(store).await;
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
        let changed = decision.changed_deployments.iter().map(|changed| &changed.record);
        for decided in decision.new_deployments.iter().chain(changed) {
            let recorded = self.deployment(decided.id).await.expect("a committed deployment is readable");
            assert_eq!(&recorded.deployment, decided, "a committed deployment is read back unchanged");
        }
        let changed = decision.changed_servers.iter().map(|changed| &changed.record);
        for decided in decision.new_servers.iter().chain(changed) {
            let recorded = self.servers(decided.hostname.clone(), all()).await.records;
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

    async fn deployments(&self, page: Page<CreatedCursor>) -> Listed<DeploymentWithServers, CreatedCursor> {
        answer("deployments", self.0.deployments(DeploymentQuery::new(page))).await
    }

    async fn hostnames(&self, page: Page<Hostname>) -> Listed<Hostname, Hostname> {
        answer("hostnames", self.0.hostnames(HostnameQuery::new(page))).await
    }

    async fn servers(&self, hostname: Hostname, page: Page<CreatedCursor>) -> Listed<Server, CreatedCursor> {
        answer("servers", self.0.servers(ServerQuery::new(hostname, page))).await
    }

    async fn logs(&self, id: LogDeploymentId, page: Page<Uuid>) -> Listed<LogMessage, Uuid> {
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
        for (lane, bytes) in (0..self.lanes()).flat_map(|lane| [(lane, 0), (lane, 64 << 10), (lane, 4 << 20)]) {
            answer("check", self.0.check(lane, bytes)).await;
        }
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
    Page { max_bytes: usize::MAX, ..Page::first(1000) }
}

/// Reads a list by cursor, page by page.
async fn read_pages<T: Record, F: Future<Output = Listed<T, T::Cursor>>>(
    page: Page<T::Cursor>,
    read: impl Fn(Page<T::Cursor>) -> F,
) -> Vec<Vec<T>>
where
    T::Cursor: Debug + PartialEq,
{
    let (mut pages, mut next) = (Vec::new(), Some(page.clone()));
    while let Some(start) = next {
        let Listed { records, next: rest, unread } = read(start.clone()).await;
        assert!(records.len() <= start.limit as usize, "a page has at most `limit` records");
        assert!(
            !records.iter().any(|record| start.after.as_ref() == Some(&record.cursor())),
            "a page has only records after the cursor"
        );
        let rows = u32::try_from(records.len()).expect("at most `limit`");
        let expected = rest.as_ref().map_or(0, |_| start.limit - rows);
        assert_eq!(unread, expected, "`unread` counts the rows that the page may still have");
        if let Some(rest) = &rest {
            let after = records.last().map(T::cursor);
            assert_eq!(rest, &Page { after, offset: 0, ..page.clone() }, "the list continues after the last record");
        }
        next = rest;
        pages.push(records);
    }
    pages
}

/// Asserts that a list of at least four records reads the same by cursor, by offset, by both, and in small pieces.
async fn is_paged<T: Record, F: Future<Output = Listed<T, T::Cursor>>>(read: impl Fn(Page<T::Cursor>) -> F)
where
    T::Cursor: Debug + PartialEq,
{
    let cursors = async |page| read(page).await.records.iter().map(T::cursor).collect::<Vec<_>>();
    let whole = cursors(all()).await;
    assert!(whole.len() >= 4, "the list has at least four records: {whole:?}");
    let pages = read_pages(Page { max_bytes: usize::MAX, ..Page::first(2) }, &read).await;
    assert!(pages[..whole.len() / 2].iter().all(|page| page.len() == 2), "a page is full unless the list ends");
    let by_cursor: Vec<_> = pages.iter().flatten().map(T::cursor).collect();
    assert_eq!(by_cursor, whole, "pages by cursor add up to the whole list");
    let after = Some(whole[0].clone());
    let by_offset = cursors(Page { offset: 1, ..Page::first(2) }).await;
    assert_eq!(by_offset, whole[1..3], "`offset` skips records");
    let by_both = cursors(Page { after, offset: 1, ..Page::first(2) }).await;
    assert_eq!(by_both, whole[2..4], "`offset` skips records after the cursor");
    let beyond = cursors(Page { offset: i64::MAX as u64, ..all() }).await;
    assert_eq!(beyond, [], "a page beyond the end is empty");

    for limit in [whole.len() / 2, whole.len(), whole.len() + 1] {
        let limit = u32::try_from(limit).expect("a short list");
        let pages = read_pages(Page { max_bytes: usize::MAX, ..Page::first(limit) }, &read).await;
        let read: Vec<_> = pages.iter().flatten().map(T::cursor).collect();
        assert_eq!(read, whole, "the pages end, wherever the list ends");
    }
    assert_eq!(read(Page::first(0)).await.next, None, "a page without rows has no next page");

    let pieces = read_pages(Page { max_bytes: 0, ..all() }, &read).await;
    let (end, pieces) = pieces.split_last().expect("a page");
    assert!(end.is_empty() && pieces.iter().all(|piece| piece.len() == 1), "a read makes progress past any size");
    let in_pieces: Vec<_> = pieces.iter().flatten().map(T::cursor).collect();
    assert_eq!(in_pieces, whole, "pages that end at their bytes add up to the whole list");
    let records = read(all()).await.records;
    let max_bytes = records[0].size() + 1;
    let two = read(Page { max_bytes, ..all() }).await.records.len();
    assert_eq!(two, 2, "the record that reaches `max_bytes` is the last one");
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
