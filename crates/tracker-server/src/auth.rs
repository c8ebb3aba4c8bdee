//! Tokens: who may do what.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use chrono::{DateTime, Utc};
use hex::FromHex as _;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tracker_core::Reporter;

use crate::error::ApiError;

/// What stands before the digest of a secret, in hexadecimal digits.
const SHA256: &str = "sha256:";
/// The longest name, in bytes.
const MAX_NAME: usize = 128;

/// A token that requests carry as `Authorization: Bearer SECRET`
/// ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750)). Its secret is given in exactly one of three ways.
#[derive(Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// The name of who uses it, for logs and events: 1 to 128 letters, digits and `.-_@/`. Two tokens may have the same
    /// name, so that a new one can be brought in before the old one ends.
    #[cfg_attr(feature = "schema", schemars(example = &"jenkins"))]
    pub name: String,
    /// The secret in clear, or its SHA-256 as `sha256:` and 64 hexadecimal digits.
    #[cfg_attr(feature = "schema", schemars(example = hashed("a secret")))]
    pub secret: Option<String>,
    /// A file that holds what may stand in `secret`, in one line.
    #[cfg_attr(feature = "schema", schemars(example = &"/run/secrets/jenkins"))]
    pub secret_file: Option<PathBuf>,
    /// An environment variable that holds what may stand in `secret`.
    #[cfg_attr(feature = "schema", schemars(example = &"JENKINS_TOKEN"))]
    pub secret_env: Option<String>,
    /// What the token may do, any of these, none of which includes another: `read` is for GET of what is recorded and of the
    /// API description, `write` for POST and PUT, `admin` for `/config`. `/healthcheck` and `/metrics` take `read` or
    /// `admin`; `/livez` and `/readyz` need no token.
    #[cfg_attr(feature = "schema", schemars(example = ["write"]))]
    pub scopes: BTreeSet<Scope>,
    /// The only environments whose deployments the token may report. Without it: all, and deployments without one.
    #[cfg_attr(feature = "schema", schemars(example = ["dev"]))]
    pub environments: Option<BTreeSet<String>>,
    /// When the token ends, in RFC 3339. Without it: never.
    #[cfg_attr(feature = "schema", schemars(example = &"2027-01-31T00:00:00Z"))]
    #[serde(alias = "expires", default, deserialize_with = "end")]
    pub expires_at: Option<DateTime<Utc>>,
}

impl fmt::Debug for TokenConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.debug_struct("TokenConfig").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a token may do. None includes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// See what is recorded, `/healthcheck`, `/metrics` and the API description.
    Read,
    /// Report deployments, servers and log messages.
    Write,
    /// See `/config`, `/healthcheck` and `/metrics`.
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

/// Why tokens cannot be used.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The token breaks a rule.
    #[error("token {index} (`{}`): {problem}", .name.escape_debug())]
    Wrong {
        /// Where it stands, from 0.
        index: usize,
        /// Its name.
        name: String,
        /// What to change.
        problem: String,
    },
    /// There is none.
    #[error("there is no token; give one, or leave out the section to let everybody in")]
    None,
}

/// The tokens in force.
#[derive(Debug)]
pub struct Tokens(Vec<(Digest, Arc<Token>)>);

type Digest = [u8; 32];

/// What is known of whoever sends a request.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) name: Reporter,
    scopes: BTreeSet<Scope>,
    environments: Option<BTreeSet<String>>,
    expires_at: Option<DateTime<Utc>>,
}

impl Tokens {
    /// Takes the tokens of a configuration; reads the files and variables that hold secrets.
    ///
    /// # Errors
    /// [`TokenError`], without any secret.
    pub fn new(configs: &[TokenConfig]) -> Result<Self, TokenError> {
        let mut tokens: Vec<(Digest, Arc<Token>)> = Vec::with_capacity(configs.len());
        for (index, config) in configs.iter().enumerate() {
            let wrong = |problem| TokenError::Wrong { index, name: config.name.clone(), problem };
            let digest = config.digest().map_err(wrong)?;
            if tokens.iter().any(|(other, _)| *other == digest) {
                return Err(wrong("has the secret of another token; give each one of its own".to_owned()));
            }
            let token = Token {
                name: config.name.as_str().into(),
                scopes: config.scopes.clone(),
                environments: config.environments.clone(),
                expires_at: config.expires_at,
            };
            tokens.push((digest, Arc::new(token)));
        }
        if tokens.is_empty() { Err(TokenError::None) } else { Ok(Self(tokens)) }
    }

    /// Whom the headers of a request belong to, if that may do what is asked for.
    pub(crate) fn admit(&self, headers: &HeaderMap, needs: &'static [Scope]) -> Result<Arc<Token>, ApiError> {
        let mut values = headers.get_all(AUTHORIZATION);
        let (Some(header), None) = (values.next(), values.next()) else {
            return Err(ApiError::unauthorized(
                None,
                "a token is needed; send it once, as `Authorization: Bearer SECRET`",
            ));
        };
        let secret = bearer(header.as_bytes());
        let unauthorized = |message| Err(ApiError::unauthorized(Some("invalid_token"), message));
        let Some(token) = secret.and_then(|secret| self.find(secret)) else {
            return unauthorized("this token is not known; send one that is, as `Authorization: Bearer SECRET`");
        };
        if token.expires_at.is_some_and(|end| end <= Utc::now()) {
            return unauthorized("this token has expired; ask for a new one");
        }
        if needs.iter().any(|scope| token.scopes.contains(scope)) { Ok(token) } else { Err(lacks(&token.name, needs)) }
    }

    /// Looks at every token, so that the time it takes tells nothing.
    fn find(&self, secret: &[u8]) -> Option<Arc<Token>> {
        let digest: Digest = Sha256::digest(secret).into();
        let mut found = None;
        for (other, token) in &self.0 {
            if constant_time_eq::constant_time_eq_32(&digest, other) {
                found = Some(token);
            }
        }
        found.cloned()
    }
}

fn end<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    let wrong = "`expires_at` must be a time in RFC 3339, such as 2027-01-31T00:00:00Z";
    text.map(|text| text.parse().map_err(|_| D::Error::custom(wrong))).transpose()
}

/// The secret in an `Authorization` header. The scheme is written in any letter case.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, secret) = header.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| secret.trim_ascii())
}

fn lacks(name: &str, needs: &[Scope]) -> ApiError {
    let scopes = needs.iter().map(|scope| format!("`{scope}`")).collect::<Vec<_>>().join(" or ");
    let message = format!("the token `{name}` lacks the scope {scopes}; use one that has it");
    ApiError::forbidden("insufficient_scope", message, needs.first().copied())
}

/// Which scopes open `path`, without a trailing slash: one of these is enough. `None`: it is open to everybody.
pub(crate) fn needed(method: &Method, path: &str) -> Option<&'static [Scope]> {
    match path {
        "/livez" | "/readyz" => None,
        "/config" => Some(&[Scope::Admin]),
        "/healthcheck" | "/metrics" => Some(&[Scope::Read, Scope::Admin]),
        _ if method.is_safe() => Some(&[Scope::Read]),
        _ => Some(&[Scope::Write]),
    }
}

impl Token {
    /// Whether reports on deployments of some environments only are taken.
    pub(crate) fn is_limited(&self) -> bool {
        self.environments.is_some()
    }

    /// Refuses unless reports on deployments of `environment` are taken.
    pub(crate) fn check_environment(&self, environment: Option<&str>) -> Result<(), ApiError> {
        let Some(environments) = &self.environments else { return Ok(()) };
        if environment.is_some_and(|environment| environments.contains(environment)) {
            return Ok(());
        }
        let all = environments.iter().map(|environment| format!("`{environment}`")).collect::<Vec<_>>().join(", ");
        let problem = match environment {
            Some(_) => "this is another",
            None => "this has none, or is not recorded",
        };
        let message = format!("the token `{}` reports deployments of {all} only, and {problem}", self.name);
        Err(ApiError::forbidden("environment_not_allowed", message, None))
    }
}

impl TokenConfig {
    /// The digest of the secret; or what to change.
    fn digest(&self) -> Result<Digest, String> {
        let is_known = |c: char| c.is_ascii_alphanumeric() || ".-_@/".contains(c);
        if !(1..=MAX_NAME).contains(&self.name.len()) || !self.name.chars().all(is_known) {
            return Err(format!("`name` must be 1 to {MAX_NAME} letters, digits and `.-_@/`"));
        }
        if self.scopes.is_empty() {
            return Err("`scopes` must hold at least one of `read`, `write`, `admin`".to_owned());
        }
        if self.environments.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err("`environments` is empty; name at least one, or leave it out to allow all".to_owned());
        }
        let text = match (&self.secret, &self.secret_file, &self.secret_env) {
            (Some(secret), None, None) => secret.clone(),
            (None, Some(file), None) => std::fs::read_to_string(file)
                .map_err(|error| format!("cannot read the file in `secret_file`: {error}"))?,
            (None, None, Some(variable)) => std::env::var(variable)
                .map_err(|_| "there is no environment variable of the name in `secret_env` with a text".to_owned())?,
            _ => return Err("give exactly one of `secret`, `secret_file`, `secret_env`".to_owned()),
        };
        let text = text.trim();
        match text.strip_prefix(SHA256) {
            Some(digits) => Digest::from_hex(digits)
                .map_err(|_| format!("the secret behind `{SHA256}` must be 64 hexadecimal digits")),
            None if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Sha256::digest(text).into())
            }
            None => {
                Err("the secret must be visible ASCII characters; make one with `deployment-tracker token new`"
                    .to_owned())
            }
        }
    }
}

/// What may stand in a token's `secret` instead of `secret` itself.
pub fn hashed(secret: &str) -> String {
    format!("{SHA256}{}", hex::encode(Sha256::digest(secret)))
}
