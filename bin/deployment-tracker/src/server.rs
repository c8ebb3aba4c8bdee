//! The server program: its outputs, and the life of the process from start to shutdown.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actix_web::rt::System;
use anyhow::{Context, anyhow};
use sd_notify::NotifyState;
use tracker_config::{ConfiguredOutput, ConfiguredStore};
use tracker_core::{Delivery, OutputStatus, supervise};
use tracker_server::{Access, Listener, Settings};

use crate::allocator;
use crate::arguments::{Arguments, Command};
use crate::config::keys::Keys;
use crate::config::{self, ConfigError, Loaded};
use crate::logger;
use crate::open_files;
use crate::reference;
use crate::reload::Reloader;
use crate::sections::{self, Section};
use crate::signals::{Signals, notify_systemd};
use crate::startup;
use crate::stores::Stores;
use crate::token::{self, TokenCommand};

/// How long the check of an output at start may take.
const START_CHECK_DEADLINE: Duration = Duration::from_secs(2);

/// A deployment-tracker server.
#[derive(Debug)]
pub struct Server(());

impl Server {
    /// Builds a server with the built-in outputs and stores, and further ones. `name` and `version` are those of your
    /// program, for `--help` and `--version`: `env!("CARGO_PKG_NAME")` and `env!("CARGO_PKG_VERSION")`.
    pub fn builder(name: &'static str, version: &'static str) -> ServerBuilder {
        ServerBuilder { name, version, sections: sections::built_in(), stores: Stores::built_in() }
    }
}

/// Builds and runs a [`Server`].
#[derive(Debug)]
#[must_use = "call `run`"]
pub struct ServerBuilder {
    name: &'static str,
    version: &'static str,
    sections: Vec<Section>,
    stores: Stores,
}

impl ServerBuilder {
    /// Adds an output whose configuration is the section `name`, such as `nats`. Without that section in the
    /// configuration, the output is off. An output with the name of a built-in one replaces it.
    ///
    /// # Panics
    /// If an output with this `name` has been added before, or if `name` cannot be the name of a section: it must
    /// consist of lower-case letters, digits and single `_`, begin with a letter, and not be a key of the server's own
    /// configuration.
    pub fn output<O: ConfiguredOutput>(mut self, name: &'static str) -> Self {
        sections::add(&mut self.sections, Section::new::<O>(name));
        self
    }

    /// Adds a store, which the server opens when `database.url` begins with one of its schemes. A path without a scheme
    /// remains an SQLite file.
    ///
    /// # Panics
    /// If one of its schemes is invalid, or belongs to a built-in store or to one that has been added before.
    pub fn store<S: ConfiguredStore>(mut self) -> Self {
        self.stores.add::<S>();
        self
    }

    /// Parses the arguments of the process, and runs the server until SIGTERM or SIGINT. Installs a logger.
    ///
    /// The exit code is 0 after a shutdown, 1 after a failure and 2 for an error in the configuration or the arguments.
    pub fn run(self) -> ExitCode {
        let arguments = Arguments::of_process(self.name, self.version);
        // Writes the queued lines at every end of this function, even after a panic.
        let _flush = match logger::start() {
            Ok(flush) => flush,
            Err(error) => {
                // Without the thread, nothing writes the queue.
                let _ = writeln!(std::io::stderr(), "{}: cannot start a thread: {error}", self.name);
                return ExitCode::FAILURE;
            }
        };
        let name = self.name;
        match self.start(arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // Appending to the queue cannot fail.
                let _ = logger::StandardError.write_all(format!("{name}: {error:#}\n").as_bytes());
                ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
            }
        }
    }

    fn start(self, arguments: Arguments) -> anyhow::Result<()> {
        if let Some(Command::Token(TokenCommand::New(token))) = arguments.command {
            return token::new(token);
        }
        let known = Keys::of_server(self.sections, self.stores);
        if arguments.config_reference {
            let page = reference::page(self.name, &known);
            return write!(std::io::stdout(), "{page}").context("cannot print the reference");
        }
        logger::init(self.name)?;
        let mut loaded = config::load(arguments.config.as_deref(), &known)?;
        if arguments.check_config {
            return print(&loaded, &known).context("cannot print the configuration");
        }
        // Before the runtime, which needs descriptors.
        loaded.config.limits.connections = open_files::raise_limit(loaded.config.limits.connections)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
        let runtime = Arc::new(runtime);
        // On a shared runtime, responses that arrive together wake a server worker only once.
        let system = System::with_tokio_rt(|| runtime.clone());
        let served = system.block_on(serve(loaded, arguments.config, known));
        drop(system);
        let runtime = Arc::into_inner(runtime).expect("the system held the only other reference");
        // A DNS lookup may hang, and cannot be canceled.
        runtime.shutdown_timeout(Duration::from_secs(1));
        served
    }
}

/// Prints the effective configuration to standard output, and the remarks on legacy options to standard error.
fn print(Loaded { effective, notes, .. }: &Loaded, known: &Keys) -> anyhow::Result<()> {
    let mut stderr = std::io::stderr().lock();
    for note in &notes.understood {
        writeln!(stderr, "understood: {note}")?;
    }
    for note in &notes.ignored {
        writeln!(stderr, "ignored: {note}")?;
    }
    writeln!(std::io::stdout(), "{:#}", known.redact(effective))?;
    Ok(())
}

async fn serve(mut loaded: Loaded, file: Option<PathBuf>, known: Keys) -> anyhow::Result<()> {
    let known = Arc::new(known);
    // Install the handlers first, so that no signal is lost during start-up.
    let mut signals = Signals::new().context("cannot install signal handlers")?;
    let config = &loaded.config;
    let raw_config = known.redact(&loaded.raw);
    let (access, tls) = (Access::open(), config.tls()?);
    if let Some(tokens) = config.tokens()? {
        access.restrict(tokens);
    }
    let mut reloader =
        Reloader::new(file, known.clone(), access.clone(), tls.clone()).context("cannot install signal handlers")?;
    let listeners = startup::bind(config)?;
    let addresses = listeners.iter().map(Listener::address).collect::<Result<Vec<_>, _>>()?;
    let opening = tokio::task::spawn_blocking({
        let (chosen, config, address) = (loaded.store.clone(), config.clone(), addresses[0].clone());
        move || startup::store(&chosen, &config, &address)
    });
    let store = tokio::select! {
        store = opening => {
            let opened = store.context("opening the database panicked")?;
            // The text of a store may quote its URL.
            opened.map_err(|error| anyhow!(loaded.secrets.hide(&format!("{error:#}"))))?
        }
        () = signals.next() => return Ok(()),
    };
    let tracker = startup::tracker(&loaded, store);
    startup::log(&loaded, &known.sections, &addresses);
    startup::warn(config, &tracker, &listeners, &addresses);
    let tracker = tracker.start();

    // The listeners queue connections until the server accepts them.
    notify_systemd(NotifyState::Ready);
    // Connects before the first report, so that the log says at start what an output warns of. The check of a
    // best-effort output may count as an event at its destination.
    let outputs = std::mem::take(&mut loaded.outputs).into_iter().map(|configured| configured.output);
    for output in outputs.filter(|output| output.delivery() == Delivery::AtLeastOnce) {
        tokio::spawn(async move { tokio::time::timeout(START_CHECK_DEADLINE, output.check()).await });
    }
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
    settings.raw_config = raw_config;
    settings.dropped_log_lines = logger::dropped;
    let reloading = tokio::spawn(supervise("the reload of tokens", async move || reloader.run().await));
    let returning = tokio::spawn(allocator::return_freed_memory());
    let served = tracker_server::run(listeners, settings, tracker.clone(), signals.first()).await;
    reloading.abort();
    returning.abort();
    served.context("the server failed")?;
    if !tracker.shutdown(shutdown_timeout).await {
        log::warn!("the tasks of the tracker did not end within {shutdown_timeout:?}");
    }
    for OutputStatus { name, backlog, .. } in tracker.outputs() {
        let messages = backlog.messages;
        if messages > 0 {
            log::warn!(
                output = name.as_str(), messages = messages;
                "{messages} messages for output `{name}` are pending; the next run delivers them"
            );
        }
    }
    log::info!("stopped");
    Ok(())
}
