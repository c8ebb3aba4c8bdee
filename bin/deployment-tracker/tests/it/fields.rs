//! Validation of every field of a report.

use serde_json::{Value, json};
use test_servers::JSON;

use crate::support::{Stack, full_start, new_id, on_each_store, serve, with};

const TEXTS: [&str; 8] =
    ["engine", "engine_version", "host", "user", "environment", "package", "package_url", "version"];

/// Values that no text field accepts.
fn invalid_texts() -> [Value; 7] {
    [json!(12), json!(1.5), json!(null), json!(true), json!({}), json!(["a"]), json!("nul \u{0}")]
}

/// Invalid values of `elapsed_seconds` and `result`, with the name of the field.
fn invalid_numbers_and_results() -> Vec<(&'static str, Value)> {
    let numbers = [json!(1.5), json!("12"), json!(-1), json!(null), json!(true), json!({}), json!([1])];
    let too_large = [json!(2_147_483_648_u64), json!(1e30), json!(u64::MAX)];
    let results = [
        json!({ "success": null }),
        json!("maybe"),
        json!("Success"),
        json!(""),
        json!(null),
        json!(1),
        json!(["success"]),
    ];
    let numbers = numbers.into_iter().chain(too_large).map(|value| ("elapsed_seconds", value));
    numbers.chain(results.into_iter().map(|value| ("result", value))).collect()
}

/// The field that the error names: none for a NUL, which makes the whole body invalid.
fn named_field<'a>(field: &'a str, value: &Value) -> Option<&'a str> {
    (!value.as_str().is_some_and(|text| text.contains('\0'))).then_some(field)
}

#[test]
fn an_invalid_field_of_a_deployment_is_named_and_nothing_is_recorded() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        let mut invalid = invalid_numbers_and_results();
        for text in TEXTS {
            invalid.extend(invalid_texts().map(|value| (text, value)));
            invalid.push((text, json!("ö".repeat(2_049))));
        }
        invalid.extend(invalid_texts().map(|value| ("arguments", value)));
        invalid.push(("arguments", json!("ö".repeat(65_537))));
        invalid.extend(["yes", "true", ""].map(|value| ("assert_empty_server_result", json!(value))));
        invalid.extend([json!(1), json!([])].map(|value| ("assert_empty_server_result", value)));

        let (new, known) = (new_id(), new_id());
        stack.server.post(&format!("/v1/deployments/{known}"), &full_start());
        let before = stack.server.read(&format!("/v1/deployments/{known}"));
        for (name, value) in invalid {
            let body = with(&full_start(), json!({ name: value }));
            let field = named_field(name, &value);
            stack.server.post(&format!("/v1/deployments/{new}"), &body).is_error(400, field);
            stack.server.put(&format!("/v1/deployments/{known}"), &body).is_error(400, field);
        }
        assert_eq!(stack.server.get(&format!("/v1/deployments/{new}")).status, 404);
        assert_eq!(stack.server.read(&format!("/v1/deployments/{known}")), before);
        assert_eq!(stack.forwarded(&new).0.len(), 1, "the start of the known one");
        assert_eq!(stack.forwarded(&known).0.len(), 1);
    });
}

#[test]
fn an_invalid_field_of_a_server_is_named_and_nothing_is_recorded() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        let id = new_id();
        let path = format!("/v1/deployments/{id}/servers");
        let mut invalid = invalid_numbers_and_results();
        for text in ["hostname", "ip_address"] {
            invalid.extend(invalid_texts().map(|value| (text, value)));
            invalid.push((text, json!("ö".repeat(2_049))));
        }
        invalid.push(("hostname", json!("")));
        for (name, value) in invalid {
            let body = with(&json!({ "hostname": "h" }), json!({ name: value }));
            let field = named_field(name, &value);
            stack.server.post(&path, &body).is_error(400, field);
            stack.server.put(&path, &body).is_error(400, field);
        }
        stack.server.post(&path, &json!({ "ip_address": "::1" })).is_error(400, Some("hostname"));
        stack.server.put(&path, &json!({ "result": "success" })).is_error(400, Some("hostname"));
        assert_eq!(stack.server.read("/v1/servers"), json!([]));
        assert_eq!(stack.forwarded(&id).1, [] as [String; 0]);
    });
}

#[test]
fn values_of_the_maximum_length_and_size_are_kept_exactly() {
    on_each_store(|config| {
        let server = serve(config);
        let (long, longest) = ("ö".repeat(2_048), "\u{1F600}".repeat(65_536));
        let mut start = json!({ "arguments": longest });
        for text in TEXTS {
            start[text] = json!(long);
        }
        let path = format!("/v1/deployments/{}", new_id());
        assert_eq!(server.post(&path, &start).status, 201);
        let record = server.read(&path);
        assert_eq!(record, with(&record, start));

        for (given, stored) in [("0", 0), ("234.0", 234), ("1e2", 100), ("2147483647", i32::MAX)] {
            let path = format!("/v1/deployments/{}", new_id());
            let body = format!(r#"{{"elapsed_seconds":{given},"result":"failure","engine":""}}"#);
            let headers = [("Content-Type", "application/json")];
            assert_eq!(server.send("POST", &path, &headers, body.as_bytes()).status, 201, "{given}");
            let record = server.read(&path);
            assert_eq!(record["elapsed_seconds"], json!(stored), "{given}");
            assert_eq!((&record["result"], &record["engine"]), (&json!("failure"), &json!("")));
        }
    });
}

#[test]
fn the_id_in_the_path_and_in_the_body_must_agree_and_be_a_uuid() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        let (id, other) = (new_id(), new_id());
        let path = format!("/v1/deployments/{id}");
        assert_eq!(stack.server.post(&path, &json!({})).status, 201, "the path gives the id");
        for invalid in [json!(other), json!("abc"), json!(""), json!(7), json!(null)] {
            let body = json!({ "deployment_id": invalid, "result": "success", "hostname": "h" });
            let field = Some("deployment_id");
            stack.server.put(&path, &body).is_error(400, field);
            stack.server.post(&format!("{path}/servers"), &body).is_error(400, field);
            stack.server.put(&format!("{path}/servers"), &body).is_error(400, field);
            if invalid != json!(other) {
                stack.server.post(&format!("/v1/deployments/{other}"), &body).is_error(400, field);
            }
        }
        let (new, body) = (new_id(), json!({ "deployment_id": id, "engine": "e" }));
        stack.server.post(&format!("/v1/deployments/{new}"), &body).is_error(400, Some("deployment_id"));

        for invalid in
            ["abc", "nope", "84e803f7-9562-4d95-b828-25b167aea34", "%20", "84e803f7-9562-4d95-b828-25b167aea34g"]
        {
            let path = format!("/v1/deployments/{invalid}");
            stack.server.post(&path, &json!({ "engine": "e" })).is_error(400, None);
            stack.server.put(&path, &json!({ "result": "success" })).is_error(400, None);
            stack.server.post(&format!("{path}/servers"), &json!({ "hostname": "h" })).is_error(400, None);
            stack.server.get(&path).is_error(400, None);
        }
        let deployments = stack.server.read("/v1/deployments");
        let ids: Vec<_> = deployments.as_array().into_iter().flatten().map(|record| &record["deployment_id"]).collect();
        assert_eq!(ids, [&json!(id)]);
        assert_eq!(stack.server.read("/v1/servers"), json!([]));
        assert_eq!(stack.forwarded(&id).0.len(), 1);
    });
}

#[test]
fn a_misspelled_field_is_ignored_with_a_warning_that_names_the_right_one() {
    on_each_store(|config| {
        let server = serve(config);
        let path = format!("/v1/deployments/{}", new_id());
        let warning = |fields: &str| format!("299 - \"unknown fields were ignored; check the spelling of {fields}\"");
        let environment = Some(warning("`environment`"));
        for (method, route, body, status, expected) in [
            ("POST", "", r#"{"engine":"e","enviroment":"dev"}"#, 201, environment.clone()),
            // A retry gets the same answer.
            ("POST", "", r#"{"engine":"e","enviroment":"dev"}"#, 201, environment.clone()),
            ("PUT", "", r#"{"Environment\r\nX-Injected: y":1,"environment\u0022":"\\"}"#, 204, environment),
            (
                "PUT",
                "",
                r#"{"packageUrl":1,"elapsed_second":1}"#,
                204,
                Some(warning("`package_url`, `elapsed_seconds`")),
            ),
            ("POST", "/servers", r#"{"hostname":"h","ip_adress":"::1"}"#, 201, Some(warning("`ip_address`"))),
            ("PUT", "/servers", r#"{"hostname":"h","resutl":"success"}"#, 204, Some(warning("`result`"))),
            ("PUT", "", r#"{"team":"blue","createdAt":"now","updatedAt":"now"}"#, 204, None),
            ("PUT", "", r#"{"enviroment":"qa","environment":"qa"}"#, 204, None),
            ("POST", "", r#"{"message":"m","enviroment":"dev"}"#, 201, None),
            ("POST", "/logs", r#"{"message":"m","enviroment":"dev"}"#, 201, None),
            ("PUT", "", r#"{"enviroment":"dev","engine":1}"#, 400, None),
        ] {
            let answer = server.send(method, &format!("{path}{route}"), &[JSON], body.as_bytes());
            assert_eq!(answer.status, status, "{method} {route} {body}: {}", answer.text());
            assert_eq!(answer.header("warning"), expected.as_deref(), "{method} {route} {body}");
            assert_eq!(answer.header("x-injected"), None);
        }
        let record = server.read(&path);
        assert_eq!((&record["engine"], &record["environment"]), (&json!("e"), &json!("qa")));
        assert_eq!(record["servers"][0].get("result"), None, "the value of a misspelled field is ignored");
        let metrics = server.get("/metrics");
        for (field, count) in [("environment", 3), ("package_url", 1), ("ip_address", 1), ("result", 1), ("user", 0)] {
            let sample = format!("\ndeployment_tracker_misspelled_fields_total{{field=\"{field}\"}} {count}\n");
            assert!(metrics.text().contains(&sample), "{sample} {}", metrics.text());
        }
        assert!(!metrics.text().contains("enviroment"), "{}", metrics.text());
    });
}
