//! The tables, which reporting queries read, and the databases of the legacy service.

use std::fs;
use std::path::Path;

use diesel::prelude::*;
use diesel::sql_types::Text;
use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::{Database as _, Postgres, Server};

use crate::support::{fixture, full_start, is_timestamp, new_id, on_each_store, serve, serve_in, with};

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// The column `line` of a query on an SQLite file.
fn sqlite(file: &Path, query: &str) -> Vec<String> {
    let mut connection = SqliteConnection::establish(file.to_str().expect("UTF-8")).expect("database opens");
    let lines = diesel::sql_query(query).load::<Line>(&mut connection).expect(query);
    lines.into_iter().map(|row| row.line).collect()
}

/// Adds a deployment and a server. Returns the id.
fn fill(server: &Server) -> String {
    let id = new_id();
    let path = format!("/v1/deployments/{id}");
    assert_eq!(server.post(&path, &full_start()).status, 201);
    assert_eq!(server.put(&path, &json!({ "result": "success", "elapsed_seconds": 234 })).status, 204);
    assert_eq!(server.post(&format!("{path}/servers"), &json!({ "hostname": "web" })).status, 201);
    id
}

#[test]
fn docs_schema_md_lists_every_column() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema.md");
    let page = fs::read_to_string(page).expect("docs/schema.md");
    let mut documented = Vec::new();
    let mut table = "";
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## `\"") {
            table = heading.split('"').next().expect("a heading has a name");
        } else if let Some((column, _)) = line.strip_prefix("| `").and_then(|line| line.split_once('`')) {
            documented.push(format!("{table}.{column}"));
        }
    }
    documented.sort();
    let server = serve(json!({}));
    fill(&server);
    let query = "SELECT m.name || '.' || c.name AS line FROM sqlite_master m JOIN pragma_table_info(m.name) c
        WHERE m.type = 'table' AND m.name IN ('Deployments', 'Servers', 'Logs') ORDER BY line";
    assert_eq!(documented, sqlite(&server.folder.path().join("data.sqlite3"), query));
    for table in ["Outbox", "Replicas", "Hostnames", "__diesel_schema_migrations"] {
        assert!(page.contains(&format!("`\"{table}\"`")), "{table}");
    }
}

#[test]
fn sqlite_has_the_tables_and_time_format_of_the_legacy_service() {
    let server = serve(json!({}));
    let id = fill(&server);
    let file = server.folder.path().join("data.sqlite3");
    let query = r#"SELECT deployment_id || '|' || engine || '|' || "arguments" || '|' || result
        || '|' || typeof(elapsed_seconds) || '|' || elapsed_seconds AS line FROM "Deployments""#;
    assert_eq!(sqlite(&file, query), [format!("{id}|vagrant_orchestrate|--strategy parallel|success|integer|234")]);
    let query =
        r#"SELECT hostname || '|' || deployment_id || '|' || coalesce(ip_address, 'none') AS line FROM "Servers""#;
    assert_eq!(sqlite(&file, query), [format!("web|{id}|none")]);
    for table in ["Deployments", "Servers"] {
        for time in ["createdAt", "updatedAt"] {
            let times = sqlite(&file, &format!(r#"SELECT "{time}" AS line FROM "{table}""#));
            let shape = times[0].replace(|c: char| c.is_ascii_digit(), "0");
            assert_eq!(shape, "0000-00-00 00:00:00.000 +00:00", "{table}.{time}");
        }
    }
}

#[test]
fn postgresql_has_the_tables_and_types_of_the_legacy_service() {
    let postgres = Postgres::shared();
    let url = postgres.new_database();
    let database = url.rsplit('/').next().expect("database name");
    let server = serve(json!({ "database": { "url": url } }));
    let id = fill(&server);
    let query =
        r#"select deployment_id, "user", result, elapsed_seconds, now() - "createdAt" < '1 min' from "Deployments""#;
    assert_eq!(postgres.psql(database, query), Ok(format!("{id}|cbaldauf|success|234|t")));
    let query = r#"select hostname, deployment_id, ip_address is null, "updatedAt" >= "createdAt" from "Servers""#;
    assert_eq!(postgres.psql(database, query), Ok(format!("web|{id}|t|t")));
    let query = "select table_name, column_name, data_type from information_schema.columns
        where table_name in ('Deployments', 'Servers') and data_type not like 'character%' and data_type <> 'text'
        and data_type <> 'USER-DEFINED' order by 1, 2";
    let expected = "Deployments|createdAt|timestamp with time zone
Deployments|deployment_id|uuid
Deployments|elapsed_seconds|integer
Deployments|updatedAt|timestamp with time zone
Servers|createdAt|timestamp with time zone
Servers|deployment_id|uuid
Servers|elapsed_seconds|integer
Servers|updatedAt|timestamp with time zone";
    assert_eq!(postgres.psql(database, query), Ok(expected.to_owned()));
}

#[cfg(feature = "mysql")]
#[test]
fn mariadb_has_the_tables_with_times_in_utc_and_columns_for_the_longest_values() {
    let mariadb = test_servers::Mariadb::shared();
    let url = mariadb.new_database();
    let database = url.rsplit('/').next().expect("database name");
    let query = |query: &str| mariadb.query(database, query).expect(query);
    let server = serve(json!({ "database": { "url": url.replace("mysql://", "mariadb://") } }));
    let id = fill(&server);
    let rows = r#"SELECT deployment_id, "user", result, elapsed_seconds,
        timediff(utc_timestamp(3), "createdAt") BETWEEN 0 AND '00:01' FROM "Deployments""#;
    assert_eq!(query(rows), format!("{id}\tcbaldauf\tsuccess\t234\t1"));
    let rows = r#"SELECT hostname, deployment_id, ip_address IS NULL, "updatedAt" >= "createdAt" FROM "Servers""#;
    assert_eq!(query(rows), format!("web\t{id}\t1\t1"));

    let (text, arguments) = ("\u{1F600}".repeat(2_048), "\u{1F600}".repeat(65_536));
    let mut members = full_start();
    for (_, value) in members.as_object_mut().expect("members") {
        *value = json!(text);
    }
    members["arguments"] = json!(arguments);
    let path = format!("/v1/deployments/{}", new_id());
    assert_eq!(server.post(&path, &members).status, 201);
    assert_eq!(server.post(&path, &members).status, 201, "a retry of the same report is not a conflict");
    let host = json!({ "hostname": text, "ip_address": text });
    assert_eq!(server.post(&format!("{path}/servers"), &host).status, 201);
    assert_eq!(
        server.post(&format!("{path}/servers"), &host).status,
        201,
        "a retry of the same report is not a conflict"
    );
    let widest = r#"SELECT max(char_length(package_url)), max(char_length(arguments)) FROM "Deployments""#;
    assert_eq!(query(widest), "2048\t65536");
    let log = json!({ "message": "x".repeat(1_000_000) });
    assert_eq!(server.post("/v1/deployments/any%20name/logs", &log).status, 201);
    assert_eq!(server.read("/v1/deployments/any%20name/logs")[0]["message"], log["message"]);
}

/// The recorded response with every time in RFC 3339, the format of this service.
fn with_rfc3339_times(value: &Value) -> Value {
    match value {
        Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), with_rfc3339_times(value))).collect(),
        Value::Array(values) => values.iter().map(with_rfc3339_times).collect(),
        Value::String(text) if text.ends_with(" +00:00") => {
            let time = json!(text.replacen(' ', "T", 1).replace(" +00:00", "Z"));
            assert!(is_timestamp(&time), "{text}");
            time
        }
        other => other.clone(),
    }
}

/// `value` without times, because those in the PostgreSQL dump differ from the recorded ones.
fn without_times(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(key, _)| !["createdAt", "updatedAt"].contains(&key.as_str()));
            kept.map(|(key, value)| (key.clone(), without_times(value))).collect()
        }
        Value::Array(values) => values.iter().map(without_times).collect(),
        other => other.clone(),
    }
}

fn recorded() -> Value {
    let text = fs::read_to_string(fixture("answers.json")).expect("fixture");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn the_legacy_sqlite_database_is_served_unchanged() {
    let folder = TempDir::new().expect("temporary folder");
    fs::copy(fixture("data.sqlite3"), folder.path().join("data.sqlite3")).expect("file is copied");
    let server = serve_in(folder, json!({}), &[]);
    let recorded = recorded();
    assert_eq!(server.read("/v1/deployments?limit=1000"), with_rfc3339_times(&recorded["deployments"]));
    assert_eq!(server.read("/v1/servers"), recorded["servers"]);
    assert_writes_work(&server);
}

#[test]
fn the_legacy_postgresql_database_is_served_unchanged() {
    let postgres = Postgres::shared();
    let url = postgres.new_database();
    postgres.load(url.rsplit('/').next().expect("database name"), &fixture("postgres.sql"));
    let server = serve(json!({ "database": { "url": url } }));
    let recorded = recorded();
    assert_eq!(without_times(&server.read("/v1/deployments?limit=1000")), without_times(&recorded["deployments"]));
    assert_eq!(server.read("/v1/servers"), recorded["servers"]);
    assert_writes_work(&server);
}

#[test]
fn legacy_ids_in_upper_case_are_found_and_not_rewritten() {
    let folder = TempDir::new().expect("temporary folder");
    let file = folder.path().join("data.sqlite3");
    fs::copy(fixture("data.sqlite3"), &file).expect("file is copied");
    let mut connection = SqliteConnection::establish(file.to_str().expect("UTF-8")).expect("database opens");
    for table in ["Deployments", "Servers"] {
        let capitals = format!(r#"UPDATE "{table}" SET deployment_id = upper(deployment_id)"#);
        diesel::sql_query(capitals).execute(&mut connection).expect("statement succeeds");
    }
    let server = serve_in(folder, json!({}), &[]);
    let recorded = with_rfc3339_times(&recorded()["deployments"]);
    assert_eq!(server.read("/v1/deployments?limit=1000"), recorded, "in lower case, with their servers");

    let has_servers = |deployment: &&Value| deployment["servers"].as_array().is_some_and(|servers| servers.len() > 1);
    let old =
        recorded.as_array().and_then(|all| all.iter().find(has_servers)).expect("a recorded deployment with servers");
    let id = old["deployment_id"].as_str().expect("id");
    for spelled in [id.to_owned(), id.to_uppercase()] {
        assert_eq!(&server.read(&format!("/v1/deployments/{spelled}")), old);
    }
    let path = format!("/v1/deployments/{id}");
    assert_eq!(server.put(&path, &json!({ "version": "9.9" })).status, 204);
    assert_eq!(server.read(&path)["version"], json!("9.9"));
    assert_eq!(server.post(&path, &json!({ "engine": "another" })).status, 409);
    let hostname = &old["servers"][1]["hostname"];
    let on_server = json!({ "hostname": hostname, "elapsed_seconds": 77 });
    assert_eq!(server.put(&format!("{path}/servers"), &on_server).status, 204);
    assert_eq!(server.read(&path)["servers"][1]["elapsed_seconds"], json!(77));
    assert_eq!(server.read("/v1/deployments?limit=1000").as_array().map(Vec::len), Some(40));
    let query = r#"SELECT deployment_id AS line FROM "Deployments" WHERE deployment_id <> upper(deployment_id)
        UNION ALL SELECT deployment_id FROM "Servers" WHERE deployment_id <> upper(deployment_id)"#;
    assert_eq!(sqlite(&file, query), [] as [String; 0], "no id was rewritten, and no row was added");
}

#[test]
fn an_id_in_both_spellings_changes_only_its_own_row() {
    let folder = TempDir::new().expect("temporary folder");
    let file = folder.path().join("data.sqlite3");
    fs::copy(fixture("data.sqlite3"), &file).expect("file is copied");
    let mut connection = SqliteConnection::establish(file.to_str().expect("UTF-8")).expect("database opens");
    for (id, engine) in
        [("bbbbbbbb-0000-4000-8000-000000000001", "small"), ("BBBBBBBB-0000-4000-8000-000000000001", "capital")]
    {
        let row = format!(
            r#"INSERT INTO "Deployments" (deployment_id, engine, "createdAt", "updatedAt")
            VALUES ('{id}', '{engine}', '2015-07-07 17:34:12.075 +00:00', '2015-07-07 17:34:12.075 +00:00')"#
        );
        diesel::sql_query(row).execute(&mut connection).expect("statement succeeds");
        let row = format!(
            r#"INSERT INTO "Servers" (hostname, deployment_id, ip_address, "createdAt", "updatedAt")
            VALUES ('h', '{id}', '{engine}', '2015-07-07 17:34:12.075 +00:00', '2015-07-07 17:34:12.075 +00:00')"#
        );
        diesel::sql_query(row).execute(&mut connection).expect("statement succeeds");
    }
    let server = serve_in(folder, json!({}), &[]);
    let path = "/v1/deployments/bbbbbbbb-0000-4000-8000-000000000001";
    let finish = json!({ "result": "success", "assert_empty_server_result": true });
    assert_eq!(server.put(path, &finish).status, 204);
    assert_eq!(server.read(path)["engine"], json!("small"));
    for (table, column) in [("Deployments", "engine"), ("Servers", "ip_address")] {
        let query = format!(
            r#"SELECT {column} || coalesce(result, '') AS line FROM "{table}"
            WHERE deployment_id LIKE 'bbbbbbbb%' ORDER BY 1"#
        );
        assert_eq!(sqlite(&file, &query), ["capital", "smallsuccess"], "{table}");
    }
}

#[test]
fn an_empty_hostname_of_the_legacy_service_ends_the_list_of_hostnames() {
    let folder = TempDir::new().expect("temporary folder");
    let file = folder.path().join("data.sqlite3");
    fs::copy(fixture("data.sqlite3"), &file).expect("file is copied");
    let mut connection = SqliteConnection::establish(file.to_str().expect("UTF-8")).expect("database opens");
    let empty = r#"UPDATE "Servers" SET hostname = '' WHERE rowid = (SELECT min(rowid) FROM "Servers")"#;
    diesel::sql_query(empty).execute(&mut connection).expect("statement succeeds");
    let server = serve_in(folder, json!({}), &[]);
    let hostnames = server.read("/v1/servers?limit=1000");
    let count = hostnames.as_array().map_or(0, Vec::len);
    assert_eq!(hostnames[count - 1], json!(""));
    let last = server.get(&format!("/v1/servers?before=&limit={count}"));
    assert_eq!((last.json(), last.header("link")), (hostnames, None));
}

#[test]
fn the_sqlite_file_alone_is_complete_after_a_shutdown() {
    let mut server = serve(json!({}));
    let id = fill(&server);
    server.signal("TERM");
    assert!(server.ends_within(std::time::Duration::from_secs(10)).success());
    let copy = server.folder.path().join("copy.sqlite3");
    fs::copy(server.folder.path().join("data.sqlite3"), &copy).expect("file is copied");
    assert_eq!(sqlite(&copy, r#"SELECT deployment_id AS line FROM "Deployments""#), [id]);
}

/// Changes an existing record and adds a new one.
fn assert_writes_work(server: &Server) {
    let old = server.read("/v1/deployments?limit=1&offset=20")[0].clone();
    let path = format!("/v1/deployments/{}", old["deployment_id"].as_str().expect("id"));
    let long = "ö".repeat(2_048);
    assert_eq!(server.put(&path, &json!({ "result": "failure", "elapsed_seconds": 99, "version": long })).status, 204);
    let changed = server.read(&path);
    let expected =
        json!({ "result": "failure", "elapsed_seconds": 99, "version": long, "updatedAt": changed["updatedAt"] });
    assert_eq!(changed, with(&old, expected), "a text longer than the legacy columns");
    let id = fill(server);
    assert_eq!(server.read("/v1/deployments?limit=1")[0]["deployment_id"], json!(id));
}

#[test]
fn records_survive_a_restart() {
    on_each_store(|config| {
        let mut server = serve(config);
        let path = format!("/v1/deployments/{}", fill(&server));
        assert_eq!(server.post(&format!("{path}/logs"), &json!({ "message": "kept" })).status, 201);
        let before = [server.read(&path), server.read(&format!("{path}/logs"))];
        server.kill();
        server.restart();
        assert_eq!([server.read(&path), server.read(&format!("{path}/logs"))], before);
    });
}
