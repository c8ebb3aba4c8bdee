//! What only PostgreSQL does its way.

use std::sync::Once;

use diesel::connection::{Connection as _, SimpleConnection};
use diesel::dsl::{Eq, sql};
use diesel::pg::sql_types::Array;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use diesel::sql_types::Text;
use diesel::upsert::excluded;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use tracker_core::ServerKey;

use crate::error::Error;
use crate::rows::ServerRow;
use crate::schema::{SqlUuid, logs, servers};
use crate::values::Id;

#[path = "queries.rs"]
pub mod queries;
#[path = "replicated.rs"]
mod replicated;

pub use replicated::{
    backlog, begin_snapshot, close, commit, delete_older, end_snapshot, find, is_any, servers_of, spelled_in_list,
    spelled_on_host, write_back,
};

pub type Connection = PgConnection;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");

/// Distinct hostnames by one look-up in the index for each, however many rows a host has.
pub const HOSTNAMES: &str = r#"
    WITH RECURSIVE h(hostname) AS (
        (SELECT hostname COLLATE "C" FROM "Servers" WHERE hostname COLLATE "C" < $1 ORDER BY hostname COLLATE "C" DESC LIMIT 1)
        UNION ALL
        SELECT (SELECT s.hostname COLLATE "C" FROM "Servers" s
                WHERE s.hostname COLLATE "C" < h.hostname ORDER BY s.hostname COLLATE "C" DESC LIMIT 1)
        FROM h WHERE h.hostname IS NOT NULL
    )
    SELECT hostname::text FROM h WHERE hostname IS NOT NULL LIMIT $2 OFFSET $3"#;

/// What is owed to an output, in figures.
pub const BACKLOG: &str = r#"
    SELECT CAST(coalesce(sum(messages), 0) AS BIGINT) AS messages, CAST(coalesce(sum(bytes), 0) AS BIGINT) AS bytes,
           min("createdAt") AS oldest
    FROM "Outbox" WHERE output = $1 AND owner = $2"#;

/// Forgets replicas that are long gone.
pub const FORGET_DEAD: &str = r#"DELETE FROM "Replicas" WHERE "seenAt" < now() - interval '1 hour'"#;

/// Says that a replica is there.
pub const HEARTBEAT: &str = r#"
    INSERT INTO "Replicas" AS r (replica, "seenAt") VALUES ($1, now())
    ON CONFLICT (replica) DO UPDATE SET "seenAt" = now(), "takenBy" = NULL WHERE r."seenAt" < now() - interval '2 s'"#;

/// Counts those who owe and are unknown as seen now.
pub const REGISTER_OWNERS: &str = r#"
    INSERT INTO "Replicas" (replica, "seenAt") SELECT DISTINCT owner, now() FROM "Outbox" o
    WHERE output = $1 AND owner <> $2 AND NOT EXISTS (SELECT FROM "Replicas" r WHERE r.replica = o.owner)
    ON CONFLICT DO NOTHING"#;

/// A replica that owes, was not seen for long, and that nobody takes over from but the one who asks.
pub const DEAD_INSTANCE: &str = r#"
    SELECT replica FROM "Replicas" r
    WHERE replica <> $1 AND "seenAt" < now() - interval '15 s'
        AND NOT EXISTS (
            SELECT FROM "Replicas" t
            WHERE t.replica = r."takenBy" AND t.replica <> $2 AND t."seenAt" > now() - interval '15 s')
        AND EXISTS (SELECT FROM "Outbox" o WHERE o.output = $3 AND o.owner = r.replica)
    ORDER BY replica LIMIT 1 FOR UPDATE SKIP LOCKED"#;

/// Says who takes over from a replica.
pub const CLAIM: &str = r#"UPDATE "Replicas" SET "takenBy" = $1 WHERE replica = $2"#;

/// Takes over the oldest batches that a replica owes.
pub const ADOPT: &str = r#"
    UPDATE "Outbox" SET owner = $1, is_taken_over = true WHERE (output, batch_id) IN (
        SELECT output, batch_id FROM "Outbox" WHERE output = $2 AND owner = $3 ORDER BY batch_id LIMIT 5000)"#;

/// Deployments behind a name that log messages are kept of, each with the oldest first.
pub const LOGGED_DEPLOYMENTS: &str = r#"
    SELECT deployment_id AS name, event_id FROM "Logs" WHERE deployment_id > $1 ORDER BY deployment_id, event_id LIMIT $2"#;

/// Those of a list of names with a log message from an id on.
pub const RECENT_LOGS: &str = r#"
    SELECT name FROM json_array_elements_text($1::json) name
    WHERE (SELECT 1 FROM "Logs" WHERE deployment_id = name AND event_id >= $2 LIMIT 1) IS NOT NULL"#;

/// Deletes log messages of a list of names, before an id, so many at the most. What another replica holds is its business.
pub const DELETE_LOGS: &str = r#"
    DELETE FROM "Logs" WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM "Logs" WHERE deployment_id = ANY(ARRAY(SELECT json_array_elements_text($1::json)))
        AND event_id < $2 LIMIT $3 FOR UPDATE SKIP LOCKED))"#;

/// Deletes servers of a list of ids, not changed since a time, so many at the most.
pub const DELETE_SERVERS: &str = r#"
    DELETE FROM "Servers" WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM "Servers" WHERE deployment_id = ANY(ARRAY(SELECT json_array_elements_text($1::json)::uuid))
        AND "updatedAt" < $2 LIMIT $3 FOR UPDATE SKIP LOCKED))"#;

/// Deletes deployments likewise.
pub const DELETE_DEPLOYMENTS: &str = r#"
    DELETE FROM "Deployments" WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM "Deployments" WHERE deployment_id = ANY(ARRAY(SELECT json_array_elements_text($1::json)::uuid))
        AND "updatedAt" < $2 LIMIT $3 FOR UPDATE SKIP LOCKED))"#;

/// The number of the advisory lock that lets one of several starting replicas migrate at a time.
const MIGRATION_LOCK: &str = "2015070717";

/// Connects. A connection whose other side is gone is noticed within half a minute, a statement ends within five
/// seconds, whatever the URL does not say otherwise.
pub fn connect(url: &str) -> Result<Connection, Error> {
    let mut url = url.to_owned();
    for (name, value) in [
        ("connect_timeout", "3"),
        ("keepalives_idle", "10"),
        ("keepalives_interval", "5"),
        ("keepalives_count", "3"),
        ("tcp_user_timeout", "20000"),
        ("application_name", "deployment-tracker"),
    ] {
        if !url.contains(&format!("{name}=")) {
            let separator = if url.contains('?') { '&' } else { '?' };
            url.push_str(&format!("{separator}{name}={value}"));
        }
    }
    PgConnection::establish(&url).map_err(Error::Connect)
}

/// Has statements go by an index where there is one. A prepared one keeps its plan: made while its table was small, or not
/// analyzed, that would be to read all there is, and go on so while the table grows. Planning each time anew would do as
/// well, but halves what reads come to. A scan that cannot be avoided is thought so dear then that it would be compiled each
/// time. Old versions do not know `jit`.
const BY_INDEX: &str = "
    SELECT set_config(name, 'off', false) FROM pg_settings
    WHERE name IN ('enable_seqscan', 'enable_bitmapscan', 'jit')";

/// Bounds what a connection that serves reports may wait for, and has it go by indexes and speak English.
pub fn configure(connection: &mut Connection) -> Result<(), Error> {
    connection.batch_execute("SET statement_timeout = 5000; SET lock_timeout = 3000; SET TIME ZONE 'UTC'")?;
    connection.batch_execute(BY_INDEX)?;
    speak_english(connection)
}

/// Has errors come in English: diesel passes on no codes, so that [`Error`] knows most by their text. Not every user may
/// choose the language.
fn speak_english(connection: &mut Connection) -> Result<(), Error> {
    static WARNING: Once = Once::new();
    let language: String = diesel::select(sql::<Text>("current_setting('lc_messages')")).get_result(connection)?;
    if language == "C" || language.starts_with("C.") || language.starts_with("en_") {
        return Ok(());
    }
    match connection.batch_execute("SET lc_messages = 'C'") {
        Err(QueryError::DatabaseError(DatabaseErrorKind::Unknown, _)) => WARNING.call_once(|| {
            log::warn!(
                "PostgreSQL reports errors in `{language}`, of which not all can be told apart: a report that it does not take \
                 may hold up others; as a superuser, run ALTER DATABASE name SET lc_messages = 'C'"
            );
        }),
        set => set?,
    }
    Ok(())
}

pub fn migrate(connection: &mut Connection) -> Result<(), Error> {
    connection.batch_execute(&format!("SELECT pg_advisory_lock({MIGRATION_LOCK})"))?;
    // Behind whoever holds a table for long, everybody else would queue up behind us: rather try again.
    connection.batch_execute("SET lock_timeout = 2000")?;
    let migrated = connection.run_pending_migrations(MIGRATIONS).map(drop).map_err(Error::Migrate);
    connection.batch_execute(&format!("SELECT pg_advisory_unlock({MIGRATION_LOCK})"))?;
    migrated
}

/// A row may be as large as anything that is taken.
#[expect(clippy::unnecessary_wraps, reason = "every database has this function")]
fn check_row_size(_: &mut Connection, _: usize) -> Result<(), Error> {
    Ok(())
}

/// What makes a row of the table the same.
fn key<T: Table>(table: T) -> T::PrimaryKey {
    table.primary_key()
}

/// Whether a row of `"Servers"` is about the host.
pub fn is_hostname(hostname: &str) -> Eq<servers::hostname, &str> {
    servers::hostname.eq(hostname)
}

/// Whether a row of `"Logs"` belongs to the deployment.
pub fn is_log_of(deployment: &str) -> Eq<logs::deployment_id, &str> {
    logs::deployment_id.eq(deployment)
}

/// The records with the keys, which are in ascending order, locked.
fn locked(connection: &mut Connection, keys: &[ServerKey]) -> Result<Vec<ServerRow<'static>>, Error> {
    let (hostnames, ids): (Vec<_>, Vec<_>) =
        keys.iter().map(|key| (key.hostname.as_str(), Id(key.deployment_id.0))).unzip();
    let query = diesel::sql_query(
        r#"SELECT s.*, s."createdAt" AS created_at, s."updatedAt" AS updated_at FROM "Servers" s JOIN unnest($1, $2) AS k(hostname, deployment_id)
           ON s.hostname = k.hostname AND s.deployment_id = k.deployment_id
           ORDER BY s.deployment_id, s.hostname FOR UPDATE OF s"#,
    );
    Ok(query.bind::<Array<Text>, _>(hostnames).bind::<Array<SqlUuid>, _>(ids).load(connection)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use diesel::sql_types::BigInt;
    use test_servers::{Database as _, Postgres};
    use tracker_core::testing::{deployment_report, new_id, server_report};
    use tracker_core::{Batch, Change, Group, OutboxEntry};

    use super::*;

    /// Commits all that is reported of a deployment, and what that owes.
    fn live(connection: &mut Connection) {
        let (id, batch) = (new_id(), Arc::new(Batch::new(Vec::new())));
        let start = vec![
            Change::StartDeployment(deployment_report(id, "{}")),
            Change::StartServer(server_report(id, r#"{"hostname": "h"}"#)),
            Change::Enqueue(OutboxEntry { output: "o".into(), batch: batch.clone() }),
        ];
        let finish = vec![
            Change::FinishServer(server_report(id, r#"{"hostname": "h", "elapsed_seconds": 1}"#)),
            Change::FinishDeployment(deployment_report(
                id,
                r#"{"result": "success", "assert_empty_server_result": true}"#,
            )),
            Change::Acknowledge { output: "o".into(), batches: vec![batch.id] },
        ];
        for changes in [start, finish] {
            commit(connection, "r", &Group::new(changes, Arc::new([]))).expect("a commit");
        }
    }

    /// How many rows the transaction has read.
    fn rows_read(connection: &mut Connection) -> i64 {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = BigInt)]
            read: i64,
        }
        let read = "SELECT sum(seq_tup_read + idx_tup_fetch)::bigint AS read FROM pg_stat_xact_user_tables";
        diesel::sql_query(read).get_result::<Row>(connection).expect("statistics").read
    }

    #[test]
    fn errors_come_in_a_language_that_is_known() {
        let mut connection = connect(&Postgres::shared().new_database()).expect("a connection");
        connection.batch_execute("SET lc_messages = 'POSIX'").expect("a language");
        configure(&mut connection).expect("settings");
        let language = diesel::select(sql::<Text>("current_setting('lc_messages')"));
        assert_eq!(language.get_result::<String>(&mut connection).expect("a setting"), "C");
        // Who may not choose it works nevertheless.
        connection.batch_execute("SET lc_messages = 'POSIX'; CREATE ROLE plain; SET ROLE plain").expect("a role");
        configure(&mut connection).expect("settings");
        connection.batch_execute("RESET ROLE; DROP ROLE plain").expect("no role");
    }

    #[test]
    fn what_was_prepared_on_small_tables_does_not_read_all_of_large_ones() {
        let mut connection = connect(&Postgres::shared().new_database()).expect("a connection");
        migrate(&mut connection).expect("tables");
        configure(&mut connection).expect("settings");
        connection.batch_execute(r#"CREATE INDEX ON "Servers" (deployment_id)"#).expect("an index");
        live(&mut connection);
        connection.batch_execute("ANALYZE").expect("an analysis");
        // PostgreSQL thinks of a plan to keep when it has carried out a statement five times.
        (0..10).for_each(|_| live(&mut connection));
        let grow = r#"
            INSERT INTO "Deployments" (deployment_id, "createdAt", "updatedAt")
                SELECT gen_random_uuid(), now(), now() FROM generate_series(1, 20000);
            INSERT INTO "Servers" (hostname, deployment_id, "createdAt", "updatedAt")
                SELECT 'h', deployment_id, now(), now() FROM "Deployments" ON CONFLICT DO NOTHING;
            INSERT INTO "Outbox" (output, batch_id, owner, is_taken_over, messages, bytes, "createdAt", events)
                SELECT 'o', gen_random_uuid(), 'r', false, 1, 1, now(), '[]' FROM generate_series(1, 20000)"#;
        connection.batch_execute(grow).expect("rows");
        connection.begin_test_transaction().expect("a transaction");
        let before = rows_read(&mut connection);
        live(&mut connection);
        let read = rows_read(&mut connection) - before;
        assert!((1..200).contains(&read), "{read} rows were read");
    }
}
