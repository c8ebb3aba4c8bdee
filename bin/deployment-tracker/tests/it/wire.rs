//! Replays the recorded traffic of deployment-tracker 0.1.21: its responses, Redis elements and metrics. If the legacy
//! service was wrong, the test expects the recorded traffic of this service instead.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};
use test_servers::{Redis, Response, Server, Statsd, eventually, statsd_sum};

use crate::support::{full_start, is_timestamp, on_each_store, serve, with};

const RECORDING: &str = include_str!("../fixtures/wire.json");
const OURS: &str = include_str!("../fixtures/wire_ours.json");

/// All cases in the order of the recording, with the responses of this service if they differ.
fn cases() -> Vec<Value> {
    let (recording, ours): (Value, Value) =
        (serde_json::from_str(RECORDING).expect("JSON"), serde_json::from_str(OURS).expect("JSON"));
    let list = |value: &Value| value.as_array().expect("JSON array").clone();
    let mut cases = list(&recording["cases"]);
    assert_eq!(cases.len(), 86);
    for case in &mut cases {
        let nothing = json!({ "Link": null, "redis": [], "statsd": [] });
        if case["ours"]["same"] == json!(false) {
            case["old"] = with(&case["old"], nothing);
        }
        if let Some(ours) = ours["ours"].get(case["n"].to_string()) {
            case["old"] = with(&case["old"], ours.clone());
        }
    }
    cases.extend(list(&ours["between"]));
    cases.sort_by_key(|case| case["n"].as_u64());
    cases
}

/// How the outputs are configured.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    Original,
    Default,
}

struct Replay {
    style: Style,
    server: Server,
    redis: Redis,
    statsd: Statsd,
    elements: usize,
}

impl Replay {
    fn start(style: Style, mut config: Value) -> Self {
        let (redis, statsd) = (Redis::start(), Statsd::listen());
        config["redis"] = json!({ "host": "127.0.0.1", "port": redis.port });
        config["statsd"] = json!({ "host": "127.0.0.1", "port": statsd.port, "prefix": "deployment-tracker." });
        if style == Style::Original {
            config["redis"]["format"] = json!("original");
            config["statsd"]["names"] = json!("original");
        }
        Self { style, server: serve(config), redis, statsd, elements: 0 }
    }

    fn run(&mut self, case: &Value) {
        let what = format!("case {}: {}", case["n"], case["name"]);
        eprintln!("{what}");
        let (request, old) = (&case["request"], &case["old"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let headers = request["headers"].as_object().cloned().unwrap_or_default();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (method, path) = (text(&request["method"]), text(&request["path"]));
        let answer = self.server.send(&method, &path, &headers, &body(case));
        assert_eq!(json!(answer.status), case["ours"]["status"], "{what}: {}", answer.text());
        self.check_answer(&what, &method, &path, &answer, old);
        self.check_redis(&what, old["redis"].as_array().expect("JSON array"));
        self.check_statsd(&what, old["statsd"].as_array().expect("JSON array"));
    }

    fn check_answer(&self, what: &str, method: &str, path: &str, answer: &Response, old: &Value) {
        match answer.status {
            400.. => drop(answer.is_error(answer.status, None)),
            201 | 204 => assert_eq!(answer.text(), "", "{what}"),
            _ if path == "/config" => {
                let given = answer.json();
                let url = with(&self.server.config, json!({ "database": given["database"] }));
                let expected = if self.server.config["database"].is_null() { self.server.config.clone() } else { url };
                assert_eq!(given, expected, "{what}");
            }
            _ => assert_equivalent(what, "", &old["json"], &answer.json()),
        }
        let host = format!("127.0.0.1:{}", self.server.port);
        let link = old["Link"].as_str().map(|link| link.replace("127.0.0.1:18080", &host));
        assert_eq!(answer.header("link"), link.as_deref(), "{what}");
        if method == "POST" && answer.status == 201 {
            let path = path.trim_end_matches('/');
            let location = answer.header("location").map(str::to_owned);
            if let Some(deployment) = path.strip_suffix("/servers") {
                assert!(location.is_some_and(|location| location.starts_with("/v1/servers/")), "{what}: {deployment}");
            } else if !path.ends_with("/logs") {
                assert_eq!(location, Some(path.to_lowercase()), "{what}");
            }
        }
    }

    fn check_redis(&mut self, what: &str, expected: &[Value]) {
        let seen = self.redis.wait_for(self.elements + expected.len()).split_off(self.elements);
        self.elements += seen.len();
        let expected: Vec<_> = expected.iter().map(|element| self.styled(element)).collect();
        let bare: Vec<_> = seen.into_iter().map(|element| self.stripped(element)).collect();
        assert_equivalent(what, "", &Value::Array(expected), &Value::Array(bare));
    }

    /// A recorded element in the configured format: only the original format writes absent columns as `null`.
    fn styled(&self, element: &Value) -> Value {
        let mut members = element.as_object().expect("JSON object").clone();
        if self.style == Style::Default {
            members.retain(|_, value| !value.is_null());
        }
        Value::Object(members)
    }

    /// Removes the members that the default format adds, after checking them.
    fn stripped(&self, mut element: Value) -> Value {
        if self.style == Style::Default {
            let members: &mut Map<_, _> = element.as_object_mut().expect("JSON object");
            assert!(members.remove("@timestamp").is_some_and(|time| is_timestamp(&time)));
            assert_eq!(members.remove("@version"), Some(json!("1")));
            let id = members.remove("event_id").and_then(|id| id.as_str().map(str::to_owned)).unwrap_or_default();
            assert_eq!((id.len(), id.chars().nth(14)), (36, Some('7')), "a UUIDv7");
        }
        element
    }

    fn check_statsd(&self, what: &str, expected: &[Value]) {
        let lines = expected.iter().map(|line| line.as_str().expect("string"));
        let lines: Vec<_> = lines.filter(|line| !line.contains("null")).map(|line| self.renamed(line)).collect();
        let expected = statsd_sum(&lines);
        let mut seen = Vec::new();
        eventually(&format!("{what}: StatsD has {expected:?}"), || {
            seen = statsd_sum(&self.statsd.lines());
            (seen.len() >= expected.len()).then_some(())
        });
        assert_eq!(seen, expected, "{what}");
        self.statsd.forget();
    }

    /// A recorded line in the configured naming.
    fn renamed(&self, line: &str) -> String {
        if self.style == Style::Original {
            return line.to_owned();
        }
        let prefix = "deployment-tracker.servers.hostname.";
        match line.strip_prefix(prefix).and_then(|rest| rest.rsplit_once('.')) {
            Some((hostname, rest)) => format!("{prefix}{}.{rest}", hostname.replace('.', "_")),
            None => line.replace("..", "."),
        }
    }
}

/// The body of a request. The recording describes two bodies in words instead of containing them.
fn body(case: &Value) -> Vec<u8> {
    match (case["n"].as_u64(), case["request"]["body"].as_str()) {
        (Some(73), _) => {
            let mut packer = GzEncoder::new(Vec::new(), Compression::default());
            packer.write_all(full_start().to_string().as_bytes()).expect("writing to memory cannot fail");
            packer.finish().expect("writing to memory cannot fail")
        }
        (Some(84), _) => {
            let start = with(&full_start(), json!({ "padding": "" })).to_string();
            start
                .replace("\"padding\":\"\"", &format!("\"padding\":\"{}\"", "x".repeat(102_401 - start.len())))
                .into_bytes()
        }
        (_, body) => body.unwrap_or_default().as_bytes().to_vec(),
    }
}

/// Asserts that `new` is equivalent to `old`: times are compared by format, durations by type, numbers by value, ids in
/// lower case, and members in any order.
#[track_caller]
fn assert_equivalent(what: &str, path: &str, old: &Value, new: &Value) {
    let name = path.rsplit('/').next().unwrap_or_default();
    let same = match (old, new) {
        (_, new) if ["createdAt", "updatedAt", "generated_at", "tested_at"].contains(&name) => is_timestamp(new),
        (_, new) if name == "duration_millis" => new.is_number(),
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in old {
                assert_equivalent(what, &format!("{path}/{key}"), value, new.get(key).unwrap_or(&json!("(absent)")));
            }
            new.keys().all(|key| old.contains_key(key))
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (i, (old, new)) in old.iter().zip(new).enumerate() {
                assert_equivalent(what, &format!("{path}/{i}"), old, new);
            }
            true
        }
        (Value::Number(old), Value::Number(new)) => old.as_f64() == new.as_f64(),
        (Value::String(old), Value::String(new)) if name == "deployment_id" => old.to_lowercase() == *new,
        (old, new) => old == new,
    };
    assert!(same, "{what}: at `{path}` the legacy service has {old}, this one {new}");
}

fn replay(style: Style) {
    on_each_store(|config| {
        let mut replay = Replay::start(style, config);
        for case in cases() {
            replay.run(&case);
        }
        let last = json!({ "n": 999, "name": "nothing arrives late", "ours": { "status": 201 },
            "request": { "method": "POST", "path": "/v1/deployments/last/logs", "body": r#"{"message":"last"}"#,
                "headers": { "Content-Type": "application/json" } },
            "old": { "redis": [{ "message": "last", "deployment_id": "last", "index": "deployment-tracker" }],
                "statsd": ["deployment-tracker.logs.message:1|c"] } });
        replay.run(&last);
    });
}

#[test]
fn with_the_original_formats_the_traffic_equals_that_of_the_legacy_service() {
    replay(Style::Original);
}

#[test]
fn with_the_default_formats_metric_names_are_clean_and_events_have_ids() {
    replay(Style::Default);
}
