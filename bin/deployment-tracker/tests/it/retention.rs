//! `retention.deployments`: old deployments are deleted completely, and nothing else is.

use std::fs;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use serde_json::{Value, json};
use test_servers::{Database, Postgres, Redis, Server, eventually};

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

/// Creates the tables, inserts records with `insert`, restarts the server with `retention.deployments` while Redis is
/// unavailable, and checks which records remain.
fn deletes_old_deployments(mut config: Value, insert: impl Fn(&Server)) {
    let mut redis = Redis::absent();
    config["redis"] = json!({ "host": "127.0.0.1", "port": redis.port });
    config["database"]["logs"] = json!(true);
    let mut server = serve(config);
    let pending = new_id();
    assert_eq!(server.post(&format!("/v1/deployments/{pending}"), &full_start()).status, 201);
    insert(&server);
    server.kill();
    server.config["retention"] = json!({ "deployments": "400d" });
    fs::write(server.folder.path().join("tracker.json"), server.config.to_string())
        .expect("configuration file is written");
    server.restart();

    eventually("the deletion is logged", || {
        assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &json!({})).status, 201);
        server.stderr().contains(" log messages").then_some(())
    });
    let deleted = format!("deleted {} deployments, {} servers and {} log messages", MANY + 1, MANY + 3, MANY + 3);
    assert!(server.stderr().contains(&deleted), "{deleted}");
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
fn deletion_resumes_when_an_unavailable_database_recovers() {
    let mut postgres = Postgres::absent();
    postgres.start();
    let url = postgres.new_database();
    let mut server = serve(json!({ "database": { "url": url }, "retention": { "deployments": "13w" } }));
    assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &json!({})).status, 201);
    insert_records(&postgres, &url, "+00");
    server.kill();
    postgres.stop();
    server.restart();
    eventually("the failure is logged", || server.stderr().contains("deleting old records: ").then_some(()));
    postgres.start();
    let log = eventually("the deletion is logged", || {
        let log = server.stderr();
        log.contains(" log messages").then_some(log)
    });
    let messages = log.lines().filter(|line| line.contains("deleting old records: ")).count();
    assert_eq!(messages, 2, "one message for the failure and one for the recovery: {log}");
}

fn insert_records(database: &dyn Database, url: &str, zone: &str) {
    let name = url.rsplit('/').next().expect("database name");
    for statement in records(zone).split(";\n").filter(|statement| !statement.trim().is_empty()) {
        database.query(name, statement).expect("records are inserted");
    }
}
