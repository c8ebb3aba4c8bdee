//! Opens connections, and stops trying for a moment after a failure.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracker_core::{Backoff, chain};

use crate::database::{self, Database};
use crate::database_file::DatabaseFile;
use crate::error::DbError;
use crate::url::DatabaseUrl;

/// How long, after a failed attempt, [`Connector::connect`] fails without trying.
const RECONNECT_BACKOFF: Backoff = Backoff::constant(Duration::from_millis(200));

/// Opens connections for the threads of a store. The first connection migrates the tables.
#[derive(Debug, Clone)]
pub struct Connector {
    url: DatabaseUrl,
    /// The file, if the database is one. Locked until the last connector is dropped.
    file: Option<Arc<DatabaseFile>>,
    /// Also tells background migrations that the store is still in use: they keep a weak reference.
    is_migrated: Arc<Mutex<bool>>,
    circuit: Arc<Mutex<Circuit>>,
}

/// A circuit breaker that all threads share. After one thread has failed to connect, because of an outage or a
/// connection limit, no thread tries until the backoff has passed. After one has succeeded, all may try.
#[derive(Debug)]
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
        Self { url, file, is_migrated: Arc::default(), circuit: Arc::new(Mutex::new(circuit)) }
    }

    /// Opens a connection, or fails with [`DbError::Down`] during the backoff.
    pub fn connect(&self) -> Result<Box<dyn Database>, DbError> {
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

    fn try_connect(&self) -> Result<Box<dyn Database>, DbError> {
        if let Some(file) = &self.file {
            file.check_identity()?;
        }
        let mut connection = database::open(&self.url)?;
        // After a panic during the migration, the value is still `false`.
        let mut is_migrated = self.is_migrated.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_migrated {
            let store = Arc::downgrade(&self.is_migrated);
            connection.migrate(self.url.location(), Box::new(move || store.strong_count() > 0))?;
            *is_migrated = true;
        }
        drop(is_migrated);
        connection.configure()?;
        Ok(connection)
    }
}
