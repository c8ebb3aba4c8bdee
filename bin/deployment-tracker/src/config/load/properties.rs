//! What holds for any configuration, in a file and in the environment. `scripts/fuzz` tries very many.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, json};
use tempfile::TempDir;
use tracker_server::redact;

use super::*;

/// What must not be seen.
const SECRET: &str = "hunter2";

/// A password; a `&` would end it in a query.
fn password() -> impl Strategy<Value = String> {
    let other = || prop_oneof![4 => "[a-z0-9]{0,3}", 1 => "[a-z0-9:/?#@%\\[\\];=,' ]{0,3}", 1 => "[^&]{0,2}"];
    (other(), other()).prop_map(|(before, after)| format!("{before}{SECRET}{after}"))
}

/// A value that fits somewhere, or nowhere.
fn value() -> impl Strategy<Value = Value> {
    let texts = [
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
    let leaf = prop_oneof![
        3 => select(texts_of(&texts)).prop_map(Value::from),
        3 => select(vec![0_u64, 1, 10, 256, 1_000, 8_080, 65_535, 65_536, 1 << 20, 1 << 32, u64::MAX]).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        // Others come back from serde_json with another last digit.
        1 => any::<i16>().prop_map(|number| json!(f64::from(number) / 8.0)),
        1 => any::<i64>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => ".{0,6}".prop_map(Value::from),
        1 => password().prop_map(|p| format!("postgres://u:{p}@h:5432/x?password={p}").replace(char::is_whitespace, "").into()),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            (".{0,4}", inner).prop_map(|(name, value)| json!({ name: value }))
        ]
    })
}

fn texts_of(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The keys that there are, ours and the old ones, and some that there are not.
fn key() -> impl Strategy<Value = String> {
    let ours = Keys::of::<Config>().0.into_iter().map(|key| key.path).filter(|path| !path.contains("[]"));
    let files = |path: &String| !path.starts_with("tls");
    let old = [
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
    select(ours.filter(files).chain(texts_of(&old)).collect::<Vec<_>>())
}

/// Members that hold a secret where one belongs.
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
        at = at.as_object_mut().expect("an object").entry(name).or_insert(Value::Null);
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

/// A mistake in one line.
fn is_mistake(error: &ConfigError, secret: &str) -> bool {
    let message = error.to_string();
    message.starts_with("configuration: ") && !message.contains(char::is_control) && !message.contains(secret)
}

fn load_text(folder: &TempDir, name: &str, text: &[u8]) -> Result<Loaded, ConfigError> {
    let file = folder.path().join(name);
    std::fs::write(&file, text).expect("a file");
    load(Some(&file))
}

/// Holds what was loaded against itself; `secret` must not be seen.
fn holds(folder: &TempDir, loaded: &Result<Loaded, ConfigError>, secret: &str) -> Result<(), TestCaseError> {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(wrong) => {
            prop_assert!(is_mistake(wrong, secret), "{:?}", wrong);
            return Ok(());
        }
    };
    for shown in [&loaded.given, &loaded.config.in_force()] {
        let shown = redact(shown).to_string();
        prop_assert!(!shown.contains(secret), "{}", shown);
    }
    for note in loaded.notes.understood.iter().chain(&loaded.notes.ignored) {
        // That a prefix is a password nobody can know.
        prop_assert!(
            (!note.contains(secret) || note.contains("keyPrefix")) && !note.contains(char::is_control),
            "{:?}",
            note
        );
    }
    // What is in force, given as a configuration, is the same again.
    let mut whole = json!(loaded.config);
    if !loaded.config.listen.is_empty() {
        let top = whole.as_object_mut().expect("an object");
        top.remove("host");
        top.remove("port");
    }
    let again = load_text(folder, "again.json", whole.to_string().as_bytes());
    prop_assert!(again.is_ok(), "{:?} of {}", again, whole);
    prop_assert_eq!(again.expect("a configuration").config.in_force(), loaded.config.in_force());
    Ok(())
}

fn runner() -> proptest::test_runner::TestRunner {
    proptest::test_runner::TestRunner::default()
}

#[test]
fn a_file_is_a_configuration_or_a_mistake_in_one_line_without_a_secret() {
    let folder = TempDir::new().expect("a folder");
    let damage = prop::option::weighted(0.2, (any::<Index>(), any::<u8>()));
    let input = (config(), damage, any::<bool>());
    let done = runner().run(&input, |(config, damage, is_toml)| {
        // What stands in brackets at the top of TOML is a name.
        let is_toml = is_toml && config.is_object();
        let text = if is_toml { toml(&config) } else { config.to_string() };
        let mut bytes = text.into_bytes();
        if let (Some((at, byte)), false) = (damage, bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // Damage may make anything of a name, and so of a secret something that is none.
        let secret = if damage.is_some() { "\0no secret" } else { SECRET };
        let loaded = load_text(&folder, if is_toml { "c.toml" } else { "c.json" }, &bytes);
        holds(&folder, &loaded, secret)
    });
    done.unwrap_or_else(|failure| panic!("{failure}"));
}

/// `config` in TOML, or something like it where TOML has no such thing.
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

fn as_variable(value: Value) -> String {
    value.as_str().map_or(value.to_string(), str::to_owned)
}

#[test]
fn a_variable_is_a_configuration_or_a_mistake_in_one_line_without_a_secret() {
    let folder = TempDir::new().expect("a folder");
    let known = Keys::of::<Config>();
    let text = prop_oneof![
        3 => value().prop_map(as_variable),
        1 => "[\\[{\"0-9a-z}\\]-]{0,6}",
    ];
    // In the environment a list is a text where a text belongs.
    let secret = secrets().prop_filter("a text", |(key, value)| value.is_string() || key == "auth.tokens");
    let secret = secret.prop_map(|(key, value)| (key, as_variable(value)));
    let variable = prop_oneof![3 => (key(), text), 1 => secret];
    let done = runner().run(&vec(variable, 0..3), |variables| {
        let mut figment = Figment::new();
        for (key, text) in variables {
            match variable_value(&known, &key, text) {
                Ok(value) => figment = figment.merge(Serialized::default(&key, value)),
                Err(wrong) => {
                    prop_assert!(is_mistake(&wrong, SECRET), "{:?}", wrong);
                    return Ok(());
                }
            }
        }
        holds(&folder, &interpret(&figment, None), SECRET)
    });
    done.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn the_old_terms_are_put_into_ours_once() {
    let environment = prop::option::of(select(vec!["", "development", "production", "test"]));
    let done = runner().run(&(config(), environment), |(config, environment)| {
        let mut ours = config;
        match legacy_config::translate(&mut ours, environment) {
            Ok(_) => {
                let mut again = ours.clone();
                let notes = legacy_config::translate(&mut again, environment);
                prop_assert!(notes.is_ok_and(|notes| notes.understood.is_empty()), "{}", ours);
                prop_assert_eq!(again, ours);
            }
            Err(wrong) => prop_assert!(is_mistake(&wrong, SECRET), "{:?}", wrong),
        }
        Ok(())
    });
    done.unwrap_or_else(|failure| panic!("{failure}"));
    let mut nothing = Value::Object(Map::new());
    assert!(legacy_config::translate(&mut nothing, None).is_ok());
}
