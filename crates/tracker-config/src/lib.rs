#![doc = include_str!("../README.md")]

mod secret;
mod store;

use std::error::Error;
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracker_core::Output;

pub use secret::Secret;
pub use store::{ConfiguredStore, StoreOptions};

// The crates whose traits an implementation of `ConfiguredOutput` needs.
pub use {schemars, serde, tracker_core};

/// An output that a server creates from a section of its configuration.
pub trait ConfiguredOutput: Output + Sized {
    /// The section. Its JSON schema is the source of the reference page, the types of environment variables and the
    /// ranges of numbers (`#[schemars(range(…))]`), which the server checks before [`build`](Self::build). It checks no
    /// other constraint of the schema. Every field needs a doc comment, and a default or an example
    /// (`#[schemars(example = …)]`).
    ///
    /// A secret is a [`Secret`], or is marked with `#[schemars(extend("writeOnly" = true))]` on a field or on a type, so
    /// that the server never shows its value. The server also hides values that the schema does not describe, such as a
    /// field under a `#[serde(alias)]`.
    type Config: DeserializeOwned + Serialize + JsonSchema + Send + 'static;

    /// Creates the output from its section. [`Output::name`] must return `name`, the name of the section.
    ///
    /// The server also calls this function to check the configuration, before there is a runtime and at every reload.
    /// It must not connect to anything. It may read files that the section names.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that cannot work.
    fn build(name: &str, config: Self::Config) -> Result<Self, ConfigError>;

    /// The destination, for the start-up log. It must not contain a secret.
    fn location(&self) -> String;
}

/// A field of a section whose value cannot work. The message never contains the value, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    /// The path of the field within the section, such as `host` or `tls.ca`. Empty for the section as a whole.
    pub field: String,
    /// The problem and how to fix it, as the rest of a sentence that begins with the field: `must not be empty`.
    pub problem: String,
}

impl ConfigError {
    /// The value of `field` has `problem`.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// Fails with `problem` in `field` unless `holds`.
    ///
    /// # Errors
    /// If `holds` is false.
    pub fn unless(holds: bool, field: &str, problem: impl Into<String>) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::new(field, problem)) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(formatter, "the section {}", self.problem),
            field => write!(formatter, "`{field}` {}", self.problem),
        }
    }
}

impl Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_field_or_the_section() {
        assert_eq!(ConfigError::new("host", "must not be empty").to_string(), "`host` must not be empty");
        assert_eq!(ConfigError::new("", "needs `host` or `path`").to_string(), "the section needs `host` or `path`");
    }
}
