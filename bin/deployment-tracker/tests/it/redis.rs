//! The ways to reach Redis and to name things in it.

use serde_json::{Value, json};
use test_servers::{Redis, Server, eventually};

use crate::support::{new_id, serve};

fn report(config: Value) -> (Server, String) {
    let (server, id) = (serve(config), new_id());
    assert_eq!(server.post(&format!("/v1/deployments/{id}"), &json!({ "engine": "e" })).status, 201);
    assert_eq!(server.post(&format!("/v1/deployments/{id}/logs"), &json!({ "message": "m" })).status, 201);
    (server, id)
}

#[test]
fn key_index_database_and_additional_fields_are_configured() {
    let redis = Redis::start_with(&["--requirepass", "123456"]);
    for (n, spelling) in [(3, "additional_fields"), (4, "additional_fileds")] {
        let config = json!({ "redis": {
            "host": "127.0.0.1", "port": redis.port, "password": "123456", "db": n, "key": "my:list", "index": "my-index",
            spelling: { "team": "blue", "message": "over all", "nested": { "a": [1] } },
        } });
        let (_server, id) = report(config);
        let database = n.to_string();
        let elements: Vec<Value> = eventually("both elements", || {
            let script = "redis.call('SELECT', ARGV[1]) return redis.call('LRANGE', KEYS[1], 0, -1)";
            let list = redis.command(&["EVAL", script, "1", "my:list", &database]);
            let list = list.as_array()?.iter().map(|element| serde_json::from_str(element.as_str()?).ok());
            list.collect::<Option<Vec<_>>>().filter(|list| list.len() == 2)
        });
        for element in elements {
            assert_eq!(element["index"], json!("my-index"), "{element}");
            assert_eq!(element["deployment_id"], json!(id), "{element}");
            assert_eq!(element["message"], json!("over all"), "merged last: {element}");
            assert_eq!((&element["team"], &element["nested"]), (&json!("blue"), &json!({ "a": [1] })));
        }
    }
}

#[test]
fn a_unix_socket_and_a_user_of_its_own_will_do() {
    let redis = Redis::start();
    redis.command(&["ACL", "SETUSER", "tracker", "on", ">secret", "~*", "&*", "+@all"]);
    let (_server, id) =
        report(json!({ "redis": { "path": redis.socket(), "username": "tracker", "password": "secret" } }));
    let elements = redis.wait_for(2);
    assert!(elements.iter().all(|element| element["deployment_id"] == json!(id)), "{elements:?}");
    let clients = redis.command(&["CLIENT", "LIST"]);
    assert!(clients.as_str().is_some_and(|list| list.contains("user=tracker")), "{clients}");
}

#[test]
fn the_original_format_adds_nothing_and_writes_what_is_absent_as_null() {
    let redis = Redis::start();
    let (server, id) = report(json!({ "redis": { "host": "127.0.0.1", "port": redis.port, "format": "original" } }));
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
