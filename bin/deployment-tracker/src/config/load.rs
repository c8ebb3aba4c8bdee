//! Reading the configuration: defaults, then a file, then the environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::{Actual, Kind};
use figment::providers::{Env, Format, Json, Serialized, Toml};
use serde_json::Value;

use super::keys::Keys;
use super::{Config, ConfigError};
use crate::legacy_config::{self, Notes};

const PREFIX: &str = "DEPLOYMENT_TRACKER_";
/// Variables with the prefix that are no part of the configuration.
const NOT_KEYS: [&str; 4] = ["config", "log_level", "log_format", "mock_redis"];

/// A configuration with what it was made of.
#[derive(Debug)]
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    /// What was given, without defaults.
    pub given: Value,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// What was understood or ignored because it is in the terms of the old service.
    pub notes: Notes,
}

/// Loads the configuration from `file`, or from `config.json` or `config.toml` in the working directory if there is
/// one, and from the environment.
///
/// # Errors
/// [`ConfigError`], naming the key and where it was given.
pub fn load(file: Option<&Path>) -> Result<Loaded, ConfigError> {
    let usual = ["config.json", "config.toml"].into_iter().map(Path::new).find(|path| path.exists());
    let mut figment = Figment::new();
    let file = file.or(usual);
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let path = path.display();
            ConfigError::explained(format_args!("cannot read {path}: {error}; give an existing file to --config"))
        })?;
        // Editors on Windows begin a file with a mark.
        let text = text.trim_start_matches('\u{feff}');
        figment = if path.extension().is_some_and(|extension| extension == "toml") {
            figment.merge(Toml::string(text))
        } else {
            figment.merge(Json::string(text))
        };
    }
    let known = Keys::of::<Config>();
    for (key, text) in Env::prefixed(PREFIX).ignore(&NOT_KEYS).split("__").iter() {
        let key = key.as_str().to_lowercase();
        let value = variable_value(&known, &key, text)?;
        figment = figment.merge(Serialized::default(&key, value));
    }
    let mut loaded = interpret(&figment, file)?;
    if std::env::var_os(format!("{PREFIX}MOCK_REDIS")).is_some() {
        loaded.notes.ignored.push(format!("`{PREFIX}MOCK_REDIS`: leave out the section `redis` instead"));
    }
    Ok(loaded)
}

/// What the text of an environment variable means for `key`.
fn variable_value(known: &Keys, key: &str, text: String) -> Result<Value, ConfigError> {
    // As the old service's README spells it.
    let spelled = key.replace("additional_fileds", "additional_fields");
    known.value(&spelled, text).map_err(|error| {
        let problem =
            format_args!("is not the JSON that it must be (in the environment variable {}): {error}", variable(key));
        ConfigError::new(key, problem)
    })
}

/// What all that was given means, of which some may come from `file`.
fn interpret(figment: &Figment, file: Option<&Path>) -> Result<Loaded, ConfigError> {
    let wrong = |error: figment::Error| explain(&error, file);
    let given: Value = figment.extract().map_err(wrong)?;
    let mut ours = given.clone();
    let environment = std::env::var_os("NODE_ENV").map(OsString::into_string).transpose();
    let environment = environment.map_err(|_| ConfigError::new("NODE_ENV", "is not UTF-8"))?;
    let notes = legacy_config::translate(&mut ours, environment.as_deref())?;
    let config: Config = Figment::from(Serialized::defaults(ours)).extract().map_err(wrong)?;
    let is_given = |key: &str| given.get(key).is_some_and(|value| !value.is_null());
    if !config.listen.is_empty() && (is_given("host") || is_given("port")) {
        return Err(ConfigError::new("listen", "stands beside `host` or `port`; give either"));
    }
    config.check()?;
    Ok(Loaded { config, given, file: file.map(Path::to_owned), notes })
}

/// The environment variable of a key.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

fn explain(error: &figment::Error, file: Option<&Path>) -> ConfigError {
    let mut path = error.path.clone();
    let problem = match &error.kind {
        Kind::UnknownField(name, known) => {
            if path.last() != Some(name) {
                path.push(name.clone());
            }
            format!("there is no such key; known here: {}", known.join(", "))
        }
        // What was found may be a secret.
        Kind::InvalidType(found, wanted) | Kind::InvalidValue(found, wanted) => {
            format!("must be {}, not {}", in_words(wanted), kind_of(found))
        }
        Kind::UnknownVariant(_, known) => format!("must be one of {}", known.join(", ")),
        other => without_values(&other.to_string()),
    };
    let mut variables = (1..=path.len()).rev().map(|length| variable(&path[..length].join(".")));
    let place = match file {
        _ if let Some(variable) = variables.find(|variable| std::env::var_os(variable).is_some()) => {
            format!(" (in the environment variable {variable})")
        }
        Some(path) => format!(" (in {})", path.display()),
        None => String::new(),
    };
    if path.is_empty() {
        return ConfigError::explained(format_args!("{problem}{place}"));
    }
    ConfigError::new(&path.join("."), format_args!("{problem}{place}"))
}

/// The message of a parser, without the line of the file that some quote, and the value that others do.
fn without_values(message: &str) -> String {
    let is_quoted =
        |line: &str| line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with('|');
    let lines: Vec<_> = message.lines().filter(|line| !is_quoted(line)).collect();
    let line = lines.join(" ");
    match line.rsplit_once(", expected ") {
        Some((found, wanted)) if found.starts_with("invalid ") => format!("{wanted} is wanted"),
        _ => line,
    }
}

/// What serde wants, in words for people.
fn in_words(wanted: &str) -> String {
    match wanted {
        "u8" => "a whole number from 0 to 255".into(),
        "u16" => "a whole number from 0 to 65535".into(),
        "u32" | "u64" | "usize" => "a whole number, not negative".into(),
        "a boolean" => "true or false".into(),
        "a string" | "a text is wanted here" => "a text".into(),
        "a sequence" => "a list".into(),
        section if section.starts_with("struct ") || section == "a map" => "a section with keys of its own".into(),
        other => other.into(),
    }
}

fn kind_of(found: &Actual) -> &'static str {
    match found {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "this number",
        Actual::Char(_) | Actual::Str(_) => "this text",
        Actual::Map => "a section",
        Actual::Seq => "a list",
        Actual::Unit | Actual::Option => "null",
        _ => "this",
    }
}

#[cfg(test)]
mod properties;
