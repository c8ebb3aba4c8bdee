//! The interface that PostgreSQL and MariaDB share.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};

/// A database server that a test can stop, freeze and start again. Committed data survives.
pub trait Database: Debug + Send + Sync {
    /// Starts the server, or restarts it after [`Database::stop`], and waits until it answers.
    fn start(&mut self);

    /// Stops the server at once, as a crash would.
    fn stop(&mut self);

    /// Suspends every process of the server with `SIGSTOP`; connections stay open but get no answer.
    fn freeze(&self);

    /// Resumes the server with `SIGCONT` after [`Database::freeze`].
    fn thaw(&self);

    /// The URL of `database`, with the password `a-password`.
    fn url(&self, database: &str) -> String;

    /// The name of a database that always exists.
    fn default_database(&self) -> &'static str;

    /// Runs `statement` as an administrator and returns one line per row. Identifiers are in double quotes.
    ///
    /// # Errors
    /// The server's message, if the statement fails.
    fn query(&self, database: &str, statement: &str) -> Result<String, String>;

    /// Creates a database and returns its URL.
    fn new_database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.query(self.default_database(), &format!("CREATE DATABASE {name}"))
            .expect("the administrator may create databases");
        self.url(&name)
    }
}
