//! The traits that each database implements.
//!
//! The module of a database has a type `Connection` that implements [`Dialect`] and [`RecordAccess`]. It includes
//! `queries.rs`, which implements [`Database`](crate::database::Database) for that type. The module of a database
//! server implements `DatabaseServer` and includes `database_server/records.rs`, which implements [`RecordAccess`].

use std::sync::LazyLock;

use diesel::prelude::*;
use diesel::sql_types::Bool;
use tracker_core::time::Timestamp;
use tracker_core::{Backlog, CreatedCursor, Decision, Deleted, Group, Hostname, LogDeploymentId, MAX_TEXT, Records};
use uuid::Uuid;

use crate::condition::Condition;
use crate::database::IsStoreOpen;
use crate::error::{DbError, Errors};
use crate::liveness::Liveness;
use crate::rows::{DeploymentRow, ServerRow};
use crate::schema::{SqlUuid, logs, servers};

/// A condition on the rows of a table.
pub type Filter<'a, Table, C> =
    Box<dyn BoxableExpression<Table, <C as diesel::Connection>::Backend, SqlType = Bool> + 'a>;

/// The SQL and the connection settings of one database.
pub trait Dialect: diesel::Connection {
    /// The errors of the database that the store recognizes.
    const ERRORS: &'static Errors;

    /// Hostnames less than a hostname, in descending order. Parameters: hostname, limit, offset.
    const HOSTNAMES: &'static str;

    /// `messages`, `bytes` and `oldest` of the pending batches. Parameters: output, owner.
    const BACKLOG: &'static str;

    /// `name` and `event_id` of log messages of the deployments after a name, in ascending order. MySQL orders
    /// deployments by the hash of the name. Parameters: name, limit, offset.
    const LOGGED_DEPLOYMENTS: &'static str;

    /// Each `name` that has a log message from an id on. Parameters: names as a JSON array, event id.
    const RECENT_LOGS: &'static str;

    /// Deletes log messages before an id. Skips rows that another instance has locked. Parameters: names as a
    /// JSON array, event id, limit.
    const DELETE_LOGS: &'static str;

    /// Deletes servers that were last changed before a time. Skips rows that another instance has locked.
    /// Parameters: deployment ids as a JSON array, time, limit.
    const DELETE_SERVERS: &'static str;

    /// Deletes deployments, in the same way as [`Self::DELETE_SERVERS`].
    const DELETE_DEPLOYMENTS: &'static str;

    /// The condition that `createdAt` is a time, which is necessary for a place in a list. Some values that are not a
    /// time may satisfy it.
    const IS_CREATED: Condition;

    /// [`Self::IS_CREATED`] for rows whose `createdAt` is not greater than that of a cursor.
    const IS_CREATED_BEFORE: Condition = Self::IS_CREATED;

    /// The condition that `updatedAt` does not say when the row was last changed. Retention keeps such a row.
    const HAS_NO_AGE: Condition;

    /// Opens a connection.
    fn connect(url: &str) -> Result<Self, DbError>;

    /// Runs the migrations. If several instances start together, one migrates and the others wait.
    fn migrate(&mut self) -> Result<(), DbError>;

    /// Starts a background thread for table changes that are too slow for [`Self::migrate`].
    fn migrate_online(&mut self, _url: &str, _is_store_open: IsStoreOpen) -> Result<(), DbError> {
        Ok(())
    }

    /// Bounds how long the connection waits, and makes it independent of the database server's settings.
    fn configure(&mut self) -> Result<(), DbError> {
        Ok(())
    }

    /// See [`Database::begin_snapshot`](crate::database::Database::begin_snapshot). A database server gains
    /// nothing from a snapshot, which would cost it a round trip.
    fn begin_snapshot(&mut self) -> Result<(), DbError> {
        Ok(())
    }

    /// See [`Database::end_snapshot`](crate::database::Database::end_snapshot).
    fn end_snapshot(&mut self) -> Result<(), DbError> {
        Ok(())
    }

    /// See [`Database::write_back`](crate::database::Database::write_back). A database server maintains its
    /// own log.
    fn write_back(&mut self) -> Result<(), DbError> {
        Ok(())
    }

    /// See [`Database::close`](crate::database::Database::close).
    fn close(&mut self) -> Result<(), DbError> {
        Ok(())
    }

    /// Whether the columns of the Node.js service are going to be wider than they are now.
    fn is_widening(&mut self) -> bool {
        false
    }

    /// Replaces the keys of hostnames that are too long for an index by the hostnames.
    fn restore_hostnames<'a>(&mut self, _hostnames: impl Iterator<Item = &'a mut Hostname>) -> Result<(), DbError> {
        Ok(())
    }

    /// The parameter of [`Self::HOSTNAMES`] for the start of the list: greater than every hostname.
    fn before_all_hostnames() -> &'static str {
        static GREATEST: LazyLock<String> = LazyLock::new(|| "\u{10FFFF}".repeat(MAX_TEXT + 1));
        &GREATEST
    }

    /// The rows of `"Servers"` with a hostname.
    fn has_hostname(hostname: &str) -> Filter<'_, servers::table, Self>;

    /// The rows of `"Logs"` of a deployment.
    fn is_log_of(deployment: &str) -> Filter<'_, logs::table, Self>;
}

/// How a database finds and changes records. A file belongs to one process; other instances may share a database
/// server.
pub trait RecordAccess: Sized {
    /// A condition that a column has one of several ids.
    type HasId<C: Expression<SqlType = SqlUuid>>;

    /// The form of a time by which the index of a list is sorted.
    type CursorTime;

    /// The form of an id by which the index of a list is sorted.
    type CursorId;

    /// See [`Database::commit`](crate::database::Database::commit).
    fn commit(&mut self, owner: &str, group: &Group) -> Result<Decision, DbError>;

    /// Reads the records that the group names, within a transaction of the caller.
    fn read(&mut self, group: &Group) -> Result<Records, DbError>;

    /// Reads the records that the group names, decides, and writes, within a transaction of the caller.
    fn apply(&mut self, owner: &str, group: &Group) -> Result<Decision, DbError>;

    /// See [`Database::delete_older`](crate::database::Database::delete_older).
    fn delete_older(&mut self, names: &[LogDeploymentId], before: Timestamp, limit: u32) -> Result<Deleted, DbError>;

    /// See [`Database::backlog`](crate::database::Database::backlog).
    fn backlog(&mut self, owner: &str, output: &str, liveness: &Liveness) -> Result<Backlog, DbError>;

    /// The row of a deployment.
    fn find_deployment(&mut self, id: Uuid) -> QueryResult<Option<DeploymentRow>>;

    /// The rows of a deployment's servers.
    fn find_servers(&mut self, id: Uuid) -> QueryResult<Vec<ServerRow>>;

    /// The condition that `column` has one of `ids`.
    fn has_id<C: Expression<SqlType = SqlUuid> + ExpressionMethods>(column: C, ids: &[Uuid]) -> Self::HasId<C>;

    /// The place of a cursor in the list of deployments.
    fn place_in_deployments(&mut self, cursor: &CreatedCursor) -> QueryResult<(Self::CursorTime, Self::CursorId)>;

    /// The place of a cursor in the list of a host's servers.
    fn place_in_servers(
        &mut self,
        hostname: &str,
        cursor: &CreatedCursor,
    ) -> QueryResult<(Self::CursorTime, Self::CursorId)>;
}
