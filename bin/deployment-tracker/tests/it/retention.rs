//! Retention: old deployments are deleted completely, and nothing else is.
//!
//! The service deletes nothing in its first hour, so these tests stop it and delete with a tracker of their own.

use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use serde_json::{Value, json};
use test_servers::{Database, Postgres, Redis, Server, eventually};
use tracker_core::{Deleted, DeploymentId, DeploymentReport, Tracker};
use tracker_sql::{DatabaseUrl, SqlStore, SqlStoreOptions};

use crate::support::{full_start, new_id, serve};

/// The number of old deployments besides those in [`RECORDS`].
const MANY: usize = 700;

/// Old and young records, in SQL that every database accepts. `{old}` and `{young}` are placeholders for times; `<old>`
/// and `<young>` are placeholders for the first digits of the ids of log messages from those times.
const RECORDS: &str = r#"
    INSERT INTO "Deployments" (deployment_id, engine, "createdAt", "updatedAt") VALUES
        ('aaaaaaaa-0000-4000-8000-000000000001', 'gone', {old}, {old}),
        ('aaaaaaaa-0000-4000-8000-000000000002', 'just finished', {old}, {young}),
        ('aaaaaaaa-0000-4000-8000-000000000003', 'with a young server', {old}, {old}),
        ('aaaaaaaa-0000-4000-8000-000000000004', 'with a young message', {old}, {old}),
        ('aaaaaaaa-0000-4000-8000-000000000005', 'young', {young}, {young});
    INSERT INTO "Servers" (hostname, deployment_id, "createdAt", "updatedAt") VALUES
        ('a', 'aaaaaaaa-0000-4000-8000-000000000001', {old}, {old}),
        ('b', 'aaaaaaaa-0000-4000-8000-000000000001', {old}, {old}),
        ('a', 'aaaaaaaa-0000-4000-8000-000000000002', {old}, {old}),
        ('a', 'aaaaaaaa-0000-4000-8000-000000000003', {old}, {old}),
        ('b', 'aaaaaaaa-0000-4000-8000-000000000003', {young}, {young}),
        ('a', 'aaaaaaaa-0000-4000-8000-000000000005', {young}, {young}),
        ('never recorded', 'aaaaaaaa-0000-4000-8000-000000000006', {old}, {old}),
        ('never recorded, young', 'aaaaaaaa-0000-4000-8000-000000000007', {old}, {young});
    INSERT INTO "Logs" (deployment_id, event_id, "receivedAt", message) VALUES
        ('aaaaaaaa-0000-4000-8000-000000000001', '<old>-7000-8000-000000000001', {old}, '{"message":"m"}'),
        ('aaaaaaaa-0000-4000-8000-000000000003', '<old>-7000-8000-000000000002', {old}, '{"message":"m"}'),
        ('aaaaaaaa-0000-4000-8000-000000000004', '<old>-7000-8000-000000000003', {old}, '{"message":"m"}'),
        ('aaaaaaaa-0000-4000-8000-000000000004', '<young>-7000-8000-000000000004', {young}, '{"message":"m"}'),
        ('aaaaaaaa-0000-4000-8000-000000000006', '<old>-7000-8000-000000000005', {old}, '{"message":"m"}'),
        ('any name', '<old>-7000-8000-000000000006', {old}, '{"message":"m"}'),
        ('any young name', '<young>-7000-8000-000000000007', {young}, '{"message":"m"}');
"#;

/// [`RECORDS`] and [`MANY`] more old records, with the suffix that `zone` appends to each time.
fn records(zone: &str) -> String {
    let many = |table: &str, columns: &str, row: fn(usize) -> String| {
        let rows: Vec<_> = (0..MANY).map(row).collect();
        format!("INSERT INTO {table} ({columns}) VALUES {};\n", rows.join(","))
    };
    let all = [
        RECORDS.to_owned(),
        many(r#""Deployments""#, r#"deployment_id, "createdAt", "updatedAt""#, |n| {
            format!("('bbbbbbbb-0000-4000-8000-{n:012}', {{old}}, {{old}})")
        }),
        many(r#""Servers""#, r#"hostname, deployment_id, "createdAt", "updatedAt""#, |n| {
            format!("('many', 'bbbbbbbb-0000-4000-8000-{n:012}', {{old}}, {{old}})")
        }),
        many(r#""Logs""#, r#"deployment_id, event_id, "receivedAt", message"#, |n| {
            let message = r#"{"message":"m"}"#;
            format!("('bbbbbbbb-0000-4000-8000-000000000000', '<old>-7000-9000-{n:012}', {{old}}, '{message}')")
        }),
    ]
    .concat();
    all.replace("{old}", &format!("'2015-07-07 17:34:12.075{zone}'"))
        .replace("{young}", &format!("'2099-07-07 17:34:12.075{zone}'"))
        .replace("<old>", "014e6995-0a6b")
        .replace("<young>", "03b79bdd-066b")
}

fn messages(server: &Server, id: &str) -> usize {
    server.read(&format!("/v1/deployments/{id}/logs")).as_array().map_or(0, Vec::len)
}

/// Starts a tracker that deletes what is older than `days` at once.
fn start_deleting(url: &str, days: u64) -> Tracker {
    let url = DatabaseUrl::parse(url).expect("the URL is valid");
    let store = SqlStore::open(url, SqlStoreOptions::default()).expect("the store opens");
    let tracker = Tracker::builder(store).first_deletion(Duration::ZERO);
    tracker.delete_after(Some(Duration::from_hours(24 * days))).start()
}

fn deletes_everything_old(tracker: &Tracker) {
    let many = MANY as u64;
    let expected = Deleted { deployments: many + 1, servers: many + 3, messages: many + 3 };
    eventually("everything old is deleted", || (tracker.deleted() == expected).then_some(()));
}

/// Creates the tables, inserts records with `insert`, deletes old ones while Redis is unavailable, and checks which
/// records remain.
fn deletes_old_deployments(mut config: Value, insert: impl Fn(&Server)) {
    let mut redis = Redis::absent();
    config["redis"] = json!({ "host": "127.0.0.1", "port": redis.port });
    config["database"]["logs"] = json!(true);
    let mut server = serve(config);
    let pending = new_id();
    assert_eq!(server.post(&format!("/v1/deployments/{pending}"), &full_start()).status, 201);
    insert(&server);
    server.kill();
    let file = server.folder.path().join("data.sqlite3");
    let url = server.config["database"]["url"].as_str().unwrap_or(file.to_str().expect("UTF-8"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let tracker = start_deleting(url, 400);
        let reports = tokio::spawn({
            let tracker = tracker.clone();
            async move {
                loop {
                    let report = DeploymentReport::new(DeploymentId::parse(&new_id()).expect("a UUID"));
                    tracker.start_deployment(report).await.expect("a report is recorded meanwhile");
                }
            }
        });
        tokio::task::block_in_place(|| deletes_everything_old(&tracker));
        reports.abort();
        assert!(tracker.shutdown(Duration::from_secs(10)).await);
    });
    server.restart();

    assert_eq!(server.read("/v1/servers"), json!(["never recorded, young", "b", "a"]));
    let id = |number: u32| format!("aaaaaaaa-0000-4000-8000-{number:012}");
    assert_eq!(server.get(&format!("/v1/deployments/{}", id(1))).status, 404);
    for (number, engine, servers) in
        [(2, "just finished", 1), (3, "with a young server", 2), (4, "with a young message", 0), (5, "young", 1)]
    {
        let kept = server.read(&format!("/v1/deployments/{}", id(number)));
        assert_eq!((&kept["engine"], kept["servers"].as_array().map(Vec::len)), (&json!(engine), Some(servers)));
    }
    let counts = [&id(1), &id(3), &id(4), &id(6), "any%20name", "any%20young%20name"].map(|id| messages(&server, id));
    assert_eq!(counts, [0, 1, 2, 0, 0, 1], "a remaining deployment keeps all its messages");
    assert_eq!(
        server.post(&format!("/v1/deployments/{}", id(1)), &full_start()).status,
        201,
        "a deleted deployment can be recorded again"
    );

    redis.restart();
    let start = format!("Deployment Tracker recording deployment start for deployment {pending}");
    eventually("the pending element arrives", || {
        redis.elements().iter().any(|element| element["message"] == json!(start)).then_some(())
    });
}

#[test]
fn old_deployments_and_nothing_else_are_deleted_from_sqlite() {
    deletes_old_deployments(json!({}), |server| {
        let file = server.folder.path().join("data.sqlite3");
        let mut connection = SqliteConnection::establish(file.to_str().expect("UTF-8")).expect("database opens");
        connection.batch_execute(&records(" +00:00")).expect("records are inserted");
        for table in ["Deployments", "Servers"] {
            let capitals =
                format!(r#"UPDATE "{table}" SET deployment_id = upper(deployment_id) WHERE deployment_id < 'b'"#);
            connection.batch_execute(&capitals).expect("the legacy service stored some ids in capitals");
        }
    });
}

#[test]
fn old_deployments_and_nothing_else_are_deleted_from_postgresql() {
    let url = Postgres::shared().new_database();
    deletes_old_deployments(json!({ "database": { "url": url } }), |_| insert_records(Postgres::shared(), &url, "+00"));
}

#[cfg(feature = "mysql")]
#[test]
fn old_deployments_and_nothing_else_are_deleted_from_mariadb() {
    let mariadb = test_servers::Mariadb::shared();
    let url = mariadb.new_database();
    deletes_old_deployments(json!({ "database": { "url": url } }), |_| insert_records(mariadb, &url, ""));
}

#[test]
fn a_deployment_with_a_last_change_that_is_no_time_is_not_deleted() {
    let old = "2015-07-07 17:34:12.075 +00:00";
    let mut server = serve(json!({}));
    assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &json!({})).status, 201);
    server.kill();
    let file = server.folder.path().join("data.sqlite3");
    let file = file.to_str().expect("UTF-8");
    let mut connection = SqliteConnection::establish(file).expect("database opens");
    let mut insert = |table: &str, columns: &str, id: &str, updated: &str| {
        let columns = format!(r#"{columns} deployment_id, "createdAt", "updatedAt""#);
        let host = if table == "Servers" { "'h', " } else { "" };
        let row = format!(r#"INSERT INTO "{table}" ({columns}) VALUES ({host}'{id}', '{old}', {updated})"#);
        connection.batch_execute(&row).expect(&row);
    };
    let values = ["1436290452075", "1436290452.5", "x'32303135'", "''", "'+002015'"];
    let mut kept = Vec::new();
    for value in values {
        for (of_deployment, of_server) in [(value, &*format!("'{old}'")), (&*format!("'{old}'"), value)] {
            let id = new_id();
            insert("Deployments", "", &id, of_deployment);
            insert("Servers", "hostname,", &id, of_server);
            kept.push((id, value));
        }
    }
    // Deletion takes ids from the ends of a list, so these are the first and the last.
    for id in ["00000000-0000-4000-8000-000000000000", "ffffffff-0000-4000-8000-000000000000"] {
        insert("Deployments", "", id, &format!("'{old}'"));
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let tracker = start_deleting(file, 400);
        let are_deleted = || (tracker.deleted().deployments >= 2).then_some(());
        tokio::task::block_in_place(|| eventually("the other old deployments are deleted", are_deleted));
        assert!(tracker.shutdown(Duration::from_secs(10)).await);
        assert_eq!(tracker.deleted(), Deleted { deployments: 2, ..Deleted::default() });
    });
    drop(runtime);
    server.restart();
    for (id, value) in kept {
        let deployment = server.read(&format!("/v1/deployments/{id}"));
        assert_eq!(deployment["servers"].as_array().map(Vec::len), Some(1), "{value}: {deployment}");
    }
}

#[test]
fn deletion_resumes_when_an_unavailable_database_recovers() {
    let mut postgres = Postgres::absent();
    postgres.start();
    let url = postgres.new_database();
    let mut server = serve(json!({ "database": { "url": url } }));
    assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &json!({})).status, 201);
    insert_records(&postgres, &url, "+00");
    server.kill();
    postgres.stop();
    capture_log();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let _guard = runtime.enter();
    let tracker = start_deleting(&url, 91);
    eventually("the failure is logged", || (!logged().is_empty()).then_some(()));
    postgres.start();
    deletes_everything_old(&tracker);
    let lines = eventually("the recovery is logged", || Some(logged()).filter(|lines| lines.len() > 1));
    assert_eq!(lines.len(), 2, "one message for the failure and one for the recovery: {lines:?}");
    assert!(runtime.block_on(tracker.shutdown(Duration::from_secs(10))));
}

static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The messages about failed deletions of this process.
fn logged() -> Vec<String> {
    LOGGED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Keeps what [`logged`] returns.
fn capture_log() {
    #[derive(Debug)]
    struct Capture;
    impl log::Log for Capture {
        fn enabled(&self, _: &log::Metadata) -> bool {
            true
        }

        fn log(&self, record: &log::Record) {
            let message = record.args().to_string();
            if message.starts_with("deleting old records: ") {
                LOGGED.lock().unwrap_or_else(PoisonError::into_inner).push(message);
            }
        }

        fn flush(&self) {}
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Capture).expect("no other test sets a logger");
        log::set_max_level(log::LevelFilter::Info);
    });
}

fn insert_records(database: &dyn Database, url: &str, zone: &str) {
    let name = url.rsplit('/').next().expect("database name");
    for statement in records(zone).split(";\n").filter(|statement| !statement.trim().is_empty()) {
        database.query(name, statement).expect("records are inserted");
    }
}
