//! The servers of a deployment: starts and finishes, in order and out of order.

use serde_json::{Value, json};
use test_servers::Server;

use crate::paging::follow;
use crate::support::{Stack, full_start, is_timestamp, new_id, on_each_store, serve, with};

/// The record of `hostname` in the deployment `id`, without its timestamps.
fn record(server: &Server, hostname: &str, id: &str) -> Value {
    let records = server.read(&format!("/v1/servers/{hostname}"));
    let mut record = records
        .as_array()
        .and_then(|records| records.iter().find(|record| record["deployment_id"] == json!(id)).cloned())
        .unwrap_or_else(|| panic!("{hostname} is not in {records}"));
    let members = record.as_object_mut().expect("JSON object");
    for time in ["createdAt", "updatedAt"] {
        assert!(members.remove(time).is_some_and(|time| is_timestamp(&time)), "{records}");
    }
    record
}

#[test]
fn a_server_is_recorded_from_start_to_finish_and_retries_count_once() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        let id = new_id();
        let path = format!("/v1/deployments/{id}/servers");
        let start = json!({ "deployment_id": id, "hostname": "web1", "ip_address": "10.0.0.1", "foo": "ignored" });
        for _ in 0..2 {
            let answer = stack.server.post(&path, &start);
            assert_eq!((answer.status, answer.header("location"), answer.text()), (201, Some("/v1/servers/web1"), ""));
        }
        assert_eq!(stack.server.post(&path, &json!({ "hostname": "web1" })).status, 201);
        let started = json!({ "hostname": "web1", "deployment_id": id, "ip_address": "10.0.0.1" });
        assert_eq!(record(&stack.server, "web1", &id), started);
        let other = json!({ "hostname": "web1", "ip_address": "10.0.0.2" });
        stack.server.post(&path, &other).is_error(409, Some("ip_address"));
        stack.server.post(&path, &json!({ "hostname": "web1", "result": "success" })).is_error(409, Some("result"));
        assert_eq!(record(&stack.server, "web1", &id), started);

        let finish = json!({ "hostname": "web1", "result": "success", "elapsed_seconds": 7 });
        for _ in 0..2 {
            let answer = stack.server.put(&path, &finish);
            assert_eq!((answer.status, answer.text()), (204, ""));
        }
        assert_eq!(stack.server.put(&path, &json!({ "hostname": "web1" })).status, 204);
        assert_eq!(stack.server.post(&path, &start).status, 201, "the start, retried after the finish");
        assert_eq!(record(&stack.server, "web1", &id), with(&started, finish));

        let (elements, metrics) = stack.forwarded(&id);
        assert_eq!(elements, [] as [Value; 0]);
        let name = "dt.servers.hostname.web1";
        assert_eq!(
            metrics,
            [format!("{name}.elapsed:7|ms"), format!("{name}.started:1|c"), format!("{name}.success:1|c")]
        );
    });
}

#[test]
fn a_start_after_its_finish_fills_in_absent_fields() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        let id = new_id();
        let path = format!("/v1/deployments/{id}/servers");
        let finish = json!({ "hostname": "late", "result": "failure", "elapsed_seconds": 2 });
        assert_eq!(stack.server.put(&path, &finish).status, 204);
        assert_eq!(record(&stack.server, "late", &id), with(&finish, json!({ "deployment_id": id })));

        let start = json!({ "hostname": "late", "ip_address": "::1" });
        assert_eq!(stack.server.post(&path, &start).status, 201);
        let both = with(&finish, json!({ "deployment_id": id, "ip_address": "::1" }));
        assert_eq!(record(&stack.server, "late", &id), both);
        assert_eq!(stack.server.post(&path, &start).status, 201);
        let other = json!({ "hostname": "late", "ip_address": "::2" });
        stack.server.post(&path, &other).is_error(409, Some("ip_address"));
        assert_eq!(record(&stack.server, "late", &id), both);

        let (_, metrics) = stack.forwarded(&id);
        assert_eq!(metrics, ["dt.servers.hostname.late.elapsed:2|ms", "dt.servers.hostname.late.failure:1|c"]);
    });
}

#[test]
fn a_finish_can_set_the_result_of_servers_without_one() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        let (id, other) = (new_id(), new_id());
        let path = format!("/v1/deployments/{id}");
        stack.server.post(&path, &full_start());
        for (deployment, hostname) in [(&id, "silent"), (&id, "failed"), (&id, "timed"), (&other, "silent")] {
            stack.server.post(&format!("/v1/deployments/{deployment}/servers"), &json!({ "hostname": hostname }));
        }
        stack.server.put(&format!("{path}/servers"), &json!({ "hostname": "failed", "result": "failure" }));
        stack.server.put(&format!("{path}/servers"), &json!({ "hostname": "timed", "elapsed_seconds": 4 }));
        let results = || ["silent", "failed", "timed"].map(|host| record(&stack.server, host, &id)["result"].clone());

        stack.server.put(&path, &json!({ "assert_empty_server_result": true }));
        assert_eq!(results(), [json!(null), json!("failure"), json!(null)], "no result, nothing to assert");
        stack.server.put(&path, &json!({ "result": "failure", "assert_empty_server_result": false }));
        assert_eq!(results(), [json!(null), json!("failure"), json!(null)]);
        let finish = json!({ "result": "success", "assert_empty_server_result": true });
        assert_eq!(stack.server.put(&path, &finish).status, 204);
        assert_eq!(results(), [json!("success"), json!("failure"), json!("success")]);
        assert_eq!(record(&stack.server, "silent", &other)["result"], json!(null), "another deployment's server");

        let answer = stack.server.read(&path);
        assert!(answer.get("assert_empty_server_result").is_none(), "an instruction, never stored: {answer}");
        let servers: Vec<_> = answer["servers"].as_array().into_iter().flatten().map(|s| &s["hostname"]).collect();
        assert_eq!(servers, ["failed", "silent", "timed"]);
    });
}

#[test]
fn any_hostname_can_be_read_back_from_its_location() {
    on_each_store(|config| {
        let server = serve(config);
        let longest = "\u{1F600}".repeat(2_048);
        let names = ["a b/ö", "100%", "a%2Fb", "..", "x?y#z", "a+b&c=d", "😀", " ", "\"'<>", &longest];
        for hostname in names {
            let id = new_id();
            let answer = server.post(&format!("/v1/deployments/{id}/servers"), &json!({ "hostname": hostname }));
            assert_eq!(answer.status, 201, "{hostname}");
            let location = answer.header("location").expect("Location header");
            assert!(location.starts_with("/v1/servers/") && location.is_ascii(), "{location}");
            assert_eq!(location.matches(['/', '?', '#', ' ']).count(), 3, "{location}");
            let records = server.read(location);
            assert_eq!(records[0], with(&records[0], json!({ "hostname": hostname, "deployment_id": id })));
        }
        let all = server.read("/v1/servers?limit=1000");
        let mut sorted = names;
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(all, json!(sorted));
        let pages = follow(&server, "/v1/servers?before=&limit=1");
        assert_eq!(json!(pages.into_iter().flatten().collect::<Vec<_>>()), all);
        server.get("/v1/servers/unknown").is_error(404, None);
    });
}

#[test]
fn the_longest_hostname_is_recorded_found_listed_and_finished_on_every_store() {
    // Neither compression nor a prefix makes these fit into an index.
    let varied = |start: u32| -> String {
        (0..2_048u32).filter_map(|n| char::from_u32(0x1_0000 + (start + n * (n % 61 + 1) * 131) % 0x8_0000)).collect()
    };
    on_each_store(|config| {
        let server = serve(config);
        let path = format!("/v1/deployments/{}", new_id());
        assert_eq!(server.post(&path, &json!({})).status, 201);
        let hostnames: Vec<String> =
            (0..3).map(varied).chain([0, 1].map(|last| "🚀".repeat(2_047) + &last.to_string())).collect();
        for hostname in &hostnames {
            let start = json!({ "hostname": hostname, "ip_address": "::1" });
            for _ in 0..2 {
                assert_eq!(server.post(&format!("{path}/servers"), &start).status, 201);
            }
            let other = json!({ "hostname": hostname, "ip_address": "::2" });
            server.post(&format!("{path}/servers"), &other).is_error(409, Some("ip_address"));
            let finish = json!({ "hostname": hostname, "result": "success" });
            assert_eq!(server.put(&format!("{path}/servers"), &finish).status, 204);
            let encoded: String = hostname.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let found = server.read(&format!("/v1/servers/{encoded}"));
            assert_eq!(found.as_array().map(Vec::len), Some(1));
            assert_eq!((&found[0]["hostname"], &found[0]["result"]), (&json!(hostname), &json!("success")));
        }
        let mut expected = hostnames.clone();
        expected.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(server.read("/v1/servers"), json!(expected));
        for (offset, hostname) in expected.iter().enumerate() {
            assert_eq!(server.read(&format!("/v1/servers?limit=1&offset={offset}")), json!([hostname]));
        }
        let servers = server.read(&path)["servers"].clone();
        assert_eq!(servers.as_array().map(Vec::len), Some(5), "{servers}");
    });
}
