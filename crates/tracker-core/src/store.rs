//! Where the records live, and what is still owed to each output.

use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;
use uuid::Uuid;

use crate::deployment::DeploymentWithServers;
use crate::event::Batch;
use crate::fields::DeploymentId;
use crate::group::{Decision, Group};
use crate::log::{LogDeploymentId, LogMessage};
use crate::metrics::Threads;
use crate::server::{Hostname, Server};
use crate::time::Timestamp;

/// A part of a list whose records are known by a `K`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<K> {
    /// How many records at the most.
    pub limit: u32,
    /// Only what the list has behind this place, which costs the same wherever it is. The record need not be there.
    pub after: Option<K>,
    /// How many records to pass over first, each of which costs time; at most `i64::MAX`.
    pub offset: u64,
}

impl<K> Page<K> {
    /// The first `limit` records.
    pub fn first(limit: u32) -> Self {
        Self { limit, after: None, offset: 0 }
    }
}

/// A place in a list that is newest first: of what is as old, the one with the greater id comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreatedCursor {
    /// When the record was made.
    pub created_at: Timestamp,
    /// Its deployment.
    pub deployment_id: DeploymentId,
}

/// After how many bytes a reading of the outbox ends, so that a long backlog takes little memory.
pub const PENDING_BYTES: usize = 4 << 20;

/// A batch as the outbox has it.
#[derive(Debug, Clone)]
pub struct PendingBatch {
    /// The batch.
    pub batch: Arc<Batch>,
    /// It was taken over from a replica that seemed to be gone, and may come back: the output must go on recognising
    /// the batch.
    pub is_adopted: bool,
}

/// How much is owed to an output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// The messages: of a log batch each message, of anything else one.
    pub messages: u64,
    /// Their size in the store, in bytes.
    pub bytes: u64,
    /// When the oldest of them was recorded.
    pub oldest: Option<Timestamp>,
}

/// How much was deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Deployments.
    pub deployments: u64,
    /// Records of a deployment on a server.
    pub servers: u64,
    /// Log messages.
    pub messages: u64,
}

impl Deleted {
    /// All of them together.
    pub fn rows(self) -> u64 {
        self.deployments + self.servers + self.messages
    }

    /// Counts `more` as well.
    pub(crate) fn add(&mut self, more: Self) {
        self.deployments += more.deployments;
        self.servers += more.servers;
        self.messages += more.messages;
    }

    /// What has been added to `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            deployments: self.deployments - earlier.deployments,
            servers: self.servers - earlier.servers,
            messages: self.messages - earlier.messages,
        }
    }
}

/// Where the records live, and what is still owed to each output.
///
/// `testing::store_suite` (feature `testing`) holds an implementation against what is said here.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// How many groups may commit at the same time. Changes of one deployment always go through the same lane.
    fn lanes(&self) -> usize {
        1
    }

    /// Commits a group of changes in one transaction: reads the records that the group names, lets
    /// [`Group::decide`] apply the rules, and writes what it decided. `Ok` means that it is durable. At most one call
    /// for each lane is under way at a time. When the future is dropped the group may or may not be committed.
    ///
    /// # Errors
    /// [`StoreError`]; after [`StoreError::Unknown`] the group may or may not be committed, after any other nothing of it
    /// is.
    async fn commit(&self, lane: usize, group: Arc<Group>) -> Result<Decision, StoreError>;

    /// One deployment with its servers.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    async fn deployment(&self, id: DeploymentId) -> Result<Option<DeploymentWithServers>, StoreError>;

    /// Deployments with their servers, newest first: by the time of creation, then by id, both descending.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    async fn deployments(&self, page: Page<CreatedCursor>) -> Result<Vec<DeploymentWithServers>, StoreError>;

    /// The distinct hostnames, descending by their bytes.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    async fn hostnames(&self, page: Page<Hostname>) -> Result<Vec<Hostname>, StoreError>;

    /// The records of one host, newest first: by the time of creation, then by deployment id, both descending.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    async fn servers(&self, hostname: Hostname, page: Page<CreatedCursor>) -> Result<Vec<Server>, StoreError>;

    /// The log messages of a deployment that the store keeps, oldest first; each is known by its event's id.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    async fn logs(&self, id: LogDeploymentId, page: Page<Uuid>) -> Result<Vec<LogMessage>, StoreError>;

    /// The oldest batches that are owed to `output`, in the order of their ids: `limit` of them, but few more bytes
    /// than [`PENDING_BYTES`]; none only when nothing is owed.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    async fn pending(&self, output: &str, limit: usize) -> Result<Vec<PendingBatch>, StoreError>;

    /// Counts what is owed to `output`, and takes over what replicas that are gone have left behind. Called about once
    /// a second.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be used.
    async fn backlog(&self, output: &str) -> Result<Backlog, StoreError>;

    /// The deployments that log messages are kept of, recorded or not, in an order of the store's own, each once with the
    /// id of its oldest message: the next ones after `after`, `limit` at the most, none only at the end.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    async fn logged(
        &self,
        after: Option<LogDeploymentId>,
        limit: u32,
    ) -> Result<Vec<(LogDeploymentId, Uuid)>, StoreError>;

    /// Deletes in one transaction what is recorded under `ids`: log messages, then servers, then deployments, `limit`
    /// rows at the most, so that all is gone when there were fewer. An id is left alone when anything under it is from
    /// `before` or later: its deployment or a server by the last change, a message by [`LogMessage::first_id`]. What
    /// others record or delete at the same time is left to them, and nothing is waited for. What is owed stays.
    ///
    /// # Errors
    /// [`StoreError`]; then it may or may not be done, and may be repeated.
    async fn delete_older(
        &self,
        ids: Arc<[LogDeploymentId]>,
        before: Timestamp,
        limit: u32,
    ) -> Result<Deleted, StoreError>;

    /// Tests that the store can be read and written.
    ///
    /// # Errors
    /// [`StoreError`] that says what is wrong.
    async fn check(&self) -> Result<(), StoreError>;

    /// How busy its threads are, if it has any of its own. This must not wait.
    fn threads(&self) -> Vec<Threads> {
        Vec::new()
    }

    /// Called at the end of a tracker, which commits and deletes nothing more; queries may still come. By default it does nothing.
    async fn close(&self) {}
}

/// Why a store did not do what it was asked for.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It cannot now, and has done nothing; try again later.
    #[error("the database is not available")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// It may have done it, or not.
    #[error("it is not known whether the database has committed")]
    Unknown(#[source] Box<dyn Error + Send + Sync>),
    /// It will never take this; another change may go through.
    #[error("the database rejects a change")]
    Rejected(#[source] Box<dyn Error + Send + Sync>),
    /// It does not take this yet; another change may go through.
    #[error("the database does not take a change yet")]
    NotYet(#[source] Box<dyn Error + Send + Sync>),
}
