//! Several instances on one database server: heartbeats, adoption, and concurrent changes.

use std::sync::Arc;
use std::time::Duration;

use test_servers::Database;
use tracker_core::testing::{self, deployment_report, logged, new_id, server_report};
use tracker_core::{
    Batch, Change, DeploymentId, DeploymentQuery, EventKind, Group, HostnameQuery, OutboxEntry, Outcome, Page,
    Store as _, time,
};
use tracker_sql::SqlStore;
use uuid::Uuid;

use super::{commit, enqueue, open, pending};

/// Runs each test on every database server that is built in.
macro_rules! for_each_server {
    ($($test:ident)*) => {
        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(test_servers::Postgres::shared()).await;
            })*
        }

        #[cfg(feature = "mysql")]
        mod mariadb {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(test_servers::Mariadb::shared()).await;
            })*
        }
    };
}

for_each_server! {
    a_database_server_passes_the_suite
    another_instance_adopts_batches_only_after_their_owner_is_gone
    one_instance_adopts_all_batches_of_a_dead_one
    instances_that_start_together_record_each_report_once
    instances_that_delete_together_delete_each_record_once
}

/// Waits for a condition that depends on the age of heartbeats.
async fn eventually(description: &str, deadline: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(deadline, holds).await.unwrap_or_else(|_| panic!("not within {deadline:?}: {description}"));
}

/// Polls the backlog of the output `sink`, which also sends a heartbeat.
async fn messages(store: &SqlStore) -> u64 {
    store.backlog("sink").await.expect("query").messages
}

async fn a_database_server_passes_the_suite(server: &dyn Database) {
    testing::store_suite(&open(&server.new_database(), "only")).await;
}

async fn another_instance_adopts_batches_only_after_their_owner_is_gone(server: &dyn Database) {
    let url = server.new_database();
    let (first, second) = (open(&url, "first"), open(&url, "second"));
    assert_eq!((messages(&first).await, messages(&second).await), (0, 0), "both send a heartbeat");
    let batch = enqueue(&first).await;
    let own = enqueue(&second).await;

    assert_eq!((messages(&first).await, messages(&second).await), (1, 1), "each counts its own");
    assert_eq!(pending(&first).await, [(batch, false)]);
    assert_eq!(pending(&second).await, [(own, false)]);
    assert_eq!(pending(&open(&url, "first")).await, [(batch, false)], "a restarted instance keeps its batches");

    let database = url.rsplit('/').next().expect("the URL ends in the name");
    let owner = format!(r#"(SELECT owner FROM "Outbox" WHERE batch_id = '{batch}')"#);
    let age = format!(r#"UPDATE "Replicas" SET "seenAt" = now() - interval '1' minute WHERE replica = {owner}"#);
    server.query(database, &age).expect("the heartbeat can be aged");
    assert_eq!(messages(&second).await, 1, "the database may have been unreachable for both");
    eventually("the second instance has sent heartbeats for 15 s and adopts", Duration::from_secs(40), async || {
        messages(&second).await == 2
    })
    .await;
    assert_eq!(pending(&second).await, [(batch, true), (own, false)]);
    assert_eq!(pending(&first).await, [], "an instance that returns does not take adopted batches back");

    let acknowledge = async |store: &SqlStore, batches: Vec<Uuid>| {
        commit(store, vec![Change::Acknowledge { output: "sink".into(), batches }]).await.outcomes
    };
    // The marker must stay, since the second instance may still deliver the batch.
    assert_eq!(acknowledge(&first, vec![batch]).await, [Outcome::Unchanged]);
    assert_eq!(messages(&second).await, 2);
    assert_eq!(acknowledge(&second, vec![batch, own]).await, [Outcome::Recorded]);
    assert_eq!((messages(&first).await, messages(&second).await), (0, 0));
}

async fn one_instance_adopts_all_batches_of_a_dead_one(server: &dyn Database) {
    // Too many for one statement to adopt.
    const MANY: u64 = 6_000;
    let url = server.new_database();
    let (dead, second, third) = (open(&url, "dead"), open(&url, "second"), open(&url, "third"));
    let changes = (0..MANY).map(|_| {
        let batch = Arc::new(Batch::new(vec![logged(r#"{"message":"m"}"#)]));
        Change::Enqueue(OutboxEntry { output: "sink".into(), batch })
    });
    commit(&dead, changes.collect()).await;
    let own = enqueue(&second).await;
    enqueue(&third).await;
    // `dead` has never sent a heartbeat.
    let mut backlogs = [0, 0];
    eventually("the batches of the dead instance are adopted", Duration::from_secs(120), async || {
        backlogs = tokio::join!(messages(&second), messages(&third)).into();
        backlogs.iter().sum::<u64>() == MANY + 2
    })
    .await;
    backlogs.sort_unstable();
    assert_eq!(backlogs, [1, MANY + 1], "one instance adopts all");
    let all = second.pending("sink", 10_000).await.expect("query");
    let last = all.last().map(|pending| (pending.batch.id, pending.is_adopted));
    assert_eq!(last, Some((own, false)), "an instance keeps its own batch");
    // An instance that returns keeps its new batches.
    assert_eq!(messages(&dead).await, 0);
    let batch = enqueue(&dead).await;
    for _ in 0..10 {
        tokio::join!(messages(&second), messages(&third));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(pending(&dead).await, [(batch, false)]);
}

async fn instances_that_start_together_record_each_report_once(server: &dyn Database) {
    let url = server.new_database();
    let ids: Vec<_> = (0..20).map(|_| new_id()).collect();
    let instance = async |number: usize| {
        let store = open(&url, &format!("instance {number}"));
        let mut recorded = 0;
        for ids in ids.chunks(2) {
            let starts = ids.iter().map(|&id| Change::StartDeployment(deployment_report(id, r#"{"engine":"e"}"#)));
            let group = Arc::new(Group::new(starts.collect(), Arc::new([])));
            let outcomes = store.commit(number % store.lanes(), group).await.expect("commit").outcomes;
            recorded += outcomes.iter().filter(|outcome| **outcome == Outcome::Recorded).count();
        }
        recorded
    };
    let (a, b, c, d) = tokio::join!(instance(0), instance(1), instance(2), instance(3));
    assert_eq!(a + b + c + d, ids.len());
    let all = open(&url, "one more").deployments(DeploymentQuery::new(Page::first(1000))).await.expect("query");
    assert_eq!(all.records.len(), ids.len());
}

async fn instances_that_delete_together_delete_each_record_once(server: &dyn Database) {
    const MANY: u64 = 300;
    let url = server.new_database();
    let store = open(&url, "first");
    let (mut names, mut changes) = (Vec::new(), Vec::new());
    for _ in 0..MANY {
        let event = logged(r#"{"message":"m"}"#);
        let EventKind::Logged(batch) = &event.kind else { unreachable!("`logged` makes a log message") };
        let id = DeploymentId::parse(batch.deployment_id.as_str()).expect("UUID");
        names.push(batch.deployment_id.clone());
        changes.push(Change::StartDeployment(deployment_report(id, "{}")));
        changes.push(Change::StartServer(server_report(id, r#"{"hostname":"h"}"#)));
        changes.push(Change::KeepLogs(vec![event]));
    }
    commit(&store, changes).await;
    let before = time::now() + Duration::from_mins(1);
    let instance = async |number: usize| {
        let store = open(&url, &format!("instance {number}"));
        let mut deleted = 0;
        // The instances reach the same records in different orders.
        let mut names = names.clone();
        names.rotate_left(number * 10);
        for names in names.chunks(100) {
            let names: Arc<[_]> = names.into();
            loop {
                let rows = store.delete_older(names.clone(), before, 20).await.expect("deletion").rows();
                deleted += rows;
                if rows < 20 {
                    break;
                }
            }
        }
        deleted
    };
    let (a, b, c, d) = tokio::join!(instance(0), instance(1), instance(2), instance(3));
    assert_eq!(a + b + c + d, 3 * MANY, "{a} {b} {c} {d}");
    assert_eq!(store.deployments(DeploymentQuery::new(Page::first(1))).await.expect("query").records, []);
    assert_eq!(store.hostnames(HostnameQuery::new(Page::first(1))).await.expect("query").records, []);
    assert!(store.logged(None, 1).await.expect("query").is_empty());
}
