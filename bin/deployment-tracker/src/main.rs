//! The deployment-tracker server: arguments, configuration, and the wiring of store and outputs.

mod age;
mod config;
#[cfg(all(test, feature = "redis", feature = "statsd"))]
mod generated;
mod legacy_config;
mod logger;
mod open_files;
#[cfg(any(feature = "redis", feature = "statsd"))]
mod outputs;
mod reload;
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
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracker_core::{OutboxLimits, Tracker};
use tracker_server::{Access, Address, Listener, Settings};
use tracker_sql::{SqlStore, SqlStoreOptions};

use crate::config::{Config, ConfigError, Loaded};
use crate::reload::Reloader;
use crate::token::TokenCommand;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("deployment-tracker: {error:#}");
            ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(Command::Token(TokenCommand::New(token))) = arguments.command {
        return token::new(token);
    }
    logger::init()?;
    let loaded = config::load(arguments.config.as_deref())?;
    if arguments.check_config {
        return print(&loaded).context("cannot print the configuration");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let runtime = Arc::new(runtime);
    // On a shared runtime, responses that arrive together wake a server worker only once.
    let system = System::with_tokio_rt(|| runtime.clone());
    let served = system.block_on(serve(loaded, arguments.config));
    drop(system);
    let runtime = Arc::into_inner(runtime).expect("the system held the only other reference");
    // A DNS lookup may hang, and cannot be cancelled.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// Prints the effective configuration to standard output, and the remarks on legacy options to standard error.
fn print(Loaded { config, notes, .. }: &Loaded) -> std::io::Result<()> {
    let mut stderr = std::io::stderr().lock();
    for note in &notes.understood {
        writeln!(stderr, "understood: {note}")?;
    }
    for note in &notes.ignored {
        writeln!(stderr, "ignored: {note}")?;
    }
    writeln!(std::io::stdout(), "{:#}", tracker_server::redact(&config.effective()))
}

async fn serve(Loaded { config, raw, file: read, notes }: Loaded, file: Option<PathBuf>) -> anyhow::Result<()> {
    // From here on a signal is ours: none is lost while the outputs are set up.
    let signals = Signals::new().context("cannot take signals")?;
    let (access, tls) = (Access::open(), config.tls()?);
    if let Some(tokens) = config.tokens()? {
        access.restrict(tokens);
    }
    let reloadable = Reloader::new(file, access.clone(), tls.clone()).context("cannot take signals")?;
    let listeners = listen(&config)?;
    let addresses = listeners.iter().map(Listener::address).collect::<Result<Vec<_>, _>>()?;
    let url = config.database_url()?;
    let options = SqlStoreOptions::default()
        .instance(config.instance_name(&addresses[0]))
        .max_waiting_queries(config.limits.queued_queries);
    let store = SqlStore::open(url.clone(), options).with_context(|| {
        format!("cannot open the database {url}; check that its folder is there and may be written")
    })?;
    let limits = OutboxLimits { max_messages: config.outbox.max_messages, max_bytes: config.outbox.max_bytes };
    let age = config.retention.deployments.as_ref();
    let tracker = Tracker::builder(Arc::new(store))
        .keep_logs(config.keeps_logs())
        .outbox_limits(limits)
        .max_waiting(config.limits.queued_reports)
        .delete_after(age.map(Duration::from));
    let outputs: Vec<String> = Vec::new();
    #[cfg(feature = "redis")]
    let (tracker, outputs) = outputs::redis(tracker, outputs, &config)?;
    #[cfg(feature = "statsd")]
    let (tracker, outputs) = outputs::statsd(tracker, outputs, &config)?;

    match read {
        Some(file) => log::info!("configuration: {} and the environment", file.display()),
        None => log::info!("configuration: the environment; there is no config.json or config.toml in this folder"),
    }
    for note in &notes.understood {
        log::info!("configuration: {note}");
    }
    for note in &notes.ignored {
        log::warn!("configuration: ignored {note}");
    }
    let tracker = tracker.start();
    let logs = if config.keeps_logs() { "with logs" } else { "without logs" };
    let places: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    log::info!("listening on {}; store {url} {logs}; {}", places.join(", "), outputs.join("; "));
    if config.tls.is_some() && !addresses.iter().any(|address| matches!(address, Address::Https(_))) {
        log::warn!("`tls` is not used: no address in `listen` begins with https://");
    }
    if access.is_open() && listeners.iter().any(Listener::is_remote) {
        log::warn!(
            "whoever can reach this machine can read and report; give `auth.tokens`, or listen on 127.0.0.1 only"
        );
    }
    if let Some(age) = age {
        log::info!("what is older than {age} is deleted: `retention.deployments`");
    }
    if !config.keeps_logs() && config.redis.is_none() {
        log::warn!("`database.logs` is false and there is no `redis` section: log messages are refused");
    }

    // The listener keeps what comes before the server takes it.
    tell_systemd(NotifyState::Ready);

    let early = tracker.clone();
    tokio::spawn(async move {
        if early.ready().await.is_err() {
            log::warn!("reports are answered 503 until the database is available");
        }
    });

    let timeout = Duration::from_secs(config.shutdown_seconds);
    let mut settings = Settings::default();
    settings.limits = config.limits;
    settings.limits.connections = open_files::raise_limit(settings.limits.connections);
    settings.access = access;
    settings.tls = tls;
    settings.shutdown_timeout = timeout;
    settings.raw_config = raw;
    let reloading = tokio::spawn(reloadable.run());
    let served = tracker_server::run(listeners, settings, tracker.clone(), signals.first()).await;
    reloading.abort();
    served.context("the server failed")?;
    if !tracker.shutdown(timeout).await {
        log::warn!("not everything was delivered within {timeout:?}; the next run goes on with what is owed");
    }
    log::info!("stopped");
    Ok(())
}

fn listen(config: &Config) -> anyhow::Result<Vec<Listener>> {
    let bind = |address: Address| {
        let key = if config.listen.is_empty() { "`host` and `port`" } else { "`listen`" };
        Listener::bind(&address).with_context(|| format!("cannot listen on {address}; check {key}"))
    };
    config.addresses().into_iter().map(bind).collect()
}

/// Tells systemd, if it started this process and waits for that.
fn tell_systemd(state: NotifyState) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::warn!("cannot tell systemd through NOTIFY_SOCKET: {error}");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for the first signal. The second ends the process at once.
    async fn first(mut self) {
        self.next().await;
        tell_systemd(NotifyState::Stopping);
        log::info!("stopping: requests in flight are answered, and what waits is delivered");
        tokio::spawn(async move {
            self.next().await;
            log::warn!("stopped at once");
            std::process::exit(1);
        });
    }
}
