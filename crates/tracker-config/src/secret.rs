//! Secrets in a section.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracker_core::serde_json::Number;

/// A string that `Debug` output hides. Its schema marks it as `writeOnly`, so that a server never shows its value. It
/// serializes as plain text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(!from, extend("writeOnly" = true))]
#[serde(from = "Scalar")]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The plain text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("[REDACTED]")
    }
}

impl From<Scalar> for Secret {
    fn from(scalar: Scalar) -> Self {
        Self(scalar.into())
    }
}

/// A string that may arrive as a number or a boolean: some readers of environment variables parse `123456` as a number.
#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a string")]
enum Scalar {
    Text(String),
    Number(Number),
    Flag(bool),
}

impl From<Scalar> for String {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Text(text) => text,
            Scalar::Number(number) => number.to_string(),
            Scalar::Flag(flag) => flag.to_string(),
        }
    }
}
