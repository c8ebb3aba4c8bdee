//! Checks elements against the index template in `docs/logstash`, as Elasticsearch does.

use std::sync::LazyLock;

use chrono::NaiveDateTime;
use serde_json::{Value, json};

static MAPPINGS: LazyLock<Value> = LazyLock::new(|| {
    let template = include_str!("../../../../../docs/logstash/index-template-ecs.json");
    let mut template: Value = serde_json::from_str(template).expect("the template is JSON");
    template["template"]["mappings"].take()
});

/// The parts of `element` that Elasticsearch refuses or does not index, each with its path and the problem.
pub(super) fn misfits(element: &Value) -> Vec<String> {
    let mut misfits = Vec::new();
    walk("", element, &MAPPINGS, &mut misfits);
    misfits
}

fn walk(path: &str, value: &Value, mapping: &Value, misfits: &mut Vec<String>) {
    let wrong = match value {
        Value::Object(members) => {
            for (name, member) in members {
                if name.trim().is_empty() || name.contains('.') {
                    misfits.push(format!("{path}: the name `{name}`"));
                }
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let dynamic = || dynamic(&path, member);
                let mapping = mapping["properties"].get(name).or_else(dynamic).unwrap_or(&Value::Null);
                walk(&path, member, mapping, misfits);
            }
            (members.is_empty() || !mapping["type"].is_null() && mapping["type"] != "object").then_some("an object")
        }
        leaf => (!fits(leaf, mapping)).then_some("a value"),
    };
    misfits.extend(wrong.map(|wrong| format!("{path}: {wrong} where the mapping is {mapping}")));
}

/// The mapping that Elasticsearch gives to a field at its first use.
fn dynamic(path: &str, value: &Value) -> Option<&'static Value> {
    // With date detection, a string that looks like a date would be mapped as one.
    assert_eq!(MAPPINGS["date_detection"], false);
    let templates = MAPPINGS["dynamic_templates"].as_array()?.iter().flat_map(|named| named.as_object()).flatten();
    let mut matching = templates.map(|(_, template)| template).filter(|template| {
        // In Elasticsearch, `*` matches dots as well, but the labels of the schema are flat.
        let folder = template["path_match"].as_str().and_then(|pattern| pattern.strip_suffix('*'));
        let name = folder.and_then(|folder| path.strip_prefix(folder));
        name.is_some_and(|name| !name.contains('.')) && template["match_mapping_type"] == "string"
    });
    matching.next().filter(|_| value.is_string()).map(|template| &template["mapping"])
}

fn fits(leaf: &Value, mapping: &Value) -> bool {
    match mapping["type"].as_str() {
        // Elasticsearch does not index keywords longer than `ignore_above`; without it, it rejects long ones.
        Some("keyword") => leaf.is_string() && mapping["ignore_above"].as_u64().is_some_and(|max| max <= 32_766 / 4),
        Some("match_only_text") => leaf.is_string(),
        Some("long") => leaf.is_i64(),
        Some("date") => leaf.as_str().is_some_and(is_date),
        _ => false,
    }
}

/// Whether `text` is a `strict_date_optional_time` in UTC.
fn is_date(text: &str) -> bool {
    let is_padded = text.len() >= 20 && text.is_char_boundary(19);
    is_padded
        && text[..19].replace(|c: char| c.is_ascii_digit(), "0") == "0000-00-00T00:00:00"
        && NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.fZ").is_ok()
        && !text.contains(":60")
}

#[test]
fn misfits_are_found() {
    for misfit in [
        json!({ "host": "h" }),
        json!({ "host": { "name": 5 } }),
        json!({ "host": { "name": ["h"] } }),
        json!({ "host": {} }),
        json!({ "event": { "duration": 1.5 } }),
        json!({ "event": { "duration": 9_223_372_036_854_775_808_u64 } }),
        json!({ "event": { "start": "yesterday" } }),
        json!({ "event": { "start": "2015-01-01 00:00:00Z" } }),
        json!({ "event": { "start": "2016-12-31T23:59:60Z" } }),
        json!({ "event": { "reported_by": "e" } }),
        json!({ "message": { "text": "m" } }),
        json!({ "labels": { "n": 5 } }),
        json!({ "labels": { "o": { "a": "b" } } }),
        json!({ "labels": { "a.b": "" } }),
        json!({ "labels": { " ": "" } }),
        json!({ "log": null }),
    ] {
        assert_ne!(misfits(&misfit), [""; 0], "{misfit}");
    }
    assert_eq!(misfits(&json!({ "labels": { "@timestamp": "2015-01-01" }, "event": { "duration": 0 } })), [""; 0]);
}
