use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use tracker_server::REDACTED;

use super::*;

#[derive(Serialize, JsonSchema)]
struct Everything {
    section: Option<Section>,
    tokens: Vec<Section>,
    text: Option<String>,
    #[schemars(range(max = 9))]
    number: u64,
    list: Vec<String>,
    free: BTreeMap<String, Value>,
    any: Value,
}

#[derive(Serialize, JsonSchema)]
struct Section {
    secret: String,
    flag: Option<bool>,
}

fn everything() -> Keys {
    Keys::of(sections::generator().into_root_schema_for::<Everything>().to_value())
}

#[test]
fn keys_are_in_field_order_with_sections_last() {
    let paths: Vec<_> = everything().all.into_iter().map(|key| key.path).collect();
    let sections = ["section", "section.secret", "section.flag", "tokens", "tokens[].secret", "tokens[].flag"];
    assert_eq!(paths, [&["text", "number", "list", "free", "any"], &sections[..]].concat());
}

#[test]
fn environment_strings_are_literal_and_lists_and_sections_are_json() {
    let keys = everything();
    for (key, text, value) in [
        ("text", "123456", json!("123456")),
        ("text", "[1]", json!("[1]")),
        ("section.secret", "true", json!("true")),
        ("section.flag", "true", json!(true)),
        ("number", "12", json!(12)),
        ("number", "twelve", json!("twelve")),
        ("list", r#"["a"]"#, json!(["a"])),
        ("section", r#"{"flag": true}"#, json!({ "flag": true })),
        ("tokens", r#"[{"secret": "123456"}]"#, json!([{ "secret": "123456" }])),
        ("free.number", "12", json!(12)),
        ("free.text", "blue", json!("blue")),
        ("any", "12", json!(12)),
        ("any.below", "12", json!("12")),
        ("unknown", "12", json!("12")),
    ] {
        assert_eq!(keys.value(key, text.into()).expect("valid value"), value, "{key}={text}");
    }
    for key in ["list", "section", "tokens", "free"] {
        assert!(keys.value(key, "a,b".into()).is_err(), "{key}");
    }
}

#[test]
fn an_integer_out_of_range_is_an_error_that_states_the_range() {
    let keys = everything();
    assert!(keys.check_ranges(&json!({ "number": 9 })).is_ok());
    let error = keys.check_ranges(&json!({ "number": 10 })).unwrap_err().to_string();
    assert_eq!(error, "configuration: `number`: must be an integer from 0 to 9");
}

#[test]
fn values_that_the_schema_marks_as_write_only_are_redacted() {
    #[derive(Serialize, JsonSchema)]
    struct Section {
        #[schemars(extend("writeOnly" = true))]
        seal: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(extend("writeOnly" = true))]
        rarely_written: Option<String>,
        servers: Vec<Server>,
    }
    #[derive(Serialize, JsonSchema)]
    struct Server {
        #[schemars(extend("writeOnly" = true))]
        signature: String,
        host: String,
    }
    let keys = Keys::of(sections::generator().into_root_schema_for::<Section>().to_value());
    let config = json!({ "seal": "s", "rarely_written": "s", "servers": [{ "signature": "s", "host": "h" }, { "signature": null }, 5], "x": 1 });
    let expected = json!({ "seal": REDACTED, "rarely_written": REDACTED, "servers": [{ "signature": REDACTED, "host": "h" },
        { "signature": null }, 5], "x": 1 });
    assert_eq!(keys.redact(&config), expected);
    assert_eq!(keys.redact(&json!({ "seal": null, "servers": "text" })), json!({ "seal": null, "servers": "text" }));
}
