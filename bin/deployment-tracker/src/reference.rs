//! The reference page of the configuration: `--config-reference`, and `docs/configuration.md` for the packaged server.

use std::fmt::Write;

use serde_json::{Number, Value};

use crate::config::keys::{Key, Keys};
use crate::config::load::variable;
use crate::config::schema::range_in_words;

const BEGIN: &str = "\
# Configuration

This page lists every key of this build, and is the output of `deployment-tracker --config-reference`.

Environment variables override the file, and the file overrides the defaults. The file is `--config FILE`, or
`DEPLOYMENT_TRACKER_CONFIG`, or else `config.json` or `config.toml` in the working directory, in this order. It is
TOML if its name ends in `.toml`, otherwise JSON. `__` separates sections in environment variable names. The value of
a string is used literally. A list or a section is JSON, such as
`DEPLOYMENT_TRACKER_REDIS__ADDITIONAL_FIELDS='{\"team\": \"blue\"}'`.

`deployment-tracker --check-config` prints the effective configuration without secrets. For an unknown key or an
invalid value, the program prints one line that names the key, and exits with code 2.

Two settings exist only as environment variables: `DEPLOYMENT_TRACKER_LOG_LEVEL` is `off`, `error`, `warn`, `info`
(the default), `debug` (one line per request) or `trace`, and `DEPLOYMENT_TRACKER_LOG_FORMAT` is `text` (the default)
or `json`.
";

/// The page of the server `name`.
pub fn page(name: &str, keys: &Keys) -> String {
    let mut page = BEGIN.replace("deployment-tracker", name);
    for key in &keys.all {
        describe(&mut page, key).expect("writing to a string cannot fail");
    }
    page
}

fn describe(page: &mut String, key: &Key) -> std::fmt::Result {
    let level = if key.is_section() || !key.path.contains('.') { "##" } else { "###" };
    writeln!(page, "\n{level} `{}`", key.path)?;
    for paragraph in key.paragraphs() {
        write!(page, "\n{}", wrapped("", &paragraph))?;
    }
    if key.is_section() && !key.is_list() {
        return Ok(());
    }
    writeln!(page, "\n- type: {}", key.kind())?;
    for (name, text) in key.choices() {
        writeln!(page, "  - `{name}`: {text}")?;
    }
    match key.default() {
        Some(Value::String(text)) if text.is_empty() => writeln!(page, "- default: empty")?,
        Some(default) => writeln!(page, "- default: `{}`", plain(default))?,
        None if let Some(example) = key.example() => {
            writeln!(page, "- default: none; for example `{}`", plain(example))?;
        }
        None => writeln!(page, "- default: none")?,
    }
    // Items of a list have no environment variables.
    if !key.path.contains("[]") {
        writeln!(page, "- environment: `{}`", variable(&key.path))?;
    }
    Ok(())
}

/// The text of a value in an environment variable.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Key {
    fn get(&self, name: &str) -> &str {
        self.schema.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The paragraphs of the description, each as one line.
    pub fn paragraphs(&self) -> impl Iterator<Item = String> {
        let text = self.get("description").split("\n\n").filter(|paragraph| !paragraph.is_empty());
        text.map(|paragraph| paragraph.replace('\n', " "))
    }

    /// The default, unless it is null.
    pub fn default(&self) -> Option<&Value> {
        self.schema.get("default").filter(|default| !default.is_null())
    }

    /// The default, or else the example of the field.
    pub fn example(&self) -> Option<&Value> {
        self.default().or_else(|| self.schema.get("examples")?.get(0))
    }

    /// The values of an enum, with their descriptions.
    pub fn choices(&self) -> impl Iterator<Item = (&str, String)> {
        let choices = self.schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
        choices.map(|choice| {
            let text = |name| choice.get(name).and_then(Value::as_str).unwrap_or_default();
            (text("const"), text("description").replace('\n', " "))
        })
    }

    /// Whether this is a list.
    pub fn is_list(&self) -> bool {
        self.items().is_some()
    }

    /// The type and range in plain words.
    pub fn kind(&self) -> String {
        let names: Vec<_> = self.choices().map(|(name, _)| format!("`{name}`")).collect();
        match range_in_words(&self.schema, grouped) {
            _ if !names.is_empty() => format!("one of {}", names.join(", ")),
            Some(range) => range,
            None if self.schema.contains_key("not") => "no value is valid".into(),
            None if self.is("string") => "a string".into(),
            None if self.is("boolean") => "`true` or `false`".into(),
            None if self.is_section() && self.is_list() => "a list of sections".into(),
            None if let Some(items) = self.items() => format!("a list, each item {}", items.kind()),
            None if self.is("integer") => "an integer".into(),
            None if self.is("number") => "a number".into(),
            None if self.is("object") => "a section with arbitrary keys".into(),
            None => "any value".into(),
        }
    }
}

/// `number` with a comma after each group of three digits.
fn grouped(number: &Number) -> String {
    let Some(digits) = number.as_u64().map(|number| number.to_string()) else { return number.to_string() };
    let groups: Vec<_> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).expect("digits are ASCII")).collect();
    groups.join(",")
}

/// `text` wrapped to lines of at most 100 characters, each with `prefix`.
pub fn wrapped(prefix: &str, text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("starts with one line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > 100 {
            lines.push(word.to_owned());
        } else {
            *line += if line.is_empty() { "" } else { " " };
            *line += word;
        }
    }
    lines.iter().map(|line| format!("{prefix}{line}\n")).collect()
}
