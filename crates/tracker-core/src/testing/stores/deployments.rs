//! Records of deployments.

use uuid::Uuid;

use super::{Tested, a_moment, all, is_paged, newest, start};
use crate::event::EventKind;
use crate::fields::{DeploymentId, MAX_ARGUMENTS, MAX_TEXT};
use crate::group::{Change, Outcome};
use crate::server::{Hostname, ServerFields, ServerKey, ServerReport};
use crate::store::{CreatedCursor, Page};
use crate::testing::{deployment_report, new_id, server_report};
use crate::{DeploymentFields, DeploymentReport, DeploymentResult};

pub async fn are_recorded(store: &Tested<'_>) {
    let id = new_id();
    let full = r#"{"engine":"vagrant","engine_version":"0.6.3","host":"h","user":"Zoë \u2028 😀","environment":"dev",
        "package":"p","package_url":"http://p","version":"1","arguments":"a 'b' \"c\" \\ \n\t;--","assert_empty_server_result":true}"#;
    let reported = || Change::StartDeployment(deployment_report(id, full));
    assert_eq!(store.deployment(id).await, None);
    assert_eq!(store.outcome(Change::FinishDeployment(DeploymentReport::new(id))).await, Outcome::Unknown);
    assert_eq!(store.outcome(reported()).await, Outcome::Recorded);
    assert_eq!(store.outcome(reported()).await, Outcome::Unchanged);
    let other = Change::StartDeployment(deployment_report(id, r#"{"engine":"vagrant","host":"other"}"#));
    assert_eq!(store.outcome(other).await, Outcome::Conflict { field: "host" });

    let recorded = store.deployment(id).await.expect("it is there");
    assert_eq!(recorded.deployment.fields, deployment_report(id, full).fields);
    assert_eq!(recorded.deployment.created_at, recorded.deployment.updated_at);

    a_moment().await;
    let bare = new_id();
    assert_eq!(store.outcome(start(bare)).await, Outcome::Recorded);
    let fields = store.deployment(bare).await.expect("it is there").deployment.fields;
    assert_eq!(fields, DeploymentFields::default(), "what was not given is not recorded");

    a_moment().await;
    let finish =
        || Change::FinishDeployment(deployment_report(id, r#"{"result":"failure","elapsed_seconds":2147483647}"#));
    let finished = store.commit(vec![finish()]).await;
    assert_eq!(finished.outcomes, [Outcome::Recorded]);
    assert_eq!(store.outcome(finish()).await, Outcome::Unchanged);
    assert_eq!(store.outcome(reported()).await, Outcome::Unchanged, "a start that comes late is still a repeat");
    let event = &finished.batches[0].events[0];
    let mut expected = recorded.deployment;
    expected.fields.result = Some(DeploymentResult::Failure);
    expected.fields.elapsed_seconds = Some(2_147_483_647);
    expected.updated_at = event.at;
    assert!(expected.updated_at > expected.created_at);
    assert_eq!(store.deployment(id).await.expect("it is there").deployment, expected);
    assert!(matches!(&event.kind, EventKind::DeploymentFinished(told) if *told == expected), "{event:?}");

    // What commits together is as old.
    store.commit((0..3).map(|_| start(new_id())).collect()).await;
    let list = store.deployments(all()).await;
    assert_eq!(list[0].deployment.created_at, list[2].deployment.created_at);
    let order: Vec<_> = list.iter().map(|listed| (listed.deployment.created_at, listed.deployment.id)).collect();
    assert!(order.is_sorted_by(|a, b| a > b), "newest first, whenever they ended: {order:?}");
    is_paged(|page| store.deployments(page), newest).await;
    // A place that nobody has: of those that are as old, before the first and behind the last.
    let created_at = list[0].deployment.created_at;
    for (id, rest) in [(Uuid::max(), &list[..]), (Uuid::nil(), &list[3..])] {
        let after = Some(CreatedCursor { created_at, deployment_id: DeploymentId(id) });
        assert_eq!(store.deployments(Page { after, ..all() }).await, rest);
    }
}

/// Whether given with the start or with the finish.
pub async fn come_back_whole(store: &Tested<'_>) {
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
            ServerReport { key, fields, reporter: None }
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
        a_moment().await;
        store.commit(end.clone()).await;
        for id in ids {
            let recorded = store.deployment(id).await.expect("it is there");
            assert_eq!(recorded.deployment.fields, fields);
            assert_eq!(recorded.servers[0].fields, on_server);
        }
        assert_eq!(store.commit(end).await.outcomes, [Outcome::Unchanged, Outcome::Unchanged], "{text:?}");
    }
}

pub async fn commit_as_one(store: &Tested<'_>) {
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
        [Outcome::Recorded, Outcome::Unchanged, conflict, Outcome::Recorded, Outcome::Recorded, Outcome::Unknown]
    );
    assert_eq!(decision.batches[0].events.len(), 3);
    let recorded = store.deployment(id).await.expect("it is there");
    assert_eq!(recorded.deployment.fields.result, Some(DeploymentResult::Success));
    assert_eq!(recorded.servers[0].fields.result, Some(DeploymentResult::Success));

    let many = (0..500).map(|_| start(new_id())).collect();
    assert!(store.commit(many).await.outcomes.iter().all(|outcome| *outcome == Outcome::Recorded));
}
