//! What the database servers have in common.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};

/// A database server that can be stopped, frozen and started again. It keeps what it has committed.
pub trait Database: Debug + Send + Sync {
    /// Starts it, for the first time or again.
    fn start(&mut self);

    /// Stops it at once, as a crash would.
    fn stop(&mut self);

    /// Stops every process of it from going on; the connections stay.
    fn freeze(&self);

    /// Lets it go on after [`Database::freeze`].
    fn thaw(&self);

    /// The URL of a database, with the password `a-password`.
    fn url(&self, database: &str) -> String;

    /// The name of a database that is there from the beginning.
    fn home(&self) -> &'static str;

    /// What an administrator gets for a statement, one line a row. Names stand in double quotes.
    ///
    /// # Errors
    /// What the server says when the statement fails.
    fn query(&self, database: &str, statement: &str) -> Result<String, String>;

    /// The URL of a new database.
    fn new_database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.query(self.home(), &format!("CREATE DATABASE {name}")).expect("a new database");
        self.url(&name)
    }
}
