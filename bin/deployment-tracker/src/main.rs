//! The deployment-tracker server: arguments, configuration, and the wiring of store and outputs.

mod config;
#[cfg(all(test, feature = "redis", feature = "statsd"))]
mod generated;
mod logger;
mod old_config;
#[cfg(any(feature = "redis", feature = "statsd"))]
mod outputs;

use std::io::Write;
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracker_core::{OutboxLimits, Tracker};
use tracker_server::Settings;
use tracker_sql::SqlStore;

use crate::config::{Loaded, Wrong};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Records deployments in SQL, forwards them to Logstash through Redis and counts them in StatsD.
///
/// Configuration: defaults, then a file, then environment variables such as DEPLOYMENT_TRACKER_PORT or
/// DEPLOYMENT_TRACKER_REDIS__HOST. DEPLOYMENT_TRACKER_LOG_LEVEL is off, error, warn, info, debug or trace;
/// DEPLOYMENT_TRACKER_LOG_FORMAT is text or json.
#[derive(Debug, Parser)]
#[command(name = "deployment-tracker", version)]
struct Arguments {
    /// The configuration, JSON or TOML by its ending [default: config.json or config.toml in this folder, if any]
    #[arg(long, value_name = "FILE", env = "DEPLOYMENT_TRACKER_CONFIG")]
    config: Option<std::path::PathBuf>,

    /// Print the configuration in force, with every default and without secrets, and what of an old one is understood
    /// and ignored, and exit
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match start(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("deployment-tracker: {error:#}");
            ExitCode::from(if error.is::<Wrong>() { 2 } else { 1 })
        }
    }
}

fn start(arguments: &Arguments) -> anyhow::Result<()> {
    logger::init()?;
    let loaded = config::load(arguments.config.as_deref())?;
    if arguments.check_config {
        return print(&loaded).context("cannot print the configuration");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let served = runtime.block_on(serve(loaded));
    // A lookup of a name can hang, and cannot be ended.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// Prints what is in force on standard output, and what there is to say about old terms on standard error.
fn print(Loaded { config, notes, .. }: &Loaded) -> std::io::Result<()> {
    let mut remarks = std::io::stderr().lock();
    for note in &notes.understood {
        writeln!(remarks, "understood: {note}")?;
    }
    for note in &notes.ignored {
        writeln!(remarks, "ignored: {note}")?;
    }
    writeln!(std::io::stdout(), "{:#}", tracker_server::redact(&config.in_force()))
}

async fn serve(Loaded { config, given, notes }: Loaded) -> anyhow::Result<()> {
    // From here on a signal is ours: none is lost while the outputs are set up.
    let signals = Signals::new().context("cannot take signals")?;
    let address = (config.host.as_str(), config.port);
    let listener = TcpListener::bind(address)
        .with_context(|| format!("cannot listen on {}:{}; check `host` and `port`", address.0, address.1))?;
    let url = config.database_url()?;
    let replica = config.replica(listener.local_addr()?);
    let store = SqlStore::open(url.clone(), &replica).with_context(|| {
        format!("cannot open the database {url}; check that its folder is there and may be written")
    })?;
    let limits = OutboxLimits { max_messages: config.outbox.max_messages, max_bytes: config.outbox.max_bytes };
    let tracker = Tracker::builder(store).keep_logs(config.keeps_logs()).outbox_limits(limits);
    let outputs: Vec<String> = Vec::new();
    #[cfg(feature = "redis")]
    let (tracker, outputs) = outputs::redis(tracker, outputs, &config)?;
    #[cfg(feature = "statsd")]
    let (tracker, outputs) = outputs::statsd(tracker, outputs, &config)?;

    for note in &notes.understood {
        log::info!("configuration: {note}");
    }
    for note in &notes.ignored {
        log::warn!("configuration: ignored {note}");
    }
    let tracker = tracker.start();
    let logs = if config.keeps_logs() { "with logs" } else { "without logs" };
    log::info!("listening on http://{}; store {url} {logs}; {}", listener.local_addr()?, outputs.join("; "));
    if !config.keeps_logs() && config.redis.is_none() {
        log::warn!("`database.logs` is false and there is no `redis` section: log messages are refused");
    }

    let early = tracker.clone();
    tokio::spawn(async move {
        if early.ready().await.is_err() {
            log::warn!("reports are answered 503 until the database is available");
        }
    });

    let timeout = Duration::from_secs(config.shutdown_seconds);
    let settings = Settings {
        body_bytes: config.limits.body_bytes,
        shutdown_timeout: timeout,
        given: tracker_server::redact(&given),
    };
    tracker_server::run(listener, settings, tracker.clone(), signals.first()).await.context("the server failed")?;
    if !tracker.shutdown(timeout).await {
        log::warn!("not everything was delivered within {timeout:?}; the next run goes on with what is owed");
    }
    log::info!("stopped");
    Ok(())
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
        log::info!("stopping: requests in flight are answered, and what waits is delivered");
        tokio::spawn(async move {
            self.next().await;
            log::warn!("stopped at once");
            std::process::exit(1);
        });
    }
}
