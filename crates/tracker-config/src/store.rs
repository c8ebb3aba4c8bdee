//! Stores that a server opens from a URL.

use std::error::Error;
use std::time::Duration;

use tracker_core::{MemoryStore, Store};

/// A store that a server opens when `database.url` begins with one of its schemes.
///
/// A server shows its configuration, but not the user information of the URL (`vault://TOKEN@host`), nor parameters with
/// a name like `password` or `token`. Take a secret from no other part of the URL.
///
/// ```
/// use std::error::Error;
///
/// use tracker_config::{ConfiguredStore, StoreOptions};
/// use tracker_core::MemoryStore;
///
/// # fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
/// assert_eq!(MemoryStore::SCHEMES, ["memory"]);
/// let store = MemoryStore::open("memory:", &StoreOptions::default())?;
/// # Ok(())
/// # }
/// ```
pub trait ConfiguredStore: Store + Sized {
    /// The schemes of its URLs, such as `memory` for `memory:`. Each consists of lower-case letters, digits, `+`, `-`
    /// and `.`, and begins with a letter.
    const SCHEMES: &'static [&'static str];

    /// Checks `url`, which has one of the schemes, and returns the place of the records for the log, without secrets.
    ///
    /// The server also calls this function to check the configuration, before there is a runtime and at every reload.
    /// It must not connect to anything.
    ///
    /// # Errors
    /// If the URL cannot work. The message says how to correct it, and contains no part of the URL that may be secret.
    fn location(url: &str) -> Result<String, Box<dyn Error + Send + Sync>>;

    /// Opens the store at `url`, which [`location`](Self::location) has accepted. May block.
    ///
    /// # Errors
    /// If the store cannot be used. A database server may be unavailable: let the calls of [`Store`] fail until it is
    /// available.
    fn open(url: &str, options: &StoreOptions) -> Result<Self, Box<dyn Error + Send + Sync>>;
}

/// Options of [`ConfiguredStore::open`], which the server takes from its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreOptions {
    /// Names this instance among those that share the database. It stays the same across restarts. Default: empty.
    pub instance: String,
    /// Maximum queries that wait. Further ones must fail with
    /// [`StoreError::Unavailable`](tracker_core::StoreError::Unavailable). Default: 1,024.
    pub max_waiting_queries: usize,
    /// How long to wait for an instance that is stopping and has the database open. Default: 10 s.
    pub lock_wait: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { instance: String::new(), max_waiting_queries: 1_024, lock_wait: Duration::from_secs(10) }
    }
}

tracker_core::setters! {
    StoreOptions {
        instance: impl Into<String> => instance.into(),
        max_waiting_queries: usize,
        lock_wait: Duration,
    }
}

/// `memory:` keeps the records until the process ends, for tests and demonstrations.
impl ConfiguredStore for MemoryStore {
    const SCHEMES: &'static [&'static str] = &["memory"];

    fn location(url: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
        if url == "memory:" { Ok("memory".to_owned()) } else { Err("must be `memory:`, without a name".into()) }
    }

    fn open(_: &str, _: &StoreOptions) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self::new())
    }
}
