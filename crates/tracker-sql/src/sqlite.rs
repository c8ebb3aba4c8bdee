//! What only SQLite does its way.

use diesel::connection::{AnsiTransactionManager, Connection as _, SimpleConnection, TransactionManager};
use diesel::dsl::{Eq, exists};
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use tracker_core::time::Timestamp;
use tracker_core::{Backlog, Decision, Deleted, Deployment, EventKind, Group, LogDeploymentId, Records, Server};
use uuid::Uuid;

use crate::error::Error;
use crate::liveness::Liveness;
use crate::rows::{DeploymentRow, LogRow, OutboxRow, ServerRow};
use crate::schema::{SqlUuid, deployments, logs, outbox, servers};
use crate::values::{Capitals, Id, Spelled};

mod is_any;
#[path = "queries.rs"]
pub mod queries;

use is_any::IsAny;

pub type Connection = SqliteConnection;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");

/// Distinct hostnames by one look-up in the index for each, however many rows a host has.
pub const HOSTNAMES: &str = r#"
    WITH RECURSIVE h(hostname) AS (
        SELECT max(hostname) FROM "Servers" WHERE hostname < ?
        UNION ALL
        SELECT (SELECT max(hostname) FROM "Servers" WHERE hostname < h.hostname) FROM h WHERE h.hostname IS NOT NULL
    )
    SELECT hostname FROM h WHERE hostname IS NOT NULL LIMIT ? OFFSET ?"#;

/// What is owed to an output, in figures.
pub const BACKLOG: &str = r#"
    SELECT CAST(coalesce(sum(messages), 0) AS BIGINT) AS messages, CAST(coalesce(sum(bytes), 0) AS BIGINT) AS bytes,
           min("createdAt") AS oldest
    FROM "Outbox" WHERE output = ? AND owner = ?"#;

/// Deployments behind a name that log messages are kept of, each with the oldest first.
pub const LOGGED_DEPLOYMENTS: &str = r#"SELECT deployment_id AS name, event_id FROM "Logs" WHERE deployment_id > ? ORDER BY deployment_id, event_id LIMIT ?"#;

/// Those of a list of names with a log message from an id on.
pub const RECENT_LOGS: &str = r#"
    SELECT value AS name FROM json_each(?)
    WHERE (SELECT 1 FROM "Logs" WHERE deployment_id = value AND event_id >= ? LIMIT 1) IS NOT NULL"#;

/// Deletes log messages of a list of names, before an id, so many at the most.
pub const DELETE_LOGS: &str = r#"
    DELETE FROM "Logs" WHERE rowid IN (
        SELECT rowid FROM "Logs" WHERE deployment_id IN (SELECT value FROM json_each(?)) AND event_id < ? LIMIT ?)"#;

/// Deletes servers of a list of ids, in either spelling, not changed since a time, so many at the most.
pub const DELETE_SERVERS: &str = r#"
    DELETE FROM "Servers" WHERE rowid IN (
        SELECT rowid FROM "Servers" WHERE deployment_id IN (
            SELECT value FROM json_each(?1) UNION ALL SELECT upper(value) FROM json_each(?1))
        AND "updatedAt" < ?2 LIMIT ?3)"#;

/// Deletes deployments likewise.
pub const DELETE_DEPLOYMENTS: &str = r#"
    DELETE FROM "Deployments" WHERE rowid IN (
        SELECT rowid FROM "Deployments" WHERE deployment_id IN (
            SELECT value FROM json_each(?1) UNION ALL SELECT upper(value) FROM json_each(?1))
        AND "updatedAt" < ?2 LIMIT ?3)"#;

/// Opens the file, and makes it if need be. A commit is on the disk when it returns.
pub fn connect(path: &str) -> Result<Connection, Error> {
    let mut connection = SqliteConnection::establish(path).map_err(Error::Connect)?;
    connection.batch_execute(
        "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16000;",
    )?;
    Ok(connection)
}

/// A file has nothing to bound: nobody else is waited for longer than the busy timeout.
#[expect(clippy::unnecessary_wraps, reason = "every database has this function")]
pub fn configure(_: &mut Connection) -> Result<(), Error> {
    Ok(())
}

pub fn migrate(connection: &mut Connection) -> Result<(), Error> {
    connection.run_pending_migrations(MIGRATIONS).map_err(Error::Migrate)?;
    Ok(())
}

/// Empties the write-ahead log, so that the file is whole without the one beside it.
pub fn close(connection: &mut Connection) -> Result<(), Error> {
    Ok(connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)")?)
}

/// An id as it stands in the list of deployments. The index has ids in the order of their spelling: to sort them by what
/// they are, every row that a page passes over would have to be read.
pub fn spelled_in_list(connection: &mut Connection, id: Uuid) -> QueryResult<Spelled> {
    let in_capitals = deployments::table.filter(deployments::deployment_id.eq(Capitals(id)));
    Ok(spelled(id, diesel::select(exists(in_capitals)).get_result(connection)?))
}

/// An id as it stands in the list of a host's records.
pub fn spelled_on_host(connection: &mut Connection, hostname: &str, id: Uuid) -> QueryResult<Spelled> {
    let on_host = servers::table.filter(servers::hostname.eq(hostname));
    let in_capitals = on_host.filter(servers::deployment_id.eq(Capitals(id)));
    Ok(spelled(id, diesel::select(exists(in_capitals)).get_result(connection)?))
}

fn spelled(id: Uuid, in_capitals: bool) -> Spelled {
    if in_capitals { Spelled::Capitals(Capitals(id)) } else { Spelled::Small(Id(id)) }
}

/// Whether `column` has one of the ids. The old service kept an id in the letter case that the engine chose.
pub fn is_any<C: Expression<SqlType = SqlUuid>>(column: C, ids: &[Uuid]) -> IsAny<C> {
    IsAny::new(column, ids)
}

/// Whether a row of `"Servers"` is about the host.
pub fn is_hostname(hostname: &str) -> Eq<servers::hostname, &str> {
    servers::hostname.eq(hostname)
}

/// Whether a row of `"Logs"` belongs to the deployment.
pub fn is_log_of(deployment: &str) -> Eq<logs::deployment_id, &str> {
    logs::deployment_id.eq(deployment)
}

/// The record of a deployment. Two look-ups in the index cost SQLite less than one of a list of two, which it makes a table
/// of.
pub fn find(connection: &mut Connection, id: Uuid) -> QueryResult<Option<DeploymentRow<'static>>> {
    let rows = deployments::table
        .filter(deployments::deployment_id.eq(Id(id)))
        .union_all(deployments::table.filter(deployments::deployment_id.eq(Capitals(id))));
    Ok(rows.load(connection)?.into_iter().next())
}

/// The servers of a deployment, likewise. An id without a letter has one spelling, and each of its servers comes once. Where
/// a server is there in both spellings the last one counts.
pub fn servers_of(connection: &mut Connection, id: Uuid) -> QueryResult<Vec<ServerRow<'static>>> {
    let in_capitals = servers::table.filter(servers::deployment_id.eq(Capitals(id)));
    let rows = in_capitals
        .filter(servers::deployment_id.ne(Id(id)))
        .union_all(servers::table.filter(servers::deployment_id.eq(Id(id))));
    rows.load(connection)
}

pub fn commit(connection: &mut Connection, owner: &str, group: &Group) -> Result<Decision, Error> {
    let mut is_decided = false;
    let committed = connection.immediate_transaction(|connection| {
        let mut decision = group.decide(read(connection, group)?);
        write(connection, owner, &mut decision)?;
        is_decided = true;
        Ok(decision)
    });
    committed.map_err(|error: Error| error.of_transaction(is_decided))
}

pub fn delete_older(
    connection: &mut Connection,
    names: &[LogDeploymentId],
    before: Timestamp,
    limit: u32,
) -> Result<Deleted, Error> {
    connection.immediate_transaction(|connection| queries::delete_older(connection, names, before, limit))
}

/// Locks the file once for all that is read until the end.
pub fn begin_snapshot(connection: &mut Connection) -> Result<(), Error> {
    Ok(AnsiTransactionManager::begin_transaction(connection)?)
}

pub fn end_snapshot(connection: &mut Connection) -> Result<(), Error> {
    Ok(AnsiTransactionManager::commit_transaction(connection)?)
}

/// Writes what was changed from the log into the file. What is deleted is all over the file: a report that finds the log
/// full would write many of its pages back.
pub fn write_back(connection: &mut Connection) -> Result<(), Error> {
    Ok(connection.batch_execute("PRAGMA wal_checkpoint(PASSIVE)")?)
}

/// Counts what is owed. A file has one server at a time: there is nobody to take over from.
pub fn backlog(connection: &mut Connection, owner: &str, output: &str, _: &Liveness) -> Result<Backlog, Error> {
    queries::backlog(connection, owner, output)
}

fn read(connection: &mut Connection, group: &Group) -> Result<Records, Error> {
    let mut records = Records::default();
    for id in group.deployments() {
        records.deployments.extend(find(connection, id.0)?.map(Deployment::from));
    }
    for key in group.servers() {
        let on_host = servers::table.filter(servers::hostname.eq(key.hostname.as_str()));
        let rows = on_host
            .filter(servers::deployment_id.eq(Id(key.deployment_id.0)))
            .union_all(on_host.filter(servers::deployment_id.eq(Capitals(key.deployment_id.0))));
        records.servers.extend(rows.load::<ServerRow>(connection)?.into_iter().next().map(Server::from));
    }
    for id in group.deployments_with_all_servers() {
        records.servers.extend(servers_of(connection, id.0)?.into_iter().map(Server::from));
    }
    Ok(records)
}

fn write(connection: &mut Connection, owner: &str, decision: &mut Decision) -> Result<(), Error> {
    for deployment in &decision.new_deployments {
        diesel::insert_into(deployments::table).values(DeploymentRow::from(deployment)).execute(connection)?;
    }
    // Where an id is there in both spellings, the row that was read is changed.
    for deployment in &decision.changed_deployments {
        let (id, row) = (deployment.id.0, || DeploymentRow::from(deployment));
        if diesel::update(deployments::table.find(Id(id))).set(row()).execute(connection)? == 0 {
            let in_capitals = deployments::table.filter(deployments::deployment_id.eq(Capitals(id)));
            diesel::update(in_capitals).set(row()).execute(connection)?;
        }
    }
    for server in &decision.new_servers {
        diesel::insert_into(servers::table).values(ServerRow::from(server)).execute(connection)?;
    }
    for server in &decision.changed_servers {
        let (id, row) = (server.deployment_id.0, || ServerRow::from(server));
        let on_host = servers::table.filter(servers::hostname.eq(server.hostname.as_str()));
        if diesel::update(on_host.filter(servers::deployment_id.eq(Id(id)))).set(row()).execute(connection)? == 0 {
            let in_capitals = on_host.filter(servers::deployment_id.eq(Capitals(id)));
            diesel::update(in_capitals).set(row()).execute(connection)?;
        }
    }
    for event in &decision.logs {
        if let EventKind::Logged(batch) = &event.kind {
            for row in LogRow::of(batch) {
                diesel::insert_into(logs::table).values(row).on_conflict_do_nothing().execute(connection)?;
            }
        }
    }
    for pending in &decision.pending {
        let row = OutboxRow::new(pending, owner).map_err(Error::Content)?;
        diesel::insert_into(outbox::table).values(row).on_conflict_do_nothing().execute(connection)?;
    }
    queries::acknowledge(connection, owner, decision)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use diesel::connection::InstrumentationEvent;
    use diesel::sql_types::Text;
    use tracker_core::{CreatedCursor, DeploymentId, Hostname, Page, time};

    use super::*;

    #[derive(QueryableByName)]
    struct Step {
        #[diesel(sql_type = Text)]
        detail: String,
    }

    /// How SQLite goes about the statements that `job` sends.
    fn plans(job: impl FnOnce(&mut Connection)) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut connection = connect(folder.path().join("db").to_str().expect("a path")).expect("a file");
        migrate(&mut connection).expect("tables");
        let statements = Arc::new(Mutex::new(Vec::new()));
        let sent = statements.clone();
        connection.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            if let InstrumentationEvent::StartQuery { query, .. } = event {
                sent.lock().expect("no panic").push(query.to_string());
            }
        });
        job(&mut connection);
        let statements: Vec<_> = statements.lock().expect("no panic").drain(..).collect();
        let steps = statements.into_iter().flat_map(|statement| {
            let plan = diesel::sql_query(format!("EXPLAIN QUERY PLAN {statement}"));
            plan.load::<Step>(&mut connection).expect("a plan")
        });
        steps.map(|step| step.detail).collect()
    }

    #[test]
    fn servers_are_looked_up_by_their_deployments() {
        let ids = [Uuid::nil()];
        let plans = plans(|connection| {
            servers::table.filter(is_any(servers::deployment_id, &ids)).load::<ServerRow>(connection).expect("a list");
            servers_of(connection, ids[0]).expect("a list");
        });
        let searches = plans.iter().filter(|step| step.contains("SEARCH Servers USING INDEX Servers_of_deployment"));
        assert_eq!(searches.count(), 3, "{plans:?}");
        assert!(!plans.iter().any(|step| step.starts_with("SCAN Servers")), "{plans:?}");
    }

    #[test]
    fn lists_come_in_the_order_of_an_index() {
        let place = CreatedCursor { created_at: time::now(), deployment_id: DeploymentId(Uuid::nil()) };
        let host = Hostname::stored("h");
        for page in [Page { offset: 9, ..Page::first(5) }, Page { after: Some(place), ..Page::first(5) }] {
            let plans = plans(|connection| {
                queries::deployments(connection, &page).expect("a list");
                queries::servers(connection, &host, &page).expect("a list");
            });
            for index in ["Deployments_newest", "Servers_newest"] {
                assert!(plans.iter().any(|step| step.contains(index)), "{index}: {plans:?}");
            }
            assert!(!plans.iter().any(|step| step.contains("TEMP B-TREE")), "rows are sorted: {plans:?}");
        }
    }
}
