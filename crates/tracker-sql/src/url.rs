//! URLs of databases: which database, and where it is.

use std::fmt;

use crate::error::SqlError;

/// Explains a malformed URL without quoting it: any part may contain a password.
const MALFORMED: &str = "the URL must have the form postgres://USER:PASSWORD@HOST:5432/NAME or mysql://…; inside its \
                         parts, write / ? # @ : % and white space as %2F %3F %23 %40 %3A %25 %20";

/// Where the database is: a path or `sqlite:PATH` for SQLite, `postgres://…` for PostgreSQL, `mysql://…` or
/// `mariadb://…` for MySQL and MariaDB.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// The path of an SQLite file.
    Sqlite(String),
    /// The URL of a PostgreSQL server.
    Postgres(String),
    /// The URL of a MariaDB or MySQL server.
    Mysql(String),
}

impl DatabaseUrl {
    /// Parses a path or URL.
    ///
    /// # Errors
    /// [`SqlError::Url`] if the URL is malformed, has an unknown scheme, or needs a cargo feature that this
    /// build lacks. The message names the feature. It never contains a password.
    pub fn parse(url: &str) -> Result<Self, SqlError> {
        let parsed = match url.split_once(':') {
            Some(("postgres" | "postgresql", _)) => Self::Postgres(url.to_owned()),
            Some(("mysql" | "mariadb", rest)) => Self::Mysql(format!("mysql:{rest}")),
            Some(("sqlite", path)) => Self::Sqlite(path.strip_prefix("//").unwrap_or(path).to_owned()),
            // A path may look like this, but so does a misspelt URL that contains a password.
            Some((scheme, rest)) if rest.starts_with("//") || rest.contains('@') => {
                return Err(SqlError::Url(format!(
                    "`{}://` is not a supported scheme; use a path, sqlite:PATH, postgres://USER@HOST/NAME or \
                     mysql://USER@HOST/NAME",
                    scheme.escape_debug()
                )));
            }
            _ => Self::Sqlite(url.to_owned()),
        };
        let feature = match &parsed {
            Self::Sqlite(path) if path.is_empty() => {
                return Err(SqlError::Url("the path is empty; give one such as `data.sqlite3`".into()));
            }
            Self::Sqlite(path) if path == ":memory:" || path.starts_with("file:") => {
                let message = "`:memory:` and `file:` are not supported, since a database in memory would lose its \
                               data; give a path";
                return Err(SqlError::Url(message.into()));
            }
            Self::Postgres(url) | Self::Mysql(url) if !is_well_formed(url) => {
                return Err(SqlError::Url(MALFORMED.into()));
            }
            Self::Sqlite(_) if !cfg!(feature = "sqlite") => "sqlite",
            Self::Postgres(_) if !cfg!(feature = "postgres") => "postgres",
            #[cfg(feature = "mysql")]
            Self::Mysql(url) => return check_mysql(url).map(|()| parsed),
            #[cfg(not(feature = "mysql"))]
            Self::Mysql(_) => "mysql",
            _ => return Ok(parsed),
        };
        Err(SqlError::Url(format!("this build does not support {feature}; build with the cargo feature `{feature}`")))
    }

    /// The path, or the URL with its credentials.
    pub(crate) fn location(&self) -> &str {
        let (Self::Sqlite(location) | Self::Postgres(location) | Self::Mysql(location)) = self;
        location
    }
}

fn after_scheme(url: &str) -> Option<&str> {
    url.split_once(':')?.1.strip_prefix("//")
}

/// Whether every parser splits `url` into the same parts, so that none mistakes a piece of the password for
/// another part.
fn is_well_formed(url: &str) -> bool {
    let Some(rest) = after_scheme(url) else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
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
        && !rest[authority.len()..].contains('@')
        && !user.contains(['[', ']'])
        && hosts.split(',').all(is_host)
        && escapes.all(|hex| hex.is_some_and(is_escape))
        && !rest.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#')
}

/// Rejects a URL without a database name, and an `ssl_mode` that MariaDB's client library would silently
/// ignore.
#[cfg(feature = "mysql")]
fn check_mysql(url: &str) -> Result<(), SqlError> {
    let (location, parameters) = url.split_once('?').unwrap_or((url, ""));
    let name = after_scheme(location).and_then(|location| location.rsplit_once('/')).map_or("", |(_, name)| name);
    if name.is_empty() {
        return Err(SqlError::Url("the URL lacks the database name; give mysql://USER@HOST/NAME".into()));
    }
    if parameters.contains("ssl_mode=") && !mysqlclient_sys::SUPPORTS_MYSQL_SSL_MODE {
        let message = "MariaDB's client library, which this build uses, does not support `ssl_mode`; give ssl_ca=FILE \
                       instead, which requires a certificate from that authority";
        return Err(SqlError::Url(message.into()));
    }
    Ok(())
}

impl fmt::Display for DatabaseUrl {
    /// Writes the location without credentials and parameters.
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let (scheme, url) = match self {
            Self::Sqlite(path) => return write!(formatter, "sqlite:{path}"),
            Self::Postgres(url) => ("postgres", url),
            Self::Mysql(url) => ("mysql", url),
        };
        let rest = after_scheme(url).unwrap_or_default();
        let location = rest.rsplit_once('@').map_or(rest, |(_, location)| location);
        let location = location.split('?').next().unwrap_or_default();
        write!(formatter, "{scheme}://{location}")
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod properties;

#[cfg(all(test, any(feature = "sqlite", feature = "postgres")))]
mod tests {
    use super::*;

    #[cfg(feature = "postgres")]
    #[test]
    fn an_ambiguous_url_is_rejected_without_being_quoted() {
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
    fn a_path_names_a_file_and_never_a_database_in_memory() {
        for url in [":memory:", "sqlite::memory:", "file:x?mode=memory", "sqlite://file:x", "", "sqlite:"] {
            assert!(DatabaseUrl::parse(url).is_err(), "{url}");
        }
        for (url, path) in [("x", "x"), ("sqlite:x", "x"), ("sqlite:///x", "/x"), ("sqlite:./file:x", "./file:x")] {
            assert_eq!(DatabaseUrl::parse(url).ok(), Some(DatabaseUrl::Sqlite(path.into())));
        }
    }
}
