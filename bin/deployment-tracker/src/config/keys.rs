//! What keys there are, as the schema says that comes from the types of the configuration.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::config::ConfigError;

/// A key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Where it is, such as `redis.port`; what is in a list is below `[]`.
    pub path: String,
    /// What the schema says about it, which its type says if its field does not.
    pub schema: Map<String, Value>,
}

impl Key {
    fn new(path: String, schema: &Value) -> Self {
        let mut schema = schema.as_object().cloned().unwrap_or_default();
        // An optional section is the section or null.
        let section = schema.remove("anyOf").and_then(|kinds| kinds.get(0).and_then(Value::as_object).cloned());
        for (name, value) in section.into_iter().flatten() {
            schema.entry(name).or_insert(value);
        }
        Self { path, schema }
    }

    /// Whether its value is of a type such as `string` or `array`, which are JSON's.
    pub fn is(&self, kind: &str) -> bool {
        let types = self.schema.get("type").unwrap_or(&Value::Null);
        let choices = self.schema.get("oneOf").and_then(|choices| choices.get(0)?.get("type"));
        types == kind
            || types.as_array().is_some_and(|types| types.iter().any(|each| each == kind))
            || choices.is_some_and(|each| each == kind)
    }

    /// The range of a whole number.
    pub fn range(&self) -> Option<RangeInclusive<u64>> {
        let bound = |name| self.schema.get(name).and_then(Value::as_u64);
        self.is("integer").then(|| bound("minimum").unwrap_or(0)..=bound("maximum").unwrap_or(u64::MAX))
    }

    /// What it is a list of, if it is one.
    pub fn items(&self) -> Option<Self> {
        self.schema.get("items").map(|items| Self::new(format!("{}[]", self.path), items))
    }

    /// Whether it has keys of its own, or those in its list have.
    pub fn is_section(&self) -> bool {
        self.schema.contains_key("properties") || self.items().is_some_and(|items| items.is_section())
    }

    /// Adds itself and what is in it: first the values, then the sections.
    fn spread(self, keys: &mut Vec<Self>) {
        let section = self.items().unwrap_or(Self { path: self.path.clone(), schema: self.schema.clone() });
        if !self.path.is_empty() {
            keys.push(self);
        }
        // The properties are sorted by name; what is required stands in the order of the fields.
        let names = section.schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let inside = names.filter_map(Value::as_str).map(|name| {
            let path = if section.path.is_empty() { name.to_owned() } else { format!("{}.{name}", section.path) };
            Self::new(path, &section.schema["properties"][name])
        });
        let (sections, values): (Vec<_>, Vec<_>) = inside.partition(Self::is_section);
        keys.extend(values);
        sections.into_iter().for_each(|section| section.spread(keys));
    }
}

/// Every key, in the order of the fields; in each section, what has keys of its own comes last.
#[derive(Debug)]
pub struct Keys(pub Vec<Key>);

impl Keys {
    /// The keys of a section.
    pub fn of<Section: JsonSchema>() -> Self {
        // Written out, it has every field; read, it has those that must be there.
        let settings =
            SchemaSettings::draft2020_12().for_serialize().with(|settings| settings.inline_subschemas = true);
        let schema = settings.into_generator().into_root_schema_for::<Section>().to_value();
        let mut keys = Vec::new();
        Key::new(String::new(), &schema).spread(&mut keys);
        Self(keys)
    }

    /// What `text` in the environment means for `key`: a list or a section is JSON, and so is a number, a truth or
    /// anything in a section that takes any key, if it can be read as such. Everything else is taken as it stands,
    /// digits included.
    ///
    /// # Errors
    /// What is wrong with the JSON of a list or a section.
    pub fn value(&self, key: &str, text: String) -> Result<Value, serde_json::Error> {
        let known = self.0.iter().find(|known| known.path == key);
        let is_free = || {
            let takes_any = |known: &&Key| known.is("object") && !known.schema.contains_key("properties");
            self.0.iter().filter(takes_any).any(|known| key.starts_with(&format!("{}.", known.path)))
        };
        match known {
            Some(known) if known.is("array") || known.is("object") => serde_json::from_str(&text),
            Some(known) if known.is("string") => Ok(text.into()),
            None if !is_free() => Ok(text.into()),
            _ => Ok(serde_json::from_str(&text).unwrap_or_else(|_| text.into())),
        }
    }

    /// Holds each whole number in `config`, which has every default, against its range.
    ///
    /// # Errors
    /// [`ConfigError`], naming the key and the range.
    pub fn check_ranges(&self, config: &Value) -> Result<(), ConfigError> {
        for key in &self.0 {
            let value = config.pointer(&format!("/{}", key.path.replace('.', "/"))).and_then(Value::as_u64);
            let Some((value, range)) = value.zip(key.range()) else { continue };
            if !range.contains(&value) {
                let (from, to) = range.into_inner();
                return Err(ConfigError::new(&key.path, format_args!("must be a whole number from {from} to {to}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
