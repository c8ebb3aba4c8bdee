//! PostgreSQL's indexes, made while the service serves: on the tables of the old service that takes a while.

use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};

use crate::error::Error;
use crate::postgres::{Connection, connect};

/// Each index and what it is on.
const INDEXES: [(&str, &str); 4] = [
    ("Deployments_newest", r#""Deployments" ("createdAt" DESC, "deployment_id" DESC)"#),
    ("Servers_of_deployment", r#""Servers" ("deployment_id")"#),
    ("Servers_newest", r#""Servers" ("hostname", "createdAt" DESC, "deployment_id" DESC)"#),
    ("Servers_hostnames", r#""Servers" ("hostname" COLLATE "C")"#),
];

/// The number of the advisory lock that lets one server at a time make indexes.
const LOCK: &str = "2015070718";
/// How long after a failure, or while another server is at it, the next attempt waits.
const PAUSE: Duration = Duration::from_secs(5);

/// Makes the indexes that are missing, in a thread of its own, as long as `is_wanted`. Nobody who reads or writes waits
/// for it, and what was interrupted is made anew at the next start.
pub fn make_missing(
    url: &str,
    connection: &mut Connection,
    is_wanted: impl Fn() -> bool + Send + 'static,
) -> Result<(), Error> {
    if missing(connection)?.is_empty() {
        return Ok(());
    }
    let url = url.to_owned();
    let make = move || {
        while is_wanted() {
            match connect(&url).and_then(|mut connection| make(&mut connection)) {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => log::warn!("cannot make the indexes yet: {}", tracker_core::chain(&error)),
            }
            thread::sleep(PAUSE);
        }
    };
    thread::Builder::new().name("sql-indexes".into()).spawn(make).expect("the system has room for a thread at start");
    Ok(())
}

/// Whether all are there now; not if another server is making them.
fn make(connection: &mut Connection) -> Result<bool, Error> {
    // Making an index waits for every transaction that began before, also for one that waits for a lock: so nobody waits.
    let is_ours = diesel::select(diesel::dsl::sql::<Bool>(&format!("pg_try_advisory_lock({LOCK})")));
    if !is_ours.get_result::<bool>(connection)? {
        return Ok(false);
    }
    for (name, place) in missing(connection)? {
        // What an interrupted attempt has left is of no use, and has the name.
        connection.batch_execute(&format!(r#"DROP INDEX CONCURRENTLY IF EXISTS "{name}""#))?;
        connection.batch_execute(&format!(r#"CREATE INDEX CONCURRENTLY "{name}" ON {place}"#))?;
        log::info!("made the index {name}");
    }
    Ok(true)
}

fn missing(connection: &mut Connection) -> Result<Vec<(&'static str, &'static str)>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let made = diesel::sql_query(
        "SELECT c.relname::text AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
         WHERE i.indisvalid AND c.relnamespace = current_schema()::regnamespace",
    );
    let made = made.load::<Row>(connection)?;
    Ok(INDEXES.into_iter().filter(|(name, _)| !made.iter().any(|row| row.name == *name)).collect())
}
