//! The stores of this server: the scheme of `database.url` chooses one.

use std::error::Error;
use std::sync::Arc;

use tracker_config::{ConfiguredStore, StoreOptions};
use tracker_core::Store;
use tracker_server::REDACTED;
use tracker_sql::{DatabaseUrl, SqlStore, SqlStoreOptions};

use crate::config::ConfigError;
use crate::config::secrets::Secrets;
use crate::sections::Origin;

type Failure = Box<dyn Error + Send + Sync>;
type Open = fn(&str, &StoreOptions) -> Result<Arc<dyn Store>, Failure>;

/// A store that a URL can choose.
#[derive(Debug, Clone)]
struct Kind {
    schemes: &'static [&'static str],
    origin: Origin,
    /// Checks a URL, and returns its location without secrets.
    location: fn(&str) -> Result<String, Failure>,
    open: Open,
}

/// The stores of a server.
#[derive(Debug)]
pub struct Stores(Vec<Kind>);

/// A store that a URL has chosen.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// The place of the records, for the log.
    pub location: String,
    url: String,
    open: Open,
}

impl Chosen {
    /// Opens the store. May block.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn open(&self, options: &StoreOptions) -> Result<Arc<dyn Store>, Failure> {
        (self.open)(&self.url, options)
    }
}

/// A database of `tracker-sql`, with the name of its cargo feature.
macro_rules! database {
    ($feature:literal, $schemes:expr) => {
        Kind {
            schemes: &$schemes,
            origin: if cfg!(feature = $feature) { Origin::BuiltIn } else { Origin::NotBuiltIn },
            // Names the feature if it is not built in.
            location: |url| Ok(DatabaseUrl::parse(url)?.to_string()),
            open: open_database,
        }
    };
}

fn open_database(url: &str, options: &StoreOptions) -> Result<Arc<dyn Store>, Failure> {
    let options = SqlStoreOptions::default()
        .instance(options.instance.as_str())
        .max_waiting_queries(options.max_waiting_queries)
        .lock_wait(options.lock_wait);
    Ok(Arc::new(SqlStore::open(DatabaseUrl::parse(url)?, options)?))
}

impl Stores {
    /// The built-in stores.
    pub fn built_in() -> Self {
        // The first one also takes a text without a scheme: a path is SQLite's, and a connection string PostgreSQL's.
        Self(vec![
            database!("sqlite", ["sqlite"]),
            database!("postgres", ["postgres", "postgresql"]),
            database!("mysql", ["mysql", "mariadb"]),
        ])
    }

    /// Adds a store of the program.
    ///
    /// # Panics
    /// If one of its schemes is invalid or belongs to another store.
    pub fn add<S: ConfiguredStore>(&mut self) {
        self.push(Kind {
            schemes: S::SCHEMES,
            origin: Origin::Own,
            location: S::location,
            open: |url, options| Ok(Arc::new(S::open(url, options)?)),
        });
    }

    fn push(&mut self, kind: Kind) {
        assert!(!kind.schemes.is_empty(), "a store needs a scheme");
        for (index, scheme) in kind.schemes.iter().enumerate() {
            assert!(
                is_scheme(scheme) && scheme.to_lowercase() == *scheme,
                "the scheme `{scheme}` must be lower-case letters, digits, `+`, `-` and `.`, and begin with a letter"
            );
            let mut others = self.0.iter().flat_map(|kind| kind.schemes).chain(&kind.schemes[..index]);
            assert!(!others.any(|other| other == scheme), "the scheme `{scheme}` belongs to another store");
        }
        self.0.push(kind);
    }

    fn schemes(&self, is_listed: impl Fn(Origin) -> bool) -> Vec<&'static str> {
        self.0.iter().filter(|kind| is_listed(kind.origin)).flat_map(|kind| kind.schemes).copied().collect()
    }

    /// The schemes of the stores that the program added.
    pub fn own_schemes(&self) -> Vec<&'static str> {
        self.schemes(|origin| origin == Origin::Own)
    }

    /// `url` without user information, which may be a token. `None` if it has none, or if no store of the program takes
    /// it.
    pub fn without_user_information(&self, url: &str) -> Option<String> {
        let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| self.own_schemes().contains(scheme))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (_, host) = rest[..end].rsplit_once('@')?;
        Some(format!("{scheme}://{REDACTED}@{host}{}", &rest[end..]))
    }

    /// The store of `url`. `secrets` are those of the configuration.
    ///
    /// # Errors
    /// [`ConfigError`] if no store of this build takes the URL.
    pub fn choose(&self, url: &str, secrets: &Secrets) -> Result<Chosen, ConfigError> {
        let scheme = url.split_once(':').map(|(scheme, _)| scheme);
        let named = scheme.and_then(|scheme| self.0.iter().find(|kind| kind.schemes.contains(&scheme)));
        let kind = named.unwrap_or(&self.0[0]);
        let location = (kind.location)(url).map_err(|problem| {
            let mut problem = problem.to_string();
            if kind.origin == Origin::Own {
                problem = secrets.hide(&problem);
            }
            if named.is_none() && scheme.is_some_and(is_scheme) {
                let schemes = self.schemes(|origin| origin != Origin::NotBuiltIn);
                problem = format!("{problem}; the schemes of this build are {}", schemes.join(", "));
            }
            ConfigError::new("database.url", problem)
        })?;
        let location = if kind.origin == Origin::Own { secrets.hide(&location) } else { location };
        Ok(Chosen { location, url: url.to_owned(), open: kind.open })
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

#[cfg(all(test, feature = "sqlite", feature = "postgres"))]
mod tests;
