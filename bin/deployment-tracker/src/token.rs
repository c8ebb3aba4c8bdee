//! The `token` subcommand: creates tokens.

use std::io::{self, Write};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::json;
use tracker_server::{Scope, TokenConfig, Tokens, hashed};

/// Random bytes in a secret.
const SECRET_BYTES: usize = 32;

/// The subcommands of `token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Create a token: print its secret, which is not stored, and the entry for `auth.tokens`, which holds only its
    /// hash
    New(NewToken),
}

/// The arguments of `token new`.
#[derive(Debug, Args)]
pub struct NewToken {
    /// The name of the person or program that will use it, for logs and events
    name: String,

    /// A scope: read, write or admin; repeat the option for several
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_parser = scope)]
    scopes: Vec<Scope>,

    /// An environment whose deployments it may report; repeat the option for several [default: all]
    #[arg(long = "environment", value_name = "ENVIRONMENT")]
    environments: Vec<String>,

    /// The time at which it expires, such as 2027-01-31T00:00:00Z [default: never]
    #[arg(long, value_name = "TIME")]
    expires_at: Option<DateTime<Utc>>,
}

fn scope(text: &str) -> Result<Scope, String> {
    serde_json::from_value(json!(text)).map_err(|_| "must be read, write or admin".to_owned())
}

/// Prints the secret to standard output, and the entry for the configuration to standard error.
///
/// # Errors
/// If the system provides no random bytes, the token is invalid, or the output cannot be written.
pub fn new(NewToken { name, scopes, environments, expires_at }: NewToken) -> anyhow::Result<()> {
    let mut random = [0; SECRET_BYTES];
    getrandom::fill(&mut random)?;
    let secret = format!("dt_{}", hex::encode(random));
    let mut entry = TokenConfig::new(name, scopes);
    entry.secret = Some(hashed(&secret));
    entry.environments = (!environments.is_empty()).then(|| environments.into_iter().collect());
    entry.expires_at = expires_at;
    Tokens::new(std::slice::from_ref(&entry))?;
    let mut stderr = io::stderr();
    writeln!(stderr, "the secret, for the user of the token; it is not stored anywhere:")?;
    writeln!(io::stdout(), "{secret}")?;
    writeln!(
        stderr,
        "the entry for the configuration; send SIGHUP to the server after adding it. In TOML:\n\n[[auth.tokens]]"
    )?;
    let mut entry = serde_json::to_value(entry)?;
    if let Some(members) = entry.as_object_mut() {
        members.retain(|_, value| !value.is_null());
        for (key, value) in members {
            // A string or a list of strings is the same in JSON and TOML.
            writeln!(stderr, "{key} = {value}")?;
        }
    }
    writeln!(stderr, "\nIn JSON, in the list `auth.tokens`:\n\n{entry}")?;
    Ok(())
}
