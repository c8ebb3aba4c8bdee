//! SQLite.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tracker_core::testing::{self, deployment_report, new_id, server_report};
use tracker_core::{Change, DeploymentQuery, Page, Store as _, StoreError, chain};
use tracker_sql::{DatabaseUrl, SqlStore, SqlStoreOptions};

use super::{commit, open, try_commit};

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_passes_the_suite() {
    let folder = tempfile::tempdir().expect("temporary folder");
    testing::store_suite(&open(&path(&folder, "data.sqlite3"), "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_a_database_is_rejected_at_once() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let garbage = path(&folder, "data.sqlite3");
    std::fs::write(&garbage, "something else entirely, and long enough to be looked at".repeat(100)).expect("file");
    for path in [garbage, path(&folder, "no/such/folder.sqlite3")] {
        let url = DatabaseUrl::parse(&path).expect("path");
        assert!(SqlStore::open(url, SqlStoreOptions::default()).is_err(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_share_a_snapshot_see_earlier_commits() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Arc::new(open(&path(&folder, "data.sqlite3"), ""));
    let others: Vec<_> = (0..64)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                loop {
                    store.deployment(new_id()).await.expect("query");
                }
            })
        })
        .collect();
    for _ in 0..300 {
        let report = deployment_report(new_id(), "{}");
        let id = report.id;
        commit(&store, vec![Change::StartDeployment(report)]).await;
        assert!(store.deployment(id).await.expect("query").is_some());
    }
    for other in others {
        other.abort();
        assert!(other.await.is_err_and(|error| error.is_cancelled()), "a query failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_store_at_a_time_opens_a_file_by_any_of_its_names() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let names = ["data.sqlite3", "link.sqlite3", "above/link.sqlite3", "./above/../data.sqlite3"];
    std::fs::create_dir(folder.path().join("above")).expect("folder");
    // Links to a file that does not exist yet.
    std::os::unix::fs::symlink("data.sqlite3", folder.path().join(names[1])).expect("link");
    std::os::unix::fs::symlink("../link.sqlite3", folder.path().join(names[2])).expect("link");
    for name in names {
        let first = open(&path(&folder, name), "");
        first.check(0, 0).await.expect("the first store works");
        for other in names {
            let url = DatabaseUrl::parse(&path(&folder, other)).expect("path");
            let second = SqlStore::open(url, SqlStoreOptions::default().lock_wait(Duration::ZERO));
            let error = second.expect_err(other).to_string();
            assert!(error.contains("another process") && error.contains("data.sqlite3.lock"), "{other}: {error}");
        }
        first.check(0, 0).await.expect("the first store still works");
        let url = path(&folder, name);
        let waiting = tokio::task::spawn_blocking(move || open(&url, ""));
        drop(first);
        waiting.await.expect("no panic").check(0, 0).await.expect("the store opens when the first is closed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_are_private_and_an_existing_file_keeps_its_mode() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let modes = |name: &str| {
        ["", "-wal", "-shm", ".lock"].map(|suffix| {
            let file = std::fs::metadata(path(&folder, &format!("{name}{suffix}"))).expect("file exists");
            file.permissions().mode() & 0o777
        })
    };
    let store = open(&path(&folder, "new"), "");
    store.check(0, 0).await.expect("check");
    assert_eq!(modes("new"), [0o600; 4]);

    std::fs::write(folder.path().join("old"), "").expect("file");
    std::fs::set_permissions(folder.path().join("old"), Permissions::from_mode(0o640)).expect("mode");
    let store = open(&path(&folder, "old"), "");
    store.check(0, 0).await.expect("check");
    assert_eq!(modes("old"), [0o640, 0o640, 0o640, 0o600]);
}

#[tokio::test(flavor = "multi_thread")]
async fn something_else_than_one_regular_file_is_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::write(folder.path().join("a"), "").expect("file");
    std::fs::hard_link(folder.path().join("a"), folder.path().join("b")).expect("hard link");
    std::fs::create_dir(folder.path().join("folder")).expect("folder");
    std::os::unix::fs::symlink("loop", folder.path().join("loop")).expect("link");
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).expect("socket");
    for (name, problem) in [
        ("b", "several hard links"),
        ("folder", "not a regular file"),
        ("socket", "not a regular file"),
        ("loop", "cannot use"),
        ("none/data", "check that its folder exists"),
        ("a/data", "check that its folder exists"),
    ] {
        let url = DatabaseUrl::parse(&path(&folder, name)).expect("path");
        let error = SqlStore::open(url, SqlStoreOptions::default()).expect_err(name).to_string();
        assert!(error.contains(problem), "{name}: {error}");
    }
}

/// Starts a deployment, and returns the error of the commit.
async fn report(store: &SqlStore) -> Result<(), String> {
    let start = Change::StartDeployment(deployment_report(new_id(), "{}"));
    match try_commit(store, vec![start]).await {
        Ok(_) => Ok(()),
        Err(StoreError::Unavailable(error)) => Err(error.to_string()),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_deleted_or_replaced_takes_no_report_until_it_is_back() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = open(&path(&folder, "data.sqlite3"), "");
    report(&store).await.expect("commit");
    let (file, away) = (folder.path().join("data.sqlite3"), folder.path().join("away"));
    for replace in [
        |_: &Path| {},
        |file: &Path| std::fs::write(file, "").expect("file"),
        |file: &Path| {
            std::fs::copy(file.with_file_name("away"), file).expect("copy");
        },
        |file: &Path| std::fs::create_dir(file).expect("folder"),
        |file: &Path| std::os::unix::fs::symlink("/dev/null", file).expect("link"),
    ] {
        std::fs::rename(&file, &away).expect("rename");
        replace(&file);
        for refusal in [report(&store).await, store.check(0, 0).await.map_err(|error| chain(&error))] {
            let error = refusal.expect_err("the file is gone");
            assert!(error.contains("has been deleted or replaced"), "{error}");
        }
        if file.is_dir() {
            std::fs::remove_dir(&file).expect("folder");
        }
        std::fs::rename(&away, &file).expect("rename");
        report(&store).await.expect("the original file is back");
        store.check(0, 0).await.expect("the original file is back");
    }
    drop(store);
    let store = open(&path(&folder, "data.sqlite3"), "");
    let deployments = store.deployments(DeploymentQuery::new(Page::first(10))).await.expect("query");
    assert_eq!(deployments.records.len(), 6, "all reports that were acknowledged, and no other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_log_takes_no_report_and_closing_the_store_saves_its_content() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = open(&path(&folder, "data.sqlite3"), "");
    report(&store).await.expect("commit");
    std::fs::remove_file(folder.path().join("data.sqlite3-wal")).expect("the log exists");
    for refusal in [report(&store).await, store.check(0, 0).await.map_err(|error| chain(&error))] {
        let error = refusal.expect_err("the log is gone");
        assert!(error.contains("data.sqlite3-wal` has been deleted"), "{error}");
    }
    store.close().await;
    drop(store);
    let store = open(&path(&folder, "data.sqlite3"), "");
    let deployments = store.deployments(DeploymentQuery::new(Page::first(10))).await.expect("query");
    assert_eq!(deployments.records.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_cannot_be_read_do_not_stop_an_output() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = path(&folder, "data.sqlite3");
    let store = open(&path, "");
    let mut batches = Vec::new();
    for _ in 0..4 {
        batches.push(super::enqueue(&store).await);
    }
    let mut other = SqliteConnection::establish(&path).expect("connection");
    let damage = format!(
        r#"UPDATE "Outbox" SET batch_id = '0' WHERE batch_id = '{}';
        UPDATE "Outbox" SET events = '[{{' WHERE batch_id = '{}';
        UPDATE "Outbox" SET events = x'ff' WHERE batch_id = '{}'"#,
        batches[0], batches[1], batches[2]
    );
    other.batch_execute(&damage).expect("damage");
    for limit in [1, 2, 10] {
        let pending = store.pending("sink", limit).await.expect("the outbox can be read");
        assert_eq!(pending.iter().map(|pending| pending.batch.id).collect::<Vec<_>>(), batches[3..], "limit {limit}");
    }
    other.batch_execute(r#"UPDATE "Outbox" SET events = '{}'"#).expect("damage");
    assert!(store.pending("sink", 2).await.expect("the outbox can be read").is_empty());
    assert_eq!(store.backlog("sink").await.expect("backlog").messages, 4, "the rows remain");
}

/// Values that another program may have stored: text of every length that a `Text` stores in another way, and blobs.
#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_not_utf8_is_repaired_in_memory_of_our_own() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = path(&folder, "data.sqlite3");
    let store = open(&file, "");
    let fields = r#"{"engine":"e","engine_version":"e","host":"e","user":"e","environment":"e","version":"e"}"#;
    let report = deployment_report(new_id(), fields);
    let id = report.id;
    commit(&store, vec![Change::StartDeployment(report)]).await;
    commit(&store, vec![Change::StartServer(server_report(id, r#"{"hostname":"h","ip_address":"e"}"#))]).await;
    let mut connection = SqliteConnection::establish(&file).expect("database opens");
    let long = "c3".repeat(200);
    let statements = format!(
        r#"UPDATE "Deployments" SET engine = CAST(x'4af67267' AS TEXT), engine_version = CAST(x'{long}' AS TEXT),
            host = x'4af67267', "user" = x'', environment = CAST(x'610062' AS TEXT), version = zeroblob(3),
            elapsed_seconds = CAST(x'4af67267' AS TEXT), "updatedAt" = CAST(x'4af67267' AS TEXT);
        UPDATE "Servers" SET ip_address = CAST(x'4af67267' AS TEXT), hostname = CAST(x'4af67267' AS TEXT);"#
    );
    connection.batch_execute(&statements).expect("statements succeed");

    let found = store.deployment(id).await.expect("query").expect("deployment");
    let list = store.deployments(DeploymentQuery::new(Page::first(9))).await.expect("query").records;
    assert_eq!(list, std::slice::from_ref(&found));
    let texts: Vec<_> =
        found.deployment.fields.texts().filter_map(|(_, text)| text.map(|text| text.as_str())).collect();
    let long = "\u{FFFD}".repeat(200);
    assert_eq!(texts, ["J\u{FFFD}rg", &long, "J\u{FFFD}rg", "", "a\0b", "\0\0\0"]);
    let server = &found.servers[0];
    assert_eq!((server.hostname.as_str(), server.fields.ip_address.as_deref()), ("J\u{FFFD}rg", Some("J\u{FFFD}rg")));
    assert_eq!((found.deployment.fields.elapsed_seconds, found.deployment.updated_at), (None, None));
}

/// The `diesel` feature of `compact_str` copied such text from memory that was already freed.
#[test]
fn text_that_is_not_utf8_is_read_without_an_error_of_memcheck() {
    let program = std::env::current_exe().expect("path of the tests");
    let test = "sqlite::text_that_is_not_utf8_is_repaired_in_memory_of_our_own";
    let run =
        Command::new("valgrind").args(["--quiet", "--error-exitcode=99"]).arg(program).args(["--exact", test]).output();
    let run = run.expect("valgrind is missing: install Debian's package valgrind");
    let output = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && output.contains("1 passed"), "{output}{}", String::from_utf8_lossy(&run.stderr));
}
