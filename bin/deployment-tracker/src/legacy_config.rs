//! Translates the configuration of deployment-tracker 0.1, which holds options of Sequelize, ioredis and node-statsd.
//! `docs/migrating.md` lists the translation of each option.

mod block;
mod clients;
mod redis_url;
pub mod variables;

use std::net::TcpListener;

use serde_json::{Map, Value, json};

use crate::config::keys::Keys;
use crate::config::{Config, ConfigError};
use crate::legacy_config::block::Block;
use crate::sections::Section as Output;

pub use clients::{REDIS, STATSD};

type Section = Map<String, Value>;

/// Remarks on legacy options. Each note names its key.
#[derive(Debug, Default)]
pub struct Notes {
    /// Options that were translated, and how.
    pub understood: Vec<String>,
    /// Options that have no effect.
    pub ignored: Vec<String>,
}

/// Translates the legacy options in `config`. `environment` is the value of `NODE_ENV`.
///
/// # Errors
/// [`ConfigError`] for an unsupported option that would change what is recorded, or where.
pub fn translate(config: &mut Value, outputs: &[Output], environment: Option<&str>) -> Result<Notes, ConfigError> {
    let mut notes = Notes::default();
    let Some(top) = config.as_object_mut() else { return Ok(notes) };
    normalize(top);
    for output in outputs {
        if let Some(legacy) = &output.legacy {
            legacy.translate(output.name, top, &mut notes)?;
        }
    }
    if let Some(Value::Object(database)) = top.get_mut("database") {
        database.retain(|_, value| !value.is_null());
        let blocks = take_blocks(database, &mut notes);
        if !blocks.is_empty() {
            if !database.contains_key("url") {
                database.insert("url".into(), url(blocks, environment, &mut notes)?.into());
            }
            apply_legacy_defaults(top, outputs, &mut notes);
        }
    }
    for note in notes.understood.iter_mut().chain(&mut notes.ignored) {
        // Keys and values may contain control characters such as line breaks.
        *note = note.replace(char::is_control, " ");
    }
    Ok(notes)
}

/// Reads a section as Node.js programs do: null counts as absent, and a number may be written as a string.
fn normalize(section: &mut Section) {
    section.retain(|_, value| !value.is_null());
    for key in ["port", "db", "connectTimeout", "commandTimeout"] {
        let Some(value) = section.get_mut(key) else { continue };
        let number = match value {
            Value::String(text) => text.parse::<u64>().ok(),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the filter admits only whole numbers in range"
            )]
            Value::Number(number) => {
                number.as_f64().filter(|n| n.fract() == 0.0 && (0.0..1e15).contains(n)).map(|n| n as u64)
            }
            _ => None,
        };
        if let Some(number) = number {
            *value = number.into();
        }
    }
}

/// How an output of deployment-tracker 0.1 reads its section.
#[derive(Debug, Clone, Copy)]
pub struct Legacy {
    /// Converts a short form of the section, such as a URL, to the section.
    pub expand: fn(&Value) -> Result<Section, ConfigError>,
    /// Whether the environment variable of the section holds a short form, unless it begins with `{`.
    pub has_short_variable: bool,
    /// The remark on a short form; `None` if the documentation offers short forms.
    pub note_on_short_form: Option<&'static str>,
    /// Translates the options of the client library.
    pub translate: fn(&mut Section, &mut Notes) -> Result<(), ConfigError>,
}

impl Legacy {
    fn translate(&self, name: &str, top: &mut Section, notes: &mut Notes) -> Result<(), ConfigError> {
        match top.get_mut(name) {
            None => Ok(()),
            Some(Value::Object(section)) => (self.translate)(section, notes),
            Some(short) if is_short_form(short) => {
                let mut section = (self.expand)(short)?;
                notes.understood.extend(self.note_on_short_form.map(|note| format!("`{name}`: {note}")));
                (self.translate)(&mut section, notes)?;
                *short = section.into();
                Ok(())
            }
            Some(_) => {
                top.remove(name);
                notes.understood.push(format!("`{name}`: counts as absent, so the {name} output is off"));
                Ok(())
            }
        }
    }
}

/// Whether `value` is neither a section nor one of the values that count as absent.
pub fn is_short_form(value: &Value) -> bool {
    !value.is_object() && ![json!(null), json!(false), json!(0), json!("")].contains(value)
}

/// Converts a short form of the section `path` to a section.
///
/// # Errors
/// [`ConfigError`] if the section has no such short form.
pub fn expand(path: &str, short: &Value, known: &Keys) -> Result<Value, ConfigError> {
    let legacy = known.sections.iter().find(|output| output.name == path).and_then(|output| output.legacy);
    match legacy {
        Some(legacy) => Ok((legacy.expand)(short)?.into()),
        // As ioredis reads `tls`.
        None if path.contains('.') && known.is_section(path) && *short == json!(true) => Ok(json!({})),
        None => Err(ConfigError::new(path, "must be a section")),
    }
}

/// Removes the environment blocks from `database` and returns them. If at least one unknown section has a `dialect`,
/// all unknown sections are blocks, and other unknown keys are ignored.
fn take_blocks(database: &mut Section, notes: &mut Notes) -> Section {
    let known = json!(Config::default().database);
    let is_block = |(key, value): &(&String, &Value)| value.is_object() && known.get(key).is_none();
    if !database.iter().filter(is_block).any(|(_, block)| block.get("dialect").is_some()) {
        return Section::new();
    }
    let (blocks, mut rest): (Section, Section) =
        std::mem::take(database).into_iter().partition(|(key, value)| is_block(&(key, value)));
    keep(&mut rest, "database.", notes, |key| known.get(key).is_some());
    if rest.contains_key("url") {
        notes.ignored.extend(blocks.keys().map(|name| format!("`database.{name}`: `database.url` is set")));
    }
    *database = rest;
    blocks
}

/// The database URL of the block that `environment` selects.
fn url(mut blocks: Section, environment: Option<&str>, notes: &mut Notes) -> Result<String, ConfigError> {
    let (chosen, reason) = match environment.filter(|name| !name.is_empty()) {
        Some(name) => (name, "selected by NODE_ENV"),
        None => ("development", "the default, because NODE_ENV is not set"),
    };
    let names = blocks.keys().cloned().collect::<Vec<_>>().join(", ");
    let Some(Value::Object(options)) = blocks.remove(chosen) else {
        let problem = format_args!("does not exist (it is {reason}); set NODE_ENV to one of {names}");
        return Err(ConfigError::new(&format!("database.{chosen}"), problem));
    };
    notes.understood.push(format!("`database.{chosen}`: {reason}; the blocks are {names}"));
    Block::new(format!("database.{chosen}"), options).into_url(notes)
}

/// Applies the defaults of the legacy service to a configuration with blocks. The legacy service listened on every
/// interface and ignored unknown keys.
fn apply_legacy_defaults(top: &mut Section, outputs: &[Output], notes: &mut Notes) {
    let known = json!(Config::default());
    keep(top, "", notes, |key| known.get(key).is_some() || outputs.iter().any(|output| output.name == key));
    for output in outputs.iter().filter(|output| output.is_legacy()).map(|output| output.name) {
        if !top.contains_key(output) {
            notes.understood.push(format!(
                "no `{output}`: the {output} output is off; the legacy service used 127.0.0.1, as `\"{output}\": {{}}` \
                 does here"
            ));
        }
    }
    if !top.contains_key("host") {
        // Like Node.js: IPv4 and IPv6 if the system has both.
        let everywhere = if TcpListener::bind("[::]:0").is_ok() { "::" } else { "0.0.0.0" };
        top.insert("host".into(), everywhere.into());
        notes.understood.push(format!(
            "no `host`: listens on every interface ({everywhere}), as the legacy service did; set `\"host\": \
             \"127.0.0.1\"` to accept connections from this machine only"
        ));
    }
}

/// Removes unknown keys, and notes them as ignored.
fn keep(section: &mut Section, prefix: &str, notes: &mut Notes, is_known: impl Fn(&str) -> bool) {
    section.retain(|key, _| {
        let is_kept = is_known(key);
        if !is_kept {
            notes.ignored.push(format!("`{prefix}{key}`: unknown key"));
        }
        is_kept
    });
}

#[cfg(test)]
mod tests;
