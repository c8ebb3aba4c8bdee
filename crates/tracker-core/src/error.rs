//! Why a report was not recorded, or a query not answered.

use std::fmt;

use serde::Serialize;
use thiserror::Error;

use crate::rejection::RejectReason;

/// Why a report was not recorded, or a query not answered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrackerError {
    /// The record has another value for a reported field, or none.
    #[error("`{field}` is recorded with another value, or without one")]
    Conflict {
        /// The first field that differs.
        field: &'static str,
    },
    /// There is no such record.
    #[error("no such record")]
    Unknown,
    /// The store never accepts this report, however often it is sent.
    #[error("{reason}")]
    Rejected {
        /// The reason.
        reason: RejectReason,
        /// The field at fault, if it is known.
        field: Option<&'static str>,
    },
    /// The store does not keep log messages, so there are none to read.
    #[error("log messages are not kept")]
    LogsNotKept,
    /// Neither the store nor an output takes log messages.
    #[error("neither an output nor the database takes log messages")]
    NoLogDestination,
    /// Not possible now. The same call may succeed later.
    #[error("{0}")]
    Unavailable(UnavailableReason),
}

/// Why a report cannot be made durable, or a query not answered, at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UnavailableReason {
    /// Too many reports wait already. Nothing was done.
    Busy,
    /// Neither the store nor an output answered in time. The change may still be made.
    TimedOut,
    /// The store failed. Nothing was done.
    Store,
    /// The answer of the store was lost. The change may have been made, or may still be made.
    InDoubt,
    /// The outbox of an output is at its limit. Nothing was done.
    OutboxFull,
    /// The tracker has been shut down. Nothing was done.
    Closed,
}

impl fmt::Display for UnavailableReason {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Self::Busy => "too many reports wait for the database",
            Self::TimedOut => "the report was not confirmed in time, and may or may not be recorded",
            Self::Store => "the database is not available",
            Self::InDoubt => "the database did not confirm the report, which may or may not be recorded",
            Self::OutboxFull => "too many messages wait for an output that is unavailable",
            Self::Closed => "the service is shutting down",
        })
    }
}

impl From<UnavailableReason> for TrackerError {
    fn from(reason: UnavailableReason) -> Self {
        Self::Unavailable(reason)
    }
}
