//! Values on PostgreSQL.

use std::borrow::Cow;

use diesel::pg::{Pg, PgValue};
use diesel::sql_types::{Integer, Timestamptz};

use super::*;

impl ToSql<SqlUuid, Pg> for Id {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        std::io::Write::write_all(out, self.0.as_bytes())?;
        Ok(IsNull::No)
    }
}

impl FromColumn<SqlUuid, Pg> for Id {
    fn from_column(value: PgValue<'_>) -> Option<Self> {
        Uuid::from_slice(value.as_bytes()).ok().map(Self)
    }
}

impl ToSql<SqlTime, Pg> for Time {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        ToSql::<Timestamptz, Pg>::to_sql(&self.0, &mut out.reborrow())
    }
}

impl FromColumn<SqlTime, Pg> for Time {
    fn from_column(value: PgValue<'_>) -> Option<Self> {
        <DateTime<Utc> as FromSql<Timestamptz, Pg>>::from_sql(value).ok().and_then(Self::in_range)
    }
}

/// In a database with the encoding `SQL_ASCII`, text can have any bytes.
impl<T: for<'a> From<&'a str>> FromColumn<sql_types::Text, Pg> for T {
    fn from_column(value: PgValue<'_>) -> Option<Self> {
        Some(String::from_utf8_lossy(value.as_bytes()).as_ref().into())
    }
}

impl FromColumn<sql_types::Text, Pg> for Name {
    fn from_column(value: PgValue<'_>) -> Option<Self> {
        let text = String::from_utf8_lossy(value.as_bytes());
        Some(Self { text: text.as_ref().into(), is_exact: matches!(text, Cow::Borrowed(_)) })
    }
}

impl FromColumn<SqlSeconds, Pg> for Seconds {
    fn from_column(value: PgValue<'_>) -> Option<Self> {
        let bytes = value.as_bytes();
        // An operator may have widened the column.
        let wide = bytes.try_into().map(i64::from_be_bytes);
        wide.or_else(|_| bytes.try_into().map(|narrow| i32::from_be_bytes(narrow).into())).ok().map(Self)
    }
}

impl ToSql<SqlSeconds, Pg> for Seconds {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        ToSql::<Integer, Pg>::to_sql(&i32::try_from(self.0)?, &mut out.reborrow())
    }
}
