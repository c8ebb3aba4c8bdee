//! Starts and finishes of deployments, retries of both, and the elements that Redis receives.

use serde_json::{Value, json};
use test_servers::JSON;

use crate::support::{Stack, full_start, is_timestamp, new_id, on_each_store, with};

#[test]
fn a_deployment_reads_back_as_it_was_reported() {
    on_each_store(|config| {
        let Stack { server, .. } = Stack::start(config);
        let id = new_id();
        let path = format!("/v1/deployments/{id}");
        let start = with(&full_start(), json!({ "user": "Zoë \u{2028} 😀", "arguments": "a 'b' \"c\" \\ \n\t</x>" }));

        let answer = server.post(&path, &start);
        assert_eq!((answer.status, answer.header("location"), answer.text()), (201, Some(path.as_str()), ""));
        let started = server.read(&path);
        let (created, updated) = (&started["createdAt"], &started["updatedAt"]);
        assert!(is_timestamp(created) && created == updated, "{started}");
        let record = json!({ "deployment_id": id, "createdAt": created, "updatedAt": updated, "servers": [] });
        assert_eq!(started, with(&start, record));

        let answer = server.put(&path, &json!({ "deployment_id": id, "result": "failure", "elapsed_seconds": 234.0 }));
        assert_eq!((answer.status, answer.text()), (204, ""));
        let finished = server.read(&path);
        assert!(
            is_timestamp(&finished["updatedAt"]) && finished["updatedAt"].as_str() >= updated.as_str(),
            "{finished}"
        );
        let changes = json!({ "result": "failure", "elapsed_seconds": 234, "updatedAt": finished["updatedAt"] });
        assert_eq!(finished, with(&started, changes));

        server.get(&format!("/v1/deployments/{}", new_id())).is_error(404, None);
        server.put(&format!("/v1/deployments/{}", new_id()), &json!({ "result": "success" })).is_error(404, None);
    });
}

#[test]
fn ids_are_accepted_in_any_case_and_returned_in_lower_case() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        let id = new_id();
        let upper = format!("/v1/deployments/{}", id.to_uppercase());
        let lower = format!("/v1/deployments/{id}");
        let answer = stack.server.post(&upper, &json!({ "deployment_id": id, "engine": "e" }));
        assert_eq!((answer.status, answer.header("location")), (201, Some(lower.as_str())));
        let body = json!({ "deployment_id": id.to_uppercase(), "result": "success" });
        assert_eq!(stack.server.put(&lower, &body).status, 204);
        assert_eq!(stack.server.post(&format!("{upper}/servers"), &json!({ "hostname": "h" })).status, 201);
        assert_eq!(stack.server.post(&format!("{upper}/logs"), &json!({ "message": "m" })).status, 201);

        let record = stack.server.read(&upper);
        assert_eq!((&record["deployment_id"], &record["servers"][0]["deployment_id"]), (&json!(id), &json!(id)));
        let (elements, _) = stack.forwarded(&id);
        assert_eq!(elements.len(), 3, "{elements:?}");
        assert!(elements.iter().all(|element| element["deployment_id"] == json!(id)), "{elements:?}");
    });
}

#[test]
fn a_retried_start_changes_nothing_and_a_different_start_is_a_conflict() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        let id = new_id();
        let path = format!("/v1/deployments/{id}");
        let mut start = full_start();
        start.as_object_mut().map(|members| members.remove("package_url"));
        let starts = [
            (start.clone(), None),
            (start.clone(), None),
            (json!({ "engine": "vagrant_orchestrate" }), None),
            (json!({ "deployment_id": id, "foo": "ignored" }), None),
            (with(&start, json!({ "engine": "another" })), Some("engine")),
            (json!({ "arguments": "" }), Some("arguments")),
            (json!({ "package_url": "http://was.absent" }), Some("package_url")),
            (json!({ "result": "success" }), Some("result")),
            (json!({ "elapsed_seconds": 0 }), Some("elapsed_seconds")),
        ];
        let mut first = None;
        for (body, conflict) in starts {
            let answer = stack.server.post(&path, &body);
            match conflict {
                None => assert_eq!((answer.status, answer.header("location")), (201, Some(path.as_str())), "{body}"),
                Some(field) => drop(answer.is_error(409, Some(field))),
            }
            let record = stack.server.read(&path);
            assert_eq!(record, *first.get_or_insert(record.clone()), "after {body}");
        }
        assert_eq!(stack.server.put(&path, &json!({ "result": "success" })).status, 204);
        assert_eq!(stack.server.post(&path, &start).status, 201, "the start, retried after the finish");

        let (elements, metrics) = stack.forwarded(&id);
        assert_eq!(elements.len(), 2, "{elements:?}");
        assert!(metrics.contains(&"dt.deployments.started:1|c".to_owned()), "{metrics:?}");
        assert!(metrics.contains(&"dt.deployments.success:1|c".to_owned()), "{metrics:?}");
    });
}

#[test]
fn a_finish_overwrites_fields_and_its_retry_forwards_nothing() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        let id = new_id();
        let path = format!("/v1/deployments/{id}");
        assert_eq!(stack.server.post(&path, &full_start()).status, 201);
        let finishes = [
            (json!({ "result": "success", "elapsed_seconds": 3 }), true),
            (json!({ "result": "success", "elapsed_seconds": 3 }), false),
            (json!({ "result": "success" }), false),
            (json!({}), false),
            (json!({ "createdAt": "2001-02-03T04:05:06.000Z", "foo": 1 }), false),
            (json!({ "assert_empty_server_result": true }), false),
            (json!({ "version": "9", "engine": "e2" }), true),
            (json!({ "result": "failure", "elapsed_seconds": 0 }), true),
        ];
        let mut record = stack.server.read(&path);
        for (body, changes) in &finishes {
            let answer = stack.server.put(&path, body);
            assert_eq!((answer.status, answer.text()), (204, ""), "{body}");
            let now = stack.server.read(&path);
            assert_eq!(now == record, !changes, "after {body}: {now}");
            record = now;
        }
        let expected = json!({ "result": "failure", "elapsed_seconds": 0, "version": "9", "engine": "e2" });
        assert_eq!(record, with(&record, expected));
        let (elements, metrics) = stack.forwarded(&id);
        let forwarded = finishes.iter().filter(|(_, changes)| *changes).count();
        assert_eq!(elements.len(), 1 + forwarded, "{elements:?}");
        let results = metrics.iter().filter(|line| line.starts_with("dt.deployments.success:2|c")).count();
        assert_eq!(results, 1, "{metrics:?}");
    });
}

#[test]
fn redis_receives_the_start_and_the_finish_but_no_server() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        let id = new_id();
        let path = format!("/v1/deployments/{id}");
        stack.server.post(&path, &json!({ "engine": "e", "version": "1" }));
        let started = stack.server.read(&path);
        stack.server.post(&format!("{path}/servers"), &json!({ "hostname": "web" }));
        stack.server.put(&format!("{path}/servers"), &json!({ "hostname": "web", "result": "success" }));
        stack.server.put(&path, &json!({ "result": "success" }));
        let finished = stack.server.read(&path);

        let (elements, _) = stack.forwarded(&id);
        assert_eq!(elements.len(), 2, "{elements:?}");
        for (element, record, what) in [(&elements[0], started, "start"), (&elements[1], finished, "end")] {
            let mut expected = with(
                &record,
                json!({
                    "index": "deployment-tracker",
                    "message": format!("Deployment Tracker recording deployment {what} for deployment {id}"),
                    "@version": "1",
                    "@timestamp": element["@timestamp"],
                    "event_id": element["event_id"],
                }),
            );
            expected.as_object_mut().map(|members| members.remove("servers"));
            assert_eq!(*element, expected);
            assert!(is_timestamp(&element["@timestamp"]), "{element}");
            assert_eq!(
                element["event_id"].as_str().and_then(|id| id.chars().nth(14)),
                Some('7'),
                "a UUIDv7: {element}"
            );
        }
        assert_ne!(elements[0]["event_id"], elements[1]["event_id"]);
    });
}

#[test]
fn the_curl_commands_of_the_legacy_readme_work() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        let id = "84e803f7-9562-4d95-b828-25b167aea34b";
        let path = format!("/v1/deployments/{id}");
        let start = format!(
            r#"{{"deployment_id": {id}, "engine": "vagrant_orchestrate", "engine_version": "0.6.3", "host": "localhost", "user": "cbaldauf", "environment": "dev", "package": "test", "package_url": "http://mypackage.mydomain.com", "version": "4.5.6", "arguments": "--strategy parallel" }}"#
        );
        let send = |method: &str, body: &str| stack.server.send(method, &path, &[JSON], body.as_bytes());

        let sentence = send("POST", &start).is_error(400, None);
        assert!(sentence.contains("quote") && sentence.contains("line 1, column"), "{sentence}");
        assert_eq!(stack.server.get(&path).status, 404, "nothing was recorded");
        let quoted = start.replace(&format!(" {id},"), &format!(" \"{id}\","));
        assert_eq!(send("POST", &quoted).status, 201);
        let answer = send("POST", r#"{"message": "Starting deployment phase 1", "severity": "info"}"#);
        assert_eq!((answer.status, answer.text()), (201, ""));
        let finish = format!(r#"{{"deployment_id": "{id}", "result": "success", "elapsed_seconds": 234}}"#);
        assert_eq!(send("PUT", &finish).status, 204);

        let record = stack.server.read(&path);
        assert_eq!(record, with(&record, with(&full_start(), json!({ "result": "success", "elapsed_seconds": 234 }))));
        let (elements, metrics) = stack.forwarded(id);
        let messages: Vec<&Value> = elements.iter().map(|element| &element["message"]).collect();
        let start = format!("Deployment Tracker recording deployment start for deployment {id}");
        let end = format!("Deployment Tracker recording deployment end for deployment {id}");
        assert_eq!(messages, [&json!(start), &json!("Starting deployment phase 1"), &json!(end)]);
        assert_eq!((&elements[1]["severity"], &elements[1]["deployment_id"]), (&json!("info"), &json!(id)));
        assert!(metrics.contains(&"dt.logs.message:1|c".to_owned()), "{metrics:?}");
    });
}

#[test]
fn a_report_with_a_message_and_deployment_fields_is_not_a_log_message() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        let id = new_id();
        let path = format!("/v1/deployments/{id}");
        assert_eq!(stack.server.post(&path, &json!({ "message": "mine", "engine": "e" })).status, 201);
        assert_eq!(stack.server.read(&path)["engine"], json!("e"));
        let log = json!({ "message": "mine", "deployment_id": id, "n": 1 });
        assert_eq!(stack.server.post(&path, &log).status, 201);
        let (elements, _) = stack.forwarded(&id);
        assert_eq!(elements.len(), 2, "{elements:?}");
        let start = format!("Deployment Tracker recording deployment start for deployment {id}");
        assert_eq!((&elements[0]["message"], &elements[1]["message"]), (&json!(start), &json!("mine")));
    });
}
