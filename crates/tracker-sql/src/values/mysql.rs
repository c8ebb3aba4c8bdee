//! Values on MariaDB and MySQL.

use std::borrow::Cow;
use std::io::Write as _;

use chrono::NaiveDateTime;
use diesel::mysql::{Mysql, MysqlValue};
use diesel::sql_types::{BigInt, Datetime};

use super::*;

impl ToSql<SqlUuid, Mysql> for Id {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Mysql>) -> serialize::Result {
        write!(out, "{}", self.0.as_hyphenated())?;
        Ok(IsNull::No)
    }
}

impl FromColumn<SqlUuid, Mysql> for Id {
    fn from_column(value: MysqlValue<'_>) -> Option<Self> {
        Uuid::try_parse_ascii(value.as_bytes()).ok().map(Self)
    }
}

impl ToSql<SqlTime, Mysql> for Time {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Mysql>) -> serialize::Result {
        ToSql::<Datetime, Mysql>::to_sql(&self.0.naive_utc(), &mut out.reborrow())
    }
}

impl FromColumn<SqlTime, Mysql> for Time {
    fn from_column(value: MysqlValue<'_>) -> Option<Self> {
        // Fails for a date with a zero month or day.
        let time = <NaiveDateTime as FromSql<Datetime, Mysql>>::from_sql(value).ok()?;
        Self::in_range(time.and_utc())
    }
}

impl<T: for<'a> From<&'a str>> FromColumn<sql_types::Text, Mysql> for T {
    fn from_column(value: MysqlValue<'_>) -> Option<Self> {
        Some(String::from_utf8_lossy(value.as_bytes()).as_ref().into())
    }
}

impl FromColumn<sql_types::Text, Mysql> for Name {
    fn from_column(value: MysqlValue<'_>) -> Option<Self> {
        let text = String::from_utf8_lossy(value.as_bytes());
        Some(Self { text: text.as_ref().into(), is_exact: matches!(text, Cow::Borrowed(_)) })
    }
}

impl FromColumn<SqlSeconds, Mysql> for Seconds {
    fn from_column(value: MysqlValue<'_>) -> Option<Self> {
        <i64 as FromSql<BigInt, Mysql>>::from_sql(value).ok().map(Self)
    }
}

impl ToSql<SqlSeconds, Mysql> for Seconds {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Mysql>) -> serialize::Result {
        ToSql::<BigInt, Mysql>::to_sql(&self.0, &mut out.reborrow())
    }
}
