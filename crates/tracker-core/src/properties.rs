//! Properties of reading a report from arbitrary bytes, with serde_json's `Value` as the oracle.
//! `scripts/fuzz` runs them with many more cases.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::deployment::{Deployment, DeploymentFields, DeploymentReport, REPORT_MEMBERS, is_log_message};
use crate::event::{Event, EventKind};
use crate::fields::{DeploymentResult, MAX_ARGUMENTS, MAX_ELAPSED, MAX_TEXT};
use crate::id::DeploymentId;
use crate::input_error::{InputError, InputErrorCode};
use crate::json::{MAX_DEPTH, read, replace_unpaired_surrogates};
use crate::log::{LogBatch, LogDeploymentId};
use crate::server::{Server, ServerReport};
use crate::time;

/// The id in the path of each report.
const ID: &str = "84e803f7-9562-4d95-b828-25b167aea34b";
/// Names with a meaning in some report, in addition to [`DeploymentFields::NAMES`].
const OTHER_NAMES: [&str; 8] = [
    "deployment_id",
    "hostname",
    "ip_address",
    "message",
    "@timestamp",
    "event_id",
    "index",
    "assert_empty_server_result",
];

/// A JSON string. A few are invalid.
fn string() -> impl Strategy<Value = String> {
    const VALID: [&str; 12] =
        [r"\n", r#"\""#, r"\\", r"\u0041", r"\ud83d\ude00", r"\u2028", "é", "😀", "\u{feff}", "\u{85}", "\u{7f}", "/"];
    const INVALID: [&str; 10] =
        [r"\u0000", r"\ud83d", r"\udc00", r"\ud83d\u0041", r"\x", r"\u12", r"\u+123", "\0", "\n", "\""];
    let length = select(vec![0, 1, MAX_TEXT - 1, MAX_TEXT, MAX_TEXT + 1, MAX_ARGUMENTS, MAX_ARGUMENTS + 1]);
    let valid = prop_oneof![6 => "[a-z0-9]{1,4}", 4 => select(&VALID[..]).prop_map(str::to_owned)];
    let contents = prop_oneof![
        120 => vec(valid, 0..4).prop_map(|parts| parts.concat()),
        1 => select(&INVALID[..]).prop_map(str::to_owned),
        1 => vec(any::<char>(), 0..4).prop_map(String::from_iter),
        1 => (select(vec!["x", "ö", "😀"]), length).prop_map(|(one, times)| one.repeat(times)),
    ];
    contents.prop_map(|text| format!("\"{text}\""))
}

/// A JSON number. Some are invalid or out of range.
fn number() -> impl Strategy<Value = String> {
    const UNUSUAL: [&str; 21] = [
        "0",
        "-0",
        "234.0",
        "1.5",
        "1e3",
        "1E400",
        "-1e999",
        "1e-400",
        "123456789012345678901",
        "2147483647",
        "2147483648",
        "2147483647.0",
        "0.1e1",
        "01",
        "+1",
        "1.",
        ".5",
        "NaN",
        "-",
        "1e",
        "0x1",
    ];
    prop_oneof![
        select(&UNUSUAL[..]).prop_map(str::to_owned),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| n.to_string())
    ]
}

fn name() -> impl Strategy<Value = String> {
    let known: Vec<_> = DeploymentFields::NAMES.iter().copied().chain(OTHER_NAMES).collect();
    prop_oneof![6 => select(known).prop_map(|name| format!("\"{name}\"")), 1 => string()]
}

fn object(name: impl Strategy<Value = String>, value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    vec((name, value), 0..10).prop_map(|members| {
        let members: Vec<_> = members.into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

/// Any JSON value. Names may be repeated, and some values are nested around [`MAX_DEPTH`].
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![string(), number(), select(vec!["null", "true", "false"]).prop_map(str::to_owned)];
    let value = leaf.prop_recursive(3, 12, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(|values| format!("[{}]", values.join(" ,"))),
            object(name(), inner),
        ]
    });
    let depth = prop_oneof![30 => Just(0), 1 => MAX_DEPTH - 3..MAX_DEPTH + 2];
    (value, depth).prop_map(|(value, depth)| format!("{}{value}{}", "[".repeat(depth), "]".repeat(depth)))
}

/// A JSON object that is often a valid report.
fn report() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        prop_oneof![Just(ID.to_owned()), Just(ID.to_uppercase()), Just(ID.replace('-', ""))]
            .prop_map(|id| format!("\"deployment_id\":\"{id}\"")),
        number().prop_map(|number| format!("\"elapsed_seconds\":{number}")),
        select(vec!["success", "failure", "Success"]).prop_map(|result| format!("\"result\":\"{result}\"")),
        any::<bool>().prop_map(|flag| format!("\"assert_empty_server_result\":{flag}")),
        string().prop_map(|text| format!("\"message\" : {text}")),
        string().prop_map(|text| format!("\"hostname\" : {text}")),
        (select(DeploymentFields::TEXT_NAMES), string()).prop_map(|(name, text)| format!("\"{name}\":{text}")),
        (select(DeploymentFields::TEXT_NAMES), string()).prop_map(|(name, text)| format!("\"{name}\":{text}")),
    ];
    let member = prop_oneof![30 => field, 1 => (name(), json()).prop_map(|(name, value)| format!("{name}:{value}"))];
    vec(member, 0..8).prop_map(|members| format!("{{{}}}", members.join(",")))
}

/// A request body: reports, other JSON, damaged text and random bytes.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let array = vec(report(), 0..4).prop_map(|reports| format!("[{}]", reports.join(",")));
    let text = prop_oneof![4 => report(), 2 => json(), 1 => array];
    let damage = prop_oneof![
        6 => Just(None),
        1 => (any::<Index>(), any::<Option<u8>>()).prop_map(Some),
    ];
    let text = (text, damage).prop_map(|(text, damage)| {
        let mut bytes = text.into_bytes();
        match damage {
            Some((at, Some(byte))) => {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            Some((at, None)) => bytes.truncate(at.index(bytes.len())),
            None => {}
        }
        bytes
    });
    prop_oneof![20 => text, 1 => vec(any::<u8>(), 0..64)]
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// The value that serde_json reads. `None` if the only problem is a number out of its range, which
/// this crate keeps as text.
fn oracle(bytes: &[u8]) -> Option<Result<Value, ()>> {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => Some(if has_nul(&value) { Err(()) } else { Ok(value) }),
        Err(error) if error.to_string().starts_with("number out of range") => None,
        Err(_) => Some(Err(())),
    }
}

fn is_one_line(invalid: &InputError) -> bool {
    !invalid.message.is_empty() && !invalid.message.contains(char::is_control)
}

/// The fields of a report that break a rule of the API.
fn faults(object: &Map<String, Value>, texts: &[&'static str]) -> Vec<&'static str> {
    let mut faults = Vec::new();
    let mut check = |name: &'static str, is_valid: &dyn Fn(&Value) -> bool| {
        if !object.get(name).is_none_or(is_valid) {
            faults.push(name);
        }
    };
    for name in texts {
        let max = if *name == "arguments" { MAX_ARGUMENTS } else { MAX_TEXT };
        check(name, &|value| value.as_str().is_some_and(|text| text.chars().count() <= max));
    }
    check("deployment_id", &|value| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case(ID)));
    check("result", &|value| matches!(value.as_str(), Some("success" | "failure")));
    check("elapsed_seconds", &|value| {
        value.as_f64().is_some_and(|n| n.fract() == 0.0 && n >= 0.0 && n <= f64::from(MAX_ELAPSED))
    });
    faults
}

/// Checks the result of reading a report against its JSON object.
fn check_read<T>(
    read: &Result<T, InputError>,
    faults: &[&str],
    json: impl Fn(&T) -> Map<String, Value>,
    object: &Map<String, Value>,
) -> Result<(), TestCaseError> {
    match read {
        Ok(report) => {
            prop_assert!(faults.is_empty(), "accepted with invalid {:?}: {:?}", faults, object);
            for (name, value) in json(report) {
                let reported = object.get(&name);
                prop_assert!(
                    reported == Some(&value) || reported.and_then(Value::as_f64) == value.as_f64(),
                    "{}: {:?}",
                    name,
                    reported
                );
            }
        }
        Err(invalid) => {
            let field = invalid.field.as_deref().unwrap_or_default();
            prop_assert!(faults.contains(&field), "the error names a valid field: {:?} in {:?}", invalid, object);
            prop_assert!(is_one_line(invalid), "{:?}", invalid);
        }
    }
    Ok(())
}

fn members(value: Value) -> Map<String, Value> {
    let Value::Object(members) = value else { unreachable!() };
    members
}

fn event(kind: EventKind) -> Event {
    Event::new(kind, time::now(), None)
}

proptest! {
    #[test]
    fn a_body_is_read_as_serde_json_reads_it_except_for_nul(bytes in body()) {
        let read = read(&bytes);
        if let Err(invalid) = &read {
            prop_assert_eq!(invalid.code, InputErrorCode::Json);
            prop_assert!(is_one_line(invalid), "{:?}", invalid);
        }
        // `read` refuses a NUL everywhere, even in a member that a later one replaces.
        let has_nul = bytes.windows(6).any(|six| six == br"\u0000");
        if let Some(expected) = oracle(&bytes).filter(|_| read.is_ok() || !has_nul) {
            let ours = read.as_ref().map(|raw| serde_json::from_str::<Value>(raw.get()).expect("valid JSON"));
            prop_assert_eq!(ours.map_err(drop), expected);
        }
    }

    #[test]
    fn a_body_without_unpaired_surrogates_differs_only_in_their_escapes(bytes in body()) {
        let mut replaced = bytes.clone();
        replace_unpaired_surrogates(&mut replaced);
        prop_assert_eq!(replaced.len(), bytes.len());
        let message = read(&replaced).map(RawValue::get).map_err(|invalid| invalid.message);
        prop_assert!(!message.as_ref().is_err_and(|text| text.contains("surrogate")), "{:?}", message);
        if read(&bytes).is_ok() {
            prop_assert_eq!(replaced, bytes);
        }
    }

    #[test]
    fn a_report_is_read_field_by_field_or_refused_with_the_field_at_fault(bytes in body()) {
        let Ok(raw) = read(&bytes) else { return Ok(()) };
        let id = DeploymentId::parse(ID).expect("valid id");
        let deployment = DeploymentReport::read(id, raw);
        let server = ServerReport::read(id, raw);
        let Some(Ok(value)) = oracle(&bytes) else { return Ok(()) };
        let Value::Object(object) = value else {
            prop_assert_eq!(deployment.map_err(|invalid| invalid.code).err(), Some(InputErrorCode::Shape));
            prop_assert_eq!(server.map_err(|invalid| invalid.code).err(), Some(InputErrorCode::Shape));
            return Ok(());
        };
        let mut faulty = faults(&object, DeploymentFields::TEXT_NAMES);
        if object.get("assert_empty_server_result").is_some_and(|flag| !flag.is_boolean()) {
            faulty.push("assert_empty_server_result");
        }
        check_read(&deployment, &faulty, |report| members(serde_json::json!(report.fields)), &object)?;
        let mut faulty = faults(&object, &["hostname", "ip_address"]);
        if object.get("hostname").is_none_or(|name| name.as_str() == Some("")) {
            faulty.push("hostname");
        }
        check_read(&server, &faulty, |report| members(serde_json::json!(report.fields)), &object)?;

        let is_field = |name: &str| REPORT_MEMBERS.contains(&name);
        let has_message = object.get("message").is_some_and(Value::is_string);
        let is_message = has_message && !object.keys().any(|name| is_field(name));
        prop_assert_eq!(is_log_message(raw), is_message);
    }

    #[test]
    fn log_messages_are_kept_unchanged_or_all_are_refused(bytes in body(), id in "\\PC{1,20}") {
        let Ok(raw) = read(&bytes) else { return Ok(()) };
        let logs = LogBatch::read(LogDeploymentId::new(&id).expect("valid id"), raw);
        if let Err(invalid) = &logs {
            prop_assert!(is_one_line(invalid), "{:?}", invalid);
        }
        let Some(Ok(value)) = oracle(&bytes) else { return Ok(()) };
        let values = if let Value::Array(values) = value { values } else { vec![value] };
        let are_messages = values.iter().all(|value| value.get("message").is_some_and(Value::is_string));
        prop_assert_eq!(logs.is_ok(), are_messages, "{:?}", &logs);
        let Ok(logs) = logs else { return Ok(()) };
        let kept = logs.messages.iter().map(|message| message.object().get());
        let kept: Vec<Value> = kept.map(|text| serde_json::from_str(text).expect("valid JSON")).collect();
        prop_assert_eq!(kept, values);
    }

    #[test]
    fn an_event_survives_the_outbox_and_damage_never_causes_a_panic(
        bytes in body(), at: Index, damage: Option<u8>, is_end: bool,
    ) {
        let Ok(raw) = read(&bytes) else { return Ok(()) };
        let (id, now) = (DeploymentId::parse(ID).expect("valid id"), Some(time::now()));
        let deployment = DeploymentReport::read(id, raw).map(|report| {
            let deployment = Deployment { id, fields: report.fields, created_at: now, updated_at: now };
            if is_end { EventKind::DeploymentFinished(deployment) } else { EventKind::DeploymentStarted(deployment) }
        });
        let server = ServerReport::read(id, raw).map(|report| {
            let (hostname, fields) = (report.key.hostname, report.fields);
            let server = Server { hostname, deployment_id: id, fields, created_at: now, updated_at: now };
            if is_end { EventKind::ServerFinished(server) } else { EventKind::ServerStarted(server) }
        });
        let logs = LogBatch::read(LogDeploymentId::new(ID).expect("valid id"), raw).map(EventKind::Logged);
        for kind in [deployment, server, logs].into_iter().flatten() {
            let row = serde_json::to_string(&[event(kind)]).expect("an event is JSON");
            let back: Vec<Event> = serde_json::from_str(&row).expect("a written row is readable");
            prop_assert_eq!(serde_json::to_string(&back).expect("an event is JSON"), row.as_str());

            let mut row = row.into_bytes();
            let at = at.index(row.len());
            match damage {
                Some(byte) => row[at] = byte,
                None => drop(row.remove(at)),
            }
            let Ok(events) = serde_json::from_slice::<Vec<Event>>(&row) else { continue };
            for event in events {
                if let EventKind::Logged(logs) = &event.kind {
                    logs.messages.iter().for_each(|message| drop(message.members()));
                }
            }
        }
    }

    #[test]
    fn only_a_hyphenated_uuid_is_an_id(
        text in "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|.{0,40}|\\{?[0-9a-f-]{30,38}",
    ) {
        let groups: Vec<_> = text.split('-').collect();
        let is_id = groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
            && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let id = DeploymentId::parse(&text);
        prop_assert_eq!(id.map(|id| id.to_string()).ok(), is_id.then(|| text.to_lowercase()));
    }

    #[test]
    fn only_success_and_failure_are_results(text in "success|failure|[a-zA-Z ]{0,8}") {
        let result = DeploymentResult::parse(&text).map(DeploymentResult::as_str);
        prop_assert_eq!(result, ["success", "failure"].into_iter().find(|word| *word == text));
    }
}

#[test]
fn a_stored_log_message_that_is_not_an_object_is_an_error() {
    let row = serde_json::to_string(&event(EventKind::Logged(
        LogBatch::read(LogDeploymentId::new(ID).expect("valid id"), read(br#"{"message":"m"}"#).expect("valid JSON"))
            .expect("valid message"),
    )));
    let row = row.expect("an event is JSON");
    for other in ["5", "[]", "null", r#"{"\ud800":1}"#] {
        let row = row.replace(r#"{"message":"m"}"#, other);
        assert!(serde_json::from_str::<Event>(&row).is_err(), "{row}");
    }
    let raw = |text: &str| RawValue::from_string(text.to_owned()).expect("valid JSON");
    let stored = |text| crate::log::LogMessage::stored(uuid::Uuid::nil(), time::now(), raw(text));
    assert!(stored("5").is_err());
    assert_eq!(stored(r#"{"message":"m"}"#).expect("valid message").object().get(), r#"{"message":"m"}"#);
}
