//! Errors of a database, classified by what the caller can do.

use diesel::ConnectionError;
use diesel::result::Error as QueryError;
use thiserror::Error;
use tracker_core::{FieldClue, RejectReason, StoreError};

use class::{Class, classify};

mod class;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

pub use class::Errors;

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
    /// One change of a group, or the database, is at fault.
    #[error("a statement of a group failed")]
    Unexpected(#[source] QueryError),
    /// The database never accepts the report.
    #[error("the database rejects a statement")]
    Rejected {
        reason: RejectReason,
        clue: FieldClue,
        #[source]
        cause: QueryError,
    },
    /// The database is at fault.
    #[error("the database cannot execute a statement")]
    Away(#[source] QueryError),
    /// Another transaction was faster. The same transaction may succeed if it is retried at once.
    #[error("other transactions keep changing the same records")]
    Race(#[source] QueryError),
    #[error("a row does not contain valid JSON")]
    Content(#[source] serde_json::Error),
    #[error("a row of {size} bytes exceeds the database server's `max_allowed_packet` of {limit} bytes; increase it")]
    TooLarge { size: usize, limit: usize },
    /// COMMIT failed, or its answer was lost: the commit is in doubt.
    #[error("a commit failed")]
    Commit(#[source] QueryError),
    /// The text fits once the columns have been widened.
    #[error(
        "columns are still as narrow as the Node.js service created them, {limit} characters; \
         retry after the service has widened them"
    )]
    Narrow {
        limit: usize,
        #[source]
        cause: QueryError,
    },
    /// The operation panicked, so its result is in doubt.
    #[error("a database thread panicked during a statement")]
    Abandoned,
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
    /// Sorts an error of a statement by the table of errors of its database.
    pub fn classified(self, errors: &Errors) -> Self {
        let Self::Query(QueryError::DatabaseError(kind, about)) = self else { return self };
        let class = classify(errors, &kind, about.as_ref());
        let cause = QueryError::DatabaseError(kind, about);
        match class {
            Class::Report(reason, clue) => Self::Rejected { reason, clue, cause },
            Class::Database => Self::Away(cause),
            Class::Race => Self::Race(cause),
            Class::Narrow(limit) => Self::Narrow { limit, cause },
            Class::Unknown => Self::Query(cause),
        }
    }

    /// Whether the connection may be broken.
    pub fn breaks_connection(&self) -> bool {
        // While a connection is open, a file without a name is not lost.
        !matches!(
            self,
            Self::Content(_)
                | Self::TooLarge { .. }
                | Self::Unexpected(_)
                | Self::Rejected { .. }
                | Self::Race(_)
                | Self::Narrow { .. }
                | Self::File(_)
                | Self::Query(QueryError::NotFound)
        )
    }

    /// Whether the operation had no effect, so that a retry is safe.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Commit(_))
    }

    /// Turns an error of a transaction into [`Self::Commit`] if all statements before COMMIT had succeeded, unless the
    /// database says that it has rolled the transaction back.
    pub fn of_transaction(self, is_decided: bool) -> Self {
        match self {
            Self::Query(error) | Self::Away(error) if is_decided => Self::Commit(error),
            error => error,
        }
    }
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        let rejected = |reason, clue, error| Self::Rejected { reason, clue, source: Box::new(error) };
        match error {
            DbError::Commit(_) | DbError::Abandoned => Self::Unknown(Box::new(error)),
            DbError::Overload(_) => Self::Overloaded(Box::new(error)),
            DbError::Narrow { .. } => Self::NotYet(Box::new(error)),
            DbError::Rejected { reason, ref clue, .. } => rejected(reason, clue.clone(), error),
            DbError::TooLarge { .. } => rejected(RejectReason::TooLong, FieldClue::Nothing, error),
            DbError::Content(_) | DbError::Query(QueryError::SerializationError(_)) => {
                rejected(RejectReason::Invalid, FieldClue::Nothing, error)
            }
            DbError::Unexpected(_) | DbError::Query(QueryError::DatabaseError(..)) => Self::Unexpected(Box::new(error)),
            _ => Self::Unavailable(Box::new(error)),
        }
    }
}

#[cfg(test)]
mod tests;
