//! Databases full of deployments, written in SQL: over HTTP a million would take hours.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use anyhow::{Context, anyhow};
use diesel::connection::{Connection, SimpleConnection};
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use test_servers::{Database as _, Postgres, eventually};

use crate::stack::Stack;

/// A number of deployments, and the number of servers of each deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dataset {
    pub rows: u64,
    pub servers: u64,
}

/// The columns of a deployment except its id and times.
const COLUMNS: &str = r#""engine", "engine_version", "host", "user", "environment", "package", "package_url", "version",
    "arguments", "result", "elapsed_seconds""#;
const VALUES: &str = "'vagrant_orchestrate', '0.6.3', 'ci.example.com', 'cbaldauf', 'dev', 'test',
    'http://mypackage.mydomain.com', '4.5.' || i, '--strategy parallel', 'success', 234";

/// Start of the oldest deployment, in seconds since 1970. Each further one starts a minute and a millisecond after
/// the one before.
const FIRST: u64 = 1_436_290_452;

/// SQL that inserts `count` deployments, the first of which starts `from` minutes after the oldest.
pub fn sqlite_deployments(from: u64, count: u64) -> String {
    format!(
        r#"WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {from} + {count})
        INSERT INTO "Deployments" ("deployment_id", "createdAt", "updatedAt", {COLUMNS})
        SELECT lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-a' ||
                     substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))),
               strftime('%Y-%m-%d %H:%M:%f +00:00', {FIRST} + i * 60.001, 'unixepoch'),
               strftime('%Y-%m-%d %H:%M:%f +00:00', {FIRST} + i * 60.001 + 234, 'unixepoch'), {VALUES} FROM n"#
    )
}

/// SQL that gives each deployment `servers` of two hundred hosts.
fn sqlite_servers(servers: u64) -> String {
    format!(
        r#"WITH RECURSIVE n(h) AS (SELECT 0 UNION ALL SELECT h + 1 FROM n WHERE h + 1 < {servers})
        INSERT INTO "Servers" ("hostname", "deployment_id", "ip_address", "result", "elapsed_seconds", "createdAt", "updatedAt")
        SELECT printf('web%03d.example.com', (d.rowid + h * 7) % 200), "deployment_id", '10.0.0.' || (d.rowid + h * 7) % 200,
               'success', 120, "createdAt", "updatedAt"
        FROM "Deployments" d CROSS JOIN n ORDER BY d.rowid"#
    )
}

impl Dataset {
    /// The URL of a database that holds the data set. Workloads must not write to it, since others read it afterwards.
    pub fn url(self, stack: &Stack) -> anyhow::Result<String> {
        match &stack.postgres {
            Some(postgres) => self.in_postgres(stack, postgres),
            None => self.in_sqlite(stack),
        }
    }

    /// Writes a file whose name contains a hash of the schema, and reuses it in later runs until the schema changes.
    fn in_sqlite(self, stack: &Stack) -> anyhow::Result<String> {
        let Self { rows, servers } = self;
        let mut server = stack.serve(None)?;
        server.kill();
        let new = server.folder.path().join("data.sqlite3");
        let mut connection = SqliteConnection::establish(&new.to_string_lossy())?;
        let schema =
            |what: &str| format!("SELECT coalesce(group_concat(sql, ';'), '') FROM sqlite_master WHERE {what}");
        let mut read = |query: String| diesel::dsl::sql::<Text>(&query).get_result::<String>(&mut connection);
        let (all, indexes) = (read(schema("true"))?, read(schema("type = 'index' AND sql IS NOT NULL"))?);
        let drops = "SELECT coalesce(group_concat(printf('DROP INDEX \"%w\"', name), ';'), '') FROM sqlite_master
             WHERE type = 'index' AND sql IS NOT NULL";
        let drops = read(drops.to_owned())?;

        let mut hasher = DefaultHasher::new();
        all.hash(&mut hasher);
        let file = stack.folder.join(format!("{rows}x{servers}-{:016x}.sqlite3", hasher.finish()));
        if !file.exists() {
            log_progress(self);
            // Building an index at the end is faster than updating it for each row. If this is interrupted, the next
            // run starts over.
            connection.batch_execute(&format!(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000; PRAGMA temp_store = MEMORY;
                 {drops}; BEGIN; {}; {}; {indexes}; COMMIT; PRAGMA journal_mode = WAL",
                sqlite_deployments(0, rows),
                if servers > 0 { sqlite_servers(servers) } else { String::new() },
            ))?;
            drop(connection);
            fs::rename(&new, &file).context("cannot save the data set")?;
        }
        path(&file)
    }

    /// Fills a database that lasts as long as the PostgreSQL server.
    fn in_postgres(self, stack: &Stack, postgres: &Postgres) -> anyhow::Result<String> {
        let Self { rows, servers } = self;
        let name = format!("data_{rows}x{servers}");
        let url = postgres.url(&name);
        let run = |database: &str, statement: &str| postgres.psql(database, statement).map_err(|error| anyhow!(error));
        if run(&name, "SELECT 1").is_ok() {
            return Ok(url);
        }
        log_progress(self);
        run("postgres", &format!("CREATE DATABASE {name}"))?;
        let server = stack.serve_on(&stack.binary, Some(&url))?;
        eventually("the server has created the last index", || {
            run(&name, r#"SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('"Servers_hostnames"')"#)
                .is_ok_and(|is_valid| is_valid == "t")
        });
        drop(server);
        run(
            &name,
            &format!(
                r#"INSERT INTO "Deployments" ("deployment_id", "createdAt", "updatedAt", {COLUMNS})
                SELECT gen_random_uuid(), to_timestamp({FIRST} + i * 60.001), to_timestamp({FIRST} + i * 60.001 + 234), {VALUES}
                FROM generate_series(0, {rows} - 1) i"#
            ),
        )?;
        run(
            &name,
            &format!(
                r#"INSERT INTO "Servers" ("hostname", "deployment_id", "ip_address", "result", "elapsed_seconds", "createdAt", "updatedAt")
                SELECT format('web%s.example.com', (i + h * 7) % 200), "deployment_id", '10.0.0.' || (i + h * 7) % 200,
                       'success', 120, "createdAt", "updatedAt"
                FROM (SELECT *, row_number() OVER (ORDER BY "createdAt") i FROM "Deployments") d, generate_series(0, {servers} - 1) h"#
            ),
        )?;
        run(&name, "VACUUM ANALYZE")?;
        Ok(url)
    }
}

fn log_progress(Dataset { rows, servers }: Dataset) {
    eprintln!("writing {rows} deployments with {servers} servers each");
}

fn path(file: &Path) -> anyhow::Result<String> {
    file.to_str().map(str::to_owned).context("the path of the data set is not UTF-8")
}
