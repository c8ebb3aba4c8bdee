//! Connections that threads lend each other.
//!
//! A database server may allow fewer connections than the store has threads. A thread therefore gives its connection
//! back when it has no job, and after each job while another thread waits for one. Threads that wait are served in the
//! order in which they came, so that neither readers nor writers go without.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use crate::database::Database;

/// A connection that counts as open until it is dropped.
pub struct Connection {
    database: Box<dyn Database>,
    _open: Arc<()>,
}

impl Deref for Connection {
    type Target = dyn Database;

    fn deref(&self) -> &Self::Target {
        self.database.as_ref()
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.database.as_mut()
    }
}

/// The connections that no thread uses, and the threads that wait for one.
#[derive(Default)]
pub struct Spares {
    /// Each open connection has a clone.
    open: Arc<()>,
    state: Mutex<State>,
}

/// At most one of the two has entries.
#[derive(Default)]
struct State {
    idle: Vec<Connection>,
    waiting: VecDeque<Sender<Connection>>,
}

impl Spares {
    /// Counts a new connection.
    pub fn count(&self, database: Box<dyn Database>) -> Connection {
        Connection { database, _open: self.open.clone() }
    }

    /// Takes an idle connection.
    pub fn take(&self) -> Option<Connection> {
        self.state().idle.pop()
    }

    /// Takes an idle connection, or waits until a thread gives one back. Returns `None` after `deadline`, or at once
    /// when no connection is open.
    pub fn wait(&self, deadline: Duration) -> Option<Connection> {
        let given = {
            let mut state = self.state();
            if let Some(connection) = state.idle.pop() {
                return Some(connection);
            }
            if Arc::strong_count(&self.open) == 1 {
                return None;
            }
            let (sender, given) = bounded(1);
            state.waiting.push_back(sender);
            given
        };
        given.recv_timeout(deadline).ok()
    }

    /// Whether a thread waits for a connection.
    pub fn is_wanted(&self) -> bool {
        !self.state().waiting.is_empty()
    }

    /// Gives a connection to the thread that has waited longest, or makes it idle.
    pub fn give(&self, mut connection: Connection) {
        let mut state = self.state();
        while let Some(waiting) = state.waiting.pop_front() {
            match waiting.try_send(connection) {
                Ok(()) => return,
                // That thread has stopped waiting.
                Err(refused) => connection = refused.into_inner(),
            }
        }
        state.idle.push(connection);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
