//! Deployments are recorded, listed and read back.

use uuid::Uuid;

use super::{Tested, all, is_paged, next_millisecond, read_pages, start};
use crate::event::EventKind;
use crate::fields::{MAX_ARGUMENTS, MAX_TEXT};
use crate::group::{Change, Outcome};
use crate::id::DeploymentId;
use crate::list::{CreatedCursor, Page};
use crate::server::{Hostname, ServerFields, ServerKey, ServerReport};
use crate::testing::{deployment_report, new_id, server_report};
use crate::{Deployment, DeploymentFields, DeploymentReport, DeploymentResult};

pub async fn are_recorded(store: &Tested<'_>) {
    let id = new_id();
    let full = r#"{"engine":"vagrant","engine_version":"0.6.3","host":"h","user":"Zoë \u2028 😀","environment":"dev",
        "package":"p","package_url":"http://p","version":"1","arguments":"a 'b' \"c\" \\ \n\t;--","assert_empty_server_result":true}"#;
    let reported = || Change::StartDeployment(deployment_report(id, full));
    assert_eq!(store.deployment(id).await, None, "an unknown deployment is `None`");
    let early = Change::FinishDeployment(DeploymentReport::new(id));
    assert_eq!(store.outcome(early).await, Outcome::Unknown, "a finish needs a start");
    assert_eq!(store.outcome(reported()).await, Outcome::Recorded, "a start is recorded");
    assert_eq!(store.outcome(reported()).await, Outcome::Unchanged, "a retried start changes nothing");
    let other = Change::StartDeployment(deployment_report(id, r#"{"engine":"vagrant","host":"other"}"#));
    assert_eq!(store.outcome(other).await, Outcome::Conflict { field: "host" }, "a contradicting start conflicts");

    let recorded = store.deployment(id).await.expect("a committed deployment is readable");
    assert_eq!(recorded.deployment.fields, deployment_report(id, full).fields, "every field is stored");
    let Deployment { created_at, updated_at, .. } = recorded.deployment;
    assert_eq!(created_at, updated_at, "a new record has not been updated yet");

    next_millisecond().await;
    let bare = new_id();
    assert_eq!(store.outcome(start(bare)).await, Outcome::Recorded, "a start without fields is recorded");
    let fields = store.deployment(bare).await.expect("a committed deployment is readable").deployment.fields;
    assert_eq!(fields, DeploymentFields::default(), "a field that was not reported stays absent");

    next_millisecond().await;
    let finish =
        || Change::FinishDeployment(deployment_report(id, r#"{"result":"failure","elapsed_seconds":2147483647}"#));
    let finished = store.commit(vec![finish()]).await;
    assert_eq!(finished.outcomes, [Outcome::Recorded], "a finish is recorded");
    assert_eq!(store.outcome(finish()).await, Outcome::Unchanged, "a retried finish changes nothing");
    assert_eq!(store.outcome(reported()).await, Outcome::Unchanged, "a start retried after the finish changes nothing");
    let changed = DeploymentFields {
        result: Some(DeploymentResult::Failure),
        elapsed_seconds: Some(2_147_483_647),
        ..DeploymentFields::default()
    };
    assert_eq!(finished.changed_deployments[0].fields, changed, "only the fields that changed are written");
    let event = &finished.batches[0].events[0];
    let mut expected = recorded.deployment;
    expected.fields.result = Some(DeploymentResult::Failure);
    expected.fields.elapsed_seconds = Some(2_147_483_647);
    expected.updated_at = Some(event.at);
    assert!(expected.updated_at > expected.created_at, "a finish updates `updated_at`");
    let recorded = store.deployment(id).await.expect("a committed deployment is readable");
    assert_eq!(recorded.deployment, expected, "a finish changes the result, the duration and `updated_at`");
    let EventKind::DeploymentFinished(forwarded) = &event.kind else { panic!("a finish is forwarded: {event:?}") };
    assert_eq!(*forwarded, expected, "an event contains the record as stored");

    // Deployments of one group have the same time.
    store.commit((0..3).map(|_| start(new_id())).collect()).await;
    let list = store.deployments(all()).await.records;
    assert_eq!(
        list[0].deployment.created_at, list[2].deployment.created_at,
        "the records of a group have the same time"
    );
    let order: Vec<_> = list.iter().map(|listed| (listed.deployment.created_at, listed.deployment.id)).collect();
    assert!(order.is_sorted_by(|a, b| a > b), "deployments are listed newest first, by creation: {order:?}");
    is_paged(|page| store.deployments(page)).await;
    // Cursors that match no record: before and after all deployments of the same time.
    let created_at = list[0].deployment.created_at.expect("a listed deployment has a time");
    for (id, rest) in [(Uuid::max(), &list[..]), (Uuid::nil(), &list[3..])] {
        let after = Some(CreatedCursor { created_at, deployment_id: DeploymentId(id) });
        assert_eq!(store.deployments(Page { after, ..all() }).await.records, rest, "a cursor need not match a record");
    }
}

/// Fields are read back unchanged, whether a start or a finish reported them.
pub async fn are_read_back_whole(store: &Tested<'_>) {
    let long = "\u{1F600}".repeat(MAX_TEXT - 1) + "z";
    for text in ["", " ", "\t x ", &long] {
        let reported = || Some(text.into());
        let fields = DeploymentFields {
            engine: reported(),
            engine_version: reported(),
            host: reported(),
            user: reported(),
            environment: reported(),
            package: reported(),
            package_url: reported(),
            version: reported(),
            arguments: Some(text.repeat(MAX_ARGUMENTS / MAX_TEXT).into()),
            result: Some(DeploymentResult::Success),
            elapsed_seconds: Some(0),
        };
        let on_server =
            ServerFields { ip_address: reported(), result: Some(DeploymentResult::Failure), elapsed_seconds: Some(0) };
        let ids = [new_id(), new_id()];
        let report = |id| DeploymentReport { fields: fields.clone(), ..DeploymentReport::new(id) };
        let server = |deployment_id, fields: ServerFields| {
            let key = ServerKey { deployment_id, hostname: Hostname::stored("whole") };
            ServerReport { key, fields, reporter: None, misspelled: Vec::new() }
        };
        let begin = vec![
            Change::StartDeployment(report(ids[0])),
            start(ids[1]),
            Change::StartServer(server(ids[0], on_server.clone())),
            Change::StartServer(server(ids[1], ServerFields::default())),
        ];
        let end =
            vec![Change::FinishDeployment(report(ids[1])), Change::FinishServer(server(ids[1], on_server.clone()))];
        store.commit(begin).await;
        next_millisecond().await;
        store.commit(end.clone()).await;
        for id in ids {
            let recorded = store.deployment(id).await.expect("a committed deployment is readable");
            assert_eq!(recorded.deployment.fields, fields, "every field of a deployment is stored whole");
            assert_eq!(recorded.servers[0].fields, on_server, "every field of a server is stored whole");
        }
        let outcomes = store.commit(end).await.outcomes;
        assert_eq!(outcomes, [Outcome::Unchanged, Outcome::Unchanged], "a retry with {text:?} changes nothing");
    }
}

/// The size of the servers counts, too.
pub async fn are_read_in_bounded_parts(store: &Tested<'_>) {
    next_millisecond().await;
    let ids: Vec<_> = (0..8).map(|_| new_id()).collect();
    let ip = "1".repeat(1_000);
    let servers = ids.iter().flat_map(|id| {
        let start =
            |i| Change::StartServer(server_report(*id, &format!(r#"{{"hostname":"{i}","ip_address":"{ip}"}}"#)));
        (0..10).map(start).collect::<Vec<_>>()
    });
    store.commit(ids.iter().map(|id| start(*id)).chain(servers).collect()).await;
    let whole = store.deployments(Page { limit: 8, ..all() }).await.records;
    assert!(whole.iter().all(|listed| listed.servers.len() == 10), "each deployment is listed with its servers");
    let parts = read_pages(Page { limit: 8, max_bytes: 30_000, ..all() }, |page| store.deployments(page)).await;
    let mut listed = Vec::new();
    for part in parts.into_iter().take_while(|part| part.iter().any(|listed| ids.contains(&listed.deployment.id))) {
        assert!(part.len() <= 3, "a part holds not many more bytes than `max_bytes`");
        listed.extend(part);
    }
    assert_eq!(listed[..8], whole, "parts add up to the whole list");
}

pub async fn commit_together(store: &Tested<'_>) {
    let id = new_id();
    let changes = vec![
        Change::StartDeployment(deployment_report(id, r#"{"engine":"e"}"#)),
        Change::StartDeployment(deployment_report(id, r#"{"engine":"e"}"#)),
        Change::StartDeployment(deployment_report(id, r#"{"engine":"other"}"#)),
        Change::StartServer(server_report(id, r#"{"hostname":"g"}"#)),
        Change::FinishDeployment(deployment_report(id, r#"{"result":"success","assert_empty_server_result":true}"#)),
        Change::FinishDeployment(deployment_report(new_id(), "{}")),
    ];
    let decision = store.commit(changes).await;
    let conflict = Outcome::Conflict { field: "engine" };
    assert_eq!(
        decision.outcomes,
        [Outcome::Recorded, Outcome::Unchanged, conflict, Outcome::Recorded, Outcome::Recorded, Outcome::Unknown],
        "each change of a group sees the changes before it"
    );
    assert_eq!(decision.batches[0].events.len(), 3, "each recorded change is one event");
    let recorded = store.deployment(id).await.expect("a committed deployment is readable");
    assert_eq!(recorded.deployment.fields.result, Some(DeploymentResult::Success), "the finish is stored");
    let result = recorded.servers[0].fields.result;
    assert_eq!(result, Some(DeploymentResult::Success), "the finish sets the result of a server of the same group");

    let many = (0..500).map(|_| start(new_id())).collect();
    let outcomes = store.commit(many).await.outcomes;
    assert_eq!(outcomes, vec![Outcome::Recorded; 500], "a large group is recorded");
}
