//! Values that another program has stored in the tables and that do not fit their columns.

use std::collections::BTreeSet;
use std::fs;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::Text;
use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::{Database as _, Postgres, Redis, Server};

use crate::paging::follow;
use crate::support::{fixture, serve, serve_in};

/// The tables without constraints, so that each column can also be NULL.
const TABLES: &str = r#"
    CREATE TABLE "Deployments" (deployment_id UUID PRIMARY KEY, engine TEXT, engine_version TEXT, host TEXT, "user" TEXT,
        environment TEXT, package TEXT, package_url TEXT, version TEXT, arguments TEXT, result TEXT,
        elapsed_seconds INTEGER, "createdAt" DATETIME, "updatedAt" DATETIME);
    CREATE TABLE "Servers" (hostname TEXT, deployment_id UUID, ip_address TEXT, result TEXT, elapsed_seconds INTEGER,
        "createdAt" DATETIME, "updatedAt" DATETIME, PRIMARY KEY (hostname, deployment_id));
    CREATE TABLE "Logs" (deployment_id TEXT, event_id UUID, "receivedAt" DATETIME, message TEXT,
        PRIMARY KEY (deployment_id, event_id));"#;

const DEPLOYMENT_COLUMNS: [&str; 14] = [
    "deployment_id",
    "engine",
    "engine_version",
    "host",
    "\"user\"",
    "environment",
    "package",
    "package_url",
    "version",
    "arguments",
    "result",
    "elapsed_seconds",
    "\"createdAt\"",
    "\"updatedAt\"",
];
const SERVER_COLUMNS: [&str; 7] =
    ["hostname", "deployment_id", "ip_address", "result", "elapsed_seconds", "\"createdAt\"", "\"updatedAt\""];
const LOG_COLUMNS: [&str; 4] = ["deployment_id", "event_id", "\"receivedAt\"", "message"];

/// Values of every storage class of SQLite.
const VALUES: [&str; 28] = [
    "NULL",
    "0",
    "-5",
    "9223372036854775807",
    "-9223372036854775808",
    "1438423200000",
    "1.5",
    "9e999",
    "-9e999",
    "''",
    "'text'",
    "'now'",
    "'12'",
    "'success'",
    "'{\"message\":5}'",
    "'{\"message\":\"m\"'",
    "'2015-07-07 17:34:12.075123 +00:00'",
    "'2015-07-07 19:34:12.075 +02:00'",
    "'2015-13-45 99:99:99.000 +00:00'",
    "'+262142-12-31 23:59:59.000 +00:00'",
    "'0B0B0B0B-0000-4000-8000-00000000000F'",
    "CAST(x'4af67267' AS TEXT)",
    "CAST(x'61006200' AS TEXT)",
    "CAST(x'80' AS TEXT)",
    "x''",
    "x'4af67267'",
    "x'30303030'",
    "zeroblob(100)",
];

const IDS: [&str; 3] = [
    "0b0b0b0b-0000-4000-8000-000000000001",
    "0b0b0b0b-0000-4000-8000-000000000002",
    "0b0b0b0b-0000-4000-8000-000000000003",
];
/// The deployment, the server and the log message whose values are replaced: neither the first nor the last of a list.
const VICTIM: usize = 1;

fn open(folder: &TempDir) -> SqliteConnection {
    let file = folder.path().join("data.sqlite3");
    let mut connection = SqliteConnection::establish(file.to_str().expect("UTF-8")).expect("database opens");
    connection.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA synchronous = OFF").expect("settings");
    connection
}

fn execute(connection: &mut SqliteConnection, statements: &str) {
    connection.batch_execute(statements).unwrap_or_else(|error| panic!("{error} in {statements}"));
}

/// The storage class and the bytes of a value.
fn stored(connection: &mut SqliteConnection, table: &str, column: &str, condition: &str) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        value: String,
    }
    let query = format!(
        r#"SELECT typeof({column}) || ' ' || CASE typeof({column}) WHEN 'real' THEN printf('%!.20g', {column})
        ELSE coalesce(hex({column}), '') END AS value FROM "{table}" WHERE {condition}"#
    );
    let rows = diesel::sql_query(&query).load::<Row>(connection).unwrap_or_else(|error| panic!("{error} in {query}"));
    rows.into_iter().map(|row| row.value).collect()
}

/// Starts a server on a file with the records of three deployments, each with a server on `h` and one of its own. The
/// first has three log messages.
fn filled(config: Value) -> (Server, SqliteConnection) {
    let folder = TempDir::new().expect("temporary folder");
    let mut connection = open(&folder);
    execute(&mut connection, "PRAGMA journal_mode = WAL");
    execute(&mut connection, TABLES);
    let server = serve_in(folder, config, &[]);
    for (i, id) in IDS.iter().enumerate() {
        let time = format!("'2015-07-0{} 17:34:12.075 +00:00'", i + 6);
        let event = format!("'0199cb8c-0000-7000-8000-00000000000{i}'");
        execute(
            &mut connection,
            &format!(
                r#"INSERT INTO "Deployments" (deployment_id, engine, "createdAt", "updatedAt")
                    VALUES ('{id}', 'e', {time}, {time});
                INSERT INTO "Servers" VALUES ('h', '{id}', '::1', NULL, 7, {time}, {time});
                INSERT INTO "Servers" VALUES ('own {i}', '{id}', '::1', NULL, 7, {time}, {time});
                INSERT INTO "Logs" VALUES ('{}', {event}, {time}, '{{"message":"{i}"}}');"#,
                IDS[0]
            ),
        );
    }
    execute(
        &mut connection,
        r#"CREATE TABLE d AS SELECT * FROM "Deployments"; CREATE TABLE s AS SELECT * FROM "Servers";
        CREATE TABLE l AS SELECT * FROM "Logs""#,
    );
    (server, connection)
}

/// The values of the member `name` of all records that a list has, read at once, by cursor and by offset.
fn listed(server: &Server, path: &str, name: &str) -> [BTreeSet<String>; 3] {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        record => record[name].as_str().unwrap_or_default().to_owned(),
    };
    let page = |query: &str| server.read(&format!("{path}?{query}")).as_array().expect("JSON array").clone();
    let by_cursor = follow(server, &format!("{path}?before=&limit=1")).concat();
    let by_offset = ["limit=1", "limit=2&offset=1", "limit=1000&offset=3"].map(page).concat();
    [page("limit=1000"), by_cursor, by_offset].map(|list| list.iter().map(text).collect())
}

/// Checks that every route answers and that all records other than the victim are there.
fn check_routes(server: &Server, case: &str) {
    let others = [0, 2].map(|i| IDS[i].to_owned());
    let events = [0, 2].map(|i| format!("0199cb8c-0000-7000-8000-00000000000{i}"));
    let hostnames = ["own 0", "own 2"].map(str::to_owned);
    let logs = format!("/v1/deployments/{}/logs", IDS[0]);
    for (path, name, expected) in [
        ("/v1/deployments", "deployment_id", &others),
        ("/v1/servers/h", "deployment_id", &others),
        ("/v1/servers", "", &hostnames),
        (&logs, "event_id", &events),
    ] {
        for list in listed(server, path, name) {
            assert!(expected.iter().all(|record| list.contains(record)), "{case}: {path} has only {list:?}");
        }
    }
    for id in &others {
        let record = server.read(&format!("/v1/deployments/{id}"));
        assert_eq!(record["servers"].as_array().map(Vec::len), Some(2), "{case}: {record}");
    }
    let answer = server.get(&format!("/v1/deployments/{}", IDS[VICTIM]));
    assert!([200, 404].contains(&answer.status), "{case}: {} {}", answer.status, answer.text());
    for path in ["/v1/servers/own%201", "/v1/servers/text", "/readyz", "/healthcheck"] {
        let answer = server.get(path);
        assert!([200, 404].contains(&answer.status), "{case}: {path} {} {}", answer.status, answer.text());
    }
}

#[test]
fn a_value_of_any_storage_class_in_any_column_hides_no_other_row_and_survives_a_finish() {
    let (server, mut connection) = filled(json!({}));
    let victim = IDS[VICTIM];
    let tables: [(&str, &[&str]); 3] =
        [("Deployments", &DEPLOYMENT_COLUMNS), ("Servers", &SERVER_COLUMNS), ("Logs", &LOG_COLUMNS)];
    let event = format!("0199cb8c-0000-7000-8000-00000000000{VICTIM}");
    for (table, columns) in tables {
        let row = match table {
            "Logs" => format!("event_id = '{event}'"),
            "Servers" => format!("deployment_id = '{victim}' AND hostname = 'h'"),
            _ => format!("deployment_id = '{victim}'"),
        };
        // A rowid stays the same when the key changes.
        let rowid = format!(r#"rowid = (SELECT rowid FROM "{table}" WHERE {row})"#);
        for column in columns {
            for value in VALUES {
                let case = format!("{table}.{column} = {value}");
                execute(
                    &mut connection,
                    r#"BEGIN IMMEDIATE; DELETE FROM "Deployments"; DELETE FROM "Servers"; DELETE FROM "Logs";
                    INSERT INTO "Deployments" SELECT * FROM d; INSERT INTO "Servers" SELECT * FROM s;
                    INSERT INTO "Logs" SELECT * FROM l; COMMIT"#,
                );
                execute(&mut connection, &format!(r#"UPDATE "{table}" SET {column} = {value} WHERE {rowid}"#));
                check_routes(&server, &case);

                let before = stored(&mut connection, table, column, "true");
                let path = format!("/v1/deployments/{victim}");
                let changed = if *column == "version" { "engine_version" } else { "version" };
                let status = server.put(&path, &json!({ changed: "2" })).status;
                let is_id = table == "Deployments" && *column == "deployment_id";
                assert!(status == 204 || is_id && status == 404, "{case}: a finish got {status}");
                if *column != "ip_address" {
                    let body = json!({ "hostname": "h", "ip_address": "::2" });
                    assert_eq!(server.put(&format!("{path}/servers"), &body).status, 204, "{case}");
                }
                if !["\"updatedAt\"", "ip_address"].contains(column) {
                    let after = stored(&mut connection, table, column, "true");
                    let is_kept = before.iter().all(|value| after.contains(value));
                    assert!(is_kept, "{case}: a finish changed {before:?} to {after:?}");
                }
                let finish = json!({ "result": "failure", "assert_empty_server_result": true });
                let status = server.put(&path, &finish).status;
                assert!(status == 204 || is_id && status == 404, "{case}: a finish got {status}");
            }
        }
    }
}

/// The legacy database, with `statements` executed on it.
fn legacy(statements: &str, config: Value) -> (Server, SqliteConnection) {
    let folder = TempDir::new().expect("temporary folder");
    fs::copy(fixture("data.sqlite3"), folder.path().join("data.sqlite3")).expect("file is copied");
    let mut connection = open(&folder);
    execute(&mut connection, statements);
    (serve_in(folder, config, &[]), connection)
}

const FIRST: &str = r#"(SELECT deployment_id FROM "Deployments" JOIN "Servers" USING (deployment_id)
    ORDER BY "Deployments"."createdAt" DESC LIMIT 1)"#;

/// The newest deployment that has a server.
fn first(server: &Server) -> Value {
    let list = server.read("/v1/deployments?limit=1000");
    let mut list = list.as_array().expect("JSON array").iter();
    list.find(|record| record["servers"][0].is_object()).expect("a deployment with a server").clone()
}

#[test]
fn text_that_is_not_utf8_is_repaired_in_responses_and_events_but_not_in_the_row() {
    let redis = Redis::start();
    let statement = format!(
        r#"UPDATE "Deployments" SET "user" = CAST(x'4af67267' AS TEXT), version = x'4af67267'
        WHERE deployment_id = {FIRST}"#
    );
    let (server, mut connection) = legacy(&statement, json!({ "redis": { "port": redis.port } }));
    let listed = first(&server);
    let path = format!("/v1/deployments/{}", listed["deployment_id"].as_str().expect("id"));
    assert_eq!((&listed["user"], &listed["version"]), (&json!("J\u{FFFD}rg"), &json!("J\u{FFFD}rg")));
    assert_eq!(server.read(&path), listed);

    assert_eq!(server.put(&path, &json!({ "elapsed_seconds": 99 })).status, 204);
    let kept = |connection: &mut SqliteConnection| {
        ["\"user\"", "version"]
            .map(|column| stored(connection, "Deployments", column, &format!("deployment_id = {FIRST}")))
    };
    let bytes = [vec!["text 4AF67267".to_owned()], vec!["blob 4AF67267".to_owned()]];
    assert_eq!(kept(&mut connection), bytes, "a finish writes only the columns that it changes");
    assert_eq!(redis.wait_for(1)[0]["user"], json!("J\u{FFFD}rg"));
    assert_eq!(server.put(&path, &json!({ "user": "J\u{FFFD}rg" })).status, 204);
    assert_eq!(kept(&mut connection), bytes, "a report of the repaired text changes nothing");
    assert_eq!(server.put(&path, &json!({ "user": "Jörg" })).status, 204);
    assert_eq!(server.read(&path)["user"], json!("Jörg"));
}

#[test]
fn a_finish_updates_no_other_column() {
    let columns =
        DEPLOYMENT_COLUMNS.iter().filter(|column| !["result", "elapsed_seconds", "\"updatedAt\""].contains(column));
    let statements = format!(
        r#"CREATE TRIGGER d BEFORE UPDATE OF {} ON "Deployments" BEGIN SELECT RAISE(ABORT, 'not changed'); END;
        CREATE TRIGGER s BEFORE UPDATE OF hostname, deployment_id, ip_address, result, "createdAt" ON "Servers"
        BEGIN SELECT RAISE(ABORT, 'not changed'); END"#,
        columns.copied().collect::<Vec<_>>().join(", ")
    );
    let (server, _) = legacy(&statements, json!({}));
    let listed = first(&server);
    let path = format!("/v1/deployments/{}", listed["deployment_id"].as_str().expect("id"));
    assert_eq!(server.put(&path, &json!({ "result": "failure", "elapsed_seconds": 12_345 })).status, 204);
    assert_eq!(server.read(&path)["elapsed_seconds"], json!(12_345));
    let body = json!({ "hostname": listed["servers"][0]["hostname"], "elapsed_seconds": 12_345 });
    assert_eq!(server.put(&format!("{path}/servers"), &body).status, 204);
    assert_eq!(server.read(&path)["servers"][0]["elapsed_seconds"], json!(12_345));
}

#[test]
fn a_stored_number_of_seconds_is_shown_as_itself() {
    for (stored, shown) in [
        ("1438423200000", json!(1_438_423_200_000_i64)),
        ("-1", json!(-1)),
        ("9223372036854775807", json!(i64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("x'313233'", json!(123)),
        ("1.5", Value::Null),
        ("'soon'", Value::Null),
    ] {
        let statement = format!(
            r#"UPDATE "Deployments" SET elapsed_seconds = {stored} WHERE deployment_id = {FIRST};
            UPDATE "Servers" SET elapsed_seconds = {stored} WHERE deployment_id = {FIRST}"#
        );
        let redis = Redis::start();
        let (server, _) = legacy(&statement, json!({ "redis": { "port": redis.port, "format": "ecs" } }));
        let listed = first(&server);
        assert_eq!(listed["elapsed_seconds"], shown, "{stored}");
        assert_eq!(listed["servers"][0]["elapsed_seconds"], shown, "{stored}");
        let path = format!("/v1/deployments/{}", listed["deployment_id"].as_str().expect("id"));
        assert_eq!(server.put(&path, &json!({ "version": "9" })).status, 204);
        let nanos = shown.as_i64().and_then(|seconds| seconds.checked_mul(1_000_000_000));
        assert_eq!(redis.wait_for(1)[0]["event"]["duration"], json!(nanos), "{stored}");
        assert_eq!(server.read(&path)["elapsed_seconds"], shown, "{stored}");
    }
}

#[test]
fn a_deployment_without_a_valid_time_is_left_out_of_lists_but_not_of_a_request_by_id_and_logged_once() {
    for time in
        ["1438423200000", "1438423200.5", "x'32303135'", "'yesterday'", "''", "'2015-02-30 00:00:00.000 +00:00'"]
    {
        let statement = format!(
            r#"UPDATE "Deployments" SET "createdAt" = {time} WHERE deployment_id IN
                (SELECT deployment_id FROM "Deployments" ORDER BY "createdAt" DESC LIMIT 3 OFFSET 2);
            UPDATE "Servers" SET "createdAt" = {time} WHERE rowid % 3 = 0"#
        );
        let (server, mut connection) = legacy(&statement, json!({}));
        for list in listed(&server, "/v1/deployments", "deployment_id") {
            assert_eq!(list.len(), 37, "{time}");
        }
        let unreadable = format!(r#""createdAt" = {time}"#);
        let ids = stored(&mut connection, "Deployments", "deployment_id", &unreadable);
        assert_eq!(ids.len(), 3);
        for id in ids {
            let hex = id.strip_prefix("text ").expect("text").as_bytes().chunks(2);
            let id: String = hex
                .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).expect("hex"), 16).expect("hex") as char)
                .collect();
            let path = format!("/v1/deployments/{id}");
            for _ in 0..3 {
                let record = server.read(&path);
                assert_eq!(record["deployment_id"].as_str(), Some(id.as_str()), "{time}");
                assert!(record.get("createdAt").is_none() && record.get("updatedAt").is_some(), "{time}: {record}");
            }
            assert_eq!(server.put(&path, &json!({ "version": "10" })).status, 204);
            assert_eq!(server.read(&path)["version"], json!("10"));
            let lines = server
                .stderr()
                .lines()
                .filter(|line| line.contains(&format!("`createdAt` of `Deployments`, in the row `{id}`")))
                .count();
            assert_eq!(lines, 1, "{time}: {}", server.stderr());
        }
        let kept = stored(&mut connection, "Deployments", "\"createdAt\"", &unreadable);
        assert_eq!(kept.len(), 3, "{time}: a finish writes only the columns that it changes");
        let hostnames = server.read("/v1/servers?limit=1000");
        for hostname in hostnames.as_array().expect("JSON array") {
            server
                .get(&format!("/v1/servers/{}?before=&limit=1", hostname.as_str().expect("text").replace(' ', "%20")));
        }
    }
}

#[test]
fn times_in_any_form_are_shown_in_utc_and_each_page_follows_the_last() {
    let times = [
        ("2015-07-07 17:34:12.075900 +00:00", "2015-07-07T17:34:12.075Z"),
        ("2015-07-07 17:34:12.075100 +00:00", "2015-07-07T17:34:12.075Z"),
        ("2015-07-07 17:34:12.075 +00:00", "2015-07-07T17:34:12.075Z"),
        ("2015-07-07 17:34:12.075 +02:00", "2015-07-07T15:34:12.075Z"),
        ("2015-07-07 17:34:12.075 -02:00", "2015-07-07T19:34:12.075Z"),
        ("2015-07-07 16:00:00.000 +00:00", "2015-07-07T16:00:00.000Z"),
        ("2015-07-07T17:34:12.075Z", "2015-07-07T17:34:12.075Z"),
        ("2015-07-07 17:34:12", "2015-07-07T17:34:12.000Z"),
        ("no time", ""),
        ("", ""),
    ];
    let ids = [
        "0b0b0b0b-0000-4000-8000-00000000000a",
        "0B0B0B0B-0000-4000-8000-00000000000B",
        "0b0B0b0B-0000-4000-8000-00000000000C",
    ];
    let mut statements = r#"DELETE FROM "Deployments"; DELETE FROM "Servers";"#.to_owned();
    for (i, (time, _)) in times.iter().enumerate() {
        // An id in mixed letter case is found by its time, which must have the usual form.
        let is_usual = time.ends_with("5 +00:00") || time.ends_with("0 +00:00") && time.len() == 30;
        for id in ids.into_iter().take(if is_usual { 3 } else { 2 }) {
            let id = id.replace("-8000-", &format!("-800{i}-"));
            statements += &format!(
                r#"INSERT INTO "Deployments" (deployment_id, "createdAt", "updatedAt") VALUES ('{id}', '{time}', '{time}');
                INSERT INTO "Servers" (hostname, deployment_id, "createdAt", "updatedAt")
                    VALUES ('h', '{id}', '{time}', '{time}');"#
            );
        }
    }
    let (server, _) = legacy(&statements, json!({}));
    let mut expected: Vec<_> = times.iter().filter(|(_, shown)| !shown.is_empty()).map(|(_, shown)| *shown).collect();
    expected.sort_unstable();
    for path in ["/v1/deployments", "/v1/servers/h"] {
        for limit in [1, 2, 7, 25, 1_000] {
            let records = follow(&server, &format!("{path}?before=&limit={limit}")).concat();
            let ids: BTreeSet<_> = records.iter().map(|record| record["deployment_id"].to_string()).collect();
            assert_eq!((ids.len(), records.len()), (18, 18), "{path}?limit={limit}: each record once");
            let mut shown: Vec<_> = records.iter().filter_map(|record| record["createdAt"].as_str()).collect();
            shown.sort_unstable();
            shown.dedup();
            let mut expected = expected.clone();
            expected.dedup();
            assert_eq!(shown, expected, "{path}?limit={limit}");
        }
    }
}

#[test]
fn hostnames_that_are_not_utf8_do_not_hide_others() {
    let mut statements = r#"DELETE FROM "Servers";"#.to_owned();
    let time = "'2015-07-07 17:34:12.075 +00:00'";
    let names = [
        "'h'",
        "'h\u{FFFD}'",
        "'h\u{1F600}'",
        "'i'",
        "CAST(x'6880' AS TEXT)",
        "CAST(x'68f6' AS TEXT)",
        "CAST(x'68f0' AS TEXT)",
        "x'68'",
    ];
    for (i, name) in names.iter().enumerate() {
        statements += &format!(
            r#"INSERT INTO "Servers" (hostname, deployment_id, "createdAt", "updatedAt")
            SELECT {name}, deployment_id, {time}, {time} FROM "Deployments" LIMIT 1 OFFSET {i};"#
        );
    }
    let (server, _) = legacy(&statements, json!({}));
    let expected = json!(["i", "h\u{1F600}", "h\u{FFFD}", "h"]);
    assert_eq!(server.read("/v1/servers?limit=1000"), expected);
    for limit in [1, 2, 3, 4] {
        let names = follow(&server, &format!("/v1/servers?before=&limit={limit}")).concat();
        assert_eq!(json!(names), expected, "limit={limit}");
    }
}

#[test]
fn postgresql_values_that_do_not_fit_are_left_out_and_hide_no_other_row() {
    let postgres = Postgres::shared();
    let url = postgres.new_database();
    let database = url.rsplit('/').next().expect("database name");
    let server = serve(json!({ "database": { "url": url } }));
    fill(&server);
    for column in ["\"createdAt\"", "\"updatedAt\"", "NULL"] {
        for time in [
            "'infinity'",
            "'-infinity'",
            "'0044-03-15 00:00+00 BC'",
            "'294276-12-31 00:00+00'",
            "'10000-01-01 00:00+00'",
            "NULL",
        ] {
            for table in ["Deployments", "Servers"] {
                let set = |column: &str, time: &str| {
                    postgres
                        .psql(
                            database,
                            &format!(
                                r#"alter table "{table}" alter "createdAt" drop not null, alter "updatedAt" drop not null;
                                update "{table}" set {column} = {time} where deployment_id = '{}'"#,
                                IDS[VICTIM]
                            ),
                        )
                        .expect("statement succeeds")
                };
                let column = if column == "NULL" { "elapsed_seconds" } else { column };
                let time = if column == "elapsed_seconds" { "-5" } else { time };
                set(column, time);
                check_fitting(&server, &format!("{table}.{column} = {time}"), column, table);
                set("\"createdAt\"", "'2015-07-07 00:00+00'");
                set("\"updatedAt\"", "'2015-07-07 00:00+00'");
            }
        }
    }
}

#[cfg(feature = "mysql")]
#[test]
fn mariadb_values_that_do_not_fit_are_left_out_and_hide_no_other_row() {
    let mariadb = test_servers::Mariadb::shared();
    let url = mariadb.new_database();
    let database = url.rsplit('/').next().expect("database name");
    let server = serve(json!({ "database": { "url": url.replace("mysql://", "mariadb://") } }));
    fill(&server);
    for column in ["createdAt", "updatedAt"] {
        for time in ["'0000-00-00'", "'2015-00-00'", "'2015-07-00'", "'9999-12-31 23:59:59.999'"] {
            for table in ["Deployments", "Servers"] {
                let set = |column: &str, time: &str| {
                    let statement = format!(
                        "SET sql_mode = ''; UPDATE {table} SET {column} = {time} WHERE deployment_id = '{}'",
                        IDS[VICTIM]
                    );
                    mariadb.query(database, &statement).expect("statement succeeds")
                };
                set(column, time);
                let column = if time.contains("9999") { "none" } else { column };
                check_fitting(&server, &format!("{table}.{column} = {time}"), &format!("\"{column}\""), table);
                set("createdAt", "'2015-07-07'");
                set("updatedAt", "'2015-07-07'");
            }
        }
    }
}

/// Reports the three deployments, each with a server on `h`.
fn fill(server: &Server) {
    for id in IDS {
        let path = format!("/v1/deployments/{id}");
        assert_eq!(server.post(&path, &json!({ "engine": "e" })).status, 201);
        assert_eq!(server.post(&format!("{path}/servers"), &json!({ "hostname": "h" })).status, 201);
    }
}

/// Checks the lists and a finish while `column` of the victim in `table` does not fit.
fn check_fitting(server: &Server, case: &str, column: &str, table: &str) {
    for (path, of) in [("/v1/deployments", "Deployments"), ("/v1/servers/h", "Servers")] {
        let expected = if column == "\"createdAt\"" && table == of { 2 } else { 3 };
        for list in listed(server, path, "deployment_id") {
            assert_eq!(list.len(), expected, "{case}: {path} has {list:?}");
        }
    }
    let path = format!("/v1/deployments/{}", IDS[VICTIM]);
    let record = server.read(&path);
    let shown = if table == "Deployments" { &record } else { &record["servers"][0] };
    for name in ["createdAt", "updatedAt"] {
        assert_eq!(shown.get(name).is_some(), column != format!("\"{name}\""), "{case}: {record}");
    }
    if column == "elapsed_seconds" {
        assert_eq!(shown[column], json!(-5), "{case}");
    }
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
    assert_eq!(server.put(&path, &json!({ "version": number })).status, 204, "{case}");
    let body = json!({ "hostname": "h", "ip_address": number });
    assert_eq!(server.put(&format!("{path}/servers"), &body).status, 204, "{case}");
    let changed = server.read(&path);
    assert_eq!((&changed["version"], &changed["servers"][0]["ip_address"]), (&json!(number), &json!(number)), "{case}");
    let created = |record: &Value| [record.get("createdAt").cloned(), record["servers"][0].get("createdAt").cloned()];
    assert_eq!(created(&changed), created(&record), "{case}: a finish writes only the columns that it changes");
}
