//! Connections to Redis, and the formats of elements.

use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::{Certificates, Redis, Sentinels, Server, eventually, free_port};

use crate::support::{full_start, is_timestamp, new_id, serve, serve_in};

/// Starts the server with `config`, and reports a start and a log message.
fn serve_and_report(config: Value) -> (Server, String) {
    let (server, id) = (serve(config), new_id());
    assert_eq!(server.post(&format!("/v1/deployments/{id}"), &json!({ "engine": "e" })).status, 201);
    assert_eq!(server.post(&format!("/v1/deployments/{id}/logs"), &json!({ "message": "m" })).status, 201);
    (server, id)
}

#[test]
fn key_index_database_and_additional_fields_are_configurable() {
    let redis = Redis::start_with(&["--requirepass", "123456"]);
    for (n, spelling) in [(3, "additional_fields"), (4, "additional_fileds")] {
        let config = json!({ "redis": {
            "host": "127.0.0.1", "port": redis.port, "password": "123456", "db": n, "key": "my:list",
            "index": "my-index",
            spelling: { "team": "blue", "message": "over all", "nested": { "a": [1] } },
        } });
        let (_server, id) = serve_and_report(config);
        let database = n.to_string();
        let elements: Vec<Value> = eventually("both elements are in the list", || {
            let script = "redis.call('SELECT', ARGV[1]) return redis.call('LRANGE', KEYS[1], 0, -1)";
            let list = redis.command(&["EVAL", script, "1", "my:list", &database]);
            let list = list.as_array()?.iter().map(|element| serde_json::from_str(element.as_str()?).ok());
            list.collect::<Option<Vec<_>>>().filter(|list| list.len() == 2)
        });
        for element in elements {
            assert_eq!(element["index"], json!("my-index"), "{element}");
            assert_eq!(element["deployment_id"], json!(id), "{element}");
            assert_eq!(
                element["message"],
                json!("over all"),
                "additional fields replace members of the same name: {element}"
            );
            assert_eq!((&element["team"], &element["nested"]), (&json!("blue"), &json!({ "a": [1] })));
        }
    }
}

#[test]
fn redis_is_reachable_through_a_unix_socket_with_an_acl_user() {
    let redis = Redis::start();
    redis.command(&["ACL", "SETUSER", "tracker", "on", ">secret", "~*", "&*", "+@all"]);
    let (_server, id) =
        serve_and_report(json!({ "redis": { "path": redis.socket(), "username": "tracker", "password": "secret" } }));
    let elements = redis.wait_for(2);
    assert!(elements.iter().all(|element| element["deployment_id"] == json!(id)), "{elements:?}");
    let clients = redis.command(&["CLIENT", "LIST"]);
    assert!(clients.as_str().is_some_and(|list| list.contains("user=tracker")), "{clients}");
}

#[test]
fn a_redis_without_scripts_and_transactions_receives_reports_and_causes_a_warning() {
    let redis = Redis::start_with(&["--rename-command", "EVAL", ""]);
    redis.command(&["ACL", "SETUSER", "default", "-watch", "-multi"]);
    let server = serve(json!({ "redis": { "port": redis.port } }));
    let warning = "permits neither EVAL nor transactions (WATCH, MULTI and EXEC): a push whose answer is lost arrives";
    eventually("the warning is logged at start", || server.stderr().contains(warning).then_some(()));
    let id = new_id();
    assert_eq!(server.post(&format!("/v1/deployments/{id}"), &json!({ "engine": "e" })).status, 201);
    assert_eq!(redis.wait_for(1)[0]["deployment_id"], json!(id));
    let health = server.get("/healthcheck");
    let test = health.json()["tests"]["redis"].clone();
    assert_eq!((health.status, &test["result"]), (200, &json!("passed")), "{test}");
    assert!(test["warning"].as_str().is_some_and(|text| text.contains(warning)), "{test}");

    redis.command(&["ACL", "SETUSER", "default", "+watch", "+multi"]);
    let server = serve(json!({ "redis": { "port": redis.port } }));
    assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &json!({})).status, 201);
    redis.wait_for(2);
    assert_eq!(server.get("/healthcheck").json()["tests"]["redis"].get("warning"), None);
}

#[test]
fn redis_can_be_a_url_in_the_file_and_in_the_environment() {
    let redis = Redis::start_with(&["--requirepass", "hunter2"]);
    let url = format!("redis://:hunter2@127.0.0.1:{}/0", redis.port);
    let folder = || TempDir::new().expect("temporary folder");
    for (n, server) in [
        serve(json!({ "redis": url })),
        serve_in(folder(), json!({}), &[("DEPLOYMENT_TRACKER_REDIS", &url)]),
        serve_in(folder(), json!({ "redis": { "port": 1 } }), &[("DEPLOYMENT_TRACKER_REDIS", &url)]),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &json!({})).status, 201);
        redis.wait_for(n + 1);
        assert!(!server.get("/config").text().contains("hunter2"));
        assert!(!server.stderr().contains("hunter2"), "{}", server.stderr());
    }
}

#[test]
fn sentinels_can_be_configured_in_the_environment() {
    let sentinels = Sentinels::start(None);
    let nodes: Vec<_> =
        sentinels.sentinels.iter().map(|each| json!({ "host": "127.0.0.1", "port": each.port })).collect();
    let environment = [
        ("DEPLOYMENT_TRACKER_REDIS__SENTINELS", &*json!(nodes).to_string()),
        ("DEPLOYMENT_TRACKER_REDIS__MASTER_NAME", "main"),
        ("DEPLOYMENT_TRACKER_REDIS__SENTINEL_PASSWORD", Sentinels::PASSWORD),
        ("DEPLOYMENT_TRACKER_REDIS__WAIT_REPLICAS", "2"),
    ];
    let server = serve_in(TempDir::new().expect("temporary folder"), json!({}), &environment);
    let id = new_id();
    assert_eq!(server.post(&format!("/v1/deployments/{id}"), &json!({ "engine": "e" })).status, 201);
    let has_element = |redis: &Redis| (redis.elements().len() == 1).then_some(());
    sentinels.servers.iter().for_each(|redis| eventually("each Redis server has the element", || has_element(redis)));
    assert_eq!(server.read("/healthcheck")["tests"]["redis"]["result"], json!("passed"));
    assert!(!server.get("/config").text().contains(Sentinels::PASSWORD));
    assert!(!server.stderr().contains(Sentinels::PASSWORD), "{}", server.stderr());
}

#[test]
fn a_redis_with_an_untrusted_certificate_receives_nothing_and_fails_the_health_check() {
    let (certificates, other, port) = (Certificates::new(), Certificates::new(), free_port());
    let redis = Redis::start_with(&certificates.options(port).iter().map(String::as_str).collect::<Vec<_>>());
    let tls = |authority: &Certificates| {
        let path = |name| certificates.path(name);
        json!({ "redis": { "host": "localhost", "port": port, "tls": {
            "ca": authority.path("ca.pem"), "certificate": path("client.pem"), "key": path("client.key"),
        } } })
    };
    let (server, _) = serve_and_report(tls(&other));
    let health = server.get("/healthcheck");
    let error = health.json()["tests"]["redis"]["error"].as_str().expect("error text").to_owned();
    assert!(error.contains("certificate") && error.contains("tls.ca`"), "{error}");
    assert_eq!((health.status, redis.elements().len()), (503, 0));
    let (server, _) = serve_and_report(tls(&certificates));
    redis.wait_for(2);
    assert_eq!(server.read("/healthcheck")["tests"]["redis"]["result"], json!("passed"));
}

#[test]
fn the_original_format_adds_no_members_and_writes_absent_fields_as_null() {
    let redis = Redis::start();
    let (server, id) =
        serve_and_report(json!({ "redis": { "host": "127.0.0.1", "port": redis.port, "format": "original" } }));
    assert_eq!(server.put(&format!("/v1/deployments/{id}"), &json!({ "result": "success" })).status, 204);
    let elements = redis.wait_for(3);
    let record = server.read(&format!("/v1/deployments/{id}"));
    let message = |what| format!("Deployment Tracker recording deployment {what} for deployment {id}");
    let created = &record["createdAt"];
    let absent = Value::Null;
    assert_eq!(elements[1], json!({ "message": "m", "deployment_id": id, "index": "deployment-tracker" }));
    assert_eq!(
        elements[0],
        json!({
            "deployment_id": id, "engine": "e", "createdAt": created, "updatedAt": created,
            "index": "deployment-tracker", "message": message("start")
        })
    );
    assert_eq!(
        elements[2],
        json!({
            "deployment_id": id, "engine": "e", "engine_version": absent, "host": absent, "user": absent,
            "environment": absent, "package": absent, "package_url": absent, "version": absent, "arguments": absent,
            "result": "success", "elapsed_seconds": absent, "createdAt": created, "updatedAt": record["updatedAt"],
            "index": "deployment-tracker", "message": message("end")
        })
    );
}

#[test]
fn the_ecs_format_uses_the_names_and_types_of_the_elastic_common_schema() {
    let redis = Redis::start();
    let fields = json!({ "labels": { "team": "blue" }, "tags": ["deploy"] });
    let server = serve(json!({ "redis": {
        "host": "127.0.0.1", "port": redis.port, "format": "ecs", "index": "i", "additional_fields": fields,
    } }));
    let id = new_id();
    let path = format!("/v1/deployments/{id}");
    assert_eq!(server.post(&path, &full_start()).status, 201);
    let log = json!({ "message": "m", "severity": "warn", "host": { "h": 1 }, "a.b": 5, "@timestamp": "yesterday" });
    assert_eq!(server.post(&format!("{path}/logs"), &log).status, 201);
    assert_eq!(server.put(&path, &json!({ "result": "failure", "elapsed_seconds": 2 })).status, 204);
    let mut elements = redis.wait_for(3);

    let record = server.read(&path);
    let message = |what| format!("Deployment Tracker recording deployment {what} for deployment {id}");
    let deployment = |event, message| {
        json!({
            "ecs": { "version": "9.3.0" }, "event": event, "message": message, "tags": ["deploy"],
            "service": { "name": "test", "version": "4.5.6", "environment": "dev" },
            "host": { "name": "localhost" }, "user": { "name": "cbaldauf" },
            "labels": { "deployment_id": id, "index": "i", "team": "blue", "engine": "vagrant_orchestrate",
                "engine_version": "0.6.3", "package_url": "http://mypackage.mydomain.com",
                "arguments": "--strategy parallel" },
        })
    };
    let start = json!({ "kind": "event", "action": "deployment-start", "start": record["createdAt"] });
    let end = json!({ "kind": "event", "action": "deployment-end", "start": record["createdAt"],
        "end": record["updatedAt"], "outcome": "failure", "duration": 2_000_000_000 });
    let log = json!({
        "ecs": { "version": "9.3.0" }, "event": { "kind": "event", "action": "deployment-log" }, "message": "m",
        "tags": ["deploy"], "log": { "level": "warn" },
        "labels": { "deployment_id": id, "index": "i", "team": "blue", "host": "{\"h\":1}", "a_b": "5",
            "_@timestamp": "yesterday" },
    });
    for (element, expected) in
        elements.iter_mut().zip([deployment(start, message("start")), log, deployment(end, message("end"))])
    {
        let members = element.as_object_mut().expect("JSON object");
        let (at, event_id) = (members.remove("@timestamp"), members["event"]["id"].take());
        members["event"].as_object_mut().expect("JSON object").remove("id");
        assert!(
            at.is_some_and(|at| is_timestamp(&at)) && event_id.as_str().is_some_and(|id| id.len() == 36),
            "{event_id}"
        );
        assert_eq!(*element, expected);
    }
}
