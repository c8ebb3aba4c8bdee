use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use tracker_config::ConfiguredOutput;
use tracker_core::{Batch, Delivery, Event, Output, OutputError, async_trait};

use super::*;
use crate::sections;
use crate::stores::Stores;

/// A secret that each error quotes.
#[derive(Serialize, JsonSchema)]
#[schemars(extend("writeOnly" = true))]
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.starts_with("invalid") { Err(D::Error::custom(format!("bad key {text:?}"))) } else { Ok(Self(text)) }
    }
}

fn even<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    if number % 2 == 0 { Ok(number) } else { Err(D::Error::custom(format!("cannot be {number}"))) }
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, try_from = "Parts")]
#[schemars(!try_from)]
struct VaultConfig {
    #[serde(alias = "old_key")]
    key: Option<Key>,
    keys: Vec<Key>,
    address: String,
    #[schemars(extend("writeOnly" = true))]
    pin: u64,
    #[schemars(range(min = 0.5, max = 2.0))]
    ratio: f64,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Parts {
    #[serde(alias = "old_key")]
    key: Option<Key>,
    keys: Vec<Key>,
    address: String,
    #[serde(deserialize_with = "even")]
    pin: u64,
    ratio: f64,
}

impl Default for Parts {
    fn default() -> Self {
        Self { key: None, keys: Vec::new(), address: String::new(), pin: 0, ratio: 1.0 }
    }
}

impl TryFrom<Parts> for VaultConfig {
    type Error = String;

    fn try_from(Parts { key, keys, address, pin, ratio }: Parts) -> Result<Self, String> {
        let all: Vec<_> = key.iter().chain(&keys).map(|key| key.0.as_str()).collect();
        if all.contains(&"refused") || all.contains(&"hunter2") {
            return Err(format!("cannot use {all:?} at {address}"));
        }
        Ok(Self { key, keys, address, pin, ratio })
    }
}

#[derive(Debug)]
struct Vault(String);

impl ConfiguredOutput for Vault {
    type Config = VaultConfig;

    fn build(_: &str, config: VaultConfig) -> Result<Self, tracker_config::ConfigError> {
        let key = config.key.map(|key| key.0).unwrap_or_default();
        if config.address.is_empty() {
            return Ok(Self(format!("vault with {key}")));
        }
        let field = if config.address == "key" { "key" } else { "address" };
        Err(tracker_config::ConfigError::new(field, format!("cannot open {} with {key}", config.address)))
    }

    fn location(&self) -> String {
        self.0.clone()
    }
}

#[async_trait]
impl Output for Vault {
    fn name(&self) -> &str {
        "vault"
    }

    fn delivery(&self) -> Delivery {
        Delivery::BestEffort
    }

    fn wants(&self, _: &Event) -> bool {
        false
    }

    async fn deliver(&self, _: &[Arc<Batch>]) -> Result<(), OutputError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), OutputError> {
        Ok(())
    }
}

fn read(known: &Keys, file: &Value, variables: &[(&str, &str)]) -> Result<Loaded, String> {
    let variables = variables.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
    let layers = Figment::from(Serialized::defaults(file));
    let loaded = merge_variables(layers, known, variables).and_then(|layers| extract(&layers, known, None));
    loaded.map_err(|error| error.to_string())
}

fn with_vault() -> Keys {
    let mut all = sections::built_in();
    sections::add(&mut all, Section::new::<Vault>("vault"));
    Keys::of_server(all, Stores::built_in())
}

#[test]
fn no_error_quotes_a_secret() {
    let hidden = "is invalid; the reason is not shown, because it may contain the secret";
    for (vault, key, problem) in [
        // The errors of the fields.
        (json!({ "key": "invalid \"hunter2\"" }), "vault.key", hidden),
        (json!({ "keys": ["good", "invalid hunter2"] }), "vault.keys.1", hidden),
        (json!({ "old_key": "invalid hunter2" }), "vault.old_key", "bad key \"[REDACTED]\""),
        (json!({ "key": ["hunter2"] }), "vault.key", "must be a string, not a list"),
        (json!({ "key": { "hunter2": 1 } }), "vault.key", "must be a string, not a section"),
        (json!({ "pin": 987_651 }), "vault.pin", hidden),
        (json!({ "pin": "hunter2" }), "vault.pin", "must be a non-negative integer, not this string"),
        (json!({ "pin": -98_765 }), "vault.pin", "must be a non-negative integer, not this number"),
        // The errors of the section.
        (json!({ "key": "refused" }), "vault", "cannot use [\"[REDACTED]\"] at "),
        (json!({ "old_key": "hunter2" }), "vault", "cannot use [\"[REDACTED]\"] at "),
        (
            json!({ "keys": ["good key", "hunter2"], "address": "here" }),
            "vault",
            "cannot use [\"[REDACTED]\", \"[REDACTED]\"] at here",
        ),
        // The errors of the output.
        (json!({ "key": "my hunter2", "address": "h" }), "vault.address", "cannot open h with [REDACTED]"),
        (json!({ "key": "my hunter2", "address": "key" }), "vault.key", hidden),
        (json!({ "address": "nats://me:hunter2@h" }), "vault.address", "cannot open nats://me:[REDACTED]@h with "),
        (json!({ "keys": ["good"], "ratio": 2.5 }), "vault.ratio", "must be a number from 0.5 to 2.0"),
    ] {
        let config = json!({ "vault": vault });
        let error = read(&with_vault(), &config, &[]).expect_err("refused");
        assert_eq!(error, format!("configuration: `{key}`: {problem}"), "{config}");
        let text = vault.to_string();
        let error = read(&with_vault(), &json!({}), &[("vault", &text)]).expect_err("refused");
        assert!(!error.contains("hunter2") && !error.contains("98765"), "{config}: {error}");
    }
    for (key, text) in [
        ("vault.key", "invalid hunter2"),
        ("vault.old_key", "invalid hunter2"),
        ("vault.pin", "hunter2"),
        ("vault.keys", "hunter2"),
        ("vault.keys", "[\"invalid hunter2\"]"),
        ("vault", "hunter2"),
        ("database.url", "postgres://me:hun%hunter2@h/x"),
        ("redis", "redis://hunter2@h"),
        ("redis.password", "{\"hunter2\""),
        ("redis.password.hunter2", "hunter2"),
    ] {
        if let Err(error) = read(&with_vault(), &json!({}), &[(key, text)]) {
            assert!(!error.replace("redis.password.hunter2", "").contains("hunter2"), "{key}={text}: {error}");
        }
    }
}

#[test]
fn the_shown_configuration_and_location_have_no_secrets() {
    let known = with_vault();
    for vault in [json!({ "key": "hunter2" }), json!({ "old_key": "hunter2" })] {
        // Not the key that the section refuses.
        let vault: Value = serde_json::from_str(&vault.to_string().replace("hunter2", "my hunter2")).expect("JSON");
        let loaded = read(&known, &json!({ "vault": vault }), &[]).expect("valid");
        assert_eq!(loaded.outputs[0].location, "vault with [REDACTED]");
        for shown in [&loaded.raw, &loaded.effective] {
            let shown = known.redact(shown).to_string();
            assert!(!shown.contains("hunter2") && shown.contains("[REDACTED]"), "{shown}");
        }
    }
}

#[test]
fn every_form_of_a_section_that_is_not_built_in_names_the_feature() {
    let known = Keys::of_server(
        vec![
            Section::not_built_in("redis", Some(legacy_config::REDIS)),
            Section::not_built_in("statsd", Some(legacy_config::STATSD)),
        ],
        Stores::built_in(),
    );
    for name in ["redis", "statsd"] {
        let expected = format!("`{name}`: this build has no {name} output; build it with the cargo feature `{name}`");
        let below = format!("{name}.host");
        let values = [json!({}), json!({ "host": "h" }), json!("h"), json!("off"), json!(true), json!(7), json!(["h"])];
        for value in values {
            let error = read(&known, &json!({ name: value }), &[]).expect_err("not built in");
            assert!(error.contains(&expected), "{value}: {error}");
        }
        for text in ["h", "redis://h", "off", "true", "5", "{}", "{\"host\"", "[1]"] {
            for variables in [&[(name, text)][..], &[(name, text), (below.as_str(), "h")]] {
                let error = read(&known, &json!({}), variables).expect_err("not built in");
                assert!(error.contains(&expected), "{variables:?}: {error}");
            }
        }
        let error = read(&known, &json!({}), &[(below.as_str(), "h")]).expect_err("not built in");
        assert!(error.contains(&expected), "{error}");
        for absent in [json!(null), json!(false), json!(0), json!("")] {
            let loaded = read(&known, &json!({ name: absent }), &[]).expect("absent");
            assert!(loaded.outputs.is_empty() && loaded.keep_logs);
        }
    }
    let legacy = json!({ "database": { "development": { "dialect": "sqlite", "storage": "d" } } });
    let notes = read(&known, &legacy, &[]).expect("valid").notes.understood;
    assert!(!notes.iter().any(|note| note.contains("redis") || note.contains("statsd")), "{notes:?}");
}

#[test]
#[should_panic(expected = "the section `vault` is registered twice")]
fn an_output_of_the_program_cannot_be_registered_twice() {
    let mut all = with_vault().sections;
    sections::add(&mut all, Section::new::<Vault>("vault"));
}

#[test]
#[should_panic(expected = "the section `redis` is registered twice")]
fn an_output_of_the_program_replaces_a_built_in_one_only_once() {
    let mut all = sections::built_in();
    sections::add(&mut all, Section::new::<Vault>("redis"));
    assert_eq!(all.len(), sections::built_in().len());
    sections::add(&mut all, Section::new::<Vault>("redis"));
}
