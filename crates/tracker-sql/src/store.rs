//! The store on top of the threads.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tracker_core::time::Timestamp;
use tracker_core::{
    Backlog, Decision, Deleted, DeploymentId, DeploymentQuery, DeploymentWithServers, Group, Hostname, HostnameQuery,
    LogDeploymentId, LogMessage, LogQuery, PendingBatch, Server, ServerQuery, Store, StoreError, Threads,
};
use uuid::Uuid;

use crate::connection::{Connection, Connector, DatabaseUrl};
use crate::error::Error;
use crate::liveness::Liveness;
use crate::worker::Workers;

/// How long a query may take, waiting included.
const READ_DEADLINE: Duration = Duration::from_secs(5);
/// How many jobs may wait for a writing connection: the next group, and what looks after it.
const WRITES: usize = 1_024;

/// The records and the outbox in an SQL database.
///
/// Each writing connection commits one group at a time; on SQLite there is one, with the write-ahead log and
/// `synchronous = FULL`. Queries have connections of their own, and show everything that was committed before they were
/// asked; those that wait together may share a snapshot. A connection that fails is made anew for the next call,
/// so that the store recovers by itself.
#[derive(Debug)]
pub struct SqlStore {
    writers: Vec<Workers>,
    readers: Workers,
    /// Whose the owed batches are: each replica delivers its own. A file has one server at a time, which delivers all.
    owner: Arc<str>,
    liveness: Arc<Liveness>,
    is_file: bool,
}

impl SqlStore {
    /// Opens the database, and brings its tables up to date. A file must be usable now; a server may still be away,
    /// then every call fails with [`StoreError::Unavailable`] until it is there.
    ///
    /// `replica` names this server among those on one database server, the same name after a restart: what it owed before is
    /// delivered before anything newer. What a server owes that is gone for 15 s is taken over by another that
    /// has been there meanwhile, all of it by the same.
    ///
    /// Of queries `max_queries` may wait, at least one and at most a million; beyond that they fail with [`StoreError::Unavailable`].
    ///
    /// # Errors
    /// [`Error`] when the file cannot be opened or is not a database.
    ///
    /// # Panics
    /// When the system has no room for a few threads.
    pub fn open(url: DatabaseUrl, instance: &str, max_queries: usize) -> Result<Self, Error> {
        // On a server two writers, so that one that waits for a lock does not hold up all. More make smaller groups, and each
        // group costs the server about as much.
        let (writers, readers, owner) = match url {
            DatabaseUrl::Sqlite(_) => (1, 2, "".into()),
            DatabaseUrl::Postgres(_) | DatabaseUrl::Mysql(_) => (2, 4, instance.into()),
        };
        let is_file = matches!(url, DatabaseUrl::Sqlite(_));
        let connector = Connector::new(url);
        if is_file {
            connector.connect()?;
        }
        Ok(Self {
            writers: (0..writers).map(|_| Workers::start("sql-writer", 1, WRITES, false, &connector)).collect(),
            readers: Workers::start("sql-reader", readers, max_queries.clamp(1, 1_000_000), is_file, &connector),
            owner,
            liveness: Arc::default(),
            is_file,
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl Fn(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        Ok(self.readers.run(Some(READ_DEADLINE), query).await?)
    }
}

#[async_trait]
impl Store for SqlStore {
    fn lanes(&self) -> usize {
        self.writers.len()
    }

    async fn commit(&self, lane: usize, group: Arc<Group>) -> Result<Decision, StoreError> {
        let owner = self.owner.clone();
        // Who reports has a deadline. The lane waits to the end: a commit that comes through late still tells the outputs.
        Ok(self.writers[lane].run(None, move |connection| connection.commit(&owner, &group)).await?)
    }

    async fn deployment(&self, id: DeploymentId) -> Result<Option<DeploymentWithServers>, StoreError> {
        self.read(move |connection| connection.deployment(id)).await
    }

    async fn deployments(&self, query: DeploymentQuery) -> Result<Vec<DeploymentWithServers>, StoreError> {
        self.read(move |connection| connection.deployments(&query.page)).await
    }

    async fn hostnames(&self, query: HostnameQuery) -> Result<Vec<Hostname>, StoreError> {
        self.read(move |connection| connection.hostnames(&query.page)).await
    }

    async fn servers(&self, query: ServerQuery) -> Result<Vec<Server>, StoreError> {
        self.read(move |connection| connection.servers(&query.hostname, &query.page)).await
    }

    async fn logs(&self, query: LogQuery) -> Result<Vec<LogMessage>, StoreError> {
        self.read(move |connection| connection.logs(&query.deployment_id, &query.page)).await
    }

    async fn pending(&self, output: &str, limit: usize) -> Result<Vec<PendingBatch>, StoreError> {
        let (owner, output) = (self.owner.clone(), output.to_owned());
        self.read(move |connection| connection.pending(&owner, &output, limit)).await
    }

    async fn backlog(&self, output: &str) -> Result<Backlog, StoreError> {
        let (owner, output) = (self.owner.clone(), output.to_owned());
        let liveness = self.liveness.clone();
        // Nobody waits for it.
        let stock = move |connection: &mut Connection| connection.backlog(&owner, &output, &liveness);
        Ok(self.readers.run(None, stock).await?)
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
        // A file has one writer: the groups and this take turns. On a server no group waits for it.
        let turns = if self.is_file { &self.writers[0] } else { &self.readers };
        let deleted = turns.run(None, move |connection| connection.delete_older(&ids, before, limit)).await?;
        if deleted.rows() > 0 {
            // In a turn of its own: a group waits for one of the two only.
            turns.run(None, Connection::write_back).await?;
        }
        Ok(deleted)
    }

    async fn check(&self) -> Result<(), StoreError> {
        let owner = self.owner.clone();
        Ok(self.writers[0].run(Some(READ_DEADLINE), move |connection| connection.check(&owner)).await?)
    }

    fn threads(&self) -> Vec<Threads> {
        vec![Workers::load("reader", std::slice::from_ref(&self.readers)), Workers::load("writer", &self.writers)]
    }

    async fn close(&self) {
        // What is committed is safe whether this succeeds or not.
        let _ = self.writers[0].run(Some(READ_DEADLINE), Connection::close).await;
    }
}
