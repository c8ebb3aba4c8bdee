//! Authentication: tokens and their scopes.

mod config;
mod tokens;

use std::fmt;

use actix_web::http::Method;
use serde::{Deserialize, Serialize};

pub use config::{TokenConfig, hashed};
pub(crate) use tokens::Token;
pub use tokens::{TokenError, Tokens};

/// What a token allows. No scope includes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Read records, `/healthcheck`, `/metrics` and the API description.
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

/// The scopes of which a request for `path`, without a trailing slash, needs one. `None` if it needs no token.
pub(crate) fn required_scopes(method: &Method, path: &str) -> Option<&'static [Scope]> {
    match path {
        "/livez" | "/readyz" => None,
        "/config" => Some(&[Scope::Admin]),
        "/healthcheck" | "/metrics" => Some(&[Scope::Read, Scope::Admin]),
        _ if method.is_safe() => Some(&[Scope::Read]),
        _ => Some(&[Scope::Write]),
    }
}
