//! `docs/configuration.md`.

use std::fmt::Write;

use serde_json::Value;

use super::wrapped;
use crate::config::keys::{Key, Keys};
use crate::config::load::variable;

const BEGIN: &str = "\
# Configuration

Every key, as the code says it: this page is made of the types in `bin/deployment-tracker/src/config.rs`, and a test holds it
against them. [packaging/config.toml](../packaging/config.toml) is a file with all of them.

Defaults count, then a file, then the environment. The file is `--config FILE`, or `DEPLOYMENT_TRACKER_CONFIG`, or
`config.json` or else `config.toml` in the working directory: TOML if its name ends so, otherwise JSON. In the name of an
environment variable `__` stands between a section and its key. A text is taken from there as it stands; a list or a section
is JSON, such as `DEPLOYMENT_TRACKER_REDIS__ADDITIONAL_FIELDS='{\"team\": \"blue\"}'`.

`deployment-tracker --check-config` prints what is in force, without secrets. A key that is not known here, or a value that
cannot be, is one line that names it, and exit code 2.

Two things are in the environment only: `DEPLOYMENT_TRACKER_LOG_LEVEL` is `off`, `error`, `warn`, `info` (the default), `debug`
(a line for each request) or `trace`, and `DEPLOYMENT_TRACKER_LOG_FORMAT` is `text` (the default) or `json`.
";

pub fn page(keys: &Keys) -> String {
    let mut page = BEGIN.to_owned();
    for key in &keys.0 {
        describe(&mut page, key).expect("a text takes everything");
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
        Some(Value::String(text)) if text.is_empty() => writeln!(page, "- default: nothing")?,
        Some(default) => writeln!(page, "- default: `{}`", plain(default))?,
        None => writeln!(page, "- default: none; an example is `{}`", plain(key.example()))?,
    }
    // What is in a list has none of its own.
    if !key.path.contains("[]") {
        writeln!(page, "- environment: `{}`", variable(&key.path))?;
    }
    Ok(())
}

/// A value as it stands in the environment.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
