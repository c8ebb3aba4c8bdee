//! SQLite.

use std::sync::Arc;

use tempfile::TempDir;
use tracker_core::testing::{self, deployment_report, new_id};
use tracker_core::{Change, Store as _};
use tracker_sql::{DatabaseUrl, SqlStore, SqlStoreOptions};

use super::{commit, open};

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
async fn two_stores_can_open_one_file() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (first, second) = (open(&path(&folder, "data.sqlite3"), ""), open(&path(&folder, "data.sqlite3"), ""));
    first.check().await.expect("first store");
    second.check().await.expect("second store");
}
