//! `packaging/config.toml`.

use std::fmt::Write;

use serde_json::Value;

use crate::config::keys::{Key, Keys};
use crate::reference::wrapped;

const BEGIN: &str = "\
# The configuration of deployment-tracker: every key with its default, or with an example if it has no
# default. To change a key, remove the # from its line and from the header of its section.
#
# This file is generated from the configuration types in the code. Environment variables such as
# DEPLOYMENT_TRACKER_PORT or DEPLOYMENT_TRACKER_REDIS__HOST override it.
# `deployment-tracker --check-config --config FILE` prints the effective configuration, or the error in it.
";

pub fn file(keys: &Keys) -> String {
    let mut file = BEGIN.to_owned();
    for key in &keys.all {
        describe(&mut file, key).expect("writing to a string cannot fail");
    }
    file
}

fn describe(file: &mut String, key: &Key) -> std::fmt::Result {
    writeln!(file)?;
    for paragraph in key.paragraphs() {
        write!(file, "{}", wrapped("# ", &paragraph))?;
    }
    let path = key.path.replace("[]", "");
    if key.is_section() {
        // The header alone turns an optional section on.
        let off = if key.is_list() || key.default().is_none() { "#" } else { "" };
        return writeln!(file, "{off}{}", if key.is_list() { format!("[[{path}]]") } else { format!("[{path}]") });
    }
    let name = path.rsplit('.').next().expect("rsplit yields at least one part");
    if !key.is("string") || key.choices().next().is_some() {
        write!(file, "{}", wrapped("# ", &format!("Type: {}.", key.kind())))?;
    }
    for (name, text) in key.choices() {
        write!(file, "{}", wrapped("#   ", &format!("{name}: {text}")))?;
    }
    writeln!(file, "#{name} = {}", toml(key.example().expect("every key has a default or an example")))
}

/// A value in TOML. Except for sections, its syntax is that of JSON.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(members) if members.is_empty() => "{}".into(),
        Value::Object(members) => {
            let members: Vec<_> = members
                .iter()
                .map(|(name, value)| format!("{} = {}", Value::from(name.as_str()), toml(value)))
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
