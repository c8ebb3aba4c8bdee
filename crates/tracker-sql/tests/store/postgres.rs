//! Online migrations of PostgreSQL.

use std::sync::Arc;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection};
use test_servers::{Database as _, Postgres};
use tracker_core::testing::{eventually, new_id, server_report};
use tracker_core::{Change, HostnameQuery, Page, Store as _, Tracker, TrackerError, UnavailableReason};

use super::{commit, enqueue, open, pending};

const ALL_INDEXES: &str = "Deployments_newest Servers_hostnames Servers_newest Servers_of_deployment";

/// A new database: its URL and its name.
fn new_database() -> (String, String) {
    let url = Postgres::shared().new_database();
    let name = url.rsplit('/').next().expect("the URL ends in the name").to_owned();
    (url, name)
}

fn psql(database: &str, sql: &str) -> String {
    Postgres::shared().psql(database, sql).expect("valid statement")
}

/// The names of the service's valid indexes, in all schemas.
fn indexes(database: &str) -> String {
    let query = r#"SELECT string_agg(c.relname, ' ' ORDER BY c.relname)
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indisvalid AND c.relname ~ '^(Deployments|Servers)_' AND c.relname !~ 'pkey'"#;
    psql(database, query)
}

pub async fn eventually_has_all_indexes(database: &str) {
    eventually("all indexes are valid", async || indexes(database) == ALL_INDEXES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_serves_while_index_creation_waits() {
    let (url, database) = new_database();
    let mut reader = PgConnection::establish(&url).expect("connection");
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").expect("a transaction that stays open");
    let (first, second) = (open(&url, "first"), open(&url, "second"));
    let batch = enqueue(&first).await;
    second.backlog("sink").await.expect("the second instance serves, too");
    eventually("the creation of the first index has begun", async || {
        psql(&database, r#"SELECT count(*) FROM pg_class WHERE relname = 'Deployments_newest'"#) == "1"
    })
    .await;
    assert_eq!(indexes(&database), "", "the creation waits for the open transaction");
    assert_eq!(pending(&first).await, [(batch, false)], "queries do not wait");
    drop((first, reader));
    // The second instance creates the indexes.
    eventually_has_all_indexes(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn narrow_columns_are_widened_without_blocking_reports() {
    let (url, database) = new_database();
    let old_table = r#"CREATE TABLE "Servers" (hostname VARCHAR(255) NOT NULL, deployment_id UUID NOT NULL,
        ip_address VARCHAR(255), result VARCHAR(255), elapsed_seconds INTEGER,
        "createdAt" TIMESTAMPTZ NOT NULL, "updatedAt" TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (hostname, deployment_id)); CREATE VIEW failed AS SELECT result FROM "Servers";"#;
    psql(&database, old_table);
    let mut reader = PgConnection::establish(&url).expect("connection");
    reader.batch_execute(r#"BEGIN; SELECT count(*) FROM "Servers""#).expect("a transaction that stays open");
    let store = Arc::new(open(&url, "only"));
    store.check(0, 0).await.expect("the store serves");
    let tracker = Tracker::builder(store).start();
    let id = new_id();
    let start = async |hostname: String| {
        tracker.start_server(server_report(id, &format!("{{\"hostname\":\"{hostname}\"}}"))).await
    };
    // The other change of the group succeeds, and the long hostname is refused only for now.
    let (long, short) = tokio::join!(start("h".repeat(300)), start("h".to_owned()));
    assert_eq!((long, short), (Err(TrackerError::Unavailable(UnavailableReason::Store)), Ok(())));
    let narrow_columns = || {
        let query = "SELECT string_agg(column_name, ' ' ORDER BY column_name) FROM information_schema.columns
            WHERE table_name = 'Servers' AND data_type = 'character varying'";
        psql(&database, query)
    };
    assert_eq!(narrow_columns(), "hostname ip_address result");
    drop(reader);
    eventually("all columns are wide, except that of the view", async || narrow_columns() == "result").await;
    start("h".repeat(300)).await.expect("the column is wide enough");
    eventually_has_all_indexes(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_schema_gets_its_own_indexes() {
    let (url, database) = new_database();
    open(&url, "only").check(0, 0).await.expect("the store serves");
    eventually_has_all_indexes(&database).await;
    psql(&database, &format!(r#"CREATE SCHEMA "Two"; ALTER DATABASE {database} SET search_path = "Two", public"#));
    open(&url, "only").check(0, 0).await.expect("the store serves");
    let twice = ALL_INDEXES.split(' ').flat_map(|name| [name, name]).collect::<Vec<_>>().join(" ");
    eventually("both schemas have all indexes", async || indexes(&database) == twice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_index_is_created_again() {
    let (url, database) = new_database();
    open(&url, "only").check(0, 0).await.expect("the store serves");
    eventually_has_all_indexes(&database).await;
    let interrupt = r#"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '"Servers_newest"'::regclass;
        DROP INDEX "Deployments_newest""#;
    psql(&database, interrupt);
    let store = open(&url, "only");
    store.check(0, 0).await.expect("the store serves");
    eventually_has_all_indexes(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_hostname_is_listed_once_in_an_encoding_that_makes_it_short() {
    let server = Postgres::shared();
    let create = "CREATE DATABASE euros ENCODING 'WIN1252' LOCALE 'C' TEMPLATE template0";
    server.query("postgres", create).expect("database");
    let store = open(&server.url("euros"), "only");
    store.check(0, 0).await.expect("the tables exist");
    let hostname = "€".repeat(900);
    let body = format!(r#"{{"hostname":"{hostname}"}}"#);
    let start = Change::StartServer(server_report(new_id(), &body));
    commit(&store, vec![start]).await;
    let listed = store.hostnames(HostnameQuery::new(Page::first(9))).await;
    let names: Vec<_> = listed.expect("list").records.iter().map(|name| name.as_str().to_owned()).collect();
    assert_eq!(names, [hostname]);
}
