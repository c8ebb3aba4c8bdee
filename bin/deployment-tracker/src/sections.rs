//! The outputs of this server: each is a section of the configuration.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use figment::Figment;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};
use tracker_config::ConfiguredOutput;
use tracker_core::Output;

use crate::config::load::NOT_KEYS;
use crate::config::{Config, ConfigError};
use crate::legacy_config::{self, Legacy};

/// An output that can be configured.
#[derive(Debug, Clone)]
pub struct Section {
    /// The key of the section, and the name of the output.
    pub name: &'static str,
    /// The JSON schema of the section, for [`Keys`](crate::config::keys::Keys).
    pub schema: fn(&'static str) -> Value,
    /// Reads the section from the configuration, and creates the output.
    pub read: fn(&'static str, &Figment) -> Result<Configured, Problem>,
    /// Set for the outputs of deployment-tracker 0.1.
    pub legacy: Option<Legacy>,
    /// Whether the database keeps no log messages by default when this section is given.
    pub replaces_kept_logs: bool,
}

/// An output that is configured.
#[derive(Debug)]
pub struct Configured {
    pub output: Arc<dyn Output>,
    /// The destination, for the log.
    pub location: String,
    /// The section, with every default.
    pub section: Value,
}

/// The reason why a section cannot be used.
#[derive(Debug)]
pub enum Problem {
    Unreadable(Box<figment::Error>),
    Unusable(ConfigError),
}

impl Section {
    /// The section of `O`.
    pub fn new<O: ConfiguredOutput>(name: &'static str) -> Self {
        Self { name, schema: |_| schema::<O::Config>(), read: read::<O>, legacy: None, replaces_kept_logs: false }
    }

    /// A section whose output is not built in: the cargo feature `name` adds it.
    #[allow(dead_code, reason = "a build may have every output")]
    fn not_built_in(name: &'static str) -> Self {
        Self {
            name,
            schema: |name| {
                let text = format!("This build has no {name} output: build it with the cargo feature `{name}`.");
                json!({ "type": "object", "description": text, "default": null, "properties": {} })
            },
            read: |name, _| {
                let problem = format_args!(
                    "this build has no {name} output; build it with the cargo feature `{name}`, or remove the section"
                );
                Err(Problem::Unusable(ConfigError::new(name, problem)))
            },
            legacy: None,
            replaces_kept_logs: false,
        }
    }
}

/// The section of a built-in output, whose name is also its cargo feature.
macro_rules! built_in {
    ($name:literal, $output:path) => {{
        #[cfg(feature = $name)]
        {
            Section::new::<$output>($name)
        }
        #[cfg(not(feature = $name))]
        {
            Section::not_built_in($name)
        }
    }};
}

/// The sections of the built-in outputs.
pub fn built_in() -> Vec<Section> {
    vec![
        Section {
            legacy: Some(legacy_config::REDIS),
            replaces_kept_logs: true,
            ..built_in!("redis", tracker_redis::RedisOutput)
        },
        Section { legacy: Some(legacy_config::STATSD), ..built_in!("statsd", tracker_statsd::StatsdOutput) },
        built_in!("nats", tracker_nats::NatsOutput),
    ]
}

/// Panics if an output cannot have the section `name`.
pub fn check_name(name: &str) {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    // Environment variables are `DEPLOYMENT_TRACKER_NAME__KEY`.
    let is_key = name.starts_with(|first: char| first.is_ascii_lowercase()) && name.split('_').all(is_word);
    assert!(is_key, "the section `{name}` must be lower-case letters, digits and single `_`, and begin with a letter");
    let is_taken = json!(Config::default()).get(name).is_some() || name == "db" || NOT_KEYS.contains(&name);
    assert!(!is_taken, "the section `{name}` needs another name: the server uses this one itself");
}

fn schema<Section: JsonSchema>() -> Value {
    let mut schema = generator().into_root_schema_for::<Section>().to_value();
    // Off by default.
    schema["default"] = Value::Null;
    schema
}

/// Generates the schemas of the configuration. Serialization always writes every field, so `required` lists all of them
/// in their order.
pub fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().for_serialize().with(|settings| settings.inline_subschemas = true).into_generator()
}

fn read<O: ConfiguredOutput>(name: &'static str, figment: &Figment) -> Result<Configured, Problem> {
    let unusable = |key: &str, problem: &dyn Display| Problem::Unusable(ConfigError::new(key, problem));
    // With the name, errors contain the path of the key.
    let sections: Result<BTreeMap<String, O::Config>, _> = figment.extract();
    let config = sections.map_err(|error| Problem::Unreadable(Box::new(error)))?.remove(name);
    let config = config.expect("the value has this section");
    let section = serde_json::to_value(&config).map_err(|error| unusable(name, &error))?;
    let output = O::build(name, config).map_err(|error| match error.field.as_str() {
        "" => unusable(name, &error.problem),
        field => unusable(&format!("{name}.{field}"), &error.problem),
    })?;
    if output.name() != name {
        return Err(unusable(
            name,
            &format_args!("the output calls itself `{}`; it must use this name", output.name()),
        ));
    }
    Ok(Configured { location: output.location(), output: Arc::new(output), section })
}
