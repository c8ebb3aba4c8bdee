//! What PostgreSQL's tables need beside the migrations, made while the service serves: on tables of the old service with
//! many rows, or with readers that take their time, it takes a while.

use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};

use crate::error::Error;
use crate::postgres::{Connection, connect};

/// Each index and what it is on. The newest stand last, to be appended, of a host or of all: pages that are appended to become
/// full. Lists read them backward.
const INDEXES: [(&str, &str); 4] = [
    ("Deployments_newest", r#""Deployments" ("createdAt", "deployment_id")"#),
    ("Servers_of_deployment", r#""Servers" ("deployment_id")"#),
    ("Servers_newest", r#""Servers" ("hostname", "createdAt", "deployment_id")"#),
    ("Servers_hostnames", r#""Servers" ("hostname" COLLATE "C")"#),
];

/// Whether the old service's VARCHAR(255) is there.
const IS_NARROW: &str = "
    SELECT EXISTS (
        SELECT FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name IN ('Deployments', 'Servers')
            AND data_type = 'character varying'
    ) AS answer";

/// Makes it TEXT, which is stored alike: no row is rewritten. A column that a view uses keeps its type, and its limit.
/// Whoever waits for a table keeps everybody else from it: so the wait is short.
const WIDEN: &str = r#"
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

/// The number of the advisory lock that lets one server at a time make indexes.
const LOCK: &str = "2015070718";
/// How long the next attempt waits while another server is at it.
const BUSY: Duration = Duration::from_millis(500);
/// How long the next attempt waits after a failure.
const FAILED: Duration = Duration::from_secs(2);

/// Does what is left to do, as far as it takes time in a thread of its own, as long as `is_wanted`. Nobody who reads or
/// writes waits for it, and what was interrupted is done anew at the next start.
pub fn complete(
    url: &str,
    connection: &mut Connection,
    is_wanted: impl Fn() -> bool + Send + 'static,
) -> Result<(), Error> {
    let is_wide = !ask(connection, IS_NARROW)? || connection.batch_execute(WIDEN).is_ok();
    if is_wide && missing(connection)?.is_empty() {
        return Ok(());
    }
    let url = url.to_owned();
    let work = move || {
        let mut is_wide = is_wide;
        while is_wanted() {
            let pause = match connect(&url).and_then(|mut connection| work(&mut connection, &mut is_wide)) {
                Ok(true) => return,
                Ok(false) => BUSY,
                Err(error) => {
                    log::warn!("cannot bring the tables up to date yet: {}", tracker_core::chain(&error));
                    FAILED
                }
            };
            thread::sleep(pause);
        }
    };
    thread::Builder::new().name("sql-adoption".into()).spawn(work).expect("the system has room for a thread at start");
    Ok(())
}

/// Whether all is done now; not if another server is making the indexes.
fn work(connection: &mut Connection, is_wide: &mut bool) -> Result<bool, Error> {
    if !*is_wide {
        connection.batch_execute(WIDEN)?;
        *is_wide = true;
    }
    // Making an index waits for every transaction that began before, also for one that waits for a lock: so nobody waits.
    if !ask(connection, &format!("SELECT pg_try_advisory_lock({LOCK}) AS answer"))? {
        return Ok(false);
    }
    for (name, place) in missing(connection)? {
        // What an interrupted attempt has left is of no use, and has the name.
        for left in indexes(connection, name, false)? {
            connection.batch_execute(&format!("DROP INDEX CONCURRENTLY {left}"))?;
        }
        connection.batch_execute(&format!(r#"CREATE INDEX CONCURRENTLY "{name}" ON {place}"#))?;
        log::info!("made the index {name}");
    }
    Ok(true)
}

fn missing(connection: &mut Connection) -> Result<Vec<(&'static str, &'static str)>, Error> {
    let mut missing = Vec::new();
    for index in INDEXES {
        if indexes(connection, index.0, true)?.is_empty() {
            missing.push(index);
        }
    }
    Ok(missing)
}

/// The full names of the indexes in the schema of the tables that are called `name`, those that can be used or the others.
fn indexes(connection: &mut Connection, name: &str, is_valid: bool) -> Result<Vec<String>, Error> {
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

fn ask(connection: &mut Connection, question: &str) -> Result<bool, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Bool)]
        answer: bool,
    }
    Ok(diesel::sql_query(question).get_result::<Row>(connection)?.answer)
}
