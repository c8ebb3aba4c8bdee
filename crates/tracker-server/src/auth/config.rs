//! Configuration of tokens.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use hex::FromHex as _;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};

use super::Scope;
use super::tokens::Digest;

/// The prefix of a hashed secret.
const SHA256: &str = "sha256:";
/// The maximum length of a name, in bytes.
const MAX_NAME: usize = 128;

/// A token that clients send as `Authorization: Bearer SECRET` ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750)).
/// Exactly one of `secret`, `secret_file` and `secret_env` must be given.
#[derive(Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TokenConfig {
    /// The name of the client, for logs and events: 1 to 128 letters, digits and `.-_@/`. Two tokens may have the same
    /// name, so that a new token can replace an old one without a gap.
    #[cfg_attr(feature = "schema", schemars(example = &"jenkins"))]
    pub name: String,
    /// The secret in clear text, or its SHA-256 hash as `sha256:` and 64 hexadecimal digits.
    #[cfg_attr(feature = "schema", schemars(example = hashed("a secret")))]
    pub secret: Option<String>,
    /// A file that contains a value for `secret` on one line.
    #[cfg_attr(feature = "schema", schemars(example = &"/run/secrets/jenkins"))]
    pub secret_file: Option<PathBuf>,
    /// An environment variable that contains a value for `secret`.
    #[cfg_attr(feature = "schema", schemars(example = &"JENKINS_TOKEN"))]
    pub secret_env: Option<String>,
    /// The scopes of the token; no scope includes another. `read` allows GET of records, `write` allows POST and PUT,
    /// `admin` allows `/config`. `/healthcheck` and `/metrics` accept `read` or `admin`; `/livez`, `/readyz`, `/docs/`
    /// and the API description need no token.
    #[cfg_attr(feature = "schema", schemars(example = ["write"]))]
    pub scopes: BTreeSet<Scope>,
    /// The environments whose deployments the token may report. If unset, the token may report all deployments,
    /// including those without an environment.
    #[cfg_attr(feature = "schema", schemars(example = ["dev"]))]
    pub environments: Option<BTreeSet<String>>,
    /// The time at which the token expires, in RFC 3339. If unset, the token never expires.
    #[cfg_attr(feature = "schema", schemars(example = &"2027-01-31T00:00:00Z"))]
    #[serde(alias = "expires", default, deserialize_with = "read_time")]
    pub expires_at: Option<DateTime<Utc>>,
}

tracker_core::setters! {
    TokenConfig {
        name: impl Into<String> => name.into(),
        secret: impl Into<String> => Some(secret.into()),
        secret_file: impl Into<PathBuf> => Some(secret_file.into()),
        secret_env: impl Into<String> => Some(secret_env.into()),
        scopes: impl IntoIterator<Item = Scope> => scopes.into_iter().collect(),
        environments: impl IntoIterator<Item = impl Into<String>> =>
            Some(environments.into_iter().map(Into::into).collect()),
        expires_at: DateTime<Utc> => Some(expires_at),
    }
}

impl TokenConfig {
    /// A token for all environments that does not expire. It has no secret yet.
    ///
    /// ```
    /// use tracker_server::{Access, Scope, TokenConfig, Tokens, hashed};
    ///
    /// # fn main() -> Result<(), tracker_server::TokenError> {
    /// let token = TokenConfig::new("jenkins", [Scope::Write]).secret(hashed("a secret")).environments(["dev"]);
    /// let access = Access::open();
    /// access.restrict(Tokens::new(&[token])?);
    /// assert!(!access.is_open());
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(name: impl Into<String>, scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self {
            name: name.into(),
            secret: None,
            secret_file: None,
            secret_env: None,
            scopes: scopes.into_iter().collect(),
            environments: None,
            expires_at: None,
        }
    }

    /// Checks every field and hashes the secret.
    ///
    /// # Errors
    /// The name of the invalid field, and the change that it needs.
    pub(super) fn digest(&self) -> Result<Digest, (&'static str, String)> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || ".-_@/".contains(c);
        if !(1..=MAX_NAME).contains(&self.name.len()) || !self.name.chars().all(is_allowed) {
            return Err(("name", format!("must be 1 to {MAX_NAME} letters, digits and `.-_@/`")));
        }
        if self.scopes.is_empty() {
            return Err(("scopes", "must contain at least one of `read`, `write`, `admin`".to_owned()));
        }
        if self.environments.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(("environments", "is empty; name at least one, or leave it out to allow all".to_owned()));
        }
        let (field, text) = match (&self.secret, &self.secret_file, &self.secret_env) {
            (Some(secret), None, None) => ("secret", secret.clone()),
            (None, Some(file), None) => {
                let text = std::fs::read_to_string(file);
                ("secret_file", text.map_err(|error| ("secret_file", format!("cannot read the file: {error}")))?)
            }
            (None, None, Some(variable)) => {
                let problem = "there is no such environment variable, or it is not UTF-8";
                ("secret_env", std::env::var(variable).map_err(|_| ("secret_env", problem.to_owned()))?)
            }
            _ => return Err(("secret", "give exactly one of `secret`, `secret_file`, `secret_env`".to_owned())),
        };
        let text = text.trim();
        match text.strip_prefix(SHA256) {
            Some(digits) => Digest::from_hex(digits)
                .map_err(|_| (field, format!("must have 64 hexadecimal digits after `{SHA256}`"))),
            None if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Sha256::digest(text).into())
            }
            None => Err((field, "the secret must consist of visible ASCII characters".to_owned())),
        }
    }
}

impl fmt::Debug for TokenConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.debug_struct("TokenConfig").field("name", &self.name).finish_non_exhaustive()
    }
}

fn read_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    let message = "`expires_at` must be a time in RFC 3339, such as 2027-01-31T00:00:00Z";
    text.map(|text| text.parse().map_err(|_| D::Error::custom(message))).transpose()
}

/// Hashes `secret` into a value for [`TokenConfig::secret`].
pub fn hashed(secret: &str) -> String {
    format!("{SHA256}{}", hex::encode(Sha256::digest(secret)))
}
