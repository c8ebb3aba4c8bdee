//! The trait that a database of records implements.

use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use thiserror::Error;
use uuid::Uuid;

use crate::deployment::DeploymentWithServers;
use crate::event::Batch;
use crate::group::{Decision, Group};
use crate::id::DeploymentId;
use crate::list::{CreatedCursor, Listed, Page};
use crate::log::{LogDeploymentId, LogMessage};
use crate::rejection::{FieldClue, RejectReason};
use crate::server::{Hostname, Server};
use crate::time::Timestamp;

/// The deployments to list: newest first, by creation time and then by id.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeploymentQuery {
    /// The part of the list.
    pub page: Page<CreatedCursor>,
}

impl DeploymentQuery {
    /// All deployments.
    pub fn new(page: Page<CreatedCursor>) -> Self {
        Self { page }
    }
}

/// The hostnames to list: without duplicates, in descending order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostnameQuery {
    /// The part of the list.
    pub page: Page<Hostname>,
}

impl HostnameQuery {
    /// All hostnames.
    pub fn new(page: Page<Hostname>) -> Self {
        Self { page }
    }
}

/// The records of one server to list: newest first, by creation time and then by deployment id.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerQuery {
    /// The name of the server.
    pub hostname: Hostname,
    /// The part of the list.
    pub page: Page<CreatedCursor>,
}

impl ServerQuery {
    /// All records of the server.
    pub fn new(hostname: Hostname, page: Page<CreatedCursor>) -> Self {
        Self { hostname, page }
    }
}

/// The log messages to list: oldest first, by their event ids.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogQuery {
    /// The deployment.
    pub deployment_id: LogDeploymentId,
    /// The part of the list.
    pub page: Page<Uuid>,
}

impl LogQuery {
    /// All log messages of the deployment.
    pub fn new(deployment_id: LogDeploymentId, page: Page<Uuid>) -> Self {
        Self { deployment_id, page }
    }
}

/// The number of bytes after which a read of the outbox ends, so that a long backlog takes little memory.
pub const PENDING_BYTES: usize = 4 << 20;

/// A batch in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingBatch {
    /// The batch.
    pub batch: Arc<Batch>,
    /// Whether it was adopted from an instance that seemed to be gone. That instance may return and deliver it too, so
    /// the output must keep recognizing the batch.
    pub is_adopted: bool,
}

/// The size of the outbox of one output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Backlog {
    /// The number of messages. Each message of a log batch counts, and any other event counts as one.
    pub messages: u64,
    /// Their size in the store, in bytes.
    pub bytes: u64,
    /// When the oldest of them was recorded.
    pub oldest: Option<Timestamp>,
}

/// The number of deleted records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// Deployments.
    pub deployments: u64,
    /// Records of a deployment on a server.
    pub servers: u64,
    /// Log messages.
    pub messages: u64,
}

impl Deleted {
    /// The sum of all kinds.
    pub fn rows(self) -> u64 {
        self.deployments + self.servers + self.messages
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.deployments += more.deployments;
        self.servers += more.servers;
        self.messages += more.messages;
    }

    /// The difference from an `earlier` value.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            deployments: self.deployments - earlier.deployments,
            servers: self.servers - earlier.servers,
            messages: self.messages - earlier.messages,
        }
    }
}

/// The load of those threads of a store that do one kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Threads {
    /// The kind of work, such as `reader`.
    pub name: &'static str,
    /// The number of threads.
    pub threads: u64,
    /// The number of threads that are working.
    pub busy: u64,
    /// The number of jobs that wait for a thread.
    pub waiting: u64,
    /// The number of jobs since the start that were refused because too many waited.
    pub refused: u64,
    /// The number of jobs since the start whose caller gave up because they took too long.
    pub late: u64,
}

/// A database of records, with an outbox of pending batches.
///
/// A query for a list ends at the limits of its [`Page`], in bytes as well as in rows; [`Listed::read`] applies them. The
/// store does not hold many more bytes than that, however large the rows behind them are.
///
/// With the feature `testing`, `testing::store_suite` checks an implementation against these rules.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// The number of groups that may commit at the same time. All changes of one deployment go through the same lane.
    fn lanes(&self) -> usize {
        1
    }

    /// Commits a group of changes in one transaction: reads the records that the group names, calls [`Group::decide`],
    /// and writes the decision. `Ok` means that the group is durable. The caller makes one call per lane at a time.
    /// When it drops the future, the group may or may not be committed.
    ///
    /// # Errors
    /// [`StoreError`]. After [`StoreError::Unknown`], the group may or may not be committed; after any other error,
    /// nothing of it is.
    async fn commit(&self, lane: usize, group: Arc<Group>) -> Result<Decision, StoreError>;

    /// Reads one deployment with its servers.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    async fn deployment(&self, id: DeploymentId) -> Result<Option<DeploymentWithServers>, StoreError>;

    /// Lists deployments with their servers.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    async fn deployments(
        &self,
        query: DeploymentQuery,
    ) -> Result<Listed<DeploymentWithServers, CreatedCursor>, StoreError>;

    /// Lists hostnames.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    async fn hostnames(&self, query: HostnameQuery) -> Result<Listed<Hostname, Hostname>, StoreError>;

    /// Lists the records of one server.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    async fn servers(&self, query: ServerQuery) -> Result<Listed<Server, CreatedCursor>, StoreError>;

    /// Lists the log messages of a deployment that the store keeps.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    async fn logs(&self, query: LogQuery) -> Result<Listed<LogMessage, Uuid>, StoreError>;

    /// Reads the oldest pending batches of `output`, in the order of their ids: up to `limit` batches, and not many
    /// more bytes than [`PENDING_BYTES`]. The result is empty only when no batch is pending.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    async fn pending(&self, output: &str, limit: usize) -> Result<Vec<PendingBatch>, StoreError>;

    /// Measures the backlog of `output`. A store that several instances share also records the heartbeat of this
    /// instance, and adopts pending batches of instances that are gone. Called about once a second.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be used.
    async fn backlog(&self, output: &str) -> Result<Backlog, StoreError>;

    /// Lists deployments that have log messages, whether or not the deployment itself is recorded. Each appears once,
    /// with the id of its oldest message. Returns up to `limit` deployments after `after`, in an order that the store
    /// chooses. The result is empty only at the end of the list.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    async fn logged(
        &self,
        after: Option<LogDeploymentId>,
        limit: u32,
    ) -> Result<Vec<(LogDeploymentId, Uuid)>, StoreError>;

    /// Deletes the records under `ids` in one transaction: log messages first, then servers, then deployments. Deletes
    /// up to `limit` rows; a smaller count means that no old row is left. Skips an id if one of its records is from
    /// `before` or later. The time of the last change counts for a deployment or server, and [`LogMessage::first_id`]
    /// for a message. Skips rows that another transaction has locked, instead of waiting for them. Keeps pending
    /// batches.
    ///
    /// # Errors
    /// [`StoreError`]. The deletion may or may not have happened, and is safe to retry.
    async fn delete_older(
        &self,
        ids: Arc<[LogDeploymentId]>,
        before: Timestamp,
        limit: u32,
    ) -> Result<Deleted, StoreError>;

    /// Checks that the store can be read, and that `lane` can write a row of at least `bytes` bytes, which it removes
    /// again.
    ///
    /// # Errors
    /// [`StoreError`] that says what is wrong.
    async fn check(&self, lane: usize, bytes: usize) -> Result<(), StoreError>;

    /// The load of the store's own threads, if it has any. Must not block.
    fn threads(&self) -> Vec<Threads> {
        Vec::new()
    }

    /// Called at shutdown, after the last commit and deletion. Queries may still arrive. Does nothing by default.
    async fn close(&self) {}
}

/// Why a store failed, classified by what the caller can do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store is not available now, and has done nothing. Retrying later may help.
    #[error("the database is not available")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// Too many calls wait for the store, or it did not answer a call in time. It has done nothing.
    #[error("the database is overloaded")]
    Overloaded(#[source] Box<dyn Error + Send + Sync>),
    /// The result is unknown: the change may or may not have been made.
    #[error("the database did not confirm whether it has committed")]
    Unknown(#[source] Box<dyn Error + Send + Sync>),
    /// The store never accepts this change. Another change may succeed.
    #[error("the database rejects a change")]
    Rejected {
        /// The reason for the engine.
        reason: RejectReason,
        /// What the store knows about the field at fault.
        clue: FieldClue,
        /// The error of the database, for the operator.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The store does not accept this change yet. Another change may succeed.
    #[error("the database does not accept a change yet")]
    NotYet(#[source] Box<dyn Error + Send + Sync>),
    /// The store has done nothing, and cannot tell whether a change of the group or the store itself is at fault.
    /// For a group of one change, it means that the store is at fault as far as it can tell.
    #[error("the database reports an unexpected error")]
    Unexpected(#[source] Box<dyn Error + Send + Sync>),
}
