//! The suite of stores.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{deployment_report, eventually, logged, logs, new_id, server_report};
use crate::event::{Batch, Event, EventKind};
use crate::group::{Change, Decision, Group, Outcome, Owed};
use crate::json;
use crate::log::{LogBatch, LogDeploymentId, LogMessage};
use crate::members::DeploymentId;
use crate::output::{Delivery, Output, OutputError};
use crate::server::{Hostname, Server};
use crate::store::{Backlog, Deleted, Newest, OWED_BYTES, OwedBatch, Page, Store, StoreError};
use crate::{DeploymentMembers, DeploymentReport, DeploymentResult, DeploymentWithServers, time};

/// An output that takes everything, for stores that owe to it.
#[derive(Debug)]
struct Sink;

#[async_trait]
impl Output for Sink {
    fn name(&self) -> &'static str {
        "sink"
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn wants(&self, event: &Event) -> bool {
        !matches!(event.kind, EventKind::ServerStarted(_) | EventKind::ServerFinished(_))
    }

    async fn deliver(&self, _: &[Arc<Batch>], _: &[Uuid]) -> Result<(), OutputError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), OutputError> {
        Ok(())
    }
}

async fn commit(store: &dyn Store, changes: Vec<Change>) -> Decision {
    let outputs: Arc<[Arc<dyn Output>]> = Arc::new([Arc::new(Sink)]);
    store.commit(0, Arc::new(Group::new(changes, outputs))).await.expect("the store is there")
}

async fn outcome(store: &dyn Store, change: Change) -> Outcome {
    commit(store, vec![change]).await.outcomes.remove(0)
}

fn all<K>() -> Page<K> {
    Page::first(1000)
}

/// The records of a list, read two at a time by where the last one stands: the same as all of it.
async fn read_on<T, K, F: Future<Output = Result<Vec<T>, StoreError>>>(
    read: impl Fn(Page<K>) -> F,
    place: impl Fn(&T) -> K,
) -> Vec<T> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let part = read(Page { limit: 2, after, offset: 0 }).await.expect("a query");
        let Some(last) = part.last() else { return rows };
        after = Some(place(last));
        rows.extend(part);
    }
}

/// Holds an empty store against what [`Store`] says.
///
/// # Panics
/// When it does not keep to that.
pub async fn store_suite(store: &dyn Store) {
    store.check().await.expect("the store is there");
    assert!(store.lanes() > 0);
    deployments_are_recorded(store).await;
    servers_are_recorded(store).await;
    hostnames_are_told_apart(store).await;
    a_group_commits_as_one(store).await;
    logs_are_kept(store).await;
    what_is_old_is_deleted_and_nothing_younger(store).await;
    what_is_owed_is_kept_until_settled(store).await;
}

async fn deployments_are_recorded(store: &dyn Store) {
    let id = new_id();
    let full = r#"{"engine":"vagrant","engine_version":"0.6.3","host":"h","user":"Zoë \u2028 😀","environment":"dev",
        "package":"p","package_url":"http://p","version":"1","arguments":"a 'b' \"c\" \\ \n\t;--","assert_empty_server_result":true}"#;
    let start = || Change::StartDeployment(deployment_report(id, full));
    assert_eq!(store.deployment(id).await.expect("a query"), None);
    assert_eq!(outcome(store, Change::FinishDeployment(DeploymentReport::new(id))).await, Outcome::Unknown);
    assert_eq!(outcome(store, start()).await, Outcome::Recorded);
    assert_eq!(outcome(store, start()).await, Outcome::Unchanged);
    let other = Change::StartDeployment(deployment_report(id, r#"{"engine":"vagrant","host":"other"}"#));
    assert_eq!(outcome(store, other).await, Outcome::Conflict { field: "host" });

    let recorded = store.deployment(id).await.expect("a query").expect("it is there");
    assert_eq!(recorded.deployment.members, deployment_report(id, full).members);
    assert_eq!(recorded.deployment.created_at, recorded.deployment.updated_at);

    let finish =
        || Change::FinishDeployment(deployment_report(id, r#"{"result":"failure","elapsed_seconds":2147483647}"#));
    assert_eq!(outcome(store, finish()).await, Outcome::Recorded);
    assert_eq!(outcome(store, finish()).await, Outcome::Unchanged);
    assert_eq!(outcome(store, start()).await, Outcome::Unchanged, "a start that comes late is still a repeat");
    let finished = store.deployment(id).await.expect("a query").expect("it is there").deployment;
    assert_eq!(finished.created_at, recorded.deployment.created_at);
    assert_eq!(finished.members.engine, recorded.deployment.members.engine);
    assert_eq!(finished.members.result, Some(DeploymentResult::Failure));
    assert_eq!(finished.members.elapsed_seconds, Some(2_147_483_647));

    let bare = new_id();
    assert_eq!(outcome(store, Change::StartDeployment(DeploymentReport::new(bare))).await, Outcome::Recorded);
    let members = store.deployment(bare).await.expect("a query").expect("it is there").deployment.members;
    assert_eq!(members, DeploymentMembers::default(), "what was not given is not recorded");

    // What commits together is as old.
    let together = (0..3).map(|_| Change::StartDeployment(DeploymentReport::new(new_id()))).collect();
    commit(store, together).await;
    let list = store.deployments(all()).await.expect("a query");
    assert_eq!(list[0].deployment.created_at, list[2].deployment.created_at);
    let order: Vec<_> = list.iter().map(|listed| (listed.deployment.created_at, listed.deployment.id)).collect();
    assert!(order.is_sorted_by(|a, b| a > b), "newest first: {order:?}");
    let second = store.deployments(Page { offset: 1, ..Page::first(1) }).await.expect("a query");
    assert_eq!(second.as_slice(), &list[1..2]);
    let none = store.deployments(Page { offset: i64::MAX as u64, ..all() }).await.expect("a query");
    assert_eq!(none, []);
    let place = |listed: &DeploymentWithServers| Newest {
        created_at: listed.deployment.created_at,
        deployment_id: listed.deployment.id,
    };
    assert_eq!(read_on(|page| store.deployments(page), place).await, list);
    let behind = Page { limit: 1, after: Some(place(&list[0])), offset: 1 };
    assert!(store.deployments(behind).await.expect("a query").iter().eq(list.iter().skip(2).take(1)));
}

async fn servers_are_recorded(store: &dyn Store) {
    let id = new_id();
    let start = |body: &str| Change::StartServer(server_report(id, body));
    let finish = |body: &str| Change::FinishServer(server_report(id, body));
    assert_eq!(outcome(store, start(r#"{"hostname":"a","ip_address":"::1"}"#)).await, Outcome::Recorded);
    assert_eq!(outcome(store, start(r#"{"hostname":"a"}"#)).await, Outcome::Unchanged);
    let other = start(r#"{"hostname":"a","ip_address":"::2"}"#);
    assert_eq!(outcome(store, other).await, Outcome::Conflict { field: "ip_address" });
    assert_eq!(outcome(store, start(r#"{"hostname":"b"}"#)).await, Outcome::Recorded);
    let more = start(r#"{"hostname":"b","ip_address":"::1"}"#);
    assert_eq!(outcome(store, more).await, Outcome::Conflict { field: "ip_address" });

    let late = r#"{"hostname":"late","result":"failure","elapsed_seconds":7}"#;
    assert_eq!(outcome(store, finish(late)).await, Outcome::Recorded);
    assert_eq!(outcome(store, finish(late)).await, Outcome::Unchanged);
    let wrong = start(r#"{"hostname":"late","ip_address":"::9","result":"success"}"#);
    assert_eq!(outcome(store, wrong).await, Outcome::Conflict { field: "result" });
    let fill = commit(store, vec![start(r#"{"hostname":"late","ip_address":"::9"}"#)]).await;
    assert_eq!(fill.outcomes, [Outcome::Recorded]);
    assert!(fill.batches.is_empty(), "a start after the finish is not told");
    let recorded = store.servers(Hostname::stored("late"), all()).await.expect("a query");
    assert_eq!(
        recorded[0].members,
        server_report(id, r#"{"hostname":"late","ip_address":"::9","result":"failure","elapsed_seconds":7}"#).members
    );

    assert_eq!(store.deployment(id).await.expect("a query"), None, "servers come before their deployment");
    outcome(store, Change::StartDeployment(DeploymentReport::new(id))).await;
    let assert = deployment_report(id, r#"{"result":"success","assert_empty_server_result":true}"#);
    assert_eq!(outcome(store, Change::FinishDeployment(assert.clone())).await, Outcome::Recorded);
    assert_eq!(outcome(store, Change::FinishDeployment(assert)).await, Outcome::Unchanged);
    let servers = store.deployment(id).await.expect("a query").expect("it is there").servers;
    let results: Vec<_> = servers.iter().map(|server| (server.hostname.as_str(), server.members.result)).collect();
    let (success, failure) = (Some(DeploymentResult::Success), Some(DeploymentResult::Failure));
    assert_eq!(results, [("a", success), ("b", success), ("late", failure)]);

    for hostname in ["a b/ö", "a.example", "Z", "ä"] {
        let report = server_report(new_id(), &format!("{{\"hostname\":{hostname:?}}}"));
        outcome(store, Change::StartServer(report)).await;
    }
    let hostnames = store.hostnames(all()).await.expect("a query");
    let hostnames: Vec<_> = hostnames.iter().map(Hostname::as_str).collect();
    assert_eq!(hostnames, ["ä", "late", "b", "a.example", "a b/ö", "a", "Z"], "descending by their bytes");
    let read = read_on(|page| store.hostnames(page), Hostname::clone).await;
    assert_eq!(read.iter().map(Hostname::as_str).collect::<Vec<_>>(), hostnames);
    let two = store.hostnames(Page { offset: 1, ..Page::first(2) }).await.expect("a query");
    assert_eq!(two.iter().map(Hostname::as_str).collect::<Vec<_>>(), ["late", "b"]);

    let together = (0..3).map(|_| Change::StartServer(server_report(new_id(), r#"{"hostname":"a"}"#))).collect();
    commit(store, together).await;
    let history = store.servers(Hostname::stored("a"), all()).await.expect("a query");
    let order: Vec<_> = history.iter().map(|server| (server.created_at, server.deployment_id)).collect();
    assert_eq!(order.len(), 4);
    assert!(order.is_sorted_by(|a, b| a > b), "newest first: {order:?}");
    let place = |server: &Server| Newest { created_at: server.created_at, deployment_id: server.deployment_id };
    let read = read_on(|page| store.servers(Hostname::stored("a"), page), place).await;
    assert_eq!(read, history);
    assert_eq!(store.servers(Hostname::stored("nobody"), all()).await.expect("a query"), []);
}

async fn hostnames_are_told_apart(store: &dyn Store) {
    let mut texts: Vec<_> =
        ["k", "K", "k ", "k\t", "\u{212A}", "é", "e\u{301}", "k\"\\/\u{1}'`%_"].map(str::to_owned).into();
    texts.extend(["d", "b", "e", "a", "c"].map(|last| "\u{1F600}".repeat(2_047) + last));
    let id = new_id();
    let changes: Vec<_> = texts
        .iter()
        .map(|text| Change::StartServer(server_report(id, &serde_json::json!({ "hostname": text }).to_string())))
        .collect();
    let recorded = commit(store, changes.clone()).await;
    assert_eq!(recorded.outcomes, vec![Outcome::Recorded; texts.len()]);
    let repeated = commit(store, changes).await;
    assert_eq!(repeated.outcomes, vec![Outcome::Unchanged; texts.len()]);
    let mut expected = texts.clone();
    expected.sort_unstable_by(|a, b| b.cmp(a));
    let mut hostnames = store.hostnames(all()).await.expect("a query");
    hostnames.retain(|hostname| texts.iter().any(|text| text == hostname.as_str()));
    assert_eq!(hostnames.iter().map(Hostname::as_str).collect::<Vec<_>>(), expected);
    for text in texts {
        let servers = store.servers(Hostname::stored(text.clone()), all()).await.expect("a query");
        assert_eq!(servers.iter().map(|server| server.hostname.as_str()).collect::<Vec<_>>(), [text]);
    }
}

async fn a_group_commits_as_one(store: &dyn Store) {
    let id = new_id();
    let decision = commit(
        store,
        vec![
            Change::StartDeployment(deployment_report(id, r#"{"engine":"e"}"#)),
            Change::StartDeployment(deployment_report(id, r#"{"engine":"e"}"#)),
            Change::StartDeployment(deployment_report(id, r#"{"engine":"other"}"#)),
            Change::StartServer(server_report(id, r#"{"hostname":"g"}"#)),
            Change::FinishDeployment(deployment_report(
                id,
                r#"{"result":"success","assert_empty_server_result":true}"#,
            )),
            Change::FinishDeployment(deployment_report(new_id(), "{}")),
        ],
    )
    .await;
    let conflict = Outcome::Conflict { field: "engine" };
    assert_eq!(
        decision.outcomes,
        [Outcome::Recorded, Outcome::Unchanged, conflict, Outcome::Recorded, Outcome::Recorded, Outcome::Unknown]
    );
    assert_eq!(decision.batches[0].events.len(), 3);
    let recorded = store.deployment(id).await.expect("a query").expect("it is there");
    assert_eq!(recorded.deployment.members.result, Some(DeploymentResult::Success));
    assert_eq!(recorded.servers[0].members.result, Some(DeploymentResult::Success));

    let many: Vec<_> = (0..500).map(|_| Change::StartDeployment(DeploymentReport::new(new_id()))).collect();
    assert!(commit(store, many).await.outcomes.iter().all(|outcome| *outcome == Outcome::Recorded));
}

async fn logs_are_kept(store: &dyn Store) {
    let id = new_id();
    let body = r#"[{"message":"Zoë \u2028 \ud83d\ude00 </x>","f":1.0,"i":123456789012345678901,"o":{"a":[1e-7]}},{"message":""}]"#;
    let first = logs(id, body);
    let second = logs(id, r#"{"message":"three","index":"mine"}"#);
    let event = |logs: &LogBatch| Arc::new(Event::new(EventKind::Logged(logs.clone()), time::now(), None));
    commit(store, vec![Change::KeepLogs(event(&first)), Change::KeepLogs(event(&second))]).await;
    let kept = store.logs(first.deployment_id.clone(), all()).await.expect("a query");
    let sent: Vec<_> = first.messages.iter().chain(&second.messages).collect();
    assert_eq!(kept.len(), sent.len());
    for (kept, sent) in kept.iter().zip(sent) {
        assert_eq!(
            (kept.event_id, kept.received_at, kept.object().get()),
            (sent.event_id, sent.received_at, sent.object().get())
        );
    }
    let page = store.logs(first.deployment_id.clone(), Page { offset: 2, ..Page::first(1) }).await.expect("a query");
    assert_eq!(page[0].event_id, second.messages[0].event_id);
    let read = read_on(|page| store.logs(first.deployment_id.clone(), page), |message| message.event_id).await;
    let event_ids = |messages: &[LogMessage]| messages.iter().map(|message| message.event_id).collect::<Vec<_>>();
    assert_eq!(event_ids(&read), event_ids(&store.logs(first.deployment_id.clone(), all()).await.expect("a query")));
    let unknown = LogDeploymentId::new("nope").expect("a name");
    assert!(store.logs(unknown, all()).await.expect("a query").is_empty());
}

async fn what_is_old_is_deleted_and_nothing_younger(store: &dyn Store) {
    let [gone, finished, joined, logged, never] = std::array::from_fn(|_| new_id());
    let on_server = |id, hostname: &str| {
        Change::StartServer(server_report(id, &serde_json::json!({ "hostname": hostname }).to_string()))
    };
    let keep = |batch: LogBatch| Change::KeepLogs(Arc::new(Event::new(EventKind::Logged(batch), time::now(), None)));
    let message = |id| keep(logs(id, r#"[{"message":"a"},{"message":"b"}]"#));
    let nameless = LogDeploymentId::new("Job \u{212A} '7'").expect("a name");
    let body = json::read(br#"{"message":"m"}"#).expect("JSON");
    let mut old = vec![keep(LogBatch::read(nameless.clone(), body).expect("a message"))];
    for id in [gone, finished, joined, logged, never] {
        if id != never {
            old.push(Change::StartDeployment(DeploymentReport::new(id)));
        }
        old.extend([on_server(id, "old 1"), on_server(id, "old 2"), message(id)]);
    }
    commit(store, old).await;

    let mut names: Vec<LogDeploymentId> = [gone, finished, joined, logged, never].map(Into::into).into();
    names.push(nameless.clone());
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let part = store.logged(after, 3).await.expect("a query");
        let Some((last, _)) = part.last() else { break };
        assert!(part.len() <= 3);
        after = Some(last.clone());
        found.extend(part);
    }
    for name in &names {
        let oldest = store.logs(name.clone(), Page::first(1)).await.expect("a query")[0].event_id;
        let ids: Vec<_> = found.iter().filter(|(found, _)| found == name).map(|(_, oldest)| *oldest).collect();
        assert_eq!(ids, [oldest], "{name} is there once, with its oldest message");
    }

    let before = time::now() + Duration::from_millis(2);
    eventually("what comes now is younger", async || time::now() > before).await;
    let finish = Change::FinishDeployment(deployment_report(finished, r#"{"result":"success"}"#));
    commit(store, vec![finish, on_server(joined, "young"), message(logged)]).await;
    let owed = store.take_stock("sink").await.expect("a query");
    let whole = async |id: DeploymentId| {
        let kept = store.logs(id.into(), all()).await.expect("a query");
        let ids: Vec<_> = kept.iter().map(|message| message.event_id).collect();
        (store.deployment(id).await.expect("a query"), ids)
    };
    let kept = [whole(finished).await, whole(joined).await, whole(logged).await];
    let hosted = async |hostname: &str| {
        let servers = store.servers(Hostname::stored(hostname), all()).await.expect("a query");
        servers.into_iter().map(|server| server.deployment_id).collect::<Vec<_>>()
    };

    let early = before - Duration::from_hours(1);
    let nothing = store.delete_older(names.clone().into(), early, 1000).await.expect("a transaction");
    assert_eq!(nothing, Deleted::default(), "all of it is younger than that");
    let mut deleted = Vec::new();
    loop {
        let part = store.delete_older(names.clone().into(), before, 3).await.expect("a transaction");
        deleted.push(part);
        if part.rows() < 3 {
            break;
        }
    }
    assert!(deleted.iter().all(|part| part.rows() <= 3), "no more rows at once than wanted: {deleted:?}");
    let sum = |count: fn(&Deleted) -> u64| deleted.iter().map(count).sum::<u64>();
    assert_eq!((sum(|part| part.deployments), sum(|part| part.servers), sum(|part| part.messages)), (1, 4, 5));
    assert_eq!([whole(finished).await, whole(joined).await, whole(logged).await], kept, "these have something young");
    assert_eq!(whole(gone).await, (None, Vec::new()));
    assert!(whole(never).await.1.is_empty() && store.logs(nameless, all()).await.expect("a query").is_empty());
    let mut left = hosted("old 1").await;
    left.sort_unstable();
    assert_eq!(left, [finished, joined, logged]);
    assert_eq!(store.take_stock("sink").await.expect("a query"), owed, "what is owed stays");
    let repeat = store.delete_older(names.into(), before, 3).await.expect("a transaction");
    assert_eq!(repeat, Deleted::default());
    assert_eq!(
        outcome(store, Change::StartDeployment(DeploymentReport::new(gone))).await,
        Outcome::Recorded,
        "it is new"
    );
}

async fn what_is_owed_is_kept_until_settled(store: &dyn Store) {
    let ids = |owed: &[OwedBatch]| owed.iter().map(|owed| owed.batch.id).collect::<Vec<_>>();
    let earlier = ids(&store.owed("sink", 1000).await.expect("a query"));
    assert!(!earlier.is_empty(), "what the earlier cases recorded is owed");
    assert!(store.owed("another", 10).await.expect("a query").is_empty());
    commit(store, vec![Change::Settle { output: "sink".into(), batches: earlier }]).await;
    assert!(store.owed("sink", 1000).await.expect("a query").is_empty());

    let server_only = commit(store, vec![Change::StartServer(server_report(new_id(), r#"{"hostname":"o"}"#))]).await;
    assert!(server_only.owed.is_empty(), "what the output does not want is not owed");
    let start = commit(store, vec![Change::StartDeployment(deployment_report(new_id(), r#"{"engine":"e"}"#))]).await;
    let direct = Arc::new(Batch::new(vec![logged(r#"{"message":"m","n":1.0}"#)]));
    let owe = || Change::Owe(Owed { output: "sink".into(), batch: direct.clone() });
    commit(store, vec![owe()]).await;
    commit(store, vec![owe()]).await;

    let owed = store.owed("sink", 10).await.expect("a query");
    assert_eq!(ids(&owed), [start.batches[0].id, direct.id], "in the order of their ids, each once");
    let as_json = |batch: &Batch| serde_json::to_string(&batch.events).expect("events are JSON");
    assert_eq!(as_json(&owed[0].batch), as_json(&start.batches[0]));
    assert_eq!(as_json(&owed[1].batch), as_json(&direct));
    assert_eq!(ids(&store.owed("sink", 1).await.expect("a query")), [start.batches[0].id]);
    let backlog = store.take_stock("sink").await.expect("a query");
    assert_eq!((backlog.messages, backlog.oldest), (2, Some(start.batches[0].events[0].at)));
    assert!((1..100_000).contains(&backlog.bytes), "{backlog:?}");
    commit(store, vec![Change::Settle { output: "sink".into(), batches: vec![start.batches[0].id, direct.id] }]).await;
    assert!(store.owed("sink", 10).await.expect("a query").is_empty());
    assert_eq!(store.take_stock("sink").await.expect("a query"), Backlog::default());

    let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(OWED_BYTES / 2));
    for _ in 0..4 {
        let batch = Arc::new(Batch::new(vec![logged(&long)]));
        commit(store, vec![Change::Owe(Owed { output: "sink".into(), batch })]).await;
    }
    let owed = store.owed("sink", 10).await.expect("a query");
    assert!((1..4).contains(&owed.len()), "a reading ends after some bytes: {}", owed.len());
}
