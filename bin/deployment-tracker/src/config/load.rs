//! Loads the configuration from its layers: defaults, then a file, then environment variables.
//!
//! figment merges the file and the environment into one value. This module translates legacy options in that value.
//! figment then extracts [`Config`] from it, because figment's errors contain the path of the key.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::{Actual, Kind};
use figment::providers::{Env, Format, Json, Serialized, Toml};
use serde_json::{Value, json};

use super::keys::Keys;
use super::secrets::Secrets;
use super::{Config, ConfigError};
use crate::legacy_config::{self, Notes, variables};
use crate::sections::{Configured, Problem, Section};
use crate::stores::Chosen;

const PREFIX: &str = "DEPLOYMENT_TRACKER_";
/// Variables with the prefix that are not configuration keys.
pub const NOT_KEYS: [&str; 3] = ["config", "log_level", "log_format"];

/// A configuration and its origin.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, without the sections of the outputs.
    pub config: Config,
    /// The store of `database.url`.
    pub store: Chosen,
    /// The secrets in the file and the environment.
    pub secrets: Secrets,
    /// The configured outputs.
    pub outputs: Vec<Configured>,
    /// Whether the database keeps log messages.
    pub keep_logs: bool,
    /// The whole configuration: with every default, and with `database.logs` as decided.
    pub effective: Value,
    /// The file and the environment merged, without defaults and before the translation of legacy options.
    pub raw: Value,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// Remarks on legacy options.
    pub notes: Notes,
}

/// Loads the configuration from the environment and from `file`; without `file`, from `config.json` or `config.toml` in
/// the working directory if one exists. `known` are the keys of the server.
///
/// # Errors
/// [`ConfigError`], which names the key and the file or variable that set it.
pub fn load(file: Option<&Path>, known: &Keys) -> Result<Loaded, ConfigError> {
    let default = ["config.json", "config.toml"].into_iter().map(Path::new).find(|path| path.exists());
    let file = file.or(default);
    let mut figment = Figment::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let path = path.display();
            ConfigError::from_message(format_args!("cannot read {path}: {error}; pass an existing file to --config"))
        })?;
        // Editors on Windows write a byte order mark.
        let text = text.trim_start_matches('\u{feff}');
        figment = if path.extension().is_some_and(|extension| extension == "toml") {
            figment.merge(Toml::string(text))
        } else {
            figment.merge(Json::string(text))
        };
    }
    let variables = Env::prefixed(PREFIX).ignore(&NOT_KEYS).split("__");
    let (mut keys, mut ignored) = (Vec::new(), Vec::new());
    for (key, text) in variables.iter() {
        let key = key.as_str().to_lowercase();
        match variables::ignored(&key, &text) {
            Some(reason) => ignored.push(format!("`{}`: {reason}", variable(&key))),
            None => keys.push((key, text)),
        }
    }
    let mut loaded = extract(&merge_variables(figment, known, keys)?, known, file)?;
    loaded.notes.ignored.extend(ignored);
    Ok(loaded)
}

/// Merges environment variables over `figment`. Each is a key, such as `redis.host`, and a text.
///
/// figment's own [`Env`] provider guesses the type of a value from its text. Here, the type of the key decides, so that
/// a password of digits remains a string.
fn merge_variables(
    mut figment: Figment,
    known: &Keys,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Figment, ConfigError> {
    let mut variables: Vec<_> = variables.into_iter().collect();
    // A section precedes its keys, which override it.
    variables.sort();
    for (key, text) in variables {
        // The legacy spelling has the same type; `legacy_config` renames it.
        let spelled = key.replace("additional_fileds", "additional_fields");
        let value = known.value(&spelled, text).map_err(|error| {
            let variable = variable(&key);
            ConfigError::new(&key, format_args!("must be JSON (in the environment variable {variable}): {error}"))
        })?;
        // Merging replaces a value that is not a section, so a short form such as a URL would lose its keys, or those
        // of the section below it.
        for section in key.match_indices('.').map(|(end, _)| &key[..end]) {
            if let Some(short) = current(&figment, section).filter(legacy_config::is_short_form) {
                figment = figment.merge(Serialized::default(section, legacy_config::expand(section, &short, known)?));
            }
        }
        let is_over_section =
            || known.is_section(&key) && current(&figment, &key).is_some_and(|value| value.is_object());
        let value = if legacy_config::is_short_form(&value) && is_over_section() {
            legacy_config::expand(&key, &value, known)?
        } else {
            value
        };
        figment = figment.merge(Serialized::default(&key, value));
    }
    Ok(figment)
}

/// The value of `key` in the layers so far.
fn current(layers: &Figment, key: &str) -> Option<Value> {
    layers.extract_inner(key).ok()
}

/// Translates legacy options in the merged layers, and extracts and checks the configuration. `file` is the file among
/// the layers.
fn extract(layers: &Figment, known: &Keys, file: Option<&Path>) -> Result<Loaded, ConfigError> {
    let raw: Value = layers.extract().map_err(|error| explain(&error, known, file, &Secrets::default()))?;
    let mut translated = raw.clone();
    let environment = std::env::var_os("NODE_ENV").map(OsString::into_string).transpose();
    let environment = environment.map_err(|_| ConfigError::new("NODE_ENV", "is not UTF-8"))?;
    let notes = legacy_config::translate(&mut translated, &known.sections, environment.as_deref())?;
    let secrets = Secrets::of(known, [&raw, &translated]);
    let explained = |error: figment::Error| explain(&error, known, file, &secrets);
    if let Some(path) = known.list_for_section(&translated) {
        let error = Kind::InvalidType(Actual::Seq, "a map".to_owned());
        return Err(explained(figment::Error::from(error).with_path(&path)));
    }
    let given: Vec<_> =
        known.sections.iter().filter_map(|section| Some((section, take(&mut translated, section)?))).collect();
    let config: Config = Figment::from(Serialized::defaults(translated)).extract().map_err(explained)?;
    let is_set = |key: &str| raw.get(key).is_some_and(|value| !value.is_null());
    if !config.listen.is_empty() && (is_set("host") || is_set("port")) {
        return Err(ConfigError::new("listen", "cannot be combined with `host` or `port`; set one or the other"));
    }
    // The only place that decides the default of `database.logs`: the server overrides that of the core.
    let keep_logs = config.database.logs.unwrap_or(!given.iter().any(|(section, _)| section.replaces_kept_logs));
    let mut effective = json!(config);
    known.check_ranges(&effective)?;
    effective["database"]["logs"] = keep_logs.into();
    for section in &known.sections {
        effective[section.name] = Value::Null;
    }
    let mut outputs = Vec::new();
    for (section, value) in given {
        let figment = Figment::from(Serialized::default(section.name, value));
        let mut configured = (section.read)(section.name, &figment).map_err(|problem| match problem {
            Problem::Unreadable(error) => explained(*error),
            Problem::Unusable { key, problem } => {
                let path: Vec<_> = key.split('.').map(str::to_owned).collect();
                ConfigError::new(&key, without_secrets(&problem, known, &path, &secrets))
            }
        })?;
        configured.location = secrets.hide(&configured.location);
        effective[section.name] = configured.section.clone();
        outputs.push(configured);
    }
    let store = known.stores.choose(&config.database.url, &secrets)?;
    config.check()?;
    Ok(Loaded { config, store, secrets, outputs, keep_logs, effective, raw, file: file.map(Path::to_owned), notes })
}

/// Takes `section` out of `config`. A null counts as absent.
fn take(config: &mut Value, section: &Section) -> Option<Value> {
    config.as_object_mut()?.remove(section.name).filter(|value| !value.is_null())
}

/// The environment variable of a key.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// Converts `error` to one line with the problem, the key, and the variable or file that set it.
fn explain(error: &figment::Error, known: &Keys, file: Option<&Path>, secrets: &Secrets) -> ConfigError {
    let mut path = error.path.clone();
    let sections = &known.sections;
    let problem = match &error.kind {
        Kind::UnknownField(name, known) => {
            if path.last() != Some(name) {
                path.push(name.clone());
            }
            let sections = sections.iter().map(|section| section.name).filter(|_| path.len() == 1);
            let known: Vec<_> = known.iter().copied().chain(sections).collect();
            format!("unknown key; the keys here are {}", known.join(", "))
        }
        // The value may be a secret: name its type only.
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            format!("must be {}, not {}", in_words(expected), type_of(found))
        }
        Kind::UnknownVariant(_, known) => format!("must be one of {}", known.join(", ")),
        Kind::Unsupported(found) | Kind::UnsupportedKey(found, _) => format!("must not be {}", type_of(found)),
        Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => "is out of range".to_owned(),
        other => without_secrets(&without_values(&other.to_string()), known, &path, secrets),
    };
    if let Some(length) = known.secret_in(&path) {
        // Names below a secret are a part of it.
        path.truncate(length);
    }
    let mut variables = (1..=path.len()).rev().map(|length| variable(&path[..length].join(".")));
    let origin = match file {
        _ if let Some(variable) = variables.find(|variable| std::env::var_os(variable).is_some()) => {
            format!(" (in the environment variable {variable})")
        }
        Some(path) => format!(" (in {})", path.display()),
        None => String::new(),
    };
    if path.is_empty() {
        return ConfigError::from_message(format_args!("{problem}{origin}"));
    }
    ConfigError::new(&path.join("."), format_args!("{problem}{origin}"))
}

/// Removes the secrets from a message about the value at `path`, which other code wrote.
fn without_secrets(message: &str, known: &Keys, path: &[String], secrets: &Secrets) -> String {
    if known.may_be_secret(path) { secrets.hide_in_message_on_secret(message) } else { secrets.hide(message) }
}

/// Removes quoted lines of the file and quoted values from the message of a parser, because they may be secret.
fn without_values(message: &str) -> String {
    let is_quoted =
        |line: &str| line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with('|');
    let lines: Vec<_> = message.lines().filter(|line| !is_quoted(line)).collect();
    let line = lines.join(" ");
    match line.rsplit_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid ") => format!("must be {expected}"),
        _ => line,
    }
}

/// The type that serde expects, in plain words.
fn in_words(expected: &str) -> String {
    match expected {
        "u8" => "an integer from 0 to 255".into(),
        "u16" => "an integer from 0 to 65535".into(),
        "u32" | "u64" | "usize" => "a non-negative integer".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "an integer".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a string" | "path string" => "a string".into(),
        "a sequence" => "a list".into(),
        section if section.starts_with("struct ") || section == "a map" => "a section".into(),
        other => other.into(),
    }
}

fn type_of(found: &Actual) -> &'static str {
    match found {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "this number",
        Actual::Char(_) | Actual::Str(_) => "this string",
        Actual::Map => "a section",
        Actual::Seq => "a list",
        Actual::Unit | Actual::Option => "null",
        _ => "this value",
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
