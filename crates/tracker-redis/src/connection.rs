//! A connection to Redis that is opened on demand and closed after any failure.
//!
//! This module does not use fred's own reconnection. fred notices a hanging connection (a frozen Redis, a network
//! that drops packets) late or never. It buffers commands and sends them later. It does not tell the caller why
//! there is no connection. Here, every failure closes the connection and returns to the caller, and the next push
//! opens a new connection. This also handles a failover: the new connection leads to the server that the Sentinels
//! or the cluster now report as the primary.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface};
use fred::types::config::{Config, ConnectionConfig, PerformanceConfig, ServerConfig, TcpConfig, TlsConfig};
use fred::types::{Builder, ConnectHandle};
use tokio::sync::{Mutex, MutexGuard};

use crate::config::{Credentials, RedisConfig};
use crate::mode::{Mode, ModeCell, Probe, is_refused, is_silent};
use crate::push::Keys;
use crate::tls::Tls;
use crate::topology::Topology;

/// The maximum age of a connection to a primary that a Sentinel reported. During a failover, the old primary accepts
/// writes for up to 10 s and then loses them.
const SENTINEL_MAX_AGE: Duration = Duration::from_secs(1);
/// The maximum timeout of a probe, without the time in which the connection opened. Four such timeouts fit into the
/// default of `connect_timeout_millis`, and into a health check.
const PROBE_TIMEOUT: Duration = Duration::from_millis(300);
/// The timeout of QUIT.
const QUIT_TIMEOUT: Duration = Duration::from_millis(500);

/// A slot for one connection. One caller at a time can lease it.
pub(crate) struct Link {
    topology: Topology,
    dialer: Dialer,
    connect_timeout: Duration,
    keys: Arc<Keys>,
    mode: Arc<ModeCell>,
    idle: Mutex<Option<Connection>>,
}

pub(crate) struct Connection {
    pub(crate) client: Client,
    opened: Instant,
    /// The task that drives the connection, and ends with it.
    task: ConnectHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection in use. Dropping the lease closes the connection, even during a command; [`Lease::keep`] returns it.
pub(crate) struct Lease<'a> {
    connection: Connection,
    idle: MutexGuard<'a, Option<Connection>>,
}

impl Lease<'_> {
    pub(crate) fn client(&self) -> &Client {
        &self.connection.client
    }

    /// Returns the connection to its slot, for the next lease.
    pub(crate) fn keep(mut self) {
        *self.idle = Some(self.connection);
    }
}

impl Link {
    pub(crate) fn new(config: &RedisConfig, keys: Arc<Keys>, mode: Arc<ModeCell>) -> Self {
        Self {
            topology: Topology::new(config),
            dialer: Dialer::new(config),
            connect_timeout: config.connect_timeout(),
            keys,
            mode,
            idle: Mutex::default(),
        }
    }

    /// Waits until no other caller leases the connection, then leases it. Opens a new one if it is closed or too old.
    pub(crate) async fn lease(&self) -> Result<Lease<'_>, Error> {
        let mut idle = self.idle.lock().await;
        let connection = match idle.take().filter(|connection| self.is_usable(connection)) {
            Some(connection) => connection,
            None => match tokio::time::timeout(self.connect_timeout, self.open()).await {
                Ok(connection) => connection?,
                Err(elapsed) => return Err(Error::new(ErrorKind::Timeout, elapsed.to_string())),
            },
        };
        Ok(Lease { connection, idle })
    }

    fn is_usable(&self, connection: &Connection) -> bool {
        let is_expired = self.topology.is_sentinel() && connection.opened.elapsed() > SENTINEL_MAX_AGE;
        !is_expired && !connection.task.is_finished()
    }

    /// Connects, and finds the strongest mode that Redis permits.
    async fn open(&self) -> Result<Connection, Error> {
        let dialer = self.dialer.with_connector().await?;
        let connection = self.topology.connect_to_primary(&dialer).await?;
        if self.mode.get() == Some(Mode::Both) {
            return Ok(connection);
        }
        let (connection, permits_scripts) = self.permits(Probe::Script, connection, &dialer).await?;
        let (connection, permits_transactions) = self.permits(Probe::Transaction, connection, &dialer).await?;
        if !permits_scripts && !permits_transactions {
            self.ask(Probe::List, &connection).await?;
        }
        self.mode.raise(match (permits_scripts, permits_transactions) {
            (true, true) => Mode::Both,
            (true, false) => Mode::Scripts,
            (false, true) => Mode::Transactions,
            (false, false) => Mode::Plain,
        });
        Ok(connection)
    }

    /// Whether Redis permits the commands of `probe`, and a connection for further commands. If a probe gets no answer,
    /// but another connection answers PING and then does not answer the probe either, a proxy refuses it.
    ///
    /// A refusal may leave a connection closed or in a transaction, so this replaces it.
    async fn permits(
        &self,
        probe: Probe,
        mut connection: Connection,
        dialer: &Dialer,
    ) -> Result<(Connection, bool), Error> {
        let mut is_refusal = is_refused as fn(&Error) -> bool;
        loop {
            let error = match self.ask(probe, &connection).await {
                Ok(()) => return Ok((connection, true)),
                Err(error) => error,
            };
            if !is_refusal(&error) && !is_silent(&error) {
                return Err(error);
            }
            drop(connection);
            connection = self.topology.connect_to_primary(dialer).await?;
            if is_refusal(&error) {
                return Ok((connection, false));
            }
            self.ask(Probe::Ping, &connection).await?;
            is_refusal = |error| is_refused(error) || is_silent(error);
        }
    }

    /// Sends `probe`. A connection that opened slowly gets more time.
    async fn ask(&self, probe: Probe, connection: &Connection) -> Result<(), Error> {
        let timeout = PROBE_TIMEOUT.min(self.connect_timeout / 6) + connection.opened.elapsed();
        match tokio::time::timeout(timeout, probe.send(&connection.client, &self.keys)).await {
            Ok(answered) => answered,
            Err(elapsed) => Err(Error::new(ErrorKind::Timeout, elapsed.to_string())),
        }
    }

    /// Waits for the end of the current lease, then closes the connection.
    pub(crate) async fn close(&self) {
        if let Some(connection) = self.idle.lock().await.take() {
            // If Redis does not answer, dropping the connection closes it.
            let _ = tokio::time::timeout(QUIT_TIMEOUT, connection.client.quit()).await;
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("Link")
    }
}

/// Opens connections, with the same options for every server.
#[derive(Clone)]
pub(crate) struct Dialer {
    performance: PerformanceConfig,
    connection: ConnectionConfig,
    tls: Option<Tls>,
    /// `tls` with the contents of its files; set by [`Dialer::with_connector`].
    connector: Option<TlsConfig>,
}

impl Dialer {
    fn new(config: &RedisConfig) -> Self {
        // Without a timeout: the callers have deadlines, which for a push depend on its size.
        let performance = PerformanceConfig { default_command_timeout: Duration::ZERO, ..PerformanceConfig::default() };
        let connection = ConnectionConfig {
            connection_timeout: config.connect_timeout(),
            internal_command_timeout: config.connect_timeout(),
            max_command_attempts: 1,
            max_command_buffer_len: 8,
            tcp: TcpConfig {
                nodelay: Some(true),
                // Closing the socket must discard unsent data: an abandoned push must not arrive after its retry.
                linger: Some(Duration::ZERO),
                ..TcpConfig::default()
            },
            ..ConnectionConfig::default()
        };
        Self { performance, connection, tls: config.tls.clone(), connector: None }
    }

    /// Reads the TLS files, which may have changed since the last connection.
    async fn with_connector(&self) -> Result<Self, Error> {
        let mut ready = self.clone();
        if let Some(tls) = self.tls.clone() {
            let connector = tokio::task::spawn_blocking(move || tls.connector()).await;
            let connector = connector.map_err(|error| Error::new(ErrorKind::Canceled, error.to_string()))?;
            let connector = connector.map_err(|error| Error::new(ErrorKind::Tls, error.to_string()))?;
            ready.connector = Some(connector.into());
        }
        Ok(ready)
    }

    /// Connects and authenticates, without a timeout.
    pub(crate) async fn connect(
        &self,
        server: ServerConfig,
        Credentials { username, password }: Credentials,
        database: Option<u8>,
    ) -> Result<Connection, Error> {
        let tls = self.connector.clone();
        let mut builder =
            Builder::from_config(Config { server, username, password, database, tls, ..Config::default() });
        builder.set_performance_config(self.performance.clone()).set_connection_config(self.connection.clone());
        let client = builder.build()?;
        let mut opened = client.reconnect_rx();
        let task = client.connect();
        let mut connection = Connection { client, opened: Instant::now(), task };
        tokio::select! {
            ended = &mut connection.task => match ended? {
                Err(error) => Err(error),
                Ok(()) => Err(Error::new(ErrorKind::IO, "Redis closed the connection")),
            },
            opened = opened.recv() => {
                opened?;
                Ok(connection)
            }
        }
    }
}
