//! `/readyz` and the test `db` of `/healthcheck` tell whether reports are recorded and queries answered.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::{Database, Postgres, Redis, Server, eventually};

use crate::support::{BINARY, Stack, full_start, new_id, serve};

/// A start that needs new pages in any database.
fn large_start() -> Value {
    json!({ "arguments": "x".repeat(60_000) })
}

/// The configuration with a Redis that is unavailable, so that the outbox keeps every report.
fn with_outbox(mut config: Value) -> Value {
    config["redis"] = json!({ "host": "127.0.0.1", "port": Redis::absent().port });
    config
}

/// Asserts that both probes fail, and that the health check shows an error with `text`.
#[track_caller]
fn is_not_ready(server: &Server, text: &str) {
    server.get("/readyz").is_error(503, None);
    let health = server.get("/healthcheck");
    let error = health.json()["tests"]["db"]["error"].as_str().unwrap_or_default().to_owned();
    assert!(health.status == 503 && error.contains(text), "{} {}", health.status, health.text());
}

fn becomes_ready(server: &Server) {
    eventually("/readyz answers 200", || (server.get("/readyz").status == 200).then_some(()));
    assert_eq!(server.get("/healthcheck").json()["tests"]["db"]["result"], json!("passed"));
}

fn start(server: &Server, body: &Value) -> u16 {
    server.post(&format!("/v1/deployments/{}", new_id()), body).status
}

#[test]
fn a_postgresql_with_a_full_disk_makes_the_service_not_ready_until_it_has_room() {
    let url = Postgres::shared().new_database();
    let name = url.rsplit('/').next().expect("database name");
    let server = serve(with_outbox(json!({ "database": { "url": url } })));
    assert_eq!(start(&server, &full_start()), 201);
    let psql = |statement: &str| Postgres::shared().psql(name, statement).expect("the statement is valid");
    // Small rows fit into pages that exist.
    psql(
        r#"CREATE FUNCTION extend() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF length(NEW.events) > 20000 THEN
                RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
            END IF;
            RETURN NEW;
        END $$"#,
    );
    psql(r#"CREATE TRIGGER extend BEFORE INSERT ON "Outbox" FOR EACH ROW EXECUTE FUNCTION extend()"#);
    becomes_ready(&server);
    assert_eq!(start(&server, &large_start()), 503);
    is_not_ready(&server, "No space left on device");
    is_not_ready(&server, "No space left on device");
    psql(r#"DROP TRIGGER extend ON "Outbox""#);
    becomes_ready(&server);
    assert_eq!(psql(r#"SELECT count(*) FROM "Outbox" WHERE output = ''"#), "0", "a probe leaves no row");
    assert_eq!(start(&server, &large_start()), 201);
}

#[test]
fn an_sqlite_on_a_full_disk_makes_the_service_not_ready_until_it_has_room() {
    // A limit on the size of files simulates the full disk. Without the trap, the signal would end the process.
    let folder = TempDir::new().expect("temporary folder");
    let wrapper = folder.path().join("wrapper");
    fs::write(&wrapper, format!("#!/bin/sh\ntrap '' XFSZ\nexec {BINARY} \"$@\"\n")).expect("the folder is writable");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("the file is ours");
    let server = Server::start(&wrapper, with_outbox(json!({})));
    let limit = |bytes: &str| {
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--pid", &server.id().to_string(), &format!("--fsize={bytes}:")]);
        assert!(prlimit.status().expect("prlimit is installed").success());
    };
    assert_eq!(start(&server, &full_start()), 201);
    becomes_ready(&server);
    let log = fs::metadata(server.folder.path().join("data.sqlite3-wal")).expect("a write-ahead log").len();
    limit(&(log + (32 << 10)).to_string());
    assert_eq!(start(&server, &large_start()), 503);
    is_not_ready(&server, "the database is not available");
    limit("unlimited");
    becomes_ready(&server);
    assert_eq!(start(&server, &large_start()), 201);
}

#[test]
fn a_damaged_page_makes_the_service_not_ready_until_a_query_succeeds() {
    let mut server = serve(json!({}));
    let (damaged, sound) = (new_id(), new_id());
    let record = |id: &str, text: &str| {
        // A page holds one of these records.
        let answer = server.post(&format!("/v1/deployments/{id}"), &json!({ "arguments": text.repeat(400) }));
        assert_eq!(answer.status, 201);
    };
    record(&sound, "sound..");
    record(&damaged, "damaged");
    // A new record changes only the last pages.
    (0..10).for_each(|_| record(&new_id(), "further"));
    server.signal("TERM");
    eventually("the server ends", || server.ended());
    damage(&server.folder.path().join("data.sqlite3"), "damaged".repeat(400).as_bytes());
    server.restart();
    becomes_ready(&server);
    let read = |path: &str| server.get(path).status;
    let (damaged, sound) = (format!("/v1/deployments/{damaged}"), format!("/v1/deployments/{sound}"));
    for unreadable in [damaged.as_str(), "/v1/deployments"] {
        assert_eq!(read(unreadable), 503);
        is_not_ready(&server, "malformed");
        is_not_ready(&server, "malformed");
        assert_eq!(read(&sound), 200);
        becomes_ready(&server);
    }
    assert_eq!(start(&server, &full_start()), 201, "reports are recorded all the while");
}

/// Overwrites the header of the page that contains `text`.
fn damage(database: &Path, text: &[u8]) {
    let bytes = fs::read(database).expect("the database is a file");
    let offset = bytes.windows(text.len()).position(|window| window == text).expect("the text is in one page");
    let page = offset / 4096 * 4096;
    let file = fs::OpenOptions::new().write(true).open(database).expect("the file is writable");
    file.write_all_at(&[0xff; 16], page as u64).expect("the file is writable");
}

#[test]
fn a_role_with_a_connection_limit_serves_every_request() {
    for limit in [1, 3, 5] {
        let postgres = Postgres::shared();
        let url = postgres.new_database();
        let name = url.rsplit('/').next().expect("database name");
        let psql = |statement: &str| postgres.psql(name, statement).expect("the statement is valid");
        psql(&format!("CREATE ROLE {name} LOGIN CONNECTION LIMIT {limit}"));
        psql(&format!("ALTER DATABASE {name} OWNER TO {name}"));
        let url = url.replace("postgres:a-password", name);
        let stack = Stack::start(json!({ "database": { "url": url, "logs": true } }));
        let server = &stack.server;
        becomes_ready(server);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let path = format!("/v1/deployments/{}", new_id());
                        let answer = server.post(&path, &full_start());
                        assert_eq!(answer.status, 201, "limit {limit}: {}", answer.text());
                        let answer = server.get(&path);
                        assert_eq!(answer.status, 200, "limit {limit}: {}", answer.text());
                    }
                });
            }
        });
        eventually("every event arrives", || (stack.redis.elements().len() == 80).then_some(()));
        eventually("the indexes are created", || {
            let valid = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                WHERE i.indisvalid AND c.relname IN
                    ('Deployments_newest', 'Servers_of_deployment', 'Servers_newest', 'Servers_hostnames')";
            (psql(valid) == "4").then_some(())
        });
        assert_eq!(server.get("/readyz").status, 200);
    }
}
