//! Old records are deleted.

use std::time::Duration;

use uuid::Uuid;

use super::logs::{keep, named};
use super::{Tested, all, next_millisecond, start};
use crate::DeploymentWithServers;
use crate::group::{Change, Outcome};
use crate::id::DeploymentId;
use crate::list::Page;
use crate::log::LogDeploymentId;
use crate::server::Hostname;
use crate::store::Deleted;
use crate::testing::{deployment_report, logs, new_id, server_report};

pub async fn deletes_only_old_records(store: &Tested<'_>) {
    // `old` and `unrecorded` have only old records, and `unrecorded` has no deployment. Each of the
    // others has one new record.
    let [old, finished, joined, ended, logged, unrecorded] = std::array::from_fn(|_| new_id());
    let on_server = |id, hostname: &str| server_report(id, &serde_json::json!({ "hostname": hostname }).to_string());
    let message = |id| keep(&logs(id, r#"[{"message":"a"},{"message":"b"}]"#));
    let [named_logs, similar_logs] = ["Job \u{212A} '7'", "job k '7'"].map(named);
    let mut changes = vec![keep(&named_logs), keep(&similar_logs)];
    for id in [old, finished, joined, ended, logged, unrecorded] {
        if id != unrecorded {
            changes.push(start(id));
        }
        changes.extend(["old 1", "old 2"].map(|hostname| Change::StartServer(on_server(id, hostname))));
        changes.push(message(id));
    }
    store.commit(changes).await;

    let mut names: Vec<LogDeploymentId> = [old, finished, joined, ended, logged, unrecorded].map(Into::into).into();
    names.push(named_logs.deployment_id.clone());
    let mut found: Vec<(LogDeploymentId, Uuid)> = Vec::new();
    loop {
        let after = found.last().map(|(name, _)| name.clone());
        let part = store.logged(after.clone(), 3).await;
        assert!(part.len() <= 3, "`logged` lists at most `limit` deployments");
        assert!(!part.iter().any(|(name, _)| after.as_ref() == Some(name)), "`logged` lists what comes after the name");
        if part.is_empty() {
            break;
        }
        found.extend(part);
    }
    for name in &names {
        let oldest = store.logs(name.clone(), Page::first(1)).await.records[0].event_id;
        let ids: Vec<_> = found.iter().filter(|(found, _)| found == name).map(|(_, oldest)| *oldest).collect();
        assert_eq!(ids, [oldest], "`logged` lists `{name}` once, with its oldest message");
    }

    next_millisecond().await;
    let finish = Change::FinishDeployment(deployment_report(finished, r#"{"result":"success"}"#));
    let join = Change::StartServer(on_server(joined, "new"));
    let end = Change::FinishServer(server_report(ended, r#"{"hostname":"old 1","result":"success"}"#));
    // Records from exactly `before` are kept, like later ones.
    let before = store.commit(vec![finish, join, end]).await.changed_deployments[0].record.updated_at;
    let before = before.expect("a finish has a time");
    store.commit(vec![message(logged)]).await;
    let pending = store.backlog("sink").await;
    let partly_new = [finished, joined, ended, logged];
    let kept = read_all(store, &partly_new).await;

    let nothing = store.delete_older(&names, before - Duration::from_hours(1), 1000).await;
    assert_eq!(nothing, Deleted::default(), "newer records are not deleted");
    let mut deleted = Vec::new();
    while deleted.last().is_none_or(|deleted: &Deleted| deleted.rows() == 3) && deleted.len() < 10 {
        deleted.push(store.delete_older(&names, before, 3).await);
    }
    assert!(deleted.iter().all(|deleted| deleted.rows() <= 3), "each call deletes at most `limit` rows: {deleted:?}");
    let sum = |count: fn(&Deleted) -> u64| deleted.iter().map(count).sum::<u64>();
    let total = (sum(|deleted| deleted.deployments), sum(|deleted| deleted.servers), sum(|deleted| deleted.messages));
    assert_eq!(total, (1, 4, 5), "the store counts what it deletes");
    assert_eq!(read_all(store, &partly_new).await, kept, "an id with one new record keeps all of its records");
    assert_eq!(read_all(store, &[old, unrecorded]).await, vec![(None, Vec::new()); 2], "old records are deleted");
    let kept = store.logs(named_logs.deployment_id, all()).await.records;
    assert!(kept.is_empty(), "old messages under any name are deleted");
    let kept = store.logs(similar_logs.deployment_id, all()).await.records;
    assert_eq!(kept.len(), 1, "messages under a similar name are kept");
    let servers = store.servers(Hostname::stored("old 1"), all()).await.records;
    let mut left: Vec<_> = servers.iter().map(|server| server.deployment_id).collect();
    left.sort_unstable();
    assert_eq!(left, partly_new, "the list of a host has only the servers that were kept");
    assert_eq!(store.backlog("sink").await, pending, "pending batches are kept");
    let nothing = store.delete_older(&names, before, 3).await;
    assert_eq!(nothing, Deleted::default(), "nothing old is left");
    assert_eq!(store.outcome(start(old)).await, Outcome::Recorded, "a deleted id can be recorded again");
}

/// Reads deployments with their servers and the ids of their messages.
async fn read_all(store: &Tested<'_>, ids: &[DeploymentId]) -> Vec<(Option<DeploymentWithServers>, Vec<Uuid>)> {
    let mut found = Vec::new();
    for &id in ids {
        let kept = store.logs(id.into(), all()).await.records;
        found.push((store.deployment(id).await, kept.iter().map(|message| message.event_id).collect()));
    }
    found
}
