//! The output.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex as SyncMutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Mutex;
use tracker_config::{ConfigError, ConfiguredOutput};
use tracker_core::{Batch, Delivery, Event, Output, OutputError, Uuid};

use crate::arrivals::Arrivals;
use crate::config::NatsConfig;
use crate::connection::Connection;
use crate::run::{self, End, Outgoing, Window};

/// The timeout of a health check.
const CHECK_TIMEOUT: Duration = Duration::from_millis(1_800);
/// The longest time that a delivery reads which messages have arrived. The next one reads on.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// The number of times in a row that a run may find another last message than expected.
const MAX_OUTDATED: u32 = 3;

/// Publishes every event to a JetStream stream, each exactly once while the stream keeps its messages.
///
/// The subject is `<prefix>.<instance>`. Each log message and each other event is a message. `run.rs` and `arrivals.rs`
/// describe how the output keeps the order and recognizes what has arrived.
#[derive(Debug)]
pub struct NatsOutput {
    name: String,
    subject: String,
    config: NatsConfig,
    state: Mutex<State>,
    /// Separate from `state`, so that a health check neither waits for a delivery nor ends one.
    checks: Mutex<Option<Connection>>,
    /// The batches that the next delivery removes from the arrivals.
    forgotten: SyncMutex<Vec<Uuid>>,
    warning: SyncMutex<Option<String>>,
    read_limit: Duration,
}

#[derive(Debug, Default)]
struct State {
    /// The connection, and the start of the last delivery. `None` before the first delivery, and after an error.
    connection: Option<(Connection, Instant)>,
    arrivals: Arrivals,
    window: Window,
}

impl NatsOutput {
    /// Creates an output. It connects at the first delivery, so NATS need not be running yet.
    ///
    /// # Errors
    /// [`ConfigError`] for a configuration that cannot work, or a file that cannot be used.
    pub fn new(config: NatsConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            name: "nats".to_owned(),
            subject: config.subject(),
            config,
            state: Mutex::default(),
            checks: Mutex::default(),
            forgotten: SyncMutex::default(),
            warning: SyncMutex::default(),
            read_limit: READ_LIMIT,
        })
    }

    /// Replaces the [name](Output::name) `nats`, for a tracker with several NATS outputs.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    async fn connect(&self, arrivals: &mut Arrivals) -> Result<Connection, OutputError> {
        let (connection, warning) = Connection::open(&self.config, &self.subject).await?;
        self.warn(warning);
        connection.read(&self.subject, arrivals, self.read_limit).await?;
        Ok(connection)
    }

    async fn query(&self) -> Result<(), OutputError> {
        let mut checks = self.checks.lock().await;
        let connection = match checks.take().filter(Connection::is_usable) {
            Some(connection) => connection,
            None => Connection::open(&self.config, &self.subject).await?.0,
        };
        self.warn(connection.check().await?);
        *checks = Some(connection);
        Ok(())
    }

    /// Replaces the warning, and logs a change.
    fn warn(&self, new: Option<String>) {
        let mut warning = self.warning.lock().expect("no holder panics");
        if *warning == new {
            return;
        }
        let name = self.name.as_str();
        match &new {
            Some(text) => log::warn!(output = name; "output `{name}`: {text}"),
            None => log::info!(output = name; "output `{name}`: the stream in NATS keeps messages that were consumed"),
        }
        *warning = new;
    }
}

impl ConfiguredOutput for NatsOutput {
    type Config = NatsConfig;

    fn build(name: &str, config: NatsConfig) -> Result<Self, ConfigError> {
        Ok(Self::new(config)?.named(name))
    }

    /// The servers and the subject: `nats://127.0.0.1:4222 subject deployment-tracker.web01`.
    fn location(&self) -> String {
        format!("{} subject {}", self.config.url, self.subject)
    }
}

#[async_trait]
impl Output for NatsOutput {
    fn name(&self) -> &str {
        &self.name
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    /// Every event.
    fn wants(&self, _: &Event) -> bool {
        true
    }

    async fn deliver(&self, batches: &[Arc<Batch>]) -> Result<(), OutputError> {
        let mut state = self.state.lock().await;
        let State { connection: kept, arrivals, window } = &mut *state;
        for batch in mem::take(&mut *self.forgotten.lock().expect("no holder panics")) {
            arrivals.forget(batch);
        }
        // After an error, or when the caller drops the future, the connection is dropped, and the next delivery reads
        // from the stream which messages have arrived.
        let started = Instant::now();
        let connection = match kept.take().filter(|(connection, _)| connection.is_usable()) {
            Some((connection, last)) => {
                arrivals.pass(started - last);
                connection
            }
            None => self.connect(arrivals).await?,
        };
        let (mut batches, mut waiting, mut outdated) = (batches.iter(), VecDeque::new(), 0);
        loop {
            Window::fill(&mut waiting, arrivals, &mut batches);
            if waiting.is_empty() {
                break;
            }
            let before = waiting.len();
            let end = run::send(&connection, &self.subject, window.take(&waiting), &mut waiting, arrivals).await?;
            window.adapt(end, before - waiting.len());
            if end != End::Outdated {
                outdated = 0;
                continue;
            }
            outdated += 1;
            if outdated > MAX_OUTDATED {
                return Err(OutputError::message(format!(
                    "another client publishes with the subject `{}`; give each instance its own `instance`",
                    self.subject
                )));
            }
            connection.read(&self.subject, arrivals, self.read_limit).await?;
            waiting.retain(|outgoing: &Outgoing| outgoing.place > arrivals.of(outgoing.batch));
        }
        *kept = Some((connection, started));
        Ok(())
    }

    /// Keeps the ids until the next delivery.
    fn forget(&self, batches: &[Uuid]) {
        self.forgotten.lock().expect("no holder panics").extend(batches);
    }

    async fn check(&self) -> Result<(), OutputError> {
        let checked = tokio::time::timeout(CHECK_TIMEOUT, self.query()).await;
        checked.map_err(|elapsed| {
            OutputError::new("NATS does not answer; check that the server is running, and check `url`", elapsed)
        })?
    }

    fn warning(&self) -> Option<String> {
        self.warning.lock().expect("no holder panics").clone()
    }

    async fn close(&self) {
        self.state.lock().await.connection = None;
        *self.checks.lock().await = None;
    }
}

#[cfg(test)]
mod tests;
