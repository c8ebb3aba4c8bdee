//! Migrations of PostgreSQL that take long on large tables of the Node.js service. A separate thread runs them while
//! the service accepts reports, and no report or query waits for them. The next start continues an interrupted
//! migration.

use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use tracker_core::{Backoff, chain, supervise_thread};

use super::postgres::Connection;
use crate::database::IsStoreOpen;
use crate::dialect::Dialect;
use crate::error::DbError;

/// The name of each index, and its table and columns. In indexes by time, new entries come last, so that
/// pages fill up; lists read these indexes backward.
const INDEXES: [(&str, &str); 4] = [
    ("Deployments_newest", r#""Deployments" ("createdAt", "deployment_id")"#),
    ("Servers_of_deployment", r#""Servers" ("deployment_id")"#),
    ("Servers_newest", r#""Servers" ("hostname", "createdAt", "deployment_id")"#),
    ("Servers_hostnames", r#""Servers" ("hostname" COLLATE "C")"#),
];

/// Whether a column still has the type VARCHAR(255) that the Node.js service gave it.
const HAS_NARROW_COLUMNS: &str = "
    SELECT EXISTS (
        SELECT FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name IN ('Deployments', 'Servers')
            AND data_type = 'character varying'
    ) AS answer";

/// Changes the columns to TEXT. PostgreSQL rewrites no rows, because it stores both types in the same format. A column
/// that a view uses keeps its type and limit. While the statement waits for a table lock, all other users of the table
/// wait for it, so it waits for at most 100 ms.
const WIDEN_COLUMNS: &str = r#"
    SET LOCAL lock_timeout = 100;
    DO $$
    DECLARE
      old RECORD;
    BEGIN
      FOR old IN
        SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name IN ('Deployments', 'Servers')
          AND data_type = 'character varying'
      LOOP
        BEGIN
          EXECUTE format('ALTER TABLE %I ALTER COLUMN %I TYPE TEXT', old.table_name, old.column_name);
        EXCEPTION WHEN feature_not_supported THEN
          RAISE WARNING '%.% stays as it is: %', old.table_name, old.column_name, SQLERRM;
        END;
      END LOOP;
    END $$"#;

/// Whether [`WIDEN_COLUMNS`] has not reached a column yet. It cannot change one that a view, a trigger or a policy uses,
/// nor a table of another owner.
const HAS_COLUMNS_TO_WIDEN: &str = "
    SELECT EXISTS (
        SELECT FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = current_schema() AND c.relname IN ('Deployments', 'Servers')
            AND a.atttypid = 'varchar'::regtype AND NOT a.attisdropped AND pg_has_role(c.relowner, 'USAGE')
            AND NOT EXISTS (
                SELECT FROM pg_depend d
                WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid = a.attnum
                    AND d.classid IN ('pg_rewrite'::regclass, 'pg_trigger'::regclass, 'pg_policy'::regclass))
    ) AS answer";

/// The advisory lock of the instance that creates the indexes.
const LOCK: &str = "2015070718";
/// The pauses after a failure, and while another instance creates the indexes.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(2));

/// Starts the thread, if anything is left to migrate. The thread ends when it is done or the store is closed.
pub fn start(connection: &mut Connection, url: &str, is_store_open: IsStoreOpen) -> Result<(), DbError> {
    let mut is_wide = !ask(connection, HAS_NARROW_COLUMNS)? || connection.batch_execute(WIDEN_COLUMNS).is_ok();
    if is_wide && missing_indexes(connection)?.is_empty() {
        return Ok(());
    }
    let url = url.to_owned();
    let mut work = move || {
        let mut backoff = BACKOFF;
        while is_store_open() {
            let attempt = Connection::connect(&url).and_then(|mut connection| migrate(&mut connection, &mut is_wide));
            match attempt {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => log::warn!("cannot finish the migration of the tables yet: {}", chain(&error)),
            }
            thread::sleep(backoff.next_pause());
        }
    };
    thread::Builder::new()
        .name("sql-migration".into())
        .spawn(move || supervise_thread("the migration of the tables", &mut work))
        .expect("the system can start a few threads when the store opens");
    Ok(())
}

/// Returns whether the migration is complete; `false` while another instance creates the indexes.
fn migrate(connection: &mut Connection, is_wide: &mut bool) -> Result<bool, DbError> {
    if !*is_wide {
        connection.batch_execute(WIDEN_COLUMNS)?;
        *is_wide = true;
    }
    // Do not wait for the lock: CREATE INDEX CONCURRENTLY waits for all older transactions, including one
    // that waits here.
    if !ask(connection, &format!("SELECT pg_try_advisory_lock({LOCK}) AS answer"))? {
        return Ok(false);
    }
    for (name, columns) in missing_indexes(connection)? {
        // An interrupted attempt leaves an invalid index of the same name.
        for invalid in indexes(connection, name, false)? {
            connection.batch_execute(&format!("DROP INDEX CONCURRENTLY {invalid}"))?;
        }
        connection.batch_execute(&format!(r#"CREATE INDEX CONCURRENTLY "{name}" ON {columns}"#))?;
        log::info!(index = name; "created the index `{name}`");
    }
    Ok(true)
}

/// Whether a text that is too long for a column may fit later.
pub fn is_widening(connection: &mut Connection) -> Result<bool, DbError> {
    ask(connection, HAS_COLUMNS_TO_WIDEN)
}

fn missing_indexes(connection: &mut Connection) -> Result<Vec<(&'static str, &'static str)>, DbError> {
    let mut missing = Vec::new();
    for index in INDEXES {
        if indexes(connection, index.0, true)?.is_empty() {
            missing.push(index);
        }
    }
    Ok(missing)
}

/// The qualified names of the indexes called `name` in the current schema, either the valid or the invalid
/// ones.
fn indexes(connection: &mut Connection, name: &str, is_valid: bool) -> Result<Vec<String>, DbError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let query = diesel::sql_query(
        "SELECT format('%I.%I', n.nspname, c.relname) AS name
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = current_schema() AND c.relname = $1 AND i.indisvalid = $2",
    );
    let rows = query.bind::<Text, _>(name).bind::<Bool, _>(is_valid).load::<Row>(connection)?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}

fn ask(connection: &mut Connection, question: &str) -> Result<bool, DbError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Bool)]
        answer: bool,
    }
    Ok(diesel::sql_query(question).get_result::<Row>(connection)?.answer)
}
