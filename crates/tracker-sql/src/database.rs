//! The operations of the store on one connection.

use tracker_core::time::Timestamp;
use tracker_core::{
    Backlog, CreatedCursor, Decision, Deleted, DeploymentId, DeploymentWithServers, Group, Hostname, Listed,
    LogDeploymentId, LogMessage, Page, PendingBatch, Server,
};
use uuid::Uuid;

use crate::dialect::Dialect;
use crate::error::DbError;
use crate::liveness::Liveness;
use crate::url::DatabaseUrl;

/// A connection to any database. `queries.rs` implements this trait once for each database, on top of
/// [`crate::dialect`].
pub trait Database: Send {
    /// Brings the tables up to date. Slow changes continue in the background as long as `is_store_open` returns `true`.
    fn migrate(&mut self, url: &str, is_store_open: IsStoreOpen) -> Result<(), DbError>;

    /// Prepares the connection for reports and queries.
    fn configure(&mut self) -> Result<(), DbError>;

    /// Leaves the database in a state in which it can be copied.
    fn close(&mut self) -> Result<(), DbError>;

    /// Writes and deletes a row of at least `bytes` bytes, to prove that a commit of that size would succeed.
    fn check(&mut self, owner: &str, bytes: usize) -> Result<(), DbError>;

    /// Says who is at fault for an error of this connection.
    fn classify(&self, error: DbError) -> DbError;

    /// Decides and commits a group in one transaction.
    fn commit(&mut self, owner: &str, group: &Group) -> Result<Decision, DbError>;

    /// Makes all reads until [`Self::end_snapshot`] see one state, if that saves locks on this database.
    fn begin_snapshot(&mut self) -> Result<(), DbError>;

    /// Ends the snapshot: reads see the latest commit again.
    fn end_snapshot(&mut self) -> Result<(), DbError>;

    fn deployment(&mut self, id: DeploymentId) -> Result<Option<DeploymentWithServers>, DbError>;

    fn deployments(
        &mut self,
        page: &Page<CreatedCursor>,
    ) -> Result<Listed<DeploymentWithServers, CreatedCursor>, DbError>;

    fn hostnames(&mut self, page: &Page<Hostname>) -> Result<Listed<Hostname, Hostname>, DbError>;

    fn servers(
        &mut self,
        hostname: &Hostname,
        page: &Page<CreatedCursor>,
    ) -> Result<Listed<Server, CreatedCursor>, DbError>;

    fn logs(&mut self, id: &LogDeploymentId, page: &Page<Uuid>) -> Result<Listed<LogMessage, Uuid>, DbError>;

    /// Deployments with log messages, each with the id of its oldest message. May return fewer than `limit`,
    /// because `limit` bounds the rows that are read.
    fn logged(&mut self, after: Option<&LogDeploymentId>, limit: u32) -> Result<Vec<(LogDeploymentId, Uuid)>, DbError>;

    /// Deletes at most `limit` rows of those deployments in `names` whose records are all older than `before`.
    fn delete_older(&mut self, names: &[LogDeploymentId], before: Timestamp, limit: u32) -> Result<Deleted, DbError>;

    /// Copies the pages that a deletion changed from the write-ahead log to the file, so that no later commit
    /// has to.
    fn write_back(&mut self) -> Result<(), DbError>;

    /// The oldest pending batches of an output.
    fn pending(&mut self, owner: &str, output: &str, limit: usize) -> Result<Vec<PendingBatch>, DbError>;

    /// Counts the pending batches of an output. Where several instances share the database, also sends a
    /// heartbeat and adopts batches of an instance that is gone.
    fn backlog(&mut self, owner: &str, output: &str, liveness: &Liveness) -> Result<Backlog, DbError>;
}

/// Tells a background migration whether its store is still in use. Closes an idle connection, to make room for one of
/// the migration.
pub type IsStoreOpen = Box<dyn Fn() -> bool + Send>;

/// Opens a connection with the database that the URL names.
pub fn open(url: &DatabaseUrl) -> Result<Box<dyn Database>, DbError> {
    match url {
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => connect::<crate::sqlite::Connection>(path),
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(url) => connect::<crate::database_server::postgres::Connection>(url),
        #[cfg(feature = "mysql")]
        DatabaseUrl::Mysql(url) => connect::<crate::database_server::mysql::Connection>(url),
        #[cfg(not(all(feature = "sqlite", feature = "postgres", feature = "mysql")))]
        other => {
            let message = format!("this build does not support {other}");
            Err(DbError::Connect(diesel::ConnectionError::BadConnection(message)))
        }
    }
}

fn connect<C: Dialect + Database + 'static>(url: &str) -> Result<Box<dyn Database>, DbError> {
    Ok(Box::new(C::connect(url)?))
}
