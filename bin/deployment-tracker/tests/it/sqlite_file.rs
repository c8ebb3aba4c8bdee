//! The SQLite file: one instance at a time, private, and watched while the service runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use tempfile::TempDir;
use test_servers::{command, eventually};

use crate::support::{command_in, new_id, serve};

#[test]
fn a_second_instance_refuses_to_start_and_names_the_lock() {
    let server = serve(json!({}));
    let database = server.folder.path().join("data.sqlite3");
    let folder = TempDir::new().expect("temporary folder");
    std::os::unix::fs::symlink(&database, folder.path().join("data.sqlite3")).expect("link");
    for url in [database.to_str().expect("UTF-8"), "data.sqlite3"] {
        let environment = [
            ("DEPLOYMENT_TRACKER_DATABASE__URL", url),
            ("DEPLOYMENT_TRACKER_PORT", "0"),
            ("DEPLOYMENT_TRACKER_SHUTDOWN_SECONDS", "0"),
        ];
        // An instance that starts all the same is ended.
        let mut second = command("timeout".as_ref(), folder.path());
        second.args(["60", env!("CARGO_BIN_EXE_deployment-tracker")]);
        let second = second.envs(environment).output().expect("the binary runs");
        let stderr = String::from_utf8_lossy(&second.stderr);
        assert_eq!(second.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.contains("another process uses the database") && stderr.contains("data.sqlite3.lock"),
            "{stderr}"
        );

        let check =
            command_in(folder.path()).arg("--check-config").envs(environment).output().expect("the binary runs");
        assert_eq!(check.status.code(), Some(0), "a check needs no lock");
    }
    assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &json!({})).status, 201);
}

#[test]
fn an_instance_that_overlaps_with_its_predecessor_waits_for_it() {
    let first = serve(json!({}));
    let url = first.folder.path().join("data.sqlite3");
    // It listens, but answers only when it has the database.
    let second = serve(json!({ "database": { "url": url } }));
    eventually("the second instance waits", || second.stderr().contains("another process").then_some(()));
    let path = format!("/v1/deployments/{}", new_id());
    assert_eq!(first.post(&path, &json!({ "user": "me" })).status, 201);
    first.signal("TERM");
    assert_eq!(second.read(&path)["user"], json!("me"));
}

#[test]
fn an_instance_that_waits_for_the_lock_stops_on_sigterm() {
    let first = serve(json!({}));
    let url = first.folder.path().join("data.sqlite3");
    let mut second = serve(json!({ "database": { "url": url }, "shutdown_seconds": 3600 }));
    eventually("the second instance waits", || second.stderr().contains("another process").then_some(()));
    second.signal("TERM");
    let status = second.ends_within(std::time::Duration::from_secs(10));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_deleted_or_replaced_file_is_503_until_the_original_is_back() {
    let server = serve(json!({}));
    let (file, away) = (server.folder.path().join("data.sqlite3"), server.folder.path().join("away"));
    let report = || server.post(&format!("/v1/deployments/{}", new_id()), &json!({}));
    assert_eq!(report().status, 201);
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let path = server.folder.path().join(format!("data.sqlite3{suffix}"));
        assert_eq!(fs::metadata(path).expect("file exists").permissions().mode() & 0o777, 0o600, "{suffix}");
    }

    fs::rename(&file, &away).expect("rename");
    let refusal = report();
    assert_eq!((refusal.status, refusal.json()["code"].as_str()), (503, Some("unavailable")));
    assert!(refusal.header("retry-after").is_some());
    eventually("the instance is not ready", || (server.get("/readyz").status == 503).then_some(()));
    let health = server.get("/healthcheck");
    assert_eq!((health.status, &health.json()["tests"]["db"]["result"]), (503, &json!("failed")));
    assert!(!file.exists(), "nothing creates an empty database");
    assert!(server.stderr().contains("has been deleted or replaced"), "{}", server.stderr());

    fs::copy(&away, &file).expect("copy");
    assert_eq!(report().status, 503, "a copy is another file");
    fs::rename(&away, &file).expect("rename");
    assert_eq!(report().status, 201);
    eventually("the instance is ready", || (server.get("/readyz").status == 200).then_some(()));
    assert_eq!(server.read("/v1/deployments").as_array().map(Vec::len), Some(2));
}
