//! Opens connections, and stops trying for a moment after a failure.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracker_core::{Backoff, chain};

use crate::database;
use crate::database_file::DatabaseFile;
use crate::error::DbError;
use crate::spares::{Connection, Spares};
use crate::url::DatabaseUrl;

/// How long, after a failed attempt, [`Connector::connect`] fails without trying.
const RECONNECT_BACKOFF: Backoff = Backoff::constant(Duration::from_millis(200));
/// How long a thread that cannot connect waits for the connection of another. Less than reports and queries wait.
const SPARE_DEADLINE: Duration = Duration::from_secs(3);

/// Opens connections for the threads of a store. The first connection migrates the tables.
#[derive(Clone)]
pub struct Connector {
    url: DatabaseUrl,
    /// The file, if the database is one. Locked until the last connector is dropped.
    file: Option<Arc<DatabaseFile>>,
    is_migrated: Arc<Mutex<bool>>,
    circuit: Arc<Mutex<Circuit>>,
    spares: Arc<Spares>,
}

/// A circuit breaker that all threads share. After one thread has failed to connect, because of an outage or a
/// connection limit, no thread tries until the backoff has passed. After one has succeeded, all may try.
struct Circuit {
    last_success: Option<Instant>,
    /// When the backoff ends, and why the last attempt failed.
    open: Option<(Instant, String)>,
    backoff: Backoff,
}

impl Connector {
    pub fn new(url: DatabaseUrl, file: Option<Arc<DatabaseFile>>) -> Self {
        let circuit = Circuit { last_success: None, open: None, backoff: RECONNECT_BACKOFF };
        let url = file.as_ref().map_or(url, |file| DatabaseUrl::Sqlite(file.uri()));
        let circuit = Arc::new(Mutex::new(circuit));
        Self { url, file, is_migrated: Arc::default(), circuit, spares: Arc::default() }
    }

    /// Takes a connection that no thread uses.
    pub fn spare(&self) -> Option<Connection> {
        self.spares.take()
    }

    /// Opens a connection. If the database server refuses it, as it does at a limit, waits for one that another thread
    /// gives back.
    pub fn connect_or_wait(&self) -> Result<Connection, DbError> {
        self.connect().or_else(|error| self.spares.wait(SPARE_DEADLINE).ok_or(error))
    }

    /// Gives `connection` to other threads, if one of them waits or `is_idle`. A file has no limit, and on SQLite a
    /// connection that changes hands would lose its page cache.
    pub fn lend(&self, connection: &mut Option<Connection>, is_idle: bool) {
        if !matches!(self.url, DatabaseUrl::Sqlite(_))
            && (is_idle || self.spares.is_wanted())
            && let Some(connection) = connection.take()
        {
            self.spares.give(connection);
        }
    }

    /// Opens a connection, or fails with [`DbError::Down`] during the backoff.
    pub fn connect(&self) -> Result<Connection, DbError> {
        let begun = Instant::now();
        let circuit = || self.circuit.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, cause)) = &circuit().open
            && begun < *until
        {
            return Err(DbError::Down(cause.clone()));
        }
        let connected = self.try_connect();
        let mut circuit = circuit();
        match &connected {
            Ok(_) => {
                circuit.last_success = Some(Instant::now());
                circuit.open = None;
                circuit.backoff.reset();
            }
            Err(error) if circuit.last_success.is_none_or(|success| success < begun) => {
                circuit.open = Some((Instant::now() + circuit.backoff.next_pause(), chain(error)));
            }
            // Another thread has connected since this attempt began.
            Err(_) => {}
        }
        connected
    }

    fn try_connect(&self) -> Result<Connection, DbError> {
        if let Some(file) = &self.file {
            file.check_identity()?;
        }
        let mut connection = database::open(&self.url)?;
        // After a panic during the migration, the value is still `false`.
        let mut is_migrated = self.is_migrated.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_migrated {
            let spares = Arc::downgrade(&self.spares);
            // At a limit, a background migration can connect only in place of an idle connection.
            let is_store_open = move || spares.upgrade().map(|spares| spares.take()).is_some();
            connection.migrate(self.url.location(), Box::new(is_store_open))?;
            *is_migrated = true;
        }
        drop(is_migrated);
        connection.configure()?;
        Ok(self.spares.count(connection))
    }
}
