//! SQLite: one file, which one process owns.

use std::fmt::Display;

use diesel::connection::{AnsiTransactionManager, Connection as _, SimpleConnection, TransactionManager};
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use tracker_core::time::Timestamp;
use tracker_core::{Backlog, CreatedCursor, Decision, Deleted, EventKind, Group, LogDeploymentId, Records};
use uuid::Uuid;

use crate::condition::Condition;
use crate::dialect::{Dialect, Filter, RecordAccess};
use crate::error::{self, DbError, Errors};
use crate::liveness::Liveness;
use crate::rows::{
    DeploymentChanges, DeploymentRow, NewDeployment, NewLog, NewServer, OutboxRow, ServerChanges, ServerRow,
};
use crate::schema::{SqlUuid, deployments, logs, outbox, servers};
use crate::unreadable;
use crate::values::sqlite::{KeyPart, UpperCaseId};
use crate::values::{Id, Stored};

mod has_id;
mod place;
#[path = "queries.rs"]
mod queries;
#[path = "trial.rs"]
mod trial;

use has_id::HasId;
use place::Place;

pub type Connection = SqliteConnection;

/// Reads a row when it is needed.
pub type Loading = diesel::connection::DefaultLoadingMode;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Seeks in the index: SQLite sorts NULL and numbers before text, and blobs after it.
const NOT_LISTED: &str = r#"
    SELECT deployment_id FROM "Deployments"
    WHERE "createdAt" IS NULL OR "createdAt" < '' OR "createdAt" >= x'' LIMIT 100"#;

#[derive(QueryableByName)]
struct StoredDeployment {
    #[diesel(sql_type = SqlUuid)]
    deployment_id: Stored<Id>,
}

impl Dialect for Connection {
    const ERRORS: &'static Errors = error::sqlite::ERRORS;

    /// Seeks to each hostname in the index instead of reading every row.
    const HOSTNAMES: &'static str = r#"
        WITH RECURSIVE h(hostname) AS (
            SELECT max(hostname) FROM "Servers" WHERE hostname < ?
            UNION ALL
            SELECT (SELECT max(hostname) FROM "Servers" WHERE hostname < h.hostname) FROM h WHERE h.hostname IS NOT NULL
        )
        SELECT hostname FROM h WHERE hostname IS NOT NULL LIMIT ? OFFSET ?"#;

    const BACKLOG: &'static str = r#"
        SELECT CAST(coalesce(sum(messages), 0) AS BIGINT) AS messages,
               CAST(coalesce(sum(bytes), 0) AS BIGINT) AS bytes, min("createdAt") AS oldest
        FROM "Outbox" WHERE output = ? AND owner = ?"#;

    const LOGGED_DEPLOYMENTS: &'static str = r#"
        SELECT deployment_id AS name, event_id FROM "Logs" WHERE deployment_id > ? AND typeof(deployment_id) = 'text'
        ORDER BY deployment_id, event_id LIMIT ? OFFSET ?"#;

    const RECENT_LOGS: &'static str = r#"
        SELECT value AS name FROM json_each(?)
        WHERE (SELECT 1 FROM "Logs" WHERE deployment_id = value AND event_id >= ? LIMIT 1) IS NOT NULL"#;

    const DELETE_LOGS: &'static str = r#"
        DELETE FROM "Logs" WHERE rowid IN (
            SELECT rowid FROM "Logs" WHERE deployment_id IN (SELECT value FROM json_each(?))
            AND event_id < ? LIMIT ?)"#;

    const DELETE_SERVERS: &'static str = r#"
        DELETE FROM "Servers" WHERE rowid IN (
            SELECT rowid FROM "Servers" WHERE deployment_id IN (
                SELECT value FROM json_each(?1) UNION ALL SELECT upper(value) FROM json_each(?1))
            AND typeof("updatedAt") = 'text' AND "updatedAt" < ?2 LIMIT ?3)"#;

    const DELETE_DEPLOYMENTS: &'static str = r#"
        DELETE FROM "Deployments" WHERE rowid IN (
            SELECT rowid FROM "Deployments" WHERE deployment_id IN (
                SELECT value FROM json_each(?1) UNION ALL SELECT upper(value) FROM json_each(?1))
            AND typeof("updatedAt") = 'text' AND "updatedAt" < ?2 LIMIT ?3)"#;

    /// Bounds in the index, which cost less than a check of each row: SQLite sorts numbers before text, and blobs after
    /// it.
    const IS_CREATED: Condition = Condition(r#"("createdAt" >= '' AND "createdAt" < x'')"#);

    /// SQLite uses one upper bound, which must be the cursor.
    const IS_CREATED_BEFORE: Condition = Condition(r#""createdAt" >= ''"#);

    /// SQLite sorts numbers before text, so a number would be older than every time.
    const HAS_NO_AGE: Condition =
        Condition(r#"(typeof("updatedAt") <> 'text' OR "updatedAt" NOT GLOB '[0-9][0-9][0-9][0-9]-*')"#);

    /// Opens or creates the file. `synchronous = FULL` makes every commit durable before it returns.
    fn connect(path: &str) -> Result<Self, DbError> {
        let mut connection = Self::establish(path).map_err(DbError::Connect)?;
        connection.batch_execute(
            "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA cache_size = -16000;",
        )?;
        Ok(connection)
    }

    /// Also logs the deployments that [`Self::IS_CREATED`] leaves out of lists.
    fn migrate(&mut self) -> Result<(), DbError> {
        self.run_pending_migrations(MIGRATIONS).map_err(DbError::Migrate)?;
        for id in diesel::sql_query(NOT_LISTED).load::<StoredDeployment>(self)? {
            let id = id.deployment_id.0.map(|Id(id)| id);
            unreadable::log_once("Deployments", id.as_ref().map(|id| id as &dyn Display), "createdAt");
        }
        Ok(())
    }

    /// Locks the file once for all reads of the snapshot.
    fn begin_snapshot(&mut self) -> Result<(), DbError> {
        Ok(AnsiTransactionManager::begin_transaction(self)?)
    }

    fn end_snapshot(&mut self) -> Result<(), DbError> {
        Ok(AnsiTransactionManager::commit_transaction(self)?)
    }

    /// Copies changed pages from the write-ahead log to the file. Deletions change pages all over the file;
    /// the commit that finds the log full would have to copy them.
    fn write_back(&mut self) -> Result<(), DbError> {
        Ok(self.batch_execute("PRAGMA wal_checkpoint(PASSIVE)")?)
    }

    /// Empties the write-ahead log, so that the main file is complete without it.
    fn close(&mut self) -> Result<(), DbError> {
        Ok(self.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)")?)
    }

    fn has_hostname(hostname: &str) -> Filter<'_, servers::table, Self> {
        Box::new(servers::hostname.eq(hostname))
    }

    fn is_log_of(deployment: &str) -> Filter<'_, logs::table, Self> {
        Box::new(logs::deployment_id.eq(deployment))
    }
}

/// The Node.js service stored an id in the letter case that the engine chose, so each look-up considers lower and upper
/// case.
impl RecordAccess for Connection {
    type HasId<C: Expression<SqlType = SqlUuid>> = HasId<C>;
    type CursorTime = KeyPart;
    type CursorId = KeyPart;

    fn commit(&mut self, owner: &str, group: &Group) -> Result<Decision, DbError> {
        let mut is_decided = false;
        let committed = self.immediate_transaction(|connection| {
            let decision = connection.apply(owner, group)?;
            is_decided = true;
            Ok(decision)
        });
        committed.map_err(|error: DbError| error.classified(Self::ERRORS).of_transaction(is_decided))
    }

    fn read(&mut self, group: &Group) -> Result<Records, DbError> {
        read(self, group)
    }

    fn apply(&mut self, owner: &str, group: &Group) -> Result<Decision, DbError> {
        let mut decision = group.decide(read(self, group)?);
        write(self, owner, &mut decision)?;
        Ok(decision)
    }

    fn delete_older(&mut self, names: &[LogDeploymentId], before: Timestamp, limit: u32) -> Result<Deleted, DbError> {
        self.immediate_transaction(|connection| queries::delete_older_rows(connection, names, before, limit))
    }

    /// Only counts: no other instance uses the file.
    fn backlog(&mut self, owner: &str, output: &str, _: &Liveness) -> Result<Backlog, DbError> {
        queries::count_backlog(self, owner, output)
    }

    /// Uses a union, because SQLite builds a temporary table for a list of two ids.
    fn find_deployment(&mut self, id: Uuid) -> QueryResult<Option<DeploymentRow>> {
        let rows = deployments::table
            .filter(deployments::deployment_id.eq(Id(id)))
            .union_all(deployments::table.filter(deployments::deployment_id.eq(UpperCaseId(id))));
        Ok(rows.load(self)?.into_iter().next())
    }

    /// If a server is stored in both letter cases, the row in lower case comes last, so [`Group::decide`] uses that
    /// one. The condition `ne` keeps an id without letters from matching twice.
    fn find_servers(&mut self, id: Uuid) -> QueryResult<Vec<ServerRow>> {
        let in_upper_case = servers::table.filter(servers::deployment_id.eq(UpperCaseId(id)));
        let rows = in_upper_case
            .filter(servers::deployment_id.ne(Id(id)))
            .union_all(servers::table.filter(servers::deployment_id.eq(Id(id))));
        rows.load(self)
    }

    fn has_id<C: Expression<SqlType = SqlUuid> + ExpressionMethods>(column: C, ids: &[Uuid]) -> HasId<C> {
        HasId::new(column, ids)
    }

    fn place_in_deployments(&mut self, cursor: &CreatedCursor) -> QueryResult<Place> {
        place::find(self, "Deployments", None, cursor)
    }

    fn place_in_servers(&mut self, hostname: &str, cursor: &CreatedCursor) -> QueryResult<Place> {
        place::find(self, "Servers", Some(hostname), cursor)
    }
}

fn read(connection: &mut Connection, group: &Group) -> Result<Records, DbError> {
    let mut records = Records::default();
    for id in group.deployments() {
        records.deployments.extend(connection.find_deployment(id.0)?.and_then(DeploymentRow::record));
    }
    for key in group.servers() {
        let on_host = servers::table.filter(servers::hostname.eq(key.hostname.as_str()));
        let rows = on_host
            .filter(servers::deployment_id.eq(Id(key.deployment_id.0)))
            .union_all(on_host.filter(servers::deployment_id.eq(UpperCaseId(key.deployment_id.0))));
        records.servers.extend(rows.load(connection)?.into_iter().next().and_then(ServerRow::changeable));
    }
    for id in group.deployments_with_all_servers() {
        records.servers.extend(connection.find_servers(id.0)?.into_iter().filter_map(ServerRow::changeable));
    }
    Ok(records)
}

fn write(connection: &mut Connection, owner: &str, decision: &mut Decision) -> Result<(), DbError> {
    for deployment in &decision.new_deployments {
        diesel::insert_into(deployments::table).values(NewDeployment::from(deployment)).execute(connection)?;
    }
    // If an id is stored in both letter cases, change the row that `read` found: the one in lower case.
    for changed in &decision.changed_deployments {
        let (id, changes) = (changed.record.id.0, || DeploymentChanges::from(changed));
        if diesel::update(deployments::table.find(Id(id))).set(changes()).execute(connection)? == 0 {
            let in_upper_case = deployments::table.filter(deployments::deployment_id.eq(UpperCaseId(id)));
            diesel::update(in_upper_case).set(changes()).execute(connection)?;
        }
    }
    for server in &decision.new_servers {
        diesel::insert_into(servers::table).values(NewServer::from(server)).execute(connection)?;
    }
    for changed in &decision.changed_servers {
        let (id, changes) = (changed.record.deployment_id.0, || ServerChanges::from(changed));
        let on_host = servers::table.filter(servers::hostname.eq(changed.record.hostname.as_str()));
        if diesel::update(on_host.filter(servers::deployment_id.eq(Id(id)))).set(changes()).execute(connection)? == 0 {
            let in_upper_case = on_host.filter(servers::deployment_id.eq(UpperCaseId(id)));
            diesel::update(in_upper_case).set(changes()).execute(connection)?;
        }
    }
    for event in &decision.logs {
        if let EventKind::Logged(batch) = &event.kind {
            for row in NewLog::of(batch) {
                diesel::insert_into(logs::table).values(row).on_conflict_do_nothing().execute(connection)?;
            }
        }
    }
    for pending in &decision.pending {
        let row = OutboxRow::new(pending, owner).map_err(DbError::Content)?;
        diesel::insert_into(outbox::table).values(row).on_conflict_do_nothing().execute(connection)?;
    }
    queries::acknowledge(connection, owner, decision)
}

#[cfg(test)]
mod tests;
