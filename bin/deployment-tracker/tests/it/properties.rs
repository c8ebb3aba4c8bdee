//! Properties of the server for arbitrary input.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use test_servers::JSON;

use crate::support::{Stack, new_id, serve};

/// JSON of any shape. Many of its members have the names of fields.
fn any_json() -> impl Strategy<Value = Value> {
    let names = "(deployment_id|engine|version|package|environment|result|elapsed_seconds|hostname|ip_address|message|\
        @timestamp|event_id|index|assert_empty_server_result|\\PC{0,8})";
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        ".{0,40}".prop_map(Value::from),
        prop_oneof![Just("success"), Just("failure"), Just("h"), Just("m")].prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 8, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(names, inner, 0..8).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => any_json().prop_map(|json| json.to_string().into_bytes()),
        1 => (any_json(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(json, at, byte)| {
            let mut bytes = json.to_string().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        }),
        1 => vec(any::<u8>(), 0..200),
    ]
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

#[test]
fn any_body_gets_a_json_response_and_never_500() {
    let server = serve(json!({}));
    let routes = [("POST", ""), ("PUT", ""), ("POST", "/logs"), ("POST", "/servers"), ("PUT", "/servers")];
    let ids = [new_id(), new_id()];
    let run = |body: Vec<u8>, (method, below): (&str, &str), id: String| {
        let answer = server.send(method, &format!("/v1/deployments/{id}{below}"), &[JSON], &body);
        match answer.status {
            201 | 204 => prop_assert!(answer.body.is_empty()),
            400 | 404 | 409 => drop(answer.is_error(answer.status, None)),
            status => prop_assert!(false, "{}: {}", status, answer.text()),
        }
        Ok(())
    };
    let input = (any_body(), prop::sample::select(routes.to_vec()), prop::sample::select(ids.to_vec()));
    let done = runner(400).run(&input, |(body, route, id)| run(body, route, id));
    done.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(server.read("/v1/deployments").is_array(), "the server still answers");
    assert!(server.read("/v1/servers?limit=1000").is_array());
}

#[test]
fn any_path_and_query_get_a_json_response_and_never_500() {
    let server = serve(json!({}));
    // Only characters that a URI may contain; others are not valid HTTP.
    let piece = "([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2}|%){0,12}";
    let path = (
        prop::sample::select(vec!["/v1/deployments/", "/v1/servers/", "/v1/deployments?", "/v1/servers?", "/"]),
        piece,
        piece,
    );
    let done = runner(200).run(&path, |(start, a, b)| {
        let answer = server.send("GET", &format!("{start}{a}/{b}"), &[], b"");
        match answer.status {
            200 | 302 | 304 => {}
            400 | 404 | 405 => drop(answer.is_error(answer.status, None)),
            status => prop_assert!(false, "{}: {}", status, answer.text()),
        }
        Ok(())
    });
    done.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn any_name_results_in_well_formed_metrics() {
    let stack = Stack::start(json!({}));
    let name = ".{1,60}".prop_filter("a NUL is rejected", |name| !name.contains('\0'));
    let input = [name.clone(), name.clone(), name.clone(), name].prop_map(|names| names);
    let done = runner(60).run(&input, |[engine, environment, package, hostname]| {
        let id = new_id();
        let path = format!("/v1/deployments/{id}");
        let start = json!({ "engine": engine, "environment": environment, "package": package });
        prop_assert_eq!(stack.server.post(&path, &start).status, 201);
        let finish = json!({ "hostname": hostname, "result": "success", "elapsed_seconds": 1 });
        prop_assert_eq!(stack.server.put(&format!("{path}/servers"), &finish).status, 204);
        let (_, metrics) = stack.forwarded(&id);
        prop_assert_eq!(metrics.len(), 5, "{:?}", &metrics);
        for line in metrics {
            let plain = |c: char| !c.is_whitespace() && !c.is_control() && !":|@/".contains(c);
            let (name, rest) = line.split_once(':').expect("name and value");
            prop_assert!(name.starts_with("dt.") && name.chars().all(plain), "{:?}", &line);
            prop_assert!(["1|c", "1|ms"].contains(&rest), "{:?}", &line);
        }
        Ok(())
    });
    done.unwrap_or_else(|failure| panic!("{failure}"));
}
