//! The command line.

use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::token::TokenCommand;

/// Records deployments in SQL, forwards them to Logstash through Redis and counts them in StatsD.
///
/// Environment variables such as DEPLOYMENT_TRACKER_PORT or DEPLOYMENT_TRACKER_REDIS__HOST override the configuration
/// file, and the file overrides the defaults. DEPLOYMENT_TRACKER_LOG_LEVEL is off, error, warn, info, debug or trace;
/// DEPLOYMENT_TRACKER_LOG_FORMAT is text or json.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// The configuration file, TOML if its name ends in .toml, otherwise JSON [default: config.json or config.toml in
    /// the working directory, if one exists]
    #[arg(long, value_name = "FILE", env = "DEPLOYMENT_TRACKER_CONFIG")]
    pub config: Option<PathBuf>,

    /// Check the configuration, print it with every default and without secrets, list the legacy options that are
    /// translated or ignored, and exit
    #[arg(long)]
    pub check_config: bool,

    /// Print the reference page of every configuration key of this build, as Markdown, and exit
    #[arg(long)]
    pub config_reference: bool,

    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Manage the tokens that authenticate clients
    #[command(subcommand)]
    Token(TokenCommand),
}

impl Arguments {
    /// The command line of the server `name`.
    pub fn command_of(name: &'static str, version: &'static str) -> clap::Command {
        Self::command().name(name).version(version)
    }

    /// Parses the arguments of the process. Prints help, the version or an error, and exits, where clap would.
    pub fn of_process(name: &'static str, version: &'static str) -> Self {
        let matches = Self::command_of(name, version).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}
