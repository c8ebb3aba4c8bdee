#![allow(dead_code, reason = "only the schemas of these types matter")]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;
use crate::sections;

/// A secret string.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(extend("writeOnly" = true))]
struct Seal(String);

#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Login {
    Stamp { mark: Seal, user: String },
    Open { mark: String },
}

#[derive(Serialize, JsonSchema)]
enum External {
    Plain(String),
    Sealed(Seal),
    Pair(String, Seal),
}

#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Either {
    Sealed { mark: Seal },
    Many(Vec<Either>),
    Number(u8),
}

#[derive(Serialize, JsonSchema)]
struct More {
    flat: Seal,
}

#[derive(Serialize, JsonSchema)]
struct Section {
    host: String,
    seal: Option<Seal>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    rarely: Option<Seal>,
    #[serde(skip_serializing)]
    never_written: Seal,
    list: Vec<Seal>,
    optional: Vec<Option<Seal>>,
    map: BTreeMap<String, Seal>,
    nested: BTreeMap<String, Vec<BTreeMap<String, Seal>>>,
    tuple: (String, Seal),
    #[schemars(extend("writeOnly" = true))]
    whole: BTreeMap<String, Value>,
    login: Login,
    external: Vec<External>,
    either: Option<Either>,
    free: BTreeMap<String, String>,
    #[serde(flatten)]
    more: More,
}

fn schema<T: JsonSchema>() -> Value {
    sections::generator().into_root_schema_for::<T>().to_value()
}

fn redacted<T: JsonSchema>(mut value: Value, unknown: Unknown) -> Value {
    Schema::new(&schema::<T>()).redact(&mut value, unknown);
    value
}

#[test]
fn secrets_are_found_wherever_the_schema_has_them() {
    let r = REDACTED;
    let config = json!({
        "host": "h", "seal": "s", "rarely": "s", "never_written": "s", "alias": "s", "list": ["s", "s", null],
        "optional": [null, "s"], "map": { "a": "s" }, "nested": { "a": [{ "b": "s" }] },
        "tuple": ["t", "s"], "whole": { "a": { "b": 1 } }, "login": { "type": "stamp", "mark": "s", "user": "u" },
        "external": [{ "Plain": "p" }, { "Sealed": "s" }, { "Pair": ["p", "s"] }, { "Alias": "s" }],
        "either": [{ "mark": "s" }, 5, [{ "mark": "s" }]], "free": { "a": "b" }, "flat": "s",
    });
    let expected = json!({
        "host": "h", "seal": r, "rarely": r, "never_written": r, "alias": r, "list": [r, r, null],
        "optional": [null, r], "map": { "a": r }, "nested": { "a": [{ "b": r }] },
        "tuple": ["t", r], "whole": r, "login": { "type": "stamp", "mark": r, "user": "u" },
        "external": [{ "Plain": "p" }, { "Sealed": r }, { "Pair": ["p", r] }, { "Alias": r }],
        "either": [{ "mark": r }, 5, [{ "mark": r }]], "free": { "a": "b" }, "flat": r,
    });
    assert_eq!(redacted::<Section>(config.clone(), Unknown::Hide), expected);
    let mut shown = expected;
    // Unknown names and forms are hidden only on demand.
    (shown["never_written"], shown["alias"]) = (json!("s"), json!("s"));
    shown["external"][3] = json!({ "Alias": "s" });
    assert_eq!(redacted::<Section>(config, Unknown::Show), shown);
    let (text, list) = (json!({ "map": "s", "list": "s", "host": ["s"] }), json!({ "map": r, "list": r, "host": r }));
    assert_eq!(redacted::<Section>(text, Unknown::Hide), list);
    assert_eq!(redacted::<Login>(json!({ "type": "open", "mark": "s" }), Unknown::Hide)["mark"], r);
}

#[derive(Serialize, JsonSchema)]
struct Node {
    #[schemars(range(min = 1))]
    weight: u16,
    next: Option<Box<Node>>,
}

#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Pace {
    Slow {
        #[schemars(range(max = 5))]
        rate: f64,
    },
    Fast {
        #[schemars(range(min = 5, max = 50))]
        rate: f64,
    },
}

#[derive(Serialize, JsonSchema)]
struct Numbers {
    #[schemars(range(min = -5, max = 5))]
    offset: i64,
    #[schemars(range(min = 0.5, max = 1.0))]
    ratio: Option<f32>,
    #[schemars(extend("exclusiveMinimum" = 0))]
    factor: f64,
    #[schemars(range(max = 18_446_744_073_709_551_614_u64))]
    large: u64,
    #[schemars(inner(range(max = 9)))]
    digits: Vec<u8>,
    nodes: Vec<Node>,
    by_name: BTreeMap<String, Node>,
    pair: (u8, Node),
    pace: Pace,
    any: Value,
}

#[test]
fn numbers_out_of_range_are_found_wherever_the_schema_has_a_range() {
    let schema = schema::<Numbers>();
    let fitting = json!({
        "offset": -5, "ratio": 0.5, "factor": 0.1, "large": 18_446_744_073_709_551_614_u64, "digits": [0, 9],
        "nodes": [{ "weight": 1, "next": { "weight": 2, "next": null } }], "by_name": { "a": { "weight": 1 } },
        "pair": [0, { "weight": 1 }], "pace": { "type": "fast", "rate": 50.0 }, "any": -1,
    });
    assert_eq!(Schema::new(&schema).out_of_range(&fitting), None);
    for (pointer, value, path, range) in [
        ("/offset", json!(-6), "offset", "an integer from -5 to 5"),
        ("/offset", json!(6), "offset", "an integer from -5 to 5"),
        ("/ratio", json!(0.25), "ratio", "a number from 0.5 to 1.0"),
        ("/factor", json!(0.0), "factor", "a number, above 0"),
        ("/large", json!(u64::MAX), "large", "an integer from 0 to 18446744073709551614"),
        ("/digits/1", json!(10), "digits.1", "an integer from 0 to 9"),
        ("/nodes/0/weight", json!(0), "nodes.0.weight", "an integer from 1 to 65535"),
        ("/nodes/0/next/weight", json!(0), "nodes.0.next.weight", "an integer from 1 to 65535"),
        ("/by_name/a/weight", json!(0), "by_name.a.weight", "an integer from 1 to 65535"),
        ("/pair/1/weight", json!(0), "pair.1.weight", "an integer from 1 to 65535"),
        ("/pace/rate", json!(4.5), "pace.rate", "a number from 5 to 50"),
        ("/pace", json!({ "type": "slow", "rate": 5.5 }), "pace.rate", "a number, at most 5"),
    ] {
        let mut config = fitting.clone();
        *config.pointer_mut(pointer).expect("a key of the configuration") = value;
        assert_eq!(Schema::new(&schema).out_of_range(&config), Some((path.into(), range.into())), "{pointer}");
    }
}
