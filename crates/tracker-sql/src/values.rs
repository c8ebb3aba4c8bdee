//! How ids and times are written in each database.

use chrono::{DateTime, Utc};
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, IsNull, Output, ToSql};
use uuid::Uuid;

use crate::schema::{SqlTime, SqlUuid};

/// An id in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = SqlUuid)]
pub struct Id(pub Uuid);

/// An id as the old service has some: in capitals, as the engine wrote it.
#[cfg(feature = "sqlite")]
#[derive(Debug, Clone, Copy, AsExpression)]
#[diesel(sql_type = SqlUuid)]
pub struct Capitals(pub Uuid);

/// A time in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = SqlTime)]
pub struct Time(pub DateTime<Utc>);

#[cfg(feature = "sqlite")]
mod sqlite {
    use chrono::NaiveDateTime;
    use diesel::sqlite::{Sqlite, SqliteValue};
    use tracker_core::time;

    use super::*;

    impl ToSql<SqlUuid, Sqlite> for Id {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
            out.set_value(self.0.as_hyphenated().to_string());
            Ok(IsNull::No)
        }
    }

    impl ToSql<SqlUuid, Sqlite> for Capitals {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
            out.set_value(format!("{:X}", self.0.as_hyphenated()));
            Ok(IsNull::No)
        }
    }

    impl FromSql<SqlUuid, Sqlite> for Id {
        fn from_sql(mut value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
            Ok(Self(Uuid::try_parse(value.read_text())?))
        }
    }

    impl ToSql<SqlTime, Sqlite> for Time {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
            // RFC 3339 with other separators: writing it by a format costs five times as much.
            let mut text = time::rfc3339(&self.0);
            text.replace_range(10..11, " ");
            text.replace_range(text.len() - 1.., " +00:00");
            out.set_value(text);
            Ok(IsNull::No)
        }
    }

    impl FromSql<SqlTime, Sqlite> for Time {
        fn from_sql(mut value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
            let text = value.read_text();
            // Without its last space it is RFC 3339, which is read several times as fast as a format of one's own.
            let time = DateTime::parse_from_rfc3339(&text.replacen(" +", "+", 1))
                .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f %:z"))
                .map(|time| time.to_utc())
                .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").map(|time| time.and_utc()))?;
            Ok(Self(time))
        }
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use diesel::pg::{Pg, PgValue};
    use diesel::sql_types::Timestamptz;

    use super::*;

    impl ToSql<SqlUuid, Pg> for Id {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
            std::io::Write::write_all(out, self.0.as_bytes())?;
            Ok(IsNull::No)
        }
    }

    impl FromSql<SqlUuid, Pg> for Id {
        fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
            Ok(Self(Uuid::from_slice(value.as_bytes())?))
        }
    }

    impl ToSql<SqlTime, Pg> for Time {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
            ToSql::<Timestamptz, Pg>::to_sql(&self.0, &mut out.reborrow())
        }
    }

    impl FromSql<SqlTime, Pg> for Time {
        fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
            <DateTime<Utc> as FromSql<Timestamptz, Pg>>::from_sql(value).map(Self)
        }
    }
}

#[cfg(feature = "mysql")]
mod mysql {
    use std::io::Write as _;

    use chrono::NaiveDateTime;
    use diesel::mysql::{Mysql, MysqlValue};
    use diesel::sql_types::Datetime;

    use super::*;

    impl ToSql<SqlUuid, Mysql> for Id {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Mysql>) -> serialize::Result {
            write!(out, "{}", self.0.as_hyphenated())?;
            Ok(IsNull::No)
        }
    }

    impl FromSql<SqlUuid, Mysql> for Id {
        fn from_sql(value: MysqlValue<'_>) -> deserialize::Result<Self> {
            Ok(Self(Uuid::try_parse_ascii(value.as_bytes())?))
        }
    }

    impl ToSql<SqlTime, Mysql> for Time {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Mysql>) -> serialize::Result {
            ToSql::<Datetime, Mysql>::to_sql(&self.0.naive_utc(), &mut out.reborrow())
        }
    }

    impl FromSql<SqlTime, Mysql> for Time {
        fn from_sql(value: MysqlValue<'_>) -> deserialize::Result<Self> {
            <NaiveDateTime as FromSql<Datetime, Mysql>>::from_sql(value).map(|time| Self(time.and_utc()))
        }
    }
}
