//! Authentication: tokens and their scopes.

mod config;
mod tokens;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use config::{TokenConfig, hashed};
pub(crate) use tokens::Token;
pub use tokens::{TokenError, Tokens};

/// A permission of a token. No scope includes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Read records, `/healthcheck` and `/metrics`.
    Read,
    /// Report deployments, servers and log messages.
    Write,
    /// Read `/config`, `/healthcheck` and `/metrics`.
    Admin,
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}
