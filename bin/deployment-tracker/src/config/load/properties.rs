//! Properties of every configuration, in a file and in the environment. `scripts/fuzz` runs many more cases.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, json};
use tempfile::TempDir;

use super::*;
use crate::sections;
use crate::stores::Stores;

/// A secret that no output may contain.
const SECRET: &str = "hunter2";

/// A password that contains [`SECRET`]. It has no `&`, which would end it in a URL's query.
fn password() -> impl Strategy<Value = String> {
    let other = || prop_oneof![4 => "[a-z0-9]{0,3}", 1 => "[a-z0-9:/?#@%\\[\\];=,' ]{0,3}", 1 => "[^&]{0,2}"];
    (other(), other()).prop_map(|(before, after)| format!("{before}{SECRET}{after}"))
}

/// Values of all types, which may or may not be valid for a key.
fn value() -> impl Strategy<Value = Value> {
    let choices = [
        "",
        "h",
        "::1",
        "8080",
        "true",
        "d.sqlite3",
        "postgres",
        "sqlite",
        "[::1]",
        "http://h:80",
        "unix:/s",
        "logstash",
        "ecs",
        "clean",
        "original",
        "a\nb",
        "\u{0}",
        "sqlite:d",
        "file:d",
        ":memory:",
        "read",
        "10",
        "1e3",
    ];
    let numbers = vec![0_u64, 1, 10, 256, 1_000, 8_080, 65_535, 65_536, 1 << 20, 1 << 32, u64::MAX];
    let url = |p: String| format!("postgres://u:{p}@h:5432/x?password={p}").replace(char::is_whitespace, "");
    let leaf = prop_oneof![
        3 => select(strings(&choices)).prop_map(Value::from),
        3 => select(numbers).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        // serde_json may change the last digit of other floats.
        1 => any::<i16>().prop_map(|number| json!(f64::from(number) / 8.0)),
        1 => any::<i64>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => ".{0,6}".prop_map(Value::from),
        1 => password().prop_map(url).prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            (".{0,4}", inner).prop_map(|(name, value)| json!({ name: value }))
        ]
    })
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Current keys, legacy keys and unknown keys.
fn key() -> impl Strategy<Value = String> {
    let current = known().all.into_iter().map(|key| key.path).filter(|path| !path.contains("[]"));
    let needs_no_files = |path: &String| !path.starts_with("tls");
    let legacy_or_unknown = [
        "redis.connectTimeout",
        "redis.keyPrefix",
        "redis.tls",
        "redis.family",
        "statsd.mock",
        "statsd.cacheDns",
        "comment",
        "database.development.dialect",
        "database.development.storage",
        "database.development.host",
        "database.development.username",
        "database.development.port",
        "database.development.ssl",
        "database.development.dialectOptions.ssl",
        "database.development.logging",
        "database.production.dialect",
        "redis.additional_fileds",
        "database.",
        "",
        ".",
        "redis..x",
        "prot",
    ];
    select(current.filter(needs_no_files).chain(strings(&legacy_or_unknown)).collect::<Vec<_>>())
}

/// Keys with a secret in a place for secrets.
fn secrets() -> impl Strategy<Value = (String, Value)> {
    prop_oneof![
        password().prop_map(|p| ("redis.password".to_owned(), p.into())),
        password().prop_map(|p| ("redis.password".to_owned(), json!([p]))),
        password().prop_map(|p| ("database.development.password".to_owned(), p.into())),
        password().prop_map(|p| ("database.production.password".to_owned(), json!({ "x": p }))),
        password().prop_map(|p| ("database.url".to_owned(), format!("postgres://u:{p}@h/x").into())),
        password().prop_map(|p| ("database.url".to_owned(), format!("postgres://h/x?password={p}").into())),
        password().prop_map(|p| ("database.url".to_owned(), json!([p]))),
        password().prop_map(|p| ("auth.tokens".to_owned(), json!([{ "name": "n", "secret": p, "scopes": ["read"] }]))),
        password().prop_map(|p| ("auth.tokens".to_owned(), json!([{ "name": 5, "secret": [p], "scopes": [] }]))),
    ]
}

fn put(config: &mut Value, path: &str, value: Value) {
    let mut at = config;
    for name in path.split('.') {
        if !at.is_object() {
            *at = json!({});
        }
        at = at.as_object_mut().expect("made an object above").entry(name).or_insert(Value::Null);
    }
    *at = value;
}

fn config() -> impl Strategy<Value = Value> {
    let members = vec(prop_oneof![3 => (key(), value()), 1 => secrets()], 0..4);
    prop_oneof![30 => members.prop_map(|members| {
        let mut config = json!({});
        members.into_iter().for_each(|(path, value)| put(&mut config, &path, value));
        config
    }), 1 => value()]
}

/// Whether `error` is one line without `secret`.
fn is_safe_line(error: &ConfigError, secret: &str) -> bool {
    let message = error.to_string();
    message.starts_with("configuration: ") && !message.contains(char::is_control) && !message.contains(secret)
}

fn load_text(folder: &TempDir, name: &str, text: &[u8]) -> Result<Loaded, ConfigError> {
    let file = folder.path().join(name);
    std::fs::write(&file, text).expect("file is written");
    load(Some(&file), &known())
}

fn known() -> Keys {
    Keys::of_server(sections::built_in(), Stores::built_in())
}

/// Checks that the result does not show `secret`, and that the effective configuration loads again unchanged.
fn check(folder: &TempDir, loaded: &Result<Loaded, ConfigError>, secret: &str) -> Result<(), TestCaseError> {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            prop_assert!(is_safe_line(error, secret), "{:?}", error);
            return Ok(());
        }
    };
    for shown in [&loaded.raw, &loaded.effective] {
        let shown = known().redact(shown).to_string();
        prop_assert!(!shown.contains(secret), "{}", shown);
    }
    for note in loaded.notes.understood.iter().chain(&loaded.notes.ignored) {
        // A key prefix is not a secret, so its note may contain it.
        prop_assert!(
            (!note.contains(secret) || note.contains("keyPrefix")) && !note.contains(char::is_control),
            "{:?}",
            note
        );
    }
    let mut whole = loaded.effective.clone();
    if !loaded.config.listen.is_empty() {
        let top = whole.as_object_mut().expect("a configuration is an object");
        top.remove("host");
        top.remove("port");
    }
    let again = load_text(folder, "again.json", whole.to_string().as_bytes());
    prop_assert!(again.is_ok(), "{:?} of {}", again, whole);
    prop_assert_eq!(&again.expect("asserted above").effective, &loaded.effective);
    Ok(())
}

fn runner() -> proptest::test_runner::TestRunner {
    proptest::test_runner::TestRunner::default()
}

#[test]
fn any_file_is_a_configuration_or_an_error_of_one_line_without_secrets() {
    let folder = TempDir::new().expect("temporary folder");
    let damage = prop::option::weighted(0.2, (any::<Index>(), any::<u8>()));
    let input = (config(), damage, any::<bool>());
    let done = runner().run(&input, |(config, damage, is_toml)| {
        // A TOML file is always a table.
        let is_toml = is_toml && config.is_object();
        let text = if is_toml { toml(&config) } else { config.to_string() };
        let mut bytes = text.into_bytes();
        if let (Some((at, byte)), false) = (damage, bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // A damaged key name may no longer mark its value as a secret.
        let secret = if damage.is_some() { "\0no secret" } else { SECRET };
        let loaded = load_text(&folder, if is_toml { "c.toml" } else { "c.json" }, &bytes);
        check(&folder, &loaded, secret)
    });
    done.unwrap_or_else(|failure| panic!("{failure}"));
}

/// `config` as TOML. The result is not valid TOML if `config` contains null.
fn toml(config: &Value) -> String {
    match config {
        Value::Object(members) => {
            let lines = members.iter().map(|(name, value)| format!("{} = {}\n", json!(name), inline(value)));
            lines.collect()
        }
        other => other.to_string(),
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: Vec<_> =
                members.iter().map(|(name, value)| format!("{} = {}", json!(name), inline(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(inline).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// The text of an environment variable for `value`.
fn as_variable(value: Value) -> String {
    value.as_str().map_or(value.to_string(), str::to_owned)
}

#[test]
fn any_variables_are_a_configuration_or_an_error_of_one_line_without_secrets() {
    let folder = TempDir::new().expect("temporary folder");
    let text = prop_oneof![
        3 => value().prop_map(as_variable),
        1 => "[\\[{\"0-9a-z}\\]-]{0,6}",
    ];
    // The other secrets are lists or sections where the key needs a string. In a variable, they are valid strings.
    let secret = secrets()
        .prop_filter("a string or the list of tokens", |(key, value)| value.is_string() || key == "auth.tokens");
    let secret = secret.prop_map(|(key, value)| (key, as_variable(value)));
    let variable = prop_oneof![3 => (key(), text), 1 => secret];
    let done = runner().run(&vec(variable, 0..3), |variables| {
        let loaded =
            merge_variables(Figment::new(), &known(), variables).and_then(|layers| extract(&layers, &known(), None));
        check(&folder, &loaded, SECRET)
    });
    done.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn translating_legacy_options_twice_changes_nothing_more() {
    let environment = prop::option::of(select(vec!["", "development", "production", "test"]));
    let done = runner().run(&(config(), environment), |(config, environment)| {
        let mut translated = config;
        match legacy_config::translate(&mut translated, &known().sections, environment) {
            Ok(_) => {
                let mut again = translated.clone();
                let notes = legacy_config::translate(&mut again, &known().sections, environment);
                prop_assert!(notes.is_ok_and(|notes| notes.understood.is_empty()), "{}", translated);
                prop_assert_eq!(again, translated);
            }
            Err(error) => prop_assert!(is_safe_line(&error, SECRET), "{:?}", error),
        }
        Ok(())
    });
    done.unwrap_or_else(|failure| panic!("{failure}"));
    let mut nothing = Value::Object(Map::new());
    assert!(legacy_config::translate(&mut nothing, &known().sections, None).is_ok());
}
