//! Deleting what is old.

use std::time::Duration;

use uuid::Uuid;

use super::logs::{keep, named};
use super::{Tested, a_moment, all, read_on, start};
use crate::DeploymentWithServers;
use crate::fields::DeploymentId;
use crate::group::{Change, Outcome};
use crate::log::LogDeploymentId;
use crate::server::Hostname;
use crate::store::{Deleted, Page};
use crate::testing::{deployment_report, logs, new_id, server_report};

pub async fn deletes_old_records_and_no_younger_ones(store: &Tested<'_>) {
    let [gone, finished, joined, ended, logged, never] = std::array::from_fn(|_| new_id());
    let on_server = |id, hostname: &str| server_report(id, &serde_json::json!({ "hostname": hostname }).to_string());
    let message = |id| keep(&logs(id, r#"[{"message":"a"},{"message":"b"}]"#));
    let [nameless, alike] = ["Job \u{212A} '7'", "job k '7'"].map(named);
    let mut old = vec![keep(&nameless), keep(&alike)];
    for id in [gone, finished, joined, ended, logged, never] {
        if id != never {
            old.push(start(id));
        }
        old.extend(["old 1", "old 2"].map(|hostname| Change::StartServer(on_server(id, hostname))));
        old.push(message(id));
    }
    store.commit(old).await;

    let mut names: Vec<LogDeploymentId> = [gone, finished, joined, ended, logged, never].map(Into::into).into();
    names.push(nameless.deployment_id.clone());
    let read = |page: Page<LogDeploymentId>| store.logged(page.after, page.limit);
    let found = read_on(3, read, |(name, _)| name.clone()).await;
    for name in &names {
        let oldest = store.logs(name.clone(), Page::first(1)).await[0].event_id;
        let ids: Vec<_> = found.iter().filter(|(found, _)| found == name).map(|(_, oldest)| *oldest).collect();
        assert_eq!(ids, [oldest], "{name} is there once, with its oldest message");
    }

    a_moment().await;
    let finish = Change::FinishDeployment(deployment_report(finished, r#"{"result":"success"}"#));
    let join = Change::StartServer(on_server(joined, "young"));
    let end = Change::FinishServer(server_report(ended, r#"{"hostname":"old 1","result":"success"}"#));
    // What is from `before` is as little deleted as what is from later.
    let before = store.commit(vec![finish, join, end]).await.changed_deployments[0].updated_at;
    store.commit(vec![message(logged)]).await;
    let pending = store.backlog("sink").await;
    let young = [finished, joined, ended, logged];
    let kept = whole(store, &young).await;

    let nothing = store.delete_older(&names, before - Duration::from_hours(1), 1000).await;
    assert_eq!(nothing, Deleted::default(), "all of it is younger than that");
    let mut deleted = Vec::new();
    while deleted.last().is_none_or(|part: &Deleted| part.rows() == 3) && deleted.len() < 10 {
        deleted.push(store.delete_older(&names, before, 3).await);
    }
    assert!(deleted.iter().all(|part| part.rows() <= 3), "no more rows at once than wanted: {deleted:?}");
    let sum = |count: fn(&Deleted) -> u64| deleted.iter().map(count).sum::<u64>();
    assert_eq!((sum(|part| part.deployments), sum(|part| part.servers), sum(|part| part.messages)), (1, 4, 5));
    assert_eq!(whole(store, &young).await, kept, "these have something young");
    assert_eq!(whole(store, &[gone, never]).await, vec![(None, Vec::new()); 2]);
    assert!(store.logs(nameless.deployment_id, all()).await.is_empty());
    assert_eq!(store.logs(alike.deployment_id, all()).await.len(), 1, "another name is another deployment");
    let servers = store.servers(Hostname::stored("old 1"), all()).await;
    let mut left: Vec<_> = servers.iter().map(|server| server.deployment_id).collect();
    left.sort_unstable();
    assert_eq!(left, young);
    assert_eq!(store.backlog("sink").await, pending, "what is owed stays");
    assert_eq!(store.delete_older(&names, before, 3).await, Deleted::default());
    assert_eq!(store.outcome(start(gone)).await, Outcome::Recorded, "it is new");
}

/// Deployments with their servers and the ids of their messages.
async fn whole(store: &Tested<'_>, ids: &[DeploymentId]) -> Vec<(Option<DeploymentWithServers>, Vec<Uuid>)> {
    let mut found = Vec::new();
    for &id in ids {
        let kept = store.logs(id.into(), all()).await;
        found.push((store.deployment(id).await, kept.iter().map(|message| message.event_id).collect()));
    }
    found
}
