//! `token new`: makes a token.

use std::io::{self, Write};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::json;
use tracker_server::{Scope, TokenConfig, Tokens, hashed};

/// Random bytes in a secret.
const SECRET_BYTES: usize = 32;

/// What can be done about tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token: print its secret, which is kept nowhere, and the entry for `auth.tokens`, which only tells it from others
    New(NewToken),
}

/// What the token is to be.
#[derive(Debug, Args)]
pub struct NewToken {
    /// The name of who will use it, for logs and events
    name: String,

    /// What it may do: read, write, admin; give it once for each
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_parser = scope)]
    scopes: Vec<Scope>,

    /// An environment whose deployments it may report; give it once for each [default: all]
    #[arg(long = "environment", value_name = "ENVIRONMENT")]
    environments: Vec<String>,

    /// When it ends, such as 2027-01-31T00:00:00Z [default: never]
    #[arg(long, value_name = "TIME")]
    expires_at: Option<DateTime<Utc>>,
}

fn scope(text: &str) -> Result<Scope, String> {
    serde_json::from_value(json!(text)).map_err(|_| "must be read, write or admin".to_owned())
}

/// Prints the secret on standard output, and what to do with it on standard error.
///
/// # Errors
/// When the system has no random numbers, the name cannot be one, or nobody reads.
pub fn new(NewToken { name, scopes, environments, expires_at }: NewToken) -> anyhow::Result<()> {
    let mut random = [0; SECRET_BYTES];
    getrandom::fill(&mut random)?;
    let secret = format!("dt_{}", hex::encode(random));
    let entry = TokenConfig {
        name,
        secret: Some(hashed(&secret)),
        secret_file: None,
        secret_env: None,
        scopes: scopes.into_iter().collect(),
        environments: Some(environments.into_iter().collect())
            .filter(|all: &std::collections::BTreeSet<_>| !all.is_empty()),
        expires_at,
    };
    Tokens::new(std::slice::from_ref(&entry))?;
    writeln!(io::stderr(), "the secret, for the one who will use it; it is kept nowhere:")?;
    writeln!(io::stdout(), "{secret}")?;
    let mut told = io::stderr();
    writeln!(told, "the entry for the configuration; then send SIGHUP to the server. In TOML:\n\n[[auth.tokens]]")?;
    let mut entry = serde_json::to_value(entry)?;
    if let Some(members) = entry.as_object_mut() {
        members.retain(|_, value| !value.is_null());
        for (key, value) in members {
            // A text or a list is the same in both.
            writeln!(told, "{key} = {value}")?;
        }
    }
    writeln!(told, "\nIn JSON, in the list `auth.tokens`:\n\n{entry}")?;
    Ok(())
}
