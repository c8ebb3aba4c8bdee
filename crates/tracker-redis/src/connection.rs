//! A connection to Redis that is opened when it is needed and given up after anything that went wrong on it.
//!
//! fred can reconnect by itself. It is not asked to: a connection that hangs, because Redis is frozen or the network
//! gone, is noticed by it late or never; commands wait in its buffers and are sent later; and it does not tell a caller
//! why there is no connection. Here every failure ends the connection and is told, and the next push begins a new one.
//! So it is after a failover, too: the new connection goes to whom the Sentinels or the cluster name then. The Sentinels are
//! asked again after a second.

use std::fmt;
use std::time::{Duration, Instant};

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface};
use fred::types::config::{Config, ConnectionConfig, PerformanceConfig, ServerConfig, TcpConfig, TlsConfig};
use fred::types::{Builder, ConnectHandle};
use tokio::sync::{Mutex, MutexGuard};

use crate::config::{Credentials, RedisConfig};
use crate::tls::Tls;
use crate::topology::Topology;

/// How long a master that Sentinels named is taken for the master. Nobody tells a master that a failover is about to replace
/// it: for ten seconds it goes on to take what will be lost.
const SENTINEL_MAX_AGE: Duration = Duration::from_secs(1);
/// How long Redis may take to say goodbye.
const QUIT_WITHIN: Duration = Duration::from_millis(500);

/// The way to Redis: at most one connection, for one user at a time.
pub(crate) struct Link {
    topology: Topology,
    dialer: Dialer,
    connect_timeout: Duration,
    idle: Mutex<Option<Connection>>,
}

pub(crate) struct Connection {
    pub(crate) client: Client,
    opened: Instant,
    /// Drives the connection; it ends when the connection does.
    task: ConnectHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection in use. It is closed when this is dropped, also half-way through a command, unless it is kept.
pub(crate) struct Lease<'a> {
    connection: Connection,
    idle: MutexGuard<'a, Option<Connection>>,
}

impl Lease<'_> {
    pub(crate) fn client(&self) -> &Client {
        &self.connection.client
    }

    /// Leaves the connection to the next user.
    pub(crate) fn keep(mut self) {
        *self.idle = Some(self.connection);
    }
}

impl Link {
    pub(crate) fn new(config: &RedisConfig) -> Self {
        Self {
            topology: Topology::new(config),
            dialer: Dialer::new(config),
            connect_timeout: config.connect_timeout(),
            idle: Mutex::default(),
        }
    }

    /// The connection, a new one if need be, as soon as nobody else uses it.
    pub(crate) async fn lease(&self) -> Result<Lease<'_>, Error> {
        let mut idle = self.idle.lock().await;
        let connection = match idle.take().filter(|connection| self.is_good(connection)) {
            Some(connection) => connection,
            None => match tokio::time::timeout(self.connect_timeout, self.open()).await {
                Ok(connection) => connection?,
                Err(late) => return Err(Error::new(ErrorKind::Timeout, late.to_string())),
            },
        };
        Ok(Lease { connection, idle })
    }

    fn is_good(&self, connection: &Connection) -> bool {
        let is_out_of_date = self.topology.is_sentinel() && connection.opened.elapsed() > SENTINEL_MAX_AGE;
        !is_out_of_date && !connection.task.is_finished()
    }

    async fn open(&self) -> Result<Connection, Error> {
        self.topology.connect_to_primary(&self.dialer.ready().await?).await
    }

    /// Closes the connection when nobody uses it any more.
    pub(crate) async fn close(&self) {
        if let Some(connection) = self.idle.lock().await.take() {
            // A Redis that does not answer is left alone.
            let _ = tokio::time::timeout(QUIT_WITHIN, connection.client.quit()).await;
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("Link")
    }
}

/// How every connection is made, to whichever server.
#[derive(Clone)]
pub(crate) struct Dialer {
    performance: PerformanceConfig,
    connection: ConnectionConfig,
    tls: Option<Tls>,
    connector: Option<TlsConfig>,
}

impl Dialer {
    fn new(config: &RedisConfig) -> Self {
        let performance =
            PerformanceConfig { default_command_timeout: config.timeout(), ..PerformanceConfig::default() };
        let connection = ConnectionConfig {
            connection_timeout: config.connect_timeout(),
            internal_command_timeout: config.connect_timeout(),
            max_command_attempts: 1,
            max_command_buffer_len: 8,
            tcp: TcpConfig {
                nodelay: Some(true),
                // Closing discards what is not sent yet: a push that was given up must not arrive after its repeat.
                linger: Some(Duration::ZERO),
                ..TcpConfig::default()
            },
            ..ConnectionConfig::default()
        };
        Self { performance, connection, tls: config.tls.clone(), connector: None }
    }

    /// With the files of TLS as they are now.
    async fn ready(&self) -> Result<Self, Error> {
        let mut ready = self.clone();
        if let Some(tls) = self.tls.clone() {
            let connector = tokio::task::spawn_blocking(move || tls.connector()).await;
            let connector = connector.map_err(|error| Error::new(ErrorKind::Canceled, error.to_string()))?;
            ready.connector = Some(connector?.into());
        }
        Ok(ready)
    }

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
