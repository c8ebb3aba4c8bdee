//! The deployment-tracker server: arguments, and the life of the process from start to shutdown.

mod age;
mod allocator;
mod config;
#[cfg(all(test, feature = "redis", feature = "statsd"))]
mod generated;
mod legacy_config;
mod logger;
mod open_files;
mod outputs;
mod reload;
mod signals;
mod startup;
mod token;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actix_web::rt::System;
use anyhow::Context;
use clap::{Parser, Subcommand};
use sd_notify::NotifyState;
use tracker_core::supervise;
use tracker_server::{Access, Listener, Settings};

use crate::config::{ConfigError, Loaded};
use crate::reload::Reloader;
use crate::signals::{Signals, notify_systemd};
use crate::token::TokenCommand;

/// Records deployments in SQL, forwards them to Logstash through Redis and counts them in StatsD.
///
/// Environment variables such as DEPLOYMENT_TRACKER_PORT or DEPLOYMENT_TRACKER_REDIS__HOST override the configuration
/// file, and the file overrides the defaults. DEPLOYMENT_TRACKER_LOG_LEVEL is off, error, warn, info, debug or trace;
/// DEPLOYMENT_TRACKER_LOG_FORMAT is text or json.
#[derive(Debug, Parser)]
#[command(name = "deployment-tracker", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// The configuration file, TOML if its name ends in .toml, otherwise JSON [default: config.json or config.toml in
    /// the working directory, if one exists]
    #[arg(long, value_name = "FILE", env = "DEPLOYMENT_TRACKER_CONFIG")]
    config: Option<PathBuf>,

    /// Check the configuration, print it with every default and without secrets, list the legacy options that are
    /// translated or ignored, and exit
    #[arg(long)]
    check_config: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Manage the tokens that authenticate clients
    #[command(subcommand)]
    Token(TokenCommand),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Writes the queued lines at every end of this function, even after a panic.
    let _flush = match logger::start() {
        Ok(flush) => flush,
        Err(error) => {
            // Without the thread, nothing writes the queue.
            let _ = writeln!(std::io::stderr(), "deployment-tracker: cannot start a thread: {error}");
            return ExitCode::FAILURE;
        }
    };
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Appending to the queue cannot fail.
            let _ = logger::StandardError.write_all(format!("deployment-tracker: {error:#}\n").as_bytes());
            ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(Command::Token(TokenCommand::New(token))) = arguments.command {
        return token::new(token);
    }
    logger::init()?;
    let mut loaded = config::load(arguments.config.as_deref())?;
    if arguments.check_config {
        return print(&loaded).context("cannot print the configuration");
    }
    // Before the runtime, which needs descriptors.
    loaded.config.limits.connections = open_files::raise_limit(loaded.config.limits.connections)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let runtime = Arc::new(runtime);
    // On a shared runtime, responses that arrive together wake a server worker only once.
    let system = System::with_tokio_rt(|| runtime.clone());
    let served = system.block_on(serve(loaded, arguments.config));
    drop(system);
    let runtime = Arc::into_inner(runtime).expect("the system held the only other reference");
    // A DNS lookup may hang, and cannot be canceled.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// Prints the effective configuration to standard output, and the remarks on legacy options to standard error.
fn print(Loaded { config, notes, .. }: &Loaded) -> anyhow::Result<()> {
    let mut stderr = std::io::stderr().lock();
    for note in &notes.understood {
        writeln!(stderr, "understood: {note}")?;
    }
    for note in &notes.ignored {
        writeln!(stderr, "ignored: {note}")?;
    }
    writeln!(std::io::stdout(), "{:#}", tracker_server::redact(&startup::effective(config)?))?;
    Ok(())
}

async fn serve(loaded: Loaded, file: Option<PathBuf>) -> anyhow::Result<()> {
    // Install the handlers first, so that no signal is lost during start-up.
    let mut signals = Signals::new().context("cannot install signal handlers")?;
    let config = &loaded.config;
    let (access, tls) = (Access::open(), config.tls()?);
    if let Some(tokens) = config.tokens()? {
        access.restrict(tokens);
    }
    let mut reloader = Reloader::new(file, access.clone(), tls.clone()).context("cannot install signal handlers")?;
    let listeners = startup::bind(config)?;
    let addresses = listeners.iter().map(Listener::address).collect::<Result<Vec<_>, _>>()?;
    let opening = tokio::task::spawn_blocking({
        let (config, address) = (config.clone(), addresses[0].clone());
        move || startup::store(&config, &address)
    });
    let store = tokio::select! {
        store = opening => store.context("opening the database panicked")??,
        () = signals.next() => return Ok(()),
    };
    let (tracker, outputs) = startup::tracker(config, store)?;
    startup::log(&loaded, &addresses, &tracker, &outputs)?;
    startup::warn(config, &tracker, &listeners, &addresses);
    let tracker = tracker.start();

    // The listeners queue connections until the server accepts them.
    notify_systemd(NotifyState::Ready);
    let starting = tracker.clone();
    tokio::spawn(async move {
        if starting.ready().await.is_err() {
            log::warn!("the database is unavailable; the server answers reports with 503 until it is available");
        }
    });

    let shutdown_timeout = Duration::from_secs(config.shutdown_seconds);
    let mut settings = Settings::default();
    settings.limits = config.limits.clone();
    settings.access = access;
    settings.allowed_hosts = config.server.allowed_hosts.clone();
    settings.tls = tls;
    settings.shutdown_timeout = shutdown_timeout;
    settings.raw_config = loaded.raw;
    settings.dropped_log_lines = logger::dropped;
    let reloading = tokio::spawn(supervise("the reload of tokens", async move || reloader.run().await));
    let returning = tokio::spawn(allocator::return_freed_memory());
    let served = tracker_server::run(listeners, settings, tracker.clone(), signals.first()).await;
    reloading.abort();
    returning.abort();
    served.context("the server failed")?;
    if !tracker.shutdown(shutdown_timeout).await {
        log::warn!("some events were not delivered within {shutdown_timeout:?}; the next run delivers them");
    }
    log::info!("stopped");
    Ok(())
}
