//! Events in NATS.

use serde_json::json;
use test_servers::{Nats, eventually};

use crate::support::{new_id, serve};

#[test]
fn every_report_is_a_message_and_no_secret_is_shown() {
    let users = r#"authorization { users: [ { user: "admin", password: "hunter2" } ] }"#;
    let mut nats = Nats::start_with(users, json!({ "user": "admin", "pass": "hunter2" }));
    nats.create_stream(json!({}));
    let url = format!("nats://127.0.0.1:{}", nats.port);
    let nats_section = json!({ "url": url, "instance": "one", "username": "admin", "password": "hunter2" });
    let server = serve(json!({ "nats": nats_section, "database": { "logs": false } }));
    let id = new_id();
    let report = |n: usize| {
        let logs = json!([{ "message": format!("a{n}") }, { "message": format!("b{n}") }]);
        assert_eq!(server.post(&format!("/v1/deployments/{id}/logs"), &logs).status, 201);
    };
    assert_eq!(server.post(&format!("/v1/deployments/{id}"), &json!({ "engine": "e" })).status, 201);
    report(1);
    nats.kill();
    assert_eq!(server.post(&format!("/v1/deployments/{id}/servers"), &json!({ "hostname": "h" })).status, 201);
    report(2);
    let health = eventually("the health check fails", || {
        let health = server.get("/healthcheck");
        (health.status == 503).then(|| health.text().to_owned())
    });
    assert!(health.contains("check that the server is running"), "{health}");
    nats.restart();
    assert_eq!(server.put(&format!("/v1/deployments/{id}"), &json!({ "result": "success" })).status, 204);
    let messages = eventually("every event is in the stream", || Some(nats.messages()).filter(|all| all.len() >= 7));
    let found: Vec<_> = messages
        .iter()
        .map(|message| {
            assert_eq!(message.subject, "deployment-tracker.one");
            assert_eq!(message.payload["deployment_id"], json!(id));
            (message.header("Deployment-Tracker-Event").unwrap_or_default(), message.payload["message"].as_str())
        })
        .collect();
    let kinds: Vec<_> = found.iter().map(|(kind, _)| *kind).collect();
    let log = "log_message";
    assert_eq!(kinds, ["deployment_started", log, log, "server_started", log, log, "deployment_finished"]);
    let texts: Vec<_> = found.iter().filter(|(kind, _)| *kind == log).filter_map(|(_, text)| *text).collect();
    assert_eq!(texts, ["a1", "b1", "a2", "b2"]);

    eventually("the health check passes", || server.get("/healthcheck").status == 200);
    assert_eq!(server.read("/config")["nats"]["password"], json!("[REDACTED]"));
    let [config, metrics] = ["/config", "/metrics"].map(|path| server.get(path).text().to_owned());
    let shown = format!("{config}{metrics}{health}{}", server.stderr());
    assert!(!shown.contains("hunter2"), "{shown}");
}
