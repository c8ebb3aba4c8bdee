//! The configuration keys, derived from the JSON schema of the configuration types.

use std::iter;

use serde_json::{Map, Value, json};

use crate::config::schema::{Schema, Unknown};
use crate::config::{Config, ConfigError};
use crate::sections::{self, Origin, Section};
use crate::stores::Stores;

/// The maximum position in a list for which [`Keys::secret_in`] considers its own schema.
const MAX_POSITIONS: usize = 64;

/// A key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// The path, such as `redis.port`; `[]` marks the items of a list, as in `auth.tokens[].name`.
    pub path: String,
    /// The schema of the field, completed with the schema of its type.
    pub schema: Map<String, Value>,
}

impl Key {
    fn new(path: String, schema: &Value) -> Self {
        let mut schema = schema.as_object().cloned().unwrap_or_default();
        // The schema of an optional section is `anyOf` the section and null.
        let section = schema.remove("anyOf").and_then(|kinds| kinds.get(0).and_then(Value::as_object).cloned());
        for (name, value) in section.into_iter().flatten() {
            schema.entry(name).or_insert(value);
        }
        Self { path, schema }
    }

    /// Whether the values of this key may have the JSON type `kind`, such as `string` or `array`.
    pub fn is(&self, kind: &str) -> bool {
        let types = self.schema.get("type").unwrap_or(&Value::Null);
        let choices = self.schema.get("oneOf").and_then(|choices| choices.get(0)?.get("type"));
        types == kind
            || types.as_array().is_some_and(|types| types.iter().any(|each| each == kind))
            || choices.is_some_and(|each| each == kind)
    }

    /// The item of a list, if this is a list.
    pub fn items(&self) -> Option<Self> {
        self.schema.get("items").map(|items| Self::new(format!("{}[]", self.path), items))
    }

    /// Whether this is a section or a list of sections.
    pub fn is_section(&self) -> bool {
        self.schema.contains_key("properties") || self.items().is_some_and(|items| items.is_section())
    }

    /// Appends this key and everything below it to `keys`: values first, then sections.
    fn flatten_into(self, keys: &mut Vec<Self>) {
        let section = self.items().unwrap_or(Self { path: self.path.clone(), schema: self.schema.clone() });
        if !self.path.is_empty() {
            keys.push(self);
        }
        // `properties` is sorted by name, but `required` has the order of the fields. It lacks fields that are not always
        // written.
        let required = section.schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let mut names: Vec<_> = required.filter_map(Value::as_str).collect();
        let all = section.schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys);
        let others: Vec<_> = all.map(String::as_str).filter(|name| !names.contains(name)).collect();
        names.extend(others);
        let inside = names.into_iter().map(|name| {
            let path = if section.path.is_empty() { name.to_owned() } else { format!("{}.{name}", section.path) };
            Self::new(path, &section.schema["properties"][name])
        });
        let (sections, values): (Vec<_>, Vec<_>) = inside.partition(Self::is_section);
        keys.extend(values);
        sections.into_iter().for_each(|section| section.flatten_into(keys));
    }
}

/// All keys, in the order of the fields; within a section, values come before subsections.
#[derive(Debug)]
pub struct Keys {
    pub all: Vec<Key>,
    /// The JSON schema of the whole configuration.
    schema: Value,
    /// The sections of the outputs.
    pub sections: Vec<Section>,
    pub stores: Stores,
}

impl Keys {
    /// The keys of a server with `sections` and `stores`.
    pub fn of_server(sections: Vec<Section>, stores: Stores) -> Self {
        let mut schema = sections::generator().into_root_schema_for::<Config>().to_value();
        for section in &sections {
            schema["properties"][section.name] = (section.schema)(section.name);
            schema["required"].as_array_mut().expect("the configuration has fields").push(section.name.into());
        }
        let schemes: Vec<_> = stores.own_schemes().iter().map(|scheme| format!("`{scheme}:`")).collect();
        if let Value::String(text) = &mut schema["properties"]["database"]["properties"]["url"]["description"]
            && !schemes.is_empty()
        {
            text.push_str(&format!("\n\nThis build also has stores for URLs that begin with {}.", schemes.join(", ")));
        }
        Self { sections, stores, ..Self::of(schema) }
    }

    /// The keys in `schema`.
    fn of(schema: Value) -> Self {
        let mut all = Vec::new();
        Key::new(String::new(), &schema).flatten_into(&mut all);
        Self { all, schema, sections: Vec::new(), stores: Stores::built_in() }
    }

    /// `config` without secrets: neither the values that their schema marks with `writeOnly`, nor those that look like
    /// secrets. In the section of an output of the program, it has no value that the schema does not describe, and in the
    /// URL of a store of the program, no user information.
    pub fn redact(&self, config: &Value) -> Value {
        let is_own = |name: &str| self.sections.iter().any(|own| own.name == name && own.origin == Origin::Own);
        let mut redacted = tracker_server::redact(config);
        self.redact_marked(&mut redacted, |name| if is_own(name) { Unknown::Hide } else { Unknown::Show });
        if let Some(Value::String(url)) = redacted.pointer_mut("/database/url")
            && let Some(shown) = self.stores.without_user_information(url)
        {
            *url = shown;
        }
        redacted
    }

    fn redact_marked(&self, config: &mut Value, unknown: impl Fn(&str) -> Unknown) {
        for (name, value) in config.as_object_mut().into_iter().flatten() {
            // References in the schema of a section are relative to it.
            if let Some(schema) = self.schema["properties"].get(name) {
                Schema::new(schema).redact(value, unknown(name));
            }
        }
    }

    /// Whether the value at `path` may be a secret, or a part of one.
    pub fn may_be_secret(&self, path: &[String]) -> bool {
        let has_name = |name: &String| tracker_server::redact(&json!({ name: 1 })) != json!({ name: 1 });
        path.iter().any(has_name) || self.secret_in(path).is_some()
    }

    /// The number of parts of `path` up to a value with `writeOnly`, if `path` is that of such a value or below one.
    pub fn secret_in(&self, path: &[String]) -> Option<usize> {
        (1..=path.len()).find(|&length| {
            let mut value = path[..length].iter().rev().fold(json!("x"), |below, part| match part.parse::<usize>() {
                // `prefixItems` depends on the position.
                Ok(index) => iter::repeat_n(Value::Null, index.min(MAX_POSITIONS)).chain([below]).collect(),
                Err(_) => json!({ part: below }),
            });
            self.redact_marked(&mut value, |_| Unknown::Show);
            let mut redacted = &value;
            loop {
                redacted = match redacted {
                    Value::Object(members) => members.values().next().expect("made with one member above"),
                    Value::Array(items) => items.last().expect("made with an item above"),
                    value => break value != "x",
                };
            }
        })
    }

    /// Interprets the `text` of an environment variable as the value of `key`.
    ///
    /// Lists and sections must be JSON, except for the short forms of the outputs. Numbers, booleans and values below a
    /// section with arbitrary keys are JSON if they parse as JSON. Everything else is a string, even if it consists of
    /// digits.
    ///
    /// # Errors
    /// If a list or a section is not valid JSON.
    pub fn value(&self, key: &str, text: String) -> Result<Value, serde_json::Error> {
        let known = self.all.iter().find(|known| known.path == key);
        let is_free = || {
            let takes_any = |known: &&Key| known.is("object") && !known.schema.contains_key("properties");
            self.all.iter().filter(takes_any).any(|known| key.starts_with(&format!("{}.", known.path)))
        };
        let is_short = || {
            let may_be_short = |section: &Section| section.legacy.is_some_and(|legacy| legacy.has_short_variable);
            let output = self.sections.iter().find(|section| section.name == key);
            output.is_some_and(may_be_short) && !text.trim_start().starts_with('{')
        };
        match known {
            // A short form, such as a URL.
            Some(_) if is_short() => Ok(text.into()),
            Some(known) if known.is("array") || known.is("object") => serde_json::from_str(&text),
            Some(known) if known.is("string") => Ok(text.into()),
            None if !is_free() => Ok(text.into()),
            _ => Ok(serde_json::from_str(&text).unwrap_or_else(|_| text.into())),
        }
    }

    /// Whether `key` is a section.
    pub fn is_section(&self, key: &str) -> bool {
        self.all.iter().any(|known| known.path == key && known.is_section() && known.items().is_none())
    }

    /// The path of a list in `config` where a section should be. serde would read its items as the keys of the section.
    pub fn list_for_section(&self, config: &Value) -> Option<String> {
        let mut sections = self.all.iter().filter(|key| key.is_section() && key.schema.contains_key("type"));
        sections.find_map(|key| {
            let list = config.pointer(&format!("/{}", key.path.replace('.', "/")))?.as_array()?;
            match key.items() {
                None => Some(key.path.clone()),
                Some(_) => list.iter().position(Value::is_array).map(|index| format!("{}.{index}", key.path)),
            }
        })
    }

    /// Checks the range of every number in `config`, which has no sections of outputs.
    ///
    /// # Errors
    /// [`ConfigError`] with the key and its range.
    pub fn check_ranges(&self, config: &Value) -> Result<(), ConfigError> {
        match Schema::new(&self.schema).out_of_range(config) {
            Some((path, range)) => Err(ConfigError::new(&path, format_args!("must be {range}"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
