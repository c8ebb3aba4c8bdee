//! The tokens in use.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tracker_core::{Reporter, time};

use super::{Scope, TokenConfig};
use crate::error::ApiError;

/// A reason to refuse a list of tokens. It contains no secret.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// A field of a token is invalid.
    #[error("token {index} (`{}`): `{field}`: {problem}", .name.escape_debug())]
    Invalid {
        /// The position in the list, from 0.
        index: usize,
        /// The name of the token.
        name: String,
        /// The field of [`TokenConfig`].
        field: &'static str,
        /// The problem, and how to fix it.
        problem: String,
    },
    /// The list is empty, so that no client would be admitted.
    #[error("there is no token; give at least one, or turn authentication off")]
    Empty,
}

/// The tokens that the server accepts, by the hashes of their secrets.
#[derive(Debug)]
pub struct Tokens(Vec<(Digest, Arc<Token>)>);

pub(super) type Digest = [u8; 32];

/// The client that sends a request, as its token describes it.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) name: Reporter,
    scopes: BTreeSet<Scope>,
    environments: Option<BTreeSet<String>>,
    expires_at: Option<DateTime<Utc>>,
}

impl Tokens {
    /// Checks the tokens and reads the files and environment variables that contain secrets.
    ///
    /// # Errors
    /// [`TokenError`] for the first token that is invalid, or when there is none.
    pub fn new(configs: &[TokenConfig]) -> Result<Self, TokenError> {
        let mut tokens: Vec<(Digest, Arc<Token>)> = Vec::with_capacity(configs.len());
        for (index, config) in configs.iter().enumerate() {
            let invalid = |(field, problem)| TokenError::Invalid { index, name: config.name.clone(), field, problem };
            let digest = config.digest().map_err(invalid)?;
            if tokens.iter().any(|(other, _)| *other == digest) {
                let problem = "another token has the same secret; give each token its own";
                return Err(invalid(("secret", problem.to_owned())));
            }
            let token = Token {
                name: config.name.as_str().into(),
                scopes: config.scopes.clone(),
                environments: config.environments.clone(),
                expires_at: config.expires_at,
            };
            tokens.push((digest, Arc::new(token)));
        }
        if tokens.is_empty() { Err(TokenError::Empty) } else { Ok(Self(tokens)) }
    }

    /// Returns the token in `headers` if it has one of the scopes that the request `needs`.
    pub(crate) fn admit(&self, headers: &HeaderMap, needs: &'static [Scope]) -> Result<Arc<Token>, ApiError> {
        let mut values = headers.get_all(AUTHORIZATION);
        let (Some(header), None) = (values.next(), values.next()) else {
            let message = "a token is required; send it once, as `Authorization: Bearer SECRET`";
            return Err(ApiError::unauthorized(None, message));
        };
        let unauthorized = |message| Err(ApiError::unauthorized(Some("invalid_token"), message));
        let Some(token) = bearer(header.as_bytes()).and_then(|secret| self.find(secret)) else {
            return unauthorized("the token is unknown; send a valid one, as `Authorization: Bearer SECRET`");
        };
        if token.expires_at.is_some_and(|expires_at| expires_at <= time::now()) {
            return unauthorized("the token has expired; ask for a new one");
        }
        if needs.iter().any(|scope| token.scopes.contains(scope)) {
            return Ok(token);
        }
        let scopes = needs.iter().map(|scope| format!("`{scope}`")).collect::<Vec<_>>().join(" or ");
        let message = format!("the token `{}` lacks the scope {scopes}; use one that has it", token.name);
        Err(ApiError::forbidden("insufficient_scope", message, needs.first().copied()))
    }

    /// Compares `secret` with every token, so that the duration of the search reveals nothing.
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

/// The secret in an `Authorization` header. The scheme is case-insensitive.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, secret) = header.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| secret.trim_ascii())
}

impl Token {
    /// Whether the token may report only deployments of certain environments.
    pub(crate) fn is_limited(&self) -> bool {
        self.environments.is_some()
    }

    /// Fails unless the token may report deployments of `environment`.
    pub(crate) fn check_environment(&self, environment: Option<&str>) -> Result<(), ApiError> {
        let Some(environments) = &self.environments else { return Ok(()) };
        if environment.is_some_and(|environment| environments.contains(environment)) {
            return Ok(());
        }
        Err(self.not_allowed(match environment {
            Some(_) => "this deployment is in another environment",
            None => "this deployment has no environment, or is not recorded",
        }))
    }

    /// The refusal of a report that may concern another environment, for the reason `problem`.
    pub(crate) fn not_allowed(&self, problem: &str) -> ApiError {
        let environments = self.environments.iter().flatten();
        let allowed = environments.map(|environment| format!("`{environment}`")).collect::<Vec<_>>().join(", ");
        let message = format!("the token `{}` may only report deployments of {allowed}; {problem}", self.name);
        ApiError::forbidden("environment_not_allowed", message, None)
    }
}
