//! PostgreSQL.

use std::borrow::Cow;
use std::sync::Once;

use diesel::connection::{Connection as _, SimpleConnection};
use diesel::dsl::sql;
use diesel::pg::sql_types::Array;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use diesel::sql_types::Text;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use tracker_core::{Hostname, ServerKey};

use super::{DatabaseServer, online_migration};
use crate::condition::Condition;
use crate::database::IsStoreOpen;
use crate::dialect::{Dialect, Filter};
use crate::error::{self, DbError, Errors};
use crate::rows::ServerRow;
use crate::schema::{SqlUuid, logs, servers};
use crate::url::postgres;
use crate::values::Id;

mod hostnames;
#[path = "../queries.rs"]
mod queries;
#[path = "records.rs"]
mod records;
#[path = "../trial.rs"]
mod trial;

pub type Connection = PgConnection;

/// Reads a row when it is needed.
pub type Loading = diesel::pg::PgRowByRowLoadingMode;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The advisory lock that serializes migrations.
const MIGRATION_LOCK: &str = "2015070717";

/// Disables sequential and bitmap scans: a prepared statement keeps the plan that PostgreSQL made while the
/// table was small, and would keep scanning the table as it grows. Planning every execution would avoid that,
/// but halves the throughput of reads. JIT is off because the penalized cost of an unavoidable scan would
/// trigger it; old versions do not have `jit`.
const USE_INDEXES: &str = "
    SELECT set_config(name, 'off', false) FROM pg_settings
    WHERE name IN ('enable_seqscan', 'enable_bitmapscan', 'jit')";

const LOCK_SERVERS: &str = r#"
    SELECT s.*, s."createdAt" AS created_at, s."updatedAt" AS updated_at
    FROM "Servers" s JOIN unnest($1, $2) AS k(hostname, deployment_id)
        ON s.hostname = k.hostname AND s.deployment_id = k.deployment_id
    ORDER BY s.deployment_id, s.hostname FOR UPDATE OF s"#;

impl Dialect for Connection {
    const ERRORS: &'static Errors = error::postgres::ERRORS;

    /// Seeks to each hostname in the index instead of reading every row, and merges the long ones, of which the index has
    /// only the keys. An empty parameter is the start of the list, because the encoding of the database may lack the
    /// character that is greater than all others. A key has at least 917 bytes in any encoding: 64 of its digest, and 853
    /// characters if each takes three bytes in UTF-8 and one in the database.
    const HOSTNAMES: &'static str = r#"
        WITH RECURSIVE start(hostname) AS (
            SELECT coalesce(nullif($1, ''), greatest(
                (SELECT max(hostname COLLATE "C") || ' ' FROM "Servers"),
                (SELECT max(hostname COLLATE "C") || ' ' FROM "Hostnames")))
        ), h(hostname) AS (
            (SELECT hostname COLLATE "C" FROM "Servers"
             WHERE hostname COLLATE "C" < (SELECT hostname FROM start) COLLATE "C"
             ORDER BY hostname COLLATE "C" DESC LIMIT 1)
            UNION ALL
            SELECT (SELECT s.hostname COLLATE "C" FROM "Servers" s
                    WHERE s.hostname COLLATE "C" < h.hostname ORDER BY s.hostname COLLATE "C" DESC LIMIT 1)
            FROM h WHERE h.hostname IS NOT NULL
        )
        SELECT hostname::text FROM (
            (SELECT hostname FROM h WHERE hostname IS NOT NULL AND (octet_length(hostname) <= 900
                OR NOT EXISTS (SELECT FROM "Hostnames" k WHERE k.key = h.hostname))
             LIMIT $2 + least($3, 9000000000000000000))
            UNION ALL
            (SELECT hostname COLLATE "C" FROM "Hostnames" k
             WHERE hostname COLLATE "C" < (SELECT hostname FROM start) COLLATE "C"
                AND EXISTS (SELECT FROM "Servers" s WHERE s.hostname = k.key))
        ) merged
        ORDER BY hostname COLLATE "C" DESC LIMIT $2 OFFSET $3"#;

    const BACKLOG: &'static str = r#"
        SELECT CAST(coalesce(sum(messages), 0) AS BIGINT) AS messages,
               CAST(coalesce(sum(bytes), 0) AS BIGINT) AS bytes, min("createdAt") AS oldest
        FROM "Outbox" WHERE output = $1 AND owner = $2"#;

    const LOGGED_DEPLOYMENTS: &'static str = r#"
        SELECT deployment_id AS name, event_id FROM "Logs" WHERE deployment_id > $1
        ORDER BY deployment_id, event_id LIMIT $2 OFFSET $3"#;

    const RECENT_LOGS: &'static str = r#"
        SELECT name FROM json_array_elements_text($1::json) name
        WHERE (SELECT 1 FROM "Logs" WHERE deployment_id = name AND event_id >= $2 LIMIT 1) IS NOT NULL"#;

    const DELETE_LOGS: &'static str = r#"
        DELETE FROM "Logs" WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM "Logs" WHERE deployment_id = ANY(ARRAY(SELECT json_array_elements_text($1::json)))
            AND event_id < $2 LIMIT $3 FOR UPDATE SKIP LOCKED))"#;

    const DELETE_SERVERS: &'static str = r#"
        DELETE FROM "Servers" WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM "Servers" WHERE deployment_id = ANY(ARRAY(SELECT json_array_elements_text($1::json)::uuid))
            AND "updatedAt" < $2 LIMIT $3 FOR UPDATE SKIP LOCKED))"#;

    const DELETE_DEPLOYMENTS: &'static str = r#"
        DELETE FROM "Deployments" WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM "Deployments"
            WHERE deployment_id = ANY(ARRAY(SELECT json_array_elements_text($1::json)::uuid))
            AND "updatedAt" < $2 LIMIT $3 FOR UPDATE SKIP LOCKED))"#;

    /// PostgreSQL also has infinity, and years that RFC 3339 cannot express.
    const IS_CREATED: Condition =
        Condition(r#""createdAt" BETWEEN '0001-01-01 00:00+00' AND '9999-12-31 23:59:59.999999+00'"#);

    const HAS_NO_AGE: Condition = Condition(r#"("updatedAt" IS NULL OR "updatedAt" < '0001-01-01 00:00+00')"#);

    /// Detects a lost connection within 30 s, unless the URL sets other limits.
    fn connect(url: &str) -> Result<Self, DbError> {
        let url = postgres::with_defaults(
            url,
            &[
                ("connect_timeout", "3"),
                ("keepalives_idle", "10"),
                ("keepalives_interval", "5"),
                ("keepalives_count", "3"),
                ("tcp_user_timeout", "20000"),
                ("application_name", "deployment-tracker"),
            ],
        );
        Self::establish(&url).map_err(DbError::Connect)
    }

    fn migrate(&mut self) -> Result<(), DbError> {
        self.batch_execute(&format!("SELECT pg_advisory_lock({MIGRATION_LOCK})"))?;
        // While a migration waits for a table lock, all other users of the table wait for it. Fail early and retry.
        self.batch_execute("SET lock_timeout = 2000")?;
        let migrated = self.run_pending_migrations(MIGRATIONS).map(drop).map_err(DbError::Migrate);
        self.batch_execute(&format!("SELECT pg_advisory_unlock({MIGRATION_LOCK})"))?;
        migrated?;
        warn_about_encoding(self)
    }

    fn migrate_online(&mut self, url: &str, is_store_open: IsStoreOpen) -> Result<(), DbError> {
        online_migration::start(self, url, is_store_open)
    }

    fn restore_hostnames<'a>(&mut self, hostnames: impl Iterator<Item = &'a mut Hostname>) -> Result<(), DbError> {
        hostnames::restore(self, hostnames)
    }

    fn before_all_hostnames() -> &'static str {
        ""
    }

    fn is_widening(&mut self) -> bool {
        online_migration::is_widening(self).unwrap_or(true)
    }

    fn configure(&mut self) -> Result<(), DbError> {
        self.batch_execute("SET statement_timeout = 5000; SET lock_timeout = 3000; SET TIME ZONE 'UTC'")?;
        self.batch_execute(USE_INDEXES)?;
        use_english_messages(self)
    }

    fn has_hostname(hostname: &str) -> Filter<'_, servers::table, Self> {
        Box::new(servers::hostname.eq(hostnames::stored(hostname)))
    }

    fn is_log_of(deployment: &str) -> Filter<'_, logs::table, Self> {
        Box::new(logs::deployment_id.eq(deployment))
    }
}

impl DatabaseServer for Connection {
    type ConflictTarget<T: Table> = T::PrimaryKey;

    const FORGET_DEAD: &'static str = r#"DELETE FROM "Replicas" WHERE "seenAt" < now() - interval '1 hour'"#;

    const HEARTBEAT: &'static str = r#"
        INSERT INTO "Replicas" AS r (replica, "seenAt") VALUES ($1, now())
        ON CONFLICT (replica) DO UPDATE SET "seenAt" = now(), "takenBy" = NULL
        WHERE r."seenAt" < now() - interval '2 s'"#;

    const REGISTER_OWNERS: &'static str = r#"
        INSERT INTO "Replicas" (replica, "seenAt") SELECT DISTINCT owner, now() FROM "Outbox" o
        WHERE output = $1 AND owner <> $2 AND NOT EXISTS (SELECT FROM "Replicas" r WHERE r.replica = o.owner)
        ON CONFLICT DO NOTHING"#;

    const DEAD_INSTANCE: &'static str = r#"
        SELECT replica FROM "Replicas" r
        WHERE replica <> $1 AND "seenAt" < now() - interval '15 s'
            AND NOT EXISTS (
                SELECT FROM "Replicas" t
                WHERE t.replica = r."takenBy" AND t.replica <> $2 AND t."seenAt" > now() - interval '15 s')
            AND EXISTS (SELECT FROM "Outbox" o WHERE o.output = $3 AND o.owner = r.replica)
        ORDER BY replica LIMIT 1 FOR UPDATE SKIP LOCKED"#;

    const CLAIM: &'static str = r#"UPDATE "Replicas" SET "takenBy" = $1 WHERE replica = $2"#;

    const ADOPT: &'static str = r#"
        UPDATE "Outbox" SET owner = $1, is_taken_over = true WHERE (output, batch_id) IN (
            SELECT output, batch_id FROM "Outbox" WHERE output = $2 AND owner = $3 ORDER BY batch_id LIMIT 5000)"#;

    fn conflict_target<T: Table>(table: T) -> T::PrimaryKey {
        table.primary_key()
    }

    fn proposed(column: &str) -> String {
        format!(r#"excluded."{column}""#)
    }

    fn stored_hostname(hostname: &str) -> Cow<'_, str> {
        hostnames::stored(hostname)
    }

    fn record_hostnames<'a>(&mut self, hostnames: impl Iterator<Item = &'a str>) -> Result<(), DbError> {
        hostnames::record(self, hostnames)
    }

    fn lock_servers(&mut self, keys: &[ServerKey]) -> Result<Vec<ServerRow>, DbError> {
        let (hostnames, ids): (Vec<_>, Vec<_>) =
            keys.iter().map(|key| (hostnames::stored(key.hostname.as_str()), Id(key.deployment_id.0))).unzip();
        let query = diesel::sql_query(LOCK_SERVERS);
        Ok(query.bind::<Array<Text>, _>(hostnames).bind::<Array<SqlUuid>, _>(ids).load(self)?)
    }
}

/// Warns if the database cannot hold every text. The encoding of a database cannot change, so this is no error: it may
/// be the database of the Node.js service.
fn warn_about_encoding(connection: &mut Connection) -> Result<(), DbError> {
    let encoding: String = diesel::select(sql::<Text>("current_setting('server_encoding')")).get_result(connection)?;
    let problem = match encoding.as_str() {
        "UTF8" => return Ok(()),
        "SQL_ASCII" => "does not check texts, so another program may store some that cannot be read",
        _ => "lacks characters that reports may contain; such reports are rejected",
    };
    log::warn!(
        encoding = encoding.as_str();
        "the encoding `{encoding}` of the PostgreSQL database {problem}; \
         to store every text, dump the database and restore it into one with ENCODING 'UTF8'"
    );
    Ok(())
}

/// Makes error messages English: [`DbError`] recognizes errors by their text, since diesel does not expose
/// SQLSTATE codes. Not every user may change the language.
fn use_english_messages(connection: &mut Connection) -> Result<(), DbError> {
    static WARNING: Once = Once::new();
    let language: String = diesel::select(sql::<Text>("current_setting('lc_messages')")).get_result(connection)?;
    if language == "C" || language.starts_with("C.") || language.starts_with("en_") {
        return Ok(());
    }
    match connection.batch_execute("SET lc_messages = 'C'") {
        Err(QueryError::DatabaseError(DatabaseErrorKind::Unknown, _)) => WARNING.call_once(|| {
            log::warn!(
                language = language.as_str();
                "PostgreSQL reports errors in `{language}`, and the store cannot recognize all of them, so a report \
                 that PostgreSQL rejects may delay others; as a superuser, run \
                 ALTER DATABASE name SET lc_messages = 'C'"
            );
        }),
        set => set?,
    }
    Ok(())
}

#[cfg(test)]
mod tests;
