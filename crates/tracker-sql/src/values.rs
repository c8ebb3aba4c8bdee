//! How each database represents values.
//!
//! Another program may have stored a value that does not fit its column, in particular on SQLite, which stores any value
//! in any column. [`Stored`] therefore reads every value without an error, and copies it before the driver frees it.

use chrono::{DateTime, Datelike, Utc};
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{self, Nullable};
use tracker_core::{Hostname, Text};
use uuid::Uuid;

use crate::schema::{SqlSeconds, SqlTime, SqlUuid};

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

/// A value in a column: `None` if it is NULL or does not fit.
#[derive(Debug, Clone, FromSqlRow)]
pub struct Stored<T>(pub Option<T>);

/// A value that can be read from a column of the SQL type `ST`.
pub trait FromColumn<ST, DB: Backend>: Sized {
    /// Converts a value. `None` if it does not fit.
    fn from_column(value: DB::RawValue<'_>) -> Option<Self>;
}

impl<T: FromColumn<ST, DB>, ST, DB: Backend> FromColumn<Nullable<ST>, DB> for T {
    fn from_column(value: DB::RawValue<'_>) -> Option<Self> {
        <T as FromColumn<ST, DB>>::from_column(value)
    }
}

impl<T: FromColumn<ST, DB>, ST, DB: Backend> FromSql<ST, DB> for Stored<T> {
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(T::from_column(value)))
    }

    fn from_nullable_sql(value: Option<DB::RawValue<'_>>) -> deserialize::Result<Self> {
        Ok(Self(value.and_then(T::from_column)))
    }
}

/// The name of a record. Bytes that are not UTF-8 are replaced.
#[derive(Debug, Clone)]
pub struct Name {
    pub text: Text,
    /// Whether the text equals the stored value, so that a statement can find the row by it.
    pub is_exact: bool,
}

impl Name {
    /// The hostname in a list. `None` if a request cannot name it, neither as a server nor as a cursor.
    pub fn listed(self) -> Option<Hostname> {
        // The Node.js service recorded empty names. They come last, where no cursor is necessary.
        let can_be_named = self.is_exact && (self.text.is_empty() || Hostname::new(self.text.clone()).is_ok());
        can_be_named.then(|| Hostname::stored(self.text))
    }
}

/// An id in a column. A text column gets it in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = SqlUuid)]
pub struct Id(pub Uuid);

impl<DB: Backend> FromSql<SqlUuid, DB> for Id
where
    Self: FromColumn<SqlUuid, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Self::from_column(value).ok_or_else(|| "a stored id is not a UUID".into())
    }
}

/// A time in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsExpression)]
#[diesel(sql_type = SqlTime)]
pub struct Time(pub DateTime<Utc>);

impl Time {
    /// `None` for a year that RFC 3339 cannot express.
    fn in_range(time: DateTime<Utc>) -> Option<Self> {
        (0..=9_999).contains(&time.year()).then_some(Self(time))
    }
}

/// A duration in whole seconds in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsExpression)]
#[diesel(sql_type = SqlSeconds)]
pub struct Seconds(pub i64);
