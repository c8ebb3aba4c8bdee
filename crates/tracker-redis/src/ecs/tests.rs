use chrono::{DateTime, Utc};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use tracker_core::EventKind;
use tracker_core::testing::logged;

use super::*;
use crate::config::Format;
use crate::encode::tests::{FULL, ID, config, deployment, event, texts, with};

mod template;

use template::misfits;

fn encode(config: &RedisConfig, event: &Event) -> Vec<Value> {
    texts(config, event).iter().map(|text| serde_json::from_str(text).expect("elements are JSON")).collect()
}

fn element(event: &Event) -> Value {
    encode(&config(Format::Ecs), event).remove(0)
}

#[test]
fn deployments_use_the_names_of_the_schema() {
    let bare = |phase, more| {
        let event =
            json!({ "kind": "event", "action": format!("deployment-{phase}"), "start": "2015-07-07T17:34:12.000Z" });
        json!({
            "ecs": { "version": "9.3.0" },
            "event": with(event, more),
            "message": format!("Deployment Tracker recording deployment {phase} for deployment {ID}"),
            "labels": { "deployment_id": ID, "index": "deployment-tracker" },
        })
    };
    let full = |element: Value| {
        let labels = json!({ "engine": "vagrant_orchestrate", "engine_version": "0.6.3",
            "package_url": "http://mypackage.mydomain.com", "arguments": "a 'b' \"c\" \\ \n\t</script>" });
        let labels = with(element["labels"].clone(), labels);
        with(
            element,
            json!({ "service": { "name": "test", "version": "4.5.6", "environment": "dev" },
                "host": { "name": "localhost" }, "user": { "name": "Zoë \u{2028} 😀" }, "labels": labels }),
        )
    };
    let end = json!({ "end": "2015-07-07T17:34:12.075Z", "outcome": "unknown" });
    let success = json!({ "outcome": "success", "duration": 234_000_000_000_u64 });
    for (kind, expected) in [
        (EventKind::DeploymentStarted(deployment("{}")), bare("start", json!({}))),
        (EventKind::DeploymentFinished(deployment("{}")), bare("end", end.clone())),
        (EventKind::DeploymentStarted(deployment(FULL)), full(bare("start", success.clone()))),
        (EventKind::DeploymentFinished(deployment(FULL)), full(bare("end", with(end, success)))),
    ] {
        let event = event(kind);
        let mut expected = with(expected, json!({ "@timestamp": time::rfc3339(&event.at) }));
        expected["event"]["id"] = json!(event.id);
        assert_eq!(element(&event), expected);
    }
}

#[test]
fn the_longest_duration_fits_in_nanoseconds() {
    let finish = EventKind::DeploymentFinished(deployment(r#"{"elapsed_seconds":2147483647,"result":"failure"}"#));
    let element = element(&event(finish));
    assert_eq!(element["event"]["duration"], 2_147_483_647_000_000_000_i64);
    assert_eq!(element["event"]["outcome"], "failure");
}

#[test]
fn members_of_log_messages_map_to_the_schema_if_their_types_match() {
    let table = [
        (r#"{"message":""}"#, json!({ "message": "" }), json!({})),
        (
            r#"{"message":"m","severity":"warn","level":7,"host":"h","user":"u",
                "n":1.50,"s":"é","o":{"a":[1, null]},"z":null}"#,
            json!({ "log": { "level": "warn" }, "host": { "name": "h" }, "user": { "name": "u" } }),
            json!({ "level": "7", "n": "1.50", "s": "é", "o": r#"{"a":[1, null]}"#, "z": "null" }),
        ),
        (
            r#"{"message":"m","severity":null,"level":7,"host":{"h":1},"user":["u"]}"#,
            json!({ "log": { "level": "7" } }),
            json!({ "severity": "null", "host": r#"{"h":1}"#, "user": r#"["u"]"# }),
        ),
        (
            r#"{"message":"m","host":5,"event":"x","labels":5,"service":"s",
                "@timestamp":"yesterday","log":{"level":3},"ecs":1}"#,
            json!({}),
            json!({ "host": "5", "event": "x", "labels": "5", "service": "s", "_@timestamp": "yesterday",
                "log": r#"{"level":3}"#, "ecs": "1" }),
        ),
        (r#"{"message":"m","deployment_id":"mine","index":["mine"]}"#, json!({}), json!({})),
        (
            r#"{"message":"m","@timestamp":"2015-01-01t01:00:00.25+01:00"}"#,
            json!({ "@timestamp": "2015-01-01T00:00:00.250Z" }),
            json!({}),
        ),
        (
            r#"{"message":"m","@timestamp":"+12015-01-01T00:00:00Z","_@timestamp":[]}"#,
            json!({}),
            json!({ "_@timestamp": "+12015-01-01T00:00:00Z", "__@timestamp": "[]" }),
        ),
        (
            r#"{"message":"m","@timestamp":"2016-12-31T23:59:60.0123456789Z"}"#,
            json!({ "@timestamp": "2016-12-31T23:59:59.012345678Z" }),
            json!({}),
        ),
    ];
    for (body, own, labels) in table {
        let event = logged(body);
        let EventKind::Logged(logs) = &event.kind else { unreachable!() };
        let message = &logs.messages[0];
        let ours = json!({ "deployment_id": logs.deployment_id, "index": "deployment-tracker" });
        let expected = json!({
            "@timestamp": time::rfc3339(&message.received_at), "message": "m", "ecs": { "version": "9.3.0" },
            "event": { "id": message.event_id, "kind": "event", "action": "deployment-log" },
            "labels": with(labels, ours),
        });
        assert_eq!(element(&event), with(expected, own), "{body}");
    }
}

#[test]
fn members_without_a_label_of_their_own_keep_their_names() {
    let long = "n".repeat(MAX_LABEL + 1);
    let table = [
        (r#""a.b":1,"c..d.":2"#, json!({ "a_b": "1", "c__d_": "2" })),
        (r#""a.b":1,"a_b":2,"a_c":3"#, json!({ "a_b": "2", "a_c": "3", "_others": r#"{"a.b":1}"# })),
        (r#""a.b.c":1,"a_b.c":"2""#, json!({ "a_b_c": "1", "_others": r#"{"a_b.c":"2"}"# })),
        (r#""":1," \t":[ 2 ],"\u001c":3"#, json!({ "_others": "{\"\":1,\"\\u001c\":3,\" \\t\":[ 2 ]}" })),
        (r#"".":1,"_":2"#, json!({ "_": "2", "_others": r#"{".":1}"# })),
        (r#""_others":1,".others":2"#, json!({ "_others": r#"{".others":2,"_others":1}"# })),
        (r#""deployment.id":1"#, json!({ "_others": r#"{"deployment.id":1}"# })),
        (&format!("\"{long}\":1"), json!({ "_others": format!("{{\"{long}\":1}}") })),
    ];
    for (members, expected) in table {
        let mut labels = element(&logged(&format!("{{\"message\":\"m\",{members}}}")))["labels"].take();
        labels.as_object_mut().expect("JSON object").retain(|name, _| !RESERVED.contains(&name.as_str()));
        assert_eq!(labels, expected, "{members}");
    }
}

#[test]
fn additional_fields_merge_objects_and_replace_other_members() {
    let fields = json!({ "labels": { "team": "blue", "index": "other" }, "host": { "os": { "type": "linux" } },
        "message": "over all", "service": 5, "tags": ["a"], "log": null, "url": {} });
    let Value::Object(additional_fields) = fields.clone() else { unreachable!() };
    let config = RedisConfig { additional_fields, ..config(Format::Ecs) };
    let log = logged(r#"{"message":"m","host":"h","level":"info"}"#);
    let merged_element = encode(&config, &log).remove(0);
    let EventKind::Logged(logs) = &log.kind else { unreachable!() };
    let merged = json!({ "labels": with(fields["labels"].clone(), json!({ "deployment_id": logs.deployment_id })),
        "host": { "name": "h", "os": { "type": "linux" } } });
    let expected = with(with(element(&log), fields), merged);
    assert_eq!(merged_element, expected);
}

/// Members of a log message, often with meaningful names and with times.
fn any_members() -> impl Strategy<Value = Map<String, Value>> {
    let names = "(_{0,2}@timestamp|deployment_id|event_id|index|@version|severity|level|host|user|event|service|log|labels|ecs|message|\
        _others|[a._]{0,3}|[ \t\u{1c}\u{a0}]{0,2}|\\PC{0,8})";
    let time = "\\+?[0-9]{4}-0[1-9]-[0-2]1[Tt ]2[0-3]:00:[0-6]0(\\.[0-9]{1,12})?([Zz]|[+-]0[0-9]:00)|\
        2016-12-31T23:59:60(\\.5)?Z";
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        time.prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(names, inner, 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    (btree_map(names, value.clone(), 0..12), prop::option::of(prop_oneof![value, time.prop_map(Value::from)]))
        .prop_map(|(members, time)| members.into_iter().chain(time.map(|time| ("@timestamp".into(), time))).collect())
}

/// The time that Elasticsearch has for an `@timestamp`, if it is one.
fn elasticsearch_time(value: &Value) -> Option<DateTime<Utc>> {
    let time = time::parse_rfc3339(value.as_str()?)?.to_utc();
    time.with_nanosecond(time.nanosecond() % 1_000_000_000)
}

/// Whether `element` keeps the member `name` of a log message, possibly under another name.
fn keeps(element: &Value, name: &str, value: &Value) -> bool {
    let json = value.to_string();
    let text = value.as_str().unwrap_or(&json);
    let label = element["labels"].get(name.replace('.', "_"));
    let own = match name {
        "deployment_id" | "index" => return label.is_some(),
        "@timestamp" => return elasticsearch_time(&element[name]) == elasticsearch_time(value),
        "message" => element.get(name),
        "severity" | "level" => element.pointer("/log/level"),
        "host" | "user" => element[name].get("name"),
        _ => None,
    };
    let others = element["labels"][OTHERS].as_str().unwrap_or("{}");
    let others: BTreeMap<String, Box<RawValue>> = serde_json::from_str(others).expect("JSON object");
    [own, label].into_iter().flatten().any(|kept| kept == text)
        || others.get(name).is_some_and(|kept| kept.get() == json)
}

proptest! {
    #[test]
    fn every_log_message_fits_the_index_template_and_keeps_its_members(members in any_members(), text in "\\PC{0,40}") {
        let message = with(Value::Object(members), json!({ "message": text }));
        let element = element(&logged(&message.to_string()));
        prop_assert_eq!(misfits(&element), [""; 0], "{}", element);
        let has_odd_time = message.get("@timestamp").is_some_and(|value| elasticsearch_time(value).is_none());
        for (name, value) in message.as_object().expect("JSON object") {
            let is_moved = name.trim_start_matches('_') == "@timestamp" && has_odd_time;
            let name = if is_moved { format!("_{name}") } else { name.clone() };
            prop_assert!(keeps(&element, &name, value), "{} of {} is missing in {}", name, message, element);
        }
    }

    #[test]
    fn every_deployment_fits_the_index_template(
        texts in vec(prop::option::of("\\PC{0,40}"), DeploymentFields::TEXT_NAMES.len()),
        is_end: bool,
        result in prop::option::of(prop_oneof![Just("success"), Just("failure")]),
        elapsed in prop::option::of(0..=i32::MAX),
    ) {
        let names = DeploymentFields::NAMES.iter().copied();
        let values = texts.into_iter().map(|text| json!(text)).chain([json!(result), json!(elapsed)]);
        let body: Map<_, _> = names.map(str::to_owned).zip(values).filter(|(_, value)| !value.is_null()).collect();
        let deployment = deployment(&Value::Object(body).to_string());
        let kind = if is_end { EventKind::DeploymentFinished } else { EventKind::DeploymentStarted };
        let element = element(&event(kind(deployment)));
        prop_assert_eq!(misfits(&element), [""; 0], "{}", element);
    }
}
