//! Tests of the store on a real file, a real PostgreSQL and a real MariaDB.

mod errors;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod instances;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::sync::Arc;

use tracker_core::testing::logged;
use tracker_core::{Batch, Change, Decision, Group, OutboxEntry, Store as _, StoreError};
use tracker_sql::{DatabaseUrl, SqlStore, SqlStoreOptions};
use uuid::Uuid;

/// Opens a store as the instance `instance`.
fn open(url: &str, instance: &str) -> SqlStore {
    let url = DatabaseUrl::parse(url).expect("valid URL");
    SqlStore::open(url, SqlStoreOptions::default().instance(instance)).expect("store")
}

async fn try_commit(store: &SqlStore, changes: Vec<Change>) -> Result<Decision, StoreError> {
    store.commit(0, Arc::new(Group::new(changes, Arc::new([])))).await
}

async fn commit(store: &SqlStore, changes: Vec<Change>) -> Decision {
    try_commit(store, changes).await.expect("commit")
}

/// Enqueues a new batch for the output `sink` and returns its id.
async fn enqueue(store: &SqlStore) -> Uuid {
    let batch = Arc::new(Batch::new(vec![logged(r#"{"message":"m"}"#)]));
    commit(store, vec![Change::Enqueue(OutboxEntry { output: "sink".into(), batch: batch.clone() })]).await;
    batch.id
}

/// The pending batches of the output `sink`: their ids, and whether they were adopted.
#[cfg_attr(not(any(feature = "postgres", feature = "mysql")), expect(dead_code, reason = "for database servers"))]
async fn pending(store: &SqlStore) -> Vec<(Uuid, bool)> {
    let pending = store.pending("sink", 10).await.expect("query");
    pending.iter().map(|pending| (pending.batch.id, pending.is_adopted)).collect()
}

#[cfg(not(feature = "mysql"))]
#[test]
fn a_url_of_a_database_that_is_not_built_in_is_rejected_with_the_name_of_its_feature() {
    let error = DatabaseUrl::parse("mariadb://me:secret@db/name").expect_err("MySQL is not built in");
    assert!(error.to_string().contains("feature `mysql`"), "{error}");
}
