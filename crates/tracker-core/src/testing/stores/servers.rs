//! Records of deployments on servers, and the names of those.

use uuid::Uuid;

use super::{Tested, a_moment, all, is_paged, newest_server, start};
use crate::fields::DeploymentId;
use crate::group::{Change, Outcome};
use crate::server::Hostname;
use crate::store::{CreatedCursor, Page};
use crate::testing::{deployment_report, new_id, server_report};
use crate::{DeploymentResult, Server};

pub async fn are_recorded(store: &Tested<'_>) {
    let id = new_id();
    let start_on = |body: &str| Change::StartServer(server_report(id, body));
    let finish = |body: &str| Change::FinishServer(server_report(id, body));
    assert_eq!(store.outcome(start_on(r#"{"hostname":"a","ip_address":"::1"}"#)).await, Outcome::Recorded);
    assert_eq!(store.outcome(start_on(r#"{"hostname":"a"}"#)).await, Outcome::Unchanged);
    let other = start_on(r#"{"hostname":"a","ip_address":"::2"}"#);
    assert_eq!(store.outcome(other).await, Outcome::Conflict { field: "ip_address" });
    assert_eq!(store.outcome(start_on(r#"{"hostname":"b"}"#)).await, Outcome::Recorded);
    let more = start_on(r#"{"hostname":"b","ip_address":"::1"}"#);
    assert_eq!(store.outcome(more).await, Outcome::Conflict { field: "ip_address" });

    let late = r#"{"hostname":"late","result":"failure","elapsed_seconds":7}"#;
    assert_eq!(store.outcome(finish(late)).await, Outcome::Recorded);
    assert_eq!(store.outcome(finish(late)).await, Outcome::Unchanged);
    let wrong = start_on(r#"{"hostname":"late","ip_address":"::9","result":"success"}"#);
    assert_eq!(store.outcome(wrong).await, Outcome::Conflict { field: "result" });
    let fill = store.commit(vec![start_on(r#"{"hostname":"late","ip_address":"::9"}"#)]).await;
    assert_eq!(fill.outcomes, [Outcome::Recorded]);
    assert!(fill.batches.is_empty(), "a start after the finish is not told");
    let recorded = store.servers(Hostname::stored("late"), all()).await;
    assert_eq!(
        recorded[0].fields,
        server_report(id, r#"{"hostname":"late","ip_address":"::9","result":"failure","elapsed_seconds":7}"#).fields
    );

    assert_eq!(store.deployment(id).await, None, "servers come before their deployment");
    store.commit(vec![start(id)]).await;
    let begun = store.deployment(id).await.expect("it is there").servers;
    let others = (0..3).map(|_| Change::StartServer(server_report(new_id(), r#"{"hostname":"a"}"#)));
    a_moment().await;
    // What commits together is as old.
    store.commit(others.collect()).await;
    a_moment().await;
    let assert = deployment_report(id, r#"{"result":"success","assert_empty_server_result":true}"#);
    assert_eq!(store.outcome(Change::FinishDeployment(assert.clone())).await, Outcome::Recorded);
    assert_eq!(store.outcome(Change::FinishDeployment(assert)).await, Outcome::Unchanged);
    let ended = store.deployment(id).await.expect("it is there");
    let results: Vec<_> = ended.servers.iter().map(|server| (server.hostname.as_str(), server.fields.result)).collect();
    let (success, failure) = (Some(DeploymentResult::Success), Some(DeploymentResult::Failure));
    assert_eq!(results, [("a", success), ("b", success), ("late", failure)]);
    let created_at = |servers: &[Server]| servers.iter().map(|server| server.created_at).collect::<Vec<_>>();
    assert_eq!(created_at(&ended.servers), created_at(&begun), "when they were recorded first");
    let listed = store.deployments(all()).await;
    assert!(listed.contains(&ended), "lists have the servers of each deployment");

    for hostname in ["a b/ö", "a.example", "Z", "ä"] {
        let report = server_report(new_id(), &format!("{{\"hostname\":{hostname:?}}}"));
        store.commit(vec![Change::StartServer(report)]).await;
    }
    let hostnames = async |page| {
        let hostnames = store.hostnames(page).await;
        hostnames.iter().map(|hostname| hostname.as_str().to_owned()).collect::<Vec<_>>()
    };
    let expected = ["ä", "late", "b", "a.example", "a b/ö", "a", "Z"];
    assert_eq!(hostnames(all()).await, expected, "each once, descending by their bytes");
    is_paged(|page| store.hostnames(page), Hostname::clone).await;
    let nobody = Some(Hostname::stored("b0"));
    assert_eq!(hostnames(Page { after: nobody, ..all() }).await, expected[2..]);

    let on_a = |page| store.servers(Hostname::stored("a"), page);
    let history = on_a(all()).await;
    let order: Vec<_> = history.iter().map(|server| (server.created_at, server.deployment_id)).collect();
    assert_eq!(order.len(), 4);
    assert!(order.is_sorted_by(|a, b| a > b), "newest first, whenever they ended: {order:?}");
    is_paged(on_a, newest_server).await;
    for (nobody, rest) in [(Uuid::max(), &history[..]), (Uuid::nil(), &history[3..])] {
        let after = Some(CreatedCursor { created_at: history[0].created_at, deployment_id: DeploymentId(nobody) });
        assert_eq!(on_a(Page { after, ..all() }).await, rest);
    }
    assert_eq!(store.servers(Hostname::stored("nobody"), all()).await, []);
}

pub async fn are_told_apart(store: &Tested<'_>) {
    let mut texts: Vec<_> =
        ["k", "K", "k ", "k\t", "\u{212A}", "é", "e\u{301}", "k\"\\/\u{1}'`%_"].map(str::to_owned).into();
    texts.extend(["d", "b", "e", "a", "c"].map(|last| "\u{1F600}".repeat(2_047) + last));
    let id = new_id();
    let changes: Vec<_> = texts
        .iter()
        .map(|text| Change::StartServer(server_report(id, &serde_json::json!({ "hostname": text }).to_string())))
        .collect();
    let recorded = store.commit(changes.clone()).await;
    assert_eq!(recorded.outcomes, vec![Outcome::Recorded; texts.len()]);
    let repeated = store.commit(changes).await;
    assert_eq!(repeated.outcomes, vec![Outcome::Unchanged; texts.len()]);
    let mut expected = texts.clone();
    expected.sort_unstable_by(|a, b| b.cmp(a));
    let mut hostnames = store.hostnames(all()).await;
    hostnames.retain(|hostname| texts.iter().any(|text| text == hostname.as_str()));
    assert_eq!(hostnames.iter().map(Hostname::as_str).collect::<Vec<_>>(), expected);
    for text in texts {
        let servers = store.servers(Hostname::stored(text.clone()), all()).await;
        assert_eq!(servers.iter().map(|server| server.hostname.as_str()).collect::<Vec<_>>(), [text]);
    }
}
