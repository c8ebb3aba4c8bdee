//! The outputs of this server: each is a section of the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use figment::Figment;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use tracker_config::ConfiguredOutput;
use tracker_core::Output;

use crate::config::Config;
use crate::config::load::NOT_KEYS;
use crate::config::schema::Schema;
use crate::legacy_config::{self, Legacy};

/// An output that can be configured.
#[derive(Debug, Clone)]
pub struct Section {
    /// The key of the section, and the name of the output.
    pub name: &'static str,
    pub origin: Origin,
    /// The JSON schema of the section, for [`Keys`](crate::config::keys::Keys).
    pub schema: fn(&'static str) -> Value,
    /// Reads the section from the configuration, and creates the output.
    pub read: fn(&'static str, &Figment) -> Result<Configured, Problem>,
    /// Set for the outputs of deployment-tracker 0.1.
    pub legacy: Option<Legacy>,
    /// Whether the database keeps no log messages by default when this section is given.
    pub replaces_kept_logs: bool,
}

/// The place that the output of a section comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    BuiltIn,
    /// A cargo feature adds the output.
    #[allow(dead_code, reason = "a build may have every output")]
    NotBuiltIn,
    /// The program registered the output.
    Own,
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
    Unusable {
        /// The path of the key.
        key: String,
        problem: String,
    },
}

impl Section {
    /// The section of `O`.
    pub fn new<O: ConfiguredOutput>(name: &'static str) -> Self {
        Self {
            name,
            origin: Origin::Own,
            schema: |_| schema::<O::Config>(),
            read: read::<O>,
            legacy: None,
            replaces_kept_logs: false,
        }
    }

    /// A section whose output is not built in: the cargo feature `name` adds it.
    #[allow(dead_code, reason = "a build may have every output")]
    pub fn not_built_in(name: &'static str, legacy: Option<Legacy>) -> Self {
        Self {
            name,
            origin: Origin::NotBuiltIn,
            schema: |name| {
                let text = format!("This build has no {name} output: build it with the cargo feature `{name}`.");
                // Without a type, so that a value of any type reaches `read`.
                json!({ "properties": {}, "description": text, "default": null })
            },
            read: |name, _| {
                let problem = format!(
                    "this build has no {name} output; build it with the cargo feature `{name}`, or remove the section"
                );
                Err(Problem::Unusable { key: name.to_owned(), problem })
            },
            // Every form of the section is the same error.
            legacy: legacy.map(|legacy| Legacy {
                expand: |_| Ok(Map::new()),
                has_short_variable: true,
                translate: |_, _| Ok(()),
                ..legacy
            }),
            replaces_kept_logs: false,
        }
    }

    /// Whether this build has the output, and deployment-tracker 0.1 had it, too.
    pub fn is_legacy(&self) -> bool {
        self.legacy.is_some() && self.origin == Origin::BuiltIn
    }
}

/// The section of a built-in output, whose name is also its cargo feature.
macro_rules! built_in {
    ($name:literal, $output:path, $legacy:expr) => {{
        #[cfg(feature = $name)]
        {
            Section { origin: Origin::BuiltIn, legacy: $legacy, ..Section::new::<$output>($name) }
        }
        #[cfg(not(feature = $name))]
        {
            Section::not_built_in($name, $legacy)
        }
    }};
}

/// The sections of the built-in outputs.
pub fn built_in() -> Vec<Section> {
    vec![
        Section {
            replaces_kept_logs: true,
            ..built_in!("redis", tracker_redis::RedisOutput, Some(legacy_config::REDIS))
        },
        built_in!("statsd", tracker_statsd::StatsdOutput, Some(legacy_config::STATSD)),
        built_in!("nats", tracker_nats::NatsOutput, None),
    ]
}

/// Adds the section of an output of the program. It replaces the section of a built-in output with the same name.
///
/// # Panics
/// If the name is invalid, or if the program has registered it before.
pub fn add(sections: &mut Vec<Section>, own: Section) {
    check_name(own.name);
    match sections.iter_mut().find(|section| section.name == own.name) {
        Some(section) => {
            assert!(section.origin != Origin::Own, "the section `{}` is registered twice", own.name);
            *section = Section { replaces_kept_logs: section.replaces_kept_logs, ..own };
        }
        None => sections.push(own),
    }
}

/// Panics if an output cannot have the section `name`.
fn check_name(name: &str) {
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
    let unusable = |path: &str, problem: String| Problem::Unusable {
        key: if path.is_empty() { name.to_owned() } else { format!("{name}.{path}") },
        problem,
    };
    // With the name, errors contain the path of the key.
    let sections: Result<BTreeMap<String, O::Config>, _> = figment.extract();
    let config = sections.map_err(|error| Problem::Unreadable(Box::new(error)))?.remove(name);
    let config = config.expect("the value has this section");
    let section = serde_json::to_value(&config).map_err(|error| unusable("", error.to_string()))?;
    if let Some((path, range)) = Schema::new(&schema::<O::Config>()).out_of_range(&section) {
        return Err(unusable(&path, format!("must be {range}")));
    }
    let output = O::build(name, config).map_err(|error| unusable(&error.field, error.problem))?;
    if output.name() != name {
        return Err(unusable("", format!("the output calls itself `{}`; it must use this name", output.name())));
    }
    Ok(Configured { location: output.location(), output: Arc::new(output), section })
}
