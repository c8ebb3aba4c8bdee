//! The configuration of deployment-tracker 0.1, put into our terms: Sequelize's, ioredis' and node-statsd's options.
//! What each of them becomes is in `docs/migrating.md`.

mod block;
mod clients;

use std::net::TcpListener;

use serde_json::{Map, Value, json};

use crate::config::{Config, ConfigError};
use crate::legacy_config::block::Block;

type Section = Map<String, Value>;

/// What there is to say about a configuration in old terms. Each note names its key.
#[derive(Debug, Default)]
pub struct Notes {
    /// What was followed, and how.
    pub understood: Vec<String>,
    /// What makes no difference here.
    pub ignored: Vec<String>,
}

/// Puts `given` into our terms. `environment` is what `NODE_ENV` says.
///
/// # Errors
/// [`ConfigError`] for an option that would change what is recorded, or where, and that cannot be followed.
pub fn translate(given: &mut Value, environment: Option<&str>) -> Result<Notes, ConfigError> {
    let mut notes = Notes::default();
    let Some(top) = given.as_object_mut() else { return Ok(notes) };
    as_node_reads(top);
    if let Some(Value::Object(redis)) = top.get_mut("redis") {
        clients::redis(redis, &mut notes)?;
    }
    if let Some(Value::Object(statsd)) = top.get_mut("statsd") {
        clients::statsd(statsd, &mut notes)?;
    }
    if let Some(Value::Object(database)) = top.get_mut("database") {
        database.retain(|_, value| !value.is_null());
        let blocks = take_blocks(database, &mut notes);
        if !blocks.is_empty() {
            if !database.contains_key("url") {
                database.insert("url".into(), url(blocks, environment, &mut notes)?.into());
            }
            open_up(top, &mut notes);
        }
    }
    for note in notes.understood.iter_mut().chain(&mut notes.ignored) {
        // A key or a value may be anything; a note is one line.
        *note = note.replace(char::is_control, " ");
    }
    Ok(notes)
}

/// As a program for Node.js takes a section: `null` is nothing, and a number may be a text.
fn as_node_reads(section: &mut Section) {
    section.retain(|_, value| !value.is_null());
    for key in ["port", "db", "connectTimeout", "commandTimeout"] {
        let Some(value) = section.get_mut(key) else { continue };
        let number = match value {
            Value::String(text) => text.parse::<u64>().ok(),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole and in the range")]
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

/// Takes the blocks out of `database`: the sections that are not ours, if one of them has a `dialect`. Then nothing
/// beside them counts but what is ours.
fn take_blocks(database: &mut Section, notes: &mut Notes) -> Section {
    let ours = json!(Config::default().database);
    let is_block = |(key, value): &(&String, &Value)| value.is_object() && ours.get(key).is_none();
    if !database.iter().filter(is_block).any(|(_, block)| block.get("dialect").is_some()) {
        return Section::new();
    }
    let (blocks, mut rest): (Section, Section) =
        std::mem::take(database).into_iter().partition(|(key, value)| is_block(&(key, value)));
    keep(&mut rest, "database.", notes, |key| ours.get(key).is_some());
    if rest.contains_key("url") {
        notes.ignored.extend(blocks.keys().map(|name| format!("`database.{name}`: `database.url` is given")));
    }
    *database = rest;
    blocks
}

/// The URL that the block of `environment` stands for.
fn url(mut blocks: Section, environment: Option<&str>, notes: &mut Notes) -> Result<String, ConfigError> {
    let (chosen, by) = match environment.filter(|name| !name.is_empty()) {
        Some(name) => (name, "as NODE_ENV says"),
        None => ("development", "as NODE_ENV is not set"),
    };
    let known = blocks.keys().cloned().collect::<Vec<_>>().join(", ");
    let Some(Value::Object(options)) = blocks.remove(chosen) else {
        let problem = format_args!("is wanted, {by}, but not there; set NODE_ENV to one of {known}");
        return Err(ConfigError::new(&format!("database.{chosen}"), problem));
    };
    notes.understood.push(format!("`database.{chosen}`, {by}, of the blocks {known}"));
    Block::new(format!("database.{chosen}"), options).into_url(notes)
}

/// What else is different where `database` has blocks: the old service listened everywhere and knew no wrong key.
fn open_up(top: &mut Section, notes: &mut Notes) {
    let ours = json!(Config::default());
    keep(top, "", notes, |key| ours.get(key).is_some());
    for output in ["redis", "statsd"] {
        if !top.contains_key(output) {
            notes.understood.push(format!(
                "no `{output}`: nothing is sent there; the old service took one on 127.0.0.1, as `\"{output}\": {{}}` does"
            ));
        }
    }
    if !top.contains_key("host") {
        // As Node.js does: both families where the system has both.
        let everywhere = if TcpListener::bind("[::]:0").is_ok() { "::" } else { "0.0.0.0" };
        top.insert("host".into(), everywhere.into());
        notes.understood.push(format!(
            "no `host`: listens on every address ({everywhere}), as the old service did; `\"host\": \"127.0.0.1\"` is for this machine only"
        ));
    }
}

/// Keeps the keys of a section that `is_ours`, and notes the others.
fn keep(section: &mut Section, prefix: &str, notes: &mut Notes, is_ours: impl Fn(&str) -> bool) {
    section.retain(|key, _| {
        let is_kept = is_ours(key);
        if !is_kept {
            notes.ignored.push(format!("`{prefix}{key}`: nothing here has that name"));
        }
        is_kept
    });
}

#[cfg(test)]
mod tests;
