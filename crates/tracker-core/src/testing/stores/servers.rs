//! Servers are recorded and listed, and so are their hostnames.

use uuid::Uuid;

use super::{Tested, all, is_paged, next_millisecond, start};
use crate::group::{Change, Outcome};
use crate::id::DeploymentId;
use crate::list::{CreatedCursor, Page};
use crate::server::Hostname;
use crate::testing::{deployment_report, new_id, server_report};
use crate::{DeploymentResult, Server};

pub async fn are_recorded(store: &Tested<'_>) {
    let id = new_id();
    let start_on = |body: &str| Change::StartServer(server_report(id, body));
    let finish = |body: &str| Change::FinishServer(server_report(id, body));
    let conflict = Outcome::Conflict { field: "ip_address" };
    let first = start_on(r#"{"hostname":"a","ip_address":"::1"}"#);
    assert_eq!(store.outcome(first).await, Outcome::Recorded, "a start is recorded");
    let less = start_on(r#"{"hostname":"a"}"#);
    assert_eq!(store.outcome(less).await, Outcome::Unchanged, "a start that contradicts nothing changes nothing");
    let other = start_on(r#"{"hostname":"a","ip_address":"::2"}"#);
    assert_eq!(store.outcome(other).await, conflict, "a start with another value conflicts");
    let bare = start_on(r#"{"hostname":"b"}"#);
    assert_eq!(store.outcome(bare).await, Outcome::Recorded, "another host is another record");
    let more = start_on(r#"{"hostname":"b","ip_address":"::1"}"#);
    assert_eq!(store.outcome(more).await, conflict, "a start with a value that the record lacks conflicts");

    let late = r#"{"hostname":"late","result":"failure","elapsed_seconds":7}"#;
    assert_eq!(store.outcome(finish(late)).await, Outcome::Recorded, "a finish needs no start");
    assert_eq!(store.outcome(finish(late)).await, Outcome::Unchanged, "a retried finish changes nothing");
    let wrong = start_on(r#"{"hostname":"late","ip_address":"::9","result":"success"}"#);
    let conflict = Outcome::Conflict { field: "result" };
    assert_eq!(store.outcome(wrong).await, conflict, "a start that contradicts the finish conflicts");
    let fill = store.commit(vec![start_on(r#"{"hostname":"late","ip_address":"::9"}"#)]).await;
    assert_eq!(fill.outcomes, [Outcome::Recorded], "a start after the finish adds its fields");
    assert!(fill.batches.is_empty(), "a start after the finish is not forwarded");
    let recorded = store.servers(Hostname::stored("late"), all()).await.records;
    assert_eq!(
        recorded[0].fields,
        server_report(id, r#"{"hostname":"late","ip_address":"::9","result":"failure","elapsed_seconds":7}"#).fields,
        "start and finish are merged"
    );

    assert_eq!(store.deployment(id).await, None, "servers may be recorded before their deployment");
    store.commit(vec![start(id)]).await;
    let begun = store.deployment(id).await.expect("a committed deployment is readable").servers;
    let others = (0..3).map(|_| Change::StartServer(server_report(new_id(), r#"{"hostname":"a"}"#)));
    next_millisecond().await;
    // Servers of one group have the same time.
    store.commit(others.collect()).await;
    next_millisecond().await;
    let assert = deployment_report(id, r#"{"result":"success","assert_empty_server_result":true}"#);
    let outcome = store.outcome(Change::FinishDeployment(assert.clone())).await;
    assert_eq!(outcome, Outcome::Recorded, "a finish that sets the results of servers is recorded");
    let outcome = store.outcome(Change::FinishDeployment(assert)).await;
    assert_eq!(outcome, Outcome::Unchanged, "a retry of that finish changes nothing");
    let ended = store.deployment(id).await.expect("a committed deployment is readable");
    let results: Vec<_> = ended.servers.iter().map(|server| (server.hostname.as_str(), server.fields.result)).collect();
    let (success, failure) = (Some(DeploymentResult::Success), Some(DeploymentResult::Failure));
    let expected = [("a", success), ("b", success), ("late", failure)];
    assert_eq!(results, expected, "the finish sets the result of each server without one");
    let created_at = |servers: &[Server]| servers.iter().map(|server| server.created_at).collect::<Vec<_>>();
    assert_eq!(created_at(&ended.servers), created_at(&begun), "a change keeps `created_at`");
    let listed = store.deployments(all()).await.records;
    assert!(listed.contains(&ended), "a listed deployment has its servers");

    for hostname in ["a b/ö", "a.example", "Z", "ä"] {
        let report = server_report(new_id(), &format!("{{\"hostname\":{hostname:?}}}"));
        store.commit(vec![Change::StartServer(report)]).await;
    }
    let hostnames = async |page| {
        let hostnames = store.hostnames(page).await.records;
        hostnames.iter().map(|hostname| hostname.as_str().to_owned()).collect::<Vec<_>>()
    };
    let expected = ["ä", "late", "b", "a.example", "a b/ö", "a", "Z"];
    assert_eq!(hostnames(all()).await, expected, "each hostname is listed once, in descending order of bytes");
    is_paged(|page| store.hostnames(page)).await;
    let after = Some(Hostname::stored("b0"));
    assert_eq!(hostnames(Page { after, ..all() }).await, expected[2..], "a cursor need not match a hostname");

    let on_a = |page| store.servers(Hostname::stored("a"), page);
    let history = on_a(all()).await.records;
    let order: Vec<_> = history.iter().map(|server| (server.created_at, server.deployment_id)).collect();
    assert_eq!(order.len(), 4, "the list of a host has a record for each deployment");
    assert!(order.is_sorted_by(|a, b| a > b), "servers are listed newest first, by creation: {order:?}");
    is_paged(on_a).await;
    for (id, rest) in [(Uuid::max(), &history[..]), (Uuid::nil(), &history[3..])] {
        let created_at = history[0].created_at.expect("a listed server has a time");
        let after = Some(CreatedCursor { created_at, deployment_id: DeploymentId(id) });
        assert_eq!(on_a(Page { after, ..all() }).await.records, rest, "a cursor need not match a record");
    }
    let unknown = store.servers(Hostname::stored("unknown"), all()).await.records;
    assert_eq!(unknown, [], "an unknown host has no records");
}

pub async fn are_distinct(store: &Tested<'_>) {
    let mut names: Vec<_> =
        ["k", "K", "k ", "k\t", "\u{212A}", "é", "e\u{301}", "k\"\\/\u{1}'`%_"].map(str::to_owned).into();
    names.extend(["d", "b", "e", "a", "c"].map(|last| "\u{1F600}".repeat(2_047) + last));
    // A database cannot compress these, and an index may not hold them.
    names.extend((0..3).map(|start| varied(start, 2_048)));
    let id = new_id();
    let changes: Vec<_> = names
        .iter()
        .map(|name| Change::StartServer(server_report(id, &serde_json::json!({ "hostname": name }).to_string())))
        .collect();
    let recorded = store.commit(changes.clone()).await;
    assert_eq!(recorded.outcomes, vec![Outcome::Recorded; names.len()], "similar hostnames are distinct");
    let retried = store.commit(changes).await;
    assert_eq!(retried.outcomes, vec![Outcome::Unchanged; names.len()], "a retried start changes nothing");
    let mut expected = names.clone();
    expected.sort_unstable_by(|a, b| b.cmp(a));
    let mut hostnames = store.hostnames(all()).await.records;
    hostnames.retain(|hostname| names.iter().any(|name| name == hostname.as_str()));
    let hostnames: Vec<_> = hostnames.iter().map(Hostname::as_str).collect();
    assert_eq!(hostnames, expected, "similar hostnames are listed separately, in descending order of bytes");
    is_paged(|page| store.hostnames(page)).await;
    store.commit(vec![start(id)]).await;
    let servers = store.deployment(id).await.expect("a committed deployment is readable").servers;
    let mut found: Vec<_> = servers.iter().map(|server| server.hostname.as_str()).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(found, expected, "a deployment has each of its servers");
    for name in names {
        let finish = serde_json::json!({ "hostname": name, "result": "success" }).to_string();
        let finished = store.outcome(Change::FinishServer(server_report(id, &finish))).await;
        assert_eq!(finished, Outcome::Recorded, "a finish finds the record of its host");
        let servers = store.servers(Hostname::stored(name.clone()), all()).await.records;
        let found: Vec<_> = servers.iter().map(|server| server.hostname.as_str()).collect();
        assert_eq!(found, [name], "a host has only its own records");
    }
}

/// A text of `length` different characters of four bytes.
fn varied(start: u32, length: u32) -> String {
    (0..length)
        .filter_map(|number| char::from_u32(0x1_0000 + (start + number * (number % 61 + 1) * 131) % 0x8_0000))
        .collect()
}
