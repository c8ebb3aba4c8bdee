//! Errors of a database, classified by what the caller can do.

use diesel::ConnectionError;
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use thiserror::Error;
use tracker_core::StoreError;

use crate::database_file::FileError;

/// Why a store cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SqlError {
    /// The URL is malformed, or names a database that this build does not support. The message says how to
    /// correct it.
    #[error("{0}")]
    Url(String),
    /// The file cannot be opened or created, or is not a database.
    #[error(transparent)]
    Open(Box<dyn std::error::Error + Send + Sync>),
}

impl From<FileError> for SqlError {
    fn from(error: FileError) -> Self {
        Self::Open(Box::new(error))
    }
}

impl From<DbError> for SqlError {
    fn from(error: DbError) -> Self {
        Self::Open(Box::new(error))
    }
}

/// Why an operation on a connection failed.
#[derive(Debug, Error)]
pub enum DbError {
    #[error("cannot connect to the database")]
    Connect(#[source] ConnectionError),
    /// SQLite would write to a file that no longer has a name.
    #[error(transparent)]
    File(#[from] FileError),
    /// The circuit breaker is open, for this reason.
    #[error("{0}")]
    Down(String),
    #[error("cannot migrate the database")]
    Migrate(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("a statement failed")]
    Query(#[source] QueryError),
    #[error("a row does not contain valid JSON")]
    Content(#[source] serde_json::Error),
    #[error("a row of {size} bytes exceeds the database server's `max_allowed_packet` of {limit} bytes; increase it")]
    TooLarge { size: usize, limit: usize },
    /// COMMIT failed, or its answer was lost: the commit is in doubt.
    #[error("a commit failed")]
    Commit(#[source] QueryError),
    /// The text fits once the columns have been widened.
    #[error(
        "columns are still as narrow as the Node.js service created them; retry after the service has widened them"
    )]
    Narrow,
    /// The operation panicked, so its result is in doubt.
    #[error("a database thread panicked during a statement")]
    Abandoned,
    #[error("other instances keep changing the same records")]
    Race,
    /// Load shedding: a queue is full, or a deadline has passed.
    #[error("{0}")]
    Overload(&'static str),
}

impl From<QueryError> for DbError {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

impl DbError {
    /// Whether the same transaction may succeed if it is retried at once.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub fn is_race(&self) -> bool {
        match self {
            Self::Race => true,
            Self::Query(QueryError::DatabaseError(DatabaseErrorKind::SerializationFailure, _)) => true,
            // diesel has a kind for a deadlock on MySQL, but not on PostgreSQL.
            Self::Query(QueryError::DatabaseError(_, about)) => about.message().starts_with("deadlock detected"),
            _ => false,
        }
    }

    /// Whether the connection may be broken.
    pub fn breaks_connection(&self) -> bool {
        // While a connection is open, a file without a name is not lost.
        let is_harmless = matches!(self, Self::Content(_) | Self::TooLarge { .. } | Self::Race | Self::File(_));
        !is_harmless && !matches!(self, Self::Query(QueryError::NotFound))
    }

    /// Whether the operation had no effect, so that a retry is safe.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Commit(_))
    }

    /// Turns an error of a transaction into [`Self::Commit`] if all statements before COMMIT had succeeded.
    pub fn of_transaction(self, is_decided: bool) -> Self {
        match self {
            Self::Query(error) if is_decided => Self::Commit(error),
            error => error,
        }
    }
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        use DatabaseErrorKind::{CheckViolation, NotNullViolation, UniqueViolation};
        if matches!(error, DbError::Commit(_) | DbError::Abandoned) {
            return Self::Unknown(Box::new(error));
        }
        if matches!(error, DbError::Overload(_)) {
            return Self::Overloaded(Box::new(error));
        }
        if let DbError::Query(QueryError::DatabaseError(_, about)) = &error
            && about.message().starts_with("value too long")
        {
            return Self::NotYet(Box::new(DbError::Narrow));
        }
        let is_rejected = match &error {
            DbError::Content(_) | DbError::TooLarge { .. } | DbError::Query(QueryError::SerializationError(_)) => true,
            DbError::Query(QueryError::DatabaseError(kind, about)) => {
                matches!(kind, UniqueViolation | NotNullViolation | CheckViolation)
                    || [
                        "index row size",
                        "index row requires",
                        "invalid byte sequence",
                        "string or blob too big",
                        "Data too long for column",
                        "Incorrect string value",
                        "Out of range value for column",
                    ]
                    .iter()
                    .any(|text| about.message().contains(text))
            }
            _ => false,
        };
        if is_rejected { Self::Rejected(Box::new(error)) } else { Self::Unavailable(Box::new(error)) }
    }
}
