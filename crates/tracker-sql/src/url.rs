//! URLs of databases: which database, and where it is. Everything is checked here, so that a mistake is an error before
//! the first connection.

mod mysql;
pub mod postgres;
mod sqlite;

use std::fmt;

use crate::error::SqlError;

/// Explains a malformed URL without quoting it: any part may contain a password.
const MALFORMED: &str = "the URL must have the form postgres://USER:PASSWORD@HOST:5432/NAME or mysql://…; inside its \
                         parts, write / ? # @ : % and white space as %2F %3F %23 %40 %3A %25 %20";
/// The forms that are accepted.
const FORMS: &str = "give a path such as `data.sqlite3`, sqlite:PATH, postgres://USER:PASSWORD@HOST/NAME or \
                     mysql://USER:PASSWORD@HOST/NAME";

/// Where the database is. These forms are accepted:
///
/// - a path, or `sqlite:PATH`, for SQLite; a path with `=` or, before the first `/`, with `:` needs the prefix, and so
///   does one with `?`, which is written as `%3F`;
/// - `postgres://…`, or a connection string of libpq such as `host=db dbname=tracker`, for PostgreSQL;
/// - `mysql://…` or `mariadb://…` for MySQL and MariaDB.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// The path of an SQLite file.
    Sqlite(String),
    /// The URL or the connection string of a PostgreSQL server.
    Postgres(String),
    /// The URL of a MariaDB or MySQL server.
    Mysql(String),
}

impl DatabaseUrl {
    /// Parses a path, a URL or a connection string. Connects to nothing.
    ///
    /// # Errors
    /// [`SqlError::Url`] if the text has none of the accepted forms, has a parameter that the database's client library
    /// would refuse or ignore, or needs a cargo feature that this build lacks. The message says how to correct it. It
    /// never contains a password.
    pub fn parse(url: &str) -> Result<Self, SqlError> {
        Self::checked(url).map_err(SqlError::Url)
    }

    fn checked(url: &str) -> Result<Self, String> {
        let (parsed, is_built_in, feature) = match url.split_once(':') {
            Some(("postgres" | "postgresql", _)) => {
                check_form(url)?;
                postgres::check(url)?;
                (Self::Postgres(url.to_owned()), cfg!(feature = "postgres"), "postgres")
            }
            Some(("mysql" | "mariadb", rest)) => {
                let url = format!("mysql:{rest}");
                check_form(&url)?;
                mysql::check(&url)?;
                (Self::Mysql(url), cfg!(feature = "mysql"), "mysql")
            }
            Some(("sqlite", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                sqlite::check(path)?;
                (Self::Sqlite(path.replace("%3F", "?")), cfg!(feature = "sqlite"), "sqlite")
            }
            Some((scheme, _)) if !scheme.trim_start_matches("//").contains(['/', '=']) => {
                return Err(unknown_scheme(scheme));
            }
            _ if url.split_once('=').is_some_and(|(name, _)| !name.contains('?')) => {
                postgres::check(url).map_err(|problem| {
                    format!("{problem}; if this is the path of an SQLite file, write sqlite:PATH")
                })?;
                (Self::Postgres(url.to_owned()), cfg!(feature = "postgres"), "postgres")
            }
            _ if url.contains("://") => return Err(FORMS.to_owned()),
            _ => {
                sqlite::check(url)?;
                (Self::Sqlite(url.to_owned()), cfg!(feature = "sqlite"), "sqlite")
            }
        };
        if is_built_in {
            Ok(parsed)
        } else {
            Err(format!("this build does not support {feature}; build with the cargo feature `{feature}`"))
        }
    }

    /// The path, or the URL with its credentials.
    pub(crate) fn location(&self) -> &str {
        let (Self::Sqlite(location) | Self::Postgres(location) | Self::Mysql(location)) = self;
        location
    }
}

/// Explains why a text that begins with `scheme` and `:` is refused.
fn unknown_scheme(scheme: &str) -> String {
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    match scheme {
        "file" => "`file:` URIs are not supported; give the path, such as `data.sqlite3` or sqlite:PATH".to_owned(),
        _ if is_scheme => format!("`{scheme}:` is not a supported scheme; {FORMS}"),
        // It may contain a part of a password.
        _ => FORMS.to_owned(),
    }
}

fn after_scheme(url: &str) -> Option<&str> {
    url.split_once(':')?.1.strip_prefix("//")
}

/// Fails unless every parser splits `url` into the same parts, so that none mistakes a piece of the password for
/// another part.
fn check_form(url: &str) -> Result<(), String> {
    let rest = after_scheme(url).ok_or(MALFORMED)?;
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
    let is_well_formed = !credentials.contains('@')
        && !rest[authority.len()..].contains('@')
        && !user.contains(['[', ']'])
        && hosts.split(',').all(is_host)
        && escapes.all(|hex| hex.is_some_and(is_escape))
        && !rest.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#');
    if is_well_formed { Ok(()) } else { Err(MALFORMED.to_owned()) }
}

impl fmt::Display for DatabaseUrl {
    /// Writes the location without credentials and parameters.
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let (scheme, url) = match self {
            Self::Sqlite(path) => return write!(formatter, "sqlite:{path}"),
            Self::Postgres(text) if !postgres::is_url(text) => {
                return write!(formatter, "postgres:{}", postgres::location(text));
            }
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

#[cfg(test)]
mod tests;
