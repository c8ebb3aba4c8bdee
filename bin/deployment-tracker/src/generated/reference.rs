//! `docs/configuration.md`.

use std::fmt::Write;

use serde_json::Value;

use super::wrapped;
use crate::config::keys::{Key, Keys};
use crate::config::load::variable;

const BEGIN: &str = "\
# Configuration

This page lists every key. It is generated from the types in `bin/deployment-tracker/src/config.rs`, and a test checks
that it is up to date. [packaging/config.toml](../packaging/config.toml) is a sample file with every key.

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

pub fn page(keys: &Keys) -> String {
    let mut page = BEGIN.to_owned();
    for key in &keys.0 {
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
        None => writeln!(page, "- default: none; for example `{}`", plain(key.example()))?,
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
