//! The store: sends each operation to a thread that owns a connection.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tracker_core::time::Timestamp;
use tracker_core::{
    Backlog, CreatedCursor, Decision, Deleted, DeploymentId, DeploymentQuery, DeploymentWithServers, FieldClue, Group,
    Hostname, HostnameQuery, Listed, LogDeploymentId, LogMessage, LogQuery, PendingBatch, RejectReason, Server,
    ServerQuery, Store, StoreError, Threads,
};
use uuid::Uuid;

use crate::connector::Connector;
use crate::database::Database;
use crate::database_file::DatabaseFile;
use crate::error::{DbError, SqlError};
use crate::liveness::Liveness;
use crate::options::SqlStoreOptions;
use crate::url::DatabaseUrl;
use crate::worker::{Snapshots, Workers};

/// How long a query may take, including the time in the queue.
const READ_DEADLINE: Duration = Duration::from_secs(5);
/// Maximum jobs that wait for a writer: the next group, and maintenance.
const MAX_WAITING_WRITES: usize = 1_024;

/// A store for records and the outbox in an SQL database.
///
/// Each writer connection commits one group at a time. SQLite has one writer, with a write-ahead log and
/// `synchronous = FULL`. Queries use separate connections, and see everything that was committed before they were sent.
/// On SQLite, queries that wait at the same time may share a snapshot. The next call replaces a failed connection, so
/// the store recovers by itself after an outage.
#[derive(Debug)]
pub struct SqlStore {
    writers: Vec<Workers>,
    readers: Workers,
    /// The instance that owns the pending batches. Empty on SQLite, where one process owns the file.
    owner: Arc<str>,
    liveness: Arc<Liveness>,
    /// The file, if the database is one.
    file: Option<Arc<DatabaseFile>>,
}

impl SqlStore {
    /// Opens and migrates an SQLite file at once, and creates it with mode 0600 if it does not exist. A lock on
    /// `<file>.lock` ensures that one store at a time has it open. If the file is deleted or replaced meanwhile, commits
    /// and checks fail with [`StoreError::Unavailable`] until the original is back.
    ///
    /// A database server may be unreachable: every call fails with
    /// [`StoreError::Unavailable`] until the store can reach and migrate it.
    ///
    /// When an instance that shares the database server has sent no heartbeat for 15 s, one other instance
    /// adopts all of its pending batches. The adopter must have sent heartbeats for 15 s itself.
    ///
    /// # Errors
    /// [`SqlError::Open`] if the file cannot be opened, is not a database, or is open in another store for longer than
    /// [`SqlStoreOptions::lock_wait`].
    ///
    /// # Panics
    /// If the system cannot start a few threads.
    pub fn open(url: DatabaseUrl, options: SqlStoreOptions) -> Result<Self, SqlError> {
        let SqlStoreOptions { instance, max_waiting_queries, readers, writers, lock_wait } = options;
        let file = match &url {
            DatabaseUrl::Sqlite(path) => Some(Arc::new(DatabaseFile::open(path, lock_wait)?)),
            DatabaseUrl::Postgres(_) | DatabaseUrl::Mysql(_) => None,
        };
        let (readers, writers, owner) = if file.is_some() {
            (readers.unwrap_or(2), 1, "".into())
        } else {
            (readers.unwrap_or(4), writers.unwrap_or(2), instance.into())
        };
        let snapshots = if file.is_some() { Snapshots::Shared } else { Snapshots::Never };
        let connector = Connector::new(url, file.clone());
        if file.is_some() {
            connector.connect()?;
        }
        let max_waiting = max_waiting_queries.clamp(1, 1_000_000);
        let writer = |_| Workers::start("sql-writer", 1, MAX_WAITING_WRITES, Snapshots::Never, &connector);
        Ok(Self {
            writers: (0..writers.max(1)).map(writer).collect(),
            readers: Workers::start("sql-reader", readers.max(1), max_waiting, snapshots, &connector),
            owner,
            liveness: Arc::default(),
            file,
        })
    }

    /// Runs `job` on one of `workers` unless the file has been deleted or replaced.
    async fn write<T: Send + 'static>(
        &self,
        workers: &Workers,
        deadline: Option<Duration>,
        job: impl Fn(&mut dyn Database) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let file = self.file.clone();
        let checked = move |connection: &mut dyn Database| {
            if let Some(file) = &file {
                file.check()?;
            }
            job(connection)
        };
        Ok(workers.run(deadline, checked).await?)
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl Fn(&mut dyn Database) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, StoreError> {
        Ok(self.readers.run(Some(READ_DEADLINE), query).await?)
    }

    /// Like [`Self::read`], with a text from the caller as a parameter. If the encoding of the database lacks one of its
    /// characters, no record contains the text.
    async fn search<T: Send + 'static, K: Send + 'static>(
        &self,
        query: impl Fn(&mut dyn Database) -> Result<Listed<T, K>, DbError> + Send + 'static,
    ) -> Result<Listed<T, K>, StoreError> {
        match self.readers.run(Some(READ_DEADLINE), query).await {
            Err(DbError::Rejected { reason: RejectReason::Encoding, clue: FieldClue::Character(_), .. }) => {
                Ok(Listed { records: Vec::new(), next: None, unread: 0 })
            }
            found => Ok(found?),
        }
    }
}

#[async_trait]
impl Store for SqlStore {
    fn lanes(&self) -> usize {
        self.writers.len()
    }

    async fn commit(&self, lane: usize, group: Arc<Group>) -> Result<Decision, StoreError> {
        let owner = self.owner.clone();
        // No deadline: the caller has one, and outputs must still receive the events of a late commit.
        self.write(&self.writers[lane], None, move |connection| connection.commit(&owner, &group)).await
    }

    async fn deployment(&self, id: DeploymentId) -> Result<Option<DeploymentWithServers>, StoreError> {
        self.read(move |connection| connection.deployment(id)).await
    }

    async fn deployments(
        &self,
        query: DeploymentQuery,
    ) -> Result<Listed<DeploymentWithServers, CreatedCursor>, StoreError> {
        self.read(move |connection| connection.deployments(&query.page)).await
    }

    async fn hostnames(&self, query: HostnameQuery) -> Result<Listed<Hostname, Hostname>, StoreError> {
        self.search(move |connection| connection.hostnames(&query.page)).await
    }

    async fn servers(&self, query: ServerQuery) -> Result<Listed<Server, CreatedCursor>, StoreError> {
        self.search(move |connection| connection.servers(&query.hostname, &query.page)).await
    }

    async fn logs(&self, query: LogQuery) -> Result<Listed<LogMessage, Uuid>, StoreError> {
        self.search(move |connection| connection.logs(&query.deployment_id, &query.page)).await
    }

    async fn pending(&self, output: &str, limit: usize) -> Result<Vec<PendingBatch>, StoreError> {
        let (owner, output) = (self.owner.clone(), output.to_owned());
        self.read(move |connection| connection.pending(&owner, &output, limit)).await
    }

    async fn backlog(&self, output: &str) -> Result<Backlog, StoreError> {
        let (owner, output) = (self.owner.clone(), output.to_owned());
        let liveness = self.liveness.clone();
        // No deadline: no request waits for it.
        let backlog = move |connection: &mut dyn Database| connection.backlog(&owner, &output, &liveness);
        Ok(self.readers.run(None, backlog).await?)
    }

    async fn logged(
        &self,
        after: Option<LogDeploymentId>,
        limit: u32,
    ) -> Result<Vec<(LogDeploymentId, Uuid)>, StoreError> {
        self.read(move |connection| connection.logged(after.as_ref(), limit)).await
    }

    async fn delete_older(
        &self,
        ids: Arc<[LogDeploymentId]>,
        before: Timestamp,
        limit: u32,
    ) -> Result<Deleted, StoreError> {
        // Take turns with the commits on SQLite, which allows one writer. On a database server, do not delay
        // commits.
        let workers = if self.file.is_some() { &self.writers[0] } else { &self.readers };
        let delete = move |connection: &mut dyn Database| connection.delete_older(&ids, before, limit);
        let deleted = self.write(workers, None, delete).await?;
        if deleted.rows() > 0 {
            // A separate job, so that a commit waits for the deletion or for the write-back, not for both.
            workers.run(None, |connection| connection.write_back()).await?;
        }
        Ok(deleted)
    }

    async fn check(&self, lane: usize, bytes: usize) -> Result<(), StoreError> {
        let owner = self.owner.clone();
        let check = move |connection: &mut dyn Database| connection.check(&owner, bytes);
        self.write(&self.writers[lane], Some(READ_DEADLINE), check).await
    }

    fn threads(&self) -> Vec<Threads> {
        vec![Workers::stats("reader", std::slice::from_ref(&self.readers)), Workers::stats("writer", &self.writers)]
    }

    async fn close(&self) {
        // A failure loses nothing: commits are durable.
        let _ = self.writers[0].run(Some(READ_DEADLINE), |connection| connection.close()).await;
    }
}
