//! A connection to whichever database the URL names.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracker_core::time::Timestamp;
use tracker_core::{
    Backlog, CreatedCursor, Decision, Deleted, DeploymentId, DeploymentWithServers, Group, Hostname, LogDeploymentId,
    LogMessage, Page, PendingBatch, Server, chain,
};
use uuid::Uuid;

use crate::error::Error;
use crate::liveness::Liveness;

/// How long after a failed connection the next is not tried.
const RECONNECT_BACKOFF: Duration = Duration::from_millis(200);

/// Where the database is: a path or `sqlite:PATH` for SQLite, `postgres://…` for PostgreSQL, `mysql://…` or
/// `mariadb://…` for MySQL and MariaDB.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file.
    Sqlite(String),
    /// A server.
    Postgres(String),
    /// A server, MariaDB or MySQL.
    Mysql(String),
}

impl DatabaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`Error::Url`] for a scheme that is not known, or not built in; then it says which feature would.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let parsed = match url.split_once(':') {
            Some(("postgres" | "postgresql", _)) => Self::Postgres(url.to_owned()),
            Some(("mysql" | "mariadb", rest)) => Self::Mysql(format!("mysql:{rest}")),
            Some(("sqlite", path)) => Self::Sqlite(path.strip_prefix("//").unwrap_or(path).to_owned()),
            // A path may look like this, too, but then so may a misspelt URL with a password in it.
            Some((scheme, rest)) if rest.starts_with("//") || rest.contains('@') => {
                let message = format!(
                    "`{}://` is no database that is known here; give a path, sqlite:PATH, postgres://USER@HOST/NAME or \
                     mysql://USER@HOST/NAME",
                    scheme.escape_debug()
                );
                return Err(Error::Url(message));
            }
            _ => Self::Sqlite(url.to_owned()),
        };
        let feature = match &parsed {
            Self::Sqlite(path) if path.is_empty() => {
                return Err(Error::Url("the path of the database is empty; give one such as data.sqlite3".into()));
            }
            Self::Sqlite(path) if path == ":memory:" || path.starts_with("file:") => {
                let message =
                    "SQLite's own notations are not taken, and what is in memory only would be lost; give a path";
                return Err(Error::Url(message.into()));
            }
            Self::Postgres(url) | Self::Mysql(url) if !is_well_formed(url) => return Err(Error::Url(MALFORMED.into())),
            Self::Sqlite(_) if !cfg!(feature = "sqlite") => "sqlite",
            Self::Postgres(_) if !cfg!(feature = "postgres") => "postgres",
            #[cfg(feature = "mysql")]
            Self::Mysql(url) => return crate::mysql::check_url(url).map(|()| parsed),
            #[cfg(not(feature = "mysql"))]
            Self::Mysql(_) => "mysql",
            _ => return Ok(parsed),
        };
        Err(Error::Url(format!("this build has no {feature}; build it with the cargo feature `{feature}`")))
    }
}

/// What is wrong with a URL, without a word of it: there may be a password in any part.
const MALFORMED: &str = "it has not the form postgres://USER:PASSWORD@HOST:5432/NAME, or mysql://…; in its parts, write any of \
                       / ? # @ : % and white space as %2F %3F %23 %40 %3A %25 %20";

fn after_scheme(url: &str) -> Option<&str> {
    url.split_once(':')?.1.strip_prefix("//")
}

/// Whether `url` has the parts of a URL, so that nobody who reads it takes a part of the password for something else.
fn is_well_formed(url: &str) -> bool {
    let Some(rest) = after_scheme(url) else { return false };
    let place = rest.split(['/', '?']).next().unwrap_or_default();
    let (credentials, hosts) = place.rsplit_once('@').unwrap_or(("", place));
    let user = credentials.split(':').next().unwrap_or_default();
    let is_port =
        |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && (port.is_empty() || port.parse::<u16>().is_ok());
    let is_host = |host: &str| match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((_, port)) => port.is_empty() || port.strip_prefix(':').is_some_and(is_port),
        None => !host.contains(['[', ']']) && host.split_once(':').is_none_or(|(_, port)| is_port(port)),
    };
    let is_escape = |hex: &str| hex != "00" && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut escapes = rest.split('%').skip(1).map(|after| after.get(..2));
    !credentials.contains('@')
        && !rest[place.len()..].contains('@')
        && !user.contains(['[', ']'])
        && hosts.split(',').all(is_host)
        && escapes.all(|hex| hex.is_some_and(is_escape))
        && !rest.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#')
}

impl fmt::Display for DatabaseUrl {
    /// Where it is, without credentials and parameters.
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let (scheme, url) = match self {
            Self::Sqlite(path) => return write!(formatter, "sqlite:{path}"),
            Self::Postgres(url) => ("postgres", url),
            Self::Mysql(url) => ("mysql", url),
        };
        let rest = after_scheme(url).unwrap_or_default();
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        let place = place.split('?').next().unwrap_or_default();
        write!(formatter, "{scheme}://{place}")
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Makes connections, the first of which brings the tables up to date.
#[derive(Debug, Clone)]
pub struct Connector {
    url: DatabaseUrl,
    is_migrated: Arc<Mutex<bool>>,
    attempts: Arc<Mutex<Attempts>>,
}

/// What the attempts of all threads came to: where one has got through, no other waits, and where one has failed, all do,
/// whether for an outage or for a limit of connections.
#[derive(Debug, Default)]
struct Attempts {
    succeeded: Option<Instant>,
    /// Until when the next attempt waits, and why the last one failed.
    down: Option<(Instant, String)>,
}

impl Connector {
    pub fn new(url: DatabaseUrl) -> Self {
        Self { url, is_migrated: Arc::default(), attempts: Arc::default() }
    }

    /// A new connection; [`Error::Down`] without an attempt where one has just failed.
    pub fn connect(&self) -> Result<Connection, Error> {
        let begun = Instant::now();
        let attempts = || self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, cause)) = &attempts().down
            && begun < *until
        {
            return Err(Error::Down(cause.clone()));
        }
        let connected = self.attempt();
        let mut attempts = attempts();
        match &connected {
            Ok(_) => *attempts = Attempts { succeeded: Some(Instant::now()), down: None },
            Err(error) if attempts.succeeded.is_none_or(|succeeded| succeeded < begun) => {
                attempts.down = Some((Instant::now() + RECONNECT_BACKOFF, chain(error)));
            }
            // Another thread has got through since this attempt began.
            Err(_) => {}
        }
        connected
    }

    fn attempt(&self) -> Result<Connection, Error> {
        let mut connection = Connection::establish(&self.url)?;
        // A panic while migrating leaves the flag as it was.
        let mut is_migrated = self.is_migrated.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_migrated {
            connection.migrate()?;
            #[cfg(feature = "postgres")]
            if let (DatabaseUrl::Postgres(url), Connection::Postgres(connection)) = (&self.url, &mut connection) {
                let store = Arc::downgrade(&self.is_migrated);
                crate::adoption::complete(url, connection, move || store.strong_count() > 0)?;
            }
            *is_migrated = true;
        }
        drop(is_migrated);
        connection.configure()?;
        Ok(connection)
    }
}

/// A connection.
pub enum Connection {
    #[cfg(feature = "sqlite")]
    Sqlite(crate::sqlite::Connection),
    #[cfg(feature = "postgres")]
    Postgres(crate::postgres::Connection),
    #[cfg(feature = "mysql")]
    Mysql(crate::mysql::Connection),
}

/// Calls the function of the database's own module.
macro_rules! on_each {
    ($self:ident, $($function:ident)::+ ($($argument:expr),*)) => {
        match $self {
            #[cfg(feature = "sqlite")]
            Connection::Sqlite(connection) => crate::sqlite::$($function)::+(connection, $($argument),*),
            #[cfg(feature = "postgres")]
            Connection::Postgres(connection) => crate::postgres::$($function)::+(connection, $($argument),*),
            #[cfg(feature = "mysql")]
            Connection::Mysql(connection) => crate::mysql::$($function)::+(connection, $($argument),*),
        }
    };
}

impl Connection {
    fn establish(url: &DatabaseUrl) -> Result<Self, Error> {
        match url {
            #[cfg(feature = "sqlite")]
            DatabaseUrl::Sqlite(path) => crate::sqlite::connect(path).map(Self::Sqlite),
            #[cfg(feature = "postgres")]
            DatabaseUrl::Postgres(url) => crate::postgres::connect(url).map(Self::Postgres),
            #[cfg(feature = "mysql")]
            DatabaseUrl::Mysql(url) => crate::mysql::connect(url).map(Self::Mysql),
            #[cfg(not(all(feature = "sqlite", feature = "postgres", feature = "mysql")))]
            other => Err(Error::Url(format!("this build cannot open {other}"))),
        }
    }

    fn migrate(&mut self) -> Result<(), Error> {
        on_each!(self, migrate())
    }

    fn configure(&mut self) -> Result<(), Error> {
        on_each!(self, configure())
    }

    /// Leaves everything where whoever copies the database finds it.
    pub fn close(&mut self) -> Result<(), Error> {
        on_each!(self, close())
    }

    pub fn commit(&mut self, owner: &str, group: &Group) -> Result<Decision, Error> {
        on_each!(self, commit(owner, group))
    }

    pub fn check(&mut self, owner: &str) -> Result<(), Error> {
        on_each!(self, queries::check(owner))
    }

    pub fn deployment(&mut self, id: DeploymentId) -> Result<Option<DeploymentWithServers>, Error> {
        on_each!(self, queries::deployment(id))
    }

    pub fn deployments(&mut self, page: &Page<CreatedCursor>) -> Result<Vec<DeploymentWithServers>, Error> {
        on_each!(self, queries::deployments(page))
    }

    pub fn hostnames(&mut self, page: &Page<Hostname>) -> Result<Vec<Hostname>, Error> {
        on_each!(self, queries::hostnames(page))
    }

    pub fn servers(&mut self, hostname: &Hostname, page: &Page<CreatedCursor>) -> Result<Vec<Server>, Error> {
        on_each!(self, queries::servers(hostname, page))
    }

    pub fn logs(&mut self, id: &LogDeploymentId, page: &Page<Uuid>) -> Result<Vec<LogMessage>, Error> {
        on_each!(self, queries::logs(id, page))
    }

    pub fn logged(
        &mut self,
        after: Option<&LogDeploymentId>,
        limit: u32,
    ) -> Result<Vec<(LogDeploymentId, Uuid)>, Error> {
        on_each!(self, queries::logged(after, limit))
    }

    pub fn delete_older(&mut self, names: &[LogDeploymentId], before: Timestamp, limit: u32) -> Result<Deleted, Error> {
        on_each!(self, delete_older(names, before, limit))
    }

    /// Writes back what was deleted.
    pub fn write_back(&mut self) -> Result<(), Error> {
        on_each!(self, write_back())
    }

    /// Lets all that is read read the same, until [`Self::end_snapshot`], where that costs less than reading without.
    pub fn begin_snapshot(&mut self) -> Result<(), Error> {
        on_each!(self, begin_snapshot())
    }

    /// Lets what is read be what is committed again.
    pub fn end_snapshot(&mut self) -> Result<(), Error> {
        on_each!(self, end_snapshot())
    }

    pub fn pending(&mut self, owner: &str, output: &str, limit: usize) -> Result<Vec<PendingBatch>, Error> {
        on_each!(self, queries::pending(owner, output, limit))
    }

    pub fn backlog(&mut self, owner: &str, output: &str, liveness: &Liveness) -> Result<Backlog, Error> {
        on_each!(self, backlog(owner, output, liveness))
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "postgres")]
    #[test]
    fn a_url_that_could_be_misread_is_refused_without_a_word_of_it() {
        for url in [
            "postgres://u:hunter2@[[::1]]:1/x",
            "postgres://u:hunt%00er2@h/x",
            "postgres://u:100%hunter2@h/x",
            "postgres://u:pa@hunter2@h/x",
            "postgres://u:hunter2/x@h/x",
            "postgres://u:hunter2?x@h/x",
            "postgres://u:1/hunter2@h/x",
            "postgres://u:hunter2#x@h/x",
            "postgres://u:hunter2 x@h/x",
            "postgres://u:%+1hunter2@h/x",
            "postgres://u:hunter2@h:+1/x",
            "postgres://u:1?hunter2@h/x",
            "postgres://h/x?password=x@hunter2",
            "postgres://[u:hunter2@h/x",
            "postgres:u:hunter2@h/x",
            "postgres::hunter2@h?password=://hunter2",
            "postgresql:host=h password=hunter2",
        ] {
            let error = DatabaseUrl::parse(url).expect_err(url).to_string();
            assert!(!error.contains("hunter2") && error.contains("%40"), "{error}");
        }
        for url in [
            "postgres://",
            "postgres:///name",
            "postgres://h",
            "postgresql://u:p%40%2F@h:5432,[::1]:1,%2Frun%2Fpg/x?sslmode=require&host=/x",
            "postgres://%3A%3A1/x",
        ] {
            assert!(DatabaseUrl::parse(url).is_ok(), "{url}");
        }
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn a_file_is_a_file() {
        for url in [":memory:", "sqlite::memory:", "file:x?mode=memory", "sqlite://file:x", "", "sqlite:"] {
            assert!(DatabaseUrl::parse(url).is_err(), "{url}");
        }
        for (url, path) in [("x", "x"), ("sqlite:x", "x"), ("sqlite:///x", "/x"), ("sqlite:./file:x", "./file:x")] {
            assert_eq!(DatabaseUrl::parse(url).ok(), Some(DatabaseUrl::Sqlite(path.into())));
        }
    }
}
