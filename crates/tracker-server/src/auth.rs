//! Authentication: tokens and their scopes.

mod config;
mod tokens;

use std::fmt;

use actix_web::http::Method;
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

/// The scopes that admit a request for `path`, which has no trailing slash: its token needs one of them. `None` if the
/// request needs no token: the probes, and the API description with its documentation, which contain no data.
pub(crate) fn required_scopes(method: &Method, path: &str) -> Option<&'static [Scope]> {
    match path {
        "/livez" | "/readyz" => None,
        "" | "/docs" | "/openapi.json" | "/swagger.json" | "/swagger" => None,
        _ if path.starts_with("/docs/") => None,
        "/config" => Some(&[Scope::Admin]),
        "/healthcheck" | "/metrics" => Some(&[Scope::Read, Scope::Admin]),
        _ if method.is_safe() => Some(&[Scope::Read]),
        _ => Some(&[Scope::Write]),
    }
}
