//! Options of a store.

use std::time::Duration;

/// Options of [`SqlStore::open`](crate::SqlStore::open).
///
/// ```
/// use tracker_sql::SqlStoreOptions;
///
/// let options = SqlStoreOptions::default().instance("web01:8080").max_waiting_queries(256);
/// assert_eq!(options.instance, "web01:8080");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SqlStoreOptions {
    /// Names this instance among those that share a database server. Two instances with one name would deliver the same
    /// batches, twice and out of order. Keep the name across restarts, because an instance delivers the pending batches
    /// under its name before newer ones. SQLite ignores it, since one process owns the file. Default: empty.
    pub instance: String,
    /// Maximum queries that wait for a connection, from 1 to 1,000,000. Further ones fail with
    /// [`StoreError::Unavailable`](tracker_core::StoreError::Unavailable). Default: 1,024.
    pub max_waiting_queries: usize,
    /// Number of connections for queries, at least 1. Default: 2 on SQLite, otherwise 4.
    pub readers: Option<usize>,
    /// Number of connections for commits, at least 1; each is a lane. SQLite ignores it and has one. Default: 2, so
    /// that a commit that waits for a lock does not delay all others. More writers make smaller groups, and a small
    /// group costs a database server about as much as a large one.
    pub writers: Option<usize>,
    /// How long [`SqlStore::open`](crate::SqlStore::open) waits while another process, or another store of this
    /// process, has the SQLite file open. Default: 10 s.
    pub lock_wait: Duration,
}

impl Default for SqlStoreOptions {
    fn default() -> Self {
        Self {
            instance: String::new(),
            max_waiting_queries: 1_024,
            readers: None,
            writers: None,
            lock_wait: Duration::from_secs(10),
        }
    }
}

tracker_core::setters! {
    SqlStoreOptions {
        instance: impl Into<String> => instance.into(),
        max_waiting_queries: usize,
        readers: usize => Some(readers),
        writers: usize => Some(writers),
        lock_wait: Duration,
    }
}
