//! What goes wrong with a database, sorted by what can be done.

use diesel::ConnectionError;
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use thiserror::Error;
use tracker_core::StoreError;

/// Why a database did not do what it was asked for.
#[derive(Debug, Error)]
pub enum Error {
    /// The URL is none that this build knows.
    #[error("{0}")]
    Url(String),
    /// It cannot be reached or opened.
    #[error("cannot connect to the database")]
    Connect(#[source] ConnectionError),
    /// It could not be reached or opened a moment ago, for this reason.
    #[error("{0}")]
    Down(String),
    /// Its tables cannot be made.
    #[error("cannot migrate the database")]
    Migrate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A statement failed.
    #[error("a statement failed")]
    Query(#[source] QueryError),
    /// A row holds what nobody here has written.
    #[error("a row does not hold JSON")]
    Content(#[source] serde_json::Error),
    /// A row is larger than what the server takes at once.
    #[error("a row of {size} bytes is too large for the server's `max_allowed_packet` of {limit}; make that larger")]
    TooLarge {
        /// The row's.
        size: usize,
        /// The server's.
        limit: usize,
    },
    /// The answer to a commit was lost, or is that it failed: it may have been done.
    #[error("a commit failed")]
    Commit(#[source] QueryError),
    /// A text fits into the columns that will be, and not into those of the service before this one.
    #[error(
        "columns are still as narrow as the service before this one made them; they become wider once this one may alter the tables"
    )]
    Narrow,
    /// A thread has ended in the middle of it.
    #[error("a thread of the database ended in the middle of a statement")]
    Abandoned,
    /// Another replica has changed the same record in between.
    #[error("other replicas change the same records over and over")]
    Race,
    /// Too many statements wait, or one has waited too long.
    #[error("{0}")]
    Overload(&'static str),
}

impl From<QueryError> for Error {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

impl Error {
    /// Whether the same transaction, begun anew, may go through at once.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(crate) fn is_race(&self) -> bool {
        match self {
            Self::Race => true,
            Self::Query(QueryError::DatabaseError(DatabaseErrorKind::SerializationFailure, _)) => true,
            // diesel has no kind for a deadlock.
            Self::Query(QueryError::DatabaseError(_, about)) => about.message().starts_with("deadlock detected"),
            _ => false,
        }
    }

    /// Whether the connection may be the reason.
    pub(crate) fn breaks_connection(&self) -> bool {
        !matches!(self, Self::Content(_) | Self::TooLarge { .. } | Self::Race | Self::Query(QueryError::NotFound))
    }

    /// Whether nothing was done, so that it may be tried again.
    pub(crate) fn is_retryable(&self) -> bool {
        !matches!(self, Self::Commit(_))
    }

    /// The error of a transaction whose statements had all gone through if `is_decided`: then it comes from the commit.
    pub(crate) fn of_transaction(self, is_decided: bool) -> Self {
        match self {
            Self::Query(error) if is_decided => Self::Commit(error),
            error => error,
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        use DatabaseErrorKind::{CheckViolation, NotNullViolation, UniqueViolation};
        if matches!(error, Error::Commit(_) | Error::Abandoned) {
            return Self::Unknown(Box::new(error));
        }
        if let Error::Query(QueryError::DatabaseError(_, about)) = &error
            && about.message().starts_with("value too long")
        {
            return Self::NotYet(Box::new(Error::Narrow));
        }
        let rejects = match &error {
            Error::Content(_) | Error::TooLarge { .. } | Error::Query(QueryError::SerializationError(_)) => true,
            Error::Query(QueryError::DatabaseError(kind, about)) => {
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
        if rejects { Self::Rejected(Box::new(error)) } else { Self::Unavailable(Box::new(error)) }
    }
}
