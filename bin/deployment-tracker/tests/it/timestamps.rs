//! The `@timestamp` of a log message, in the API and in every format of Redis.

use serde_json::{Map, Value, json};
use test_servers::{JSON, Redis, eventually};

use crate::support::{is_timestamp, new_id, serve};

/// Valid times, and how Elasticsearch gets them.
const VALID: [(&str, &str); 9] = [
    ("2015-07-07T17:34:12.075Z", "2015-07-07T17:34:12.075Z"),
    ("2015-07-07T17:34:12Z", "2015-07-07T17:34:12Z"),
    ("2015-07-07t17:34:12z", "2015-07-07T17:34:12Z"),
    ("2015-07-07T19:34:12.5+02:00", "2015-07-07T17:34:12.500Z"),
    ("2015-07-07T17:34:12-00:00", "2015-07-07T17:34:12Z"),
    ("2015-07-07T17:34:12.0123456789Z", "2015-07-07T17:34:12.012345678Z"),
    ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
    ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
    ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
];

/// Values of `@timestamp` that are not times in RFC 3339, as JSON.
const OTHER: [&str; 21] = [
    "null",
    "true",
    "0",
    "1436290452075",
    "1436290452.075",
    "{}",
    r#"{"time":"2015-07-07T17:34:12Z"}"#,
    "[]",
    r#"["2015-07-07T17:34:12Z"]"#,
    r#""""#,
    r#"" ""#,
    r#""yesterday""#,
    r#""2015-07-07""#,
    r#""2015-07-07T17:34:12""#,
    r#""2015-07-07 17:34:12Z""#,
    r#""2015-07-07T17:34:12+0200""#,
    r#""2015-07-07T17:34:60Z""#,
    r#""2015-02-29T17:34:12Z""#,
    r#""10000-01-01T00:00:00Z""#,
    r#"" 2015-07-07T17:34:12Z""#,
    r#""1436290452075""#,
];

struct Case {
    /// The members of the message besides `message`, as JSON text.
    members: String,
    /// The message's own time, and how Elasticsearch gets it.
    time: Option<(String, String)>,
    /// The members that are neither `message` nor `@timestamp`, as JSON text.
    others: String,
}

fn cases() -> Vec<Case> {
    let valid = |(text, utc): (&str, &str)| Some((text.to_owned(), utc.to_owned()));
    let own = VALID.map(|time| Case {
        members: format!("\"@timestamp\":\"{}\"", time.0),
        time: valid(time),
        others: String::new(),
    });
    let other = OTHER.map(|json| Case {
        members: format!("\"@timestamp\":{json}"),
        time: None,
        others: format!("\"_@timestamp\":{json}"),
    });
    let [first, second, ..] = VALID;
    let special = [
        (r#""a":1"#, None, r#""a":1"#),
        (r#""_@timestamp":"mine""#, None, r#""_@timestamp":"mine""#),
        (r#""_@timestamp":"mine","@timestamp":5"#, None, r#""__@timestamp":"mine","_@timestamp":5"#),
        (
            r#""_@timestamp":1,"__@timestamp":2,"@timestamp":"x""#,
            None,
            r#""__@timestamp":1,"___@timestamp":2,"_@timestamp":"x""#,
        ),
        (r#""_@timestamp":"mine","@timestamp":"2015-07-07T17:34:12.075Z""#, valid(first), r#""_@timestamp":"mine""#),
        (r#""@timestamp":5,"@timestamp":"2015-07-07T17:34:12Z""#, valid(second), ""),
        (r#""@timestamp":"2015-07-07T17:34:12Z","@timestamp":5"#, None, r#""_@timestamp":5"#),
        (r#""\u0040timestamp":"2015-07-07T17:34:12Z""#, valid(second), ""),
        (r#""\u0040timestamp":{"a":1}"#, None, r#""_@timestamp":{"a":1}"#),
        (r#""@timestamp":"2015-07-07T17:34:12\u005a""#, valid(second), ""),
        (r#""@Timestamp":5,"timestamp":6,"@version":7"#, None, r#""@Timestamp":5,"timestamp":6,"@version":7"#),
    ];
    let special = special.map(|(members, time, others)| Case { members: members.into(), time, others: others.into() });
    own.into_iter().chain(other).chain(special).collect()
}

fn object(members: &str) -> Map<String, Value> {
    serde_json::from_str(&format!("{{{members}}}")).unwrap_or_else(|error| panic!("{members}: {error}"))
}

/// The text of `value` in a label.
fn label(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[test]
fn the_time_of_a_message_is_the_same_in_the_api_and_in_every_format_of_redis_but_the_original() {
    let cases = cases();
    let messages =
        cases.iter().enumerate().map(|(n, Case { members, .. })| format!("{{\"message\":\"{n}\",{members}}}"));
    let body = format!("[{}]", messages.collect::<Vec<_>>().join(","));
    for format in ["logstash", "original", "ecs"] {
        let redis = Redis::start();
        let server = serve(json!({
            "database": { "logs": true },
            "redis": { "host": "127.0.0.1", "port": redis.port, "format": format },
        }));
        let id = new_id();
        let path = format!("/v1/deployments/{id}/logs");
        assert_eq!(server.send("POST", &path, &[JSON], body.as_bytes()).status, 201);
        let kept = server.read(&format!("{path}?limit=1000"));
        let raw = redis.wait_for(cases.len());
        assert_eq!((kept.as_array().map(Vec::len), raw.len()), (Some(cases.len()), cases.len()));
        for (n, (Case { members, time, others }, element)) in cases.iter().zip(&raw).enumerate() {
            let from_api = &kept[n];
            let at = &from_api["@timestamp"];
            match time {
                Some((own, _)) => assert_eq!(at, own, "{members}"),
                None => assert!(is_timestamp(at), "{members}: {from_api}"),
            }
            let with = |mut members: Map<String, Value>, more: Value| {
                members.extend(more.as_object().expect("an object").clone());
                Value::Object(members)
            };
            let ids = json!({ "deployment_id": id, "event_id": from_api["event_id"], "@timestamp": at, "message": n.to_string() });
            assert_eq!(*from_api, with(object(others), ids.clone()), "the API: {members}");
            let index = json!({ "message": n.to_string(), "deployment_id": id, "index": "deployment-tracker" });
            let expected = match format {
                "logstash" => {
                    let version = object(r#""@version":"1","index":"deployment-tracker""#);
                    with(object(others), with(version, ids))
                }
                "original" => with(object(members), index),
                _ => {
                    let labels =
                        object(others).iter().map(|(name, value)| (name.clone(), json!(label(value)))).collect();
                    json!({
                        "@timestamp": time.as_ref().map_or(at.clone(), |(_, utc)| json!(utc)), "message": n.to_string(),
                        "ecs": { "version": "9.3.0" },
                        "event": { "id": from_api["event_id"], "kind": "event", "action": "deployment-log" },
                        "labels": with(labels, json!({ "deployment_id": id, "index": "deployment-tracker" })),
                    })
                }
            };
            assert_eq!(*element, expected, "{format}: {members}");
        }
    }
}

#[test]
fn a_number_in_place_of_a_time_keeps_its_digits() {
    for (format, expected) in [
        ("logstash", r#""_@timestamp":1e400"#),
        ("ecs", r#""_@timestamp":"1e400""#),
        ("original", r#""@timestamp":1e400"#),
    ] {
        let redis = Redis::start();
        let server = serve(json!({
            "database": { "logs": true },
            "redis": { "host": "127.0.0.1", "port": redis.port, "format": format },
        }));
        let path = format!("/v1/deployments/{}/logs", new_id());
        let body = br#"{"message":"m","@timestamp":1e400}"#;
        assert_eq!(server.send("POST", &path, &[JSON], body).status, 201);
        let kept = server.get(&path);
        assert!(kept.text().contains(r#""_@timestamp":1e400"#), "{}", kept.text());
        let element = eventually("the element is in Redis", || {
            redis.command(&["LINDEX", "logstash", "0"]).as_str().map(str::to_owned)
        });
        assert!(element.contains(expected), "{format}: {element}");
    }
}
