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

/// An id in either spelling.
#[cfg(feature = "sqlite")]
#[derive(Debug, Clone, Copy, AsExpression)]
#[diesel(sql_type = SqlUuid)]
pub enum Spelled {
    Small(Id),
    Capitals(Capitals),
}

/// A time in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = SqlTime)]
pub struct Time(pub DateTime<Utc>);

#[cfg(feature = "sqlite")]
mod sqlite {
    use chrono::{NaiveDate, NaiveDateTime};
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

    impl ToSql<SqlUuid, Sqlite> for Spelled {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
            match self {
                Self::Small(id) => ToSql::<SqlUuid, Sqlite>::to_sql(id, out),
                Self::Capitals(id) => ToSql::<SqlUuid, Sqlite>::to_sql(id, out),
            }
        }
    }

    impl FromSql<SqlUuid, Sqlite> for Id {
        fn from_sql(mut value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
            Ok(Self(Uuid::try_parse(value.read_text())?))
        }
    }

    impl ToSql<SqlTime, Sqlite> for Time {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
            out.set_value(written(&self.0));
            Ok(IsNull::No)
        }
    }

    impl FromSql<SqlTime, Sqlite> for Time {
        fn from_sql(mut value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
            Ok(Self(read(value.read_text())?))
        }
    }

    fn written(time: &DateTime<Utc>) -> String {
        // RFC 3339 with other separators: writing it by a format costs five times as much.
        let mut text = time::rfc3339(time).into_string();
        text.replace_range(10..11, " ");
        text.replace_range(text.len() - 1.., " +00:00");
        text
    }

    fn read(text: &str) -> chrono::ParseResult<DateTime<Utc>> {
        if let Some(time) = as_written(text.as_bytes()) {
            return Ok(time);
        }
        DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f %:z")
            .or_else(|_| DateTime::parse_from_rfc3339(&text.replacen(" +", "+", 1)))
            .map(|time| time.to_utc())
            .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").map(|time| time.and_utc()))
    }

    /// The form that is written here, and was by the old service: a page of a list has hundreds, and reading them by a
    /// format costs ten times as much.
    fn as_written(text: &[u8]) -> Option<DateTime<Utc>> {
        let number = |from: usize, to: usize| {
            text[from..to]
                .iter()
                .try_fold(0, |number, &digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
        };
        let form = b"dddd-dd-dd dd:dd:dd.ddd +00:00";
        if text.len() != form.len() || !form.iter().zip(text).all(|(place, byte)| *place == b'd' || place == byte) {
            return None;
        }
        let year = number(0, 4)?.cast_signed();
        let time = NaiveDate::from_ymd_opt(year, number(5, 7)?, number(8, 10)?)?.and_hms_milli_opt(
            number(11, 13)?,
            number(14, 16)?,
            number(17, 19)?,
            number(20, 23)?,
        )?;
        Some(time.and_utc())
    }

    #[cfg(test)]
    mod properties {
        use chrono::{SubsecRound, TimeDelta};
        use proptest::prelude::*;

        use super::*;

        /// Everything there is in RFC 3339.
        const SECONDS: std::ops::Range<i64> = -62_167_219_200..253_402_300_800;
        const NINETY_MINUTES: TimeDelta = TimeDelta::minutes(90);

        proptest! {
            #[test]
            fn a_time_is_read_as_it_was_written_and_sorts_as_text(
                times in [(SECONDS, 0_u32..1_000_000_000), (SECONDS, 0_u32..1_000_000_000)],
            ) {
                let times = times.map(|(seconds, nanos)| DateTime::from_timestamp(seconds, nanos).expect("a time"));
                let texts = times.map(|time| written(&time));
                for (time, text) in times.iter().zip(&texts) {
                    prop_assert_eq!(read(text), Ok(time.trunc_subsecs(3)));
                    prop_assert_eq!(read(&text.replace("+00:00", "+01:30")), Ok(time.trunc_subsecs(3) - NINETY_MINUTES));
                    prop_assert_eq!(read(&text.replace(" +00:00", "")), Ok(time.trunc_subsecs(3)));
                }
                prop_assert_eq!(times[0].trunc_subsecs(3).cmp(&times[1].trunc_subsecs(3)), texts[0].cmp(&texts[1]));
            }

            #[test]
            fn a_time_in_a_file_is_read_or_refused(
                text in "[+-]?[0-9]{1,7}-[0-9]{1,2}-[0-9]{1,2}[ T][0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\\.[0-9]{0,12})?( ?[+-][0-9]{2}:[0-9]{2}|Z)?|.{0,40}",
            ) {
                if let Ok(time) = read(&text) {
                    // It can be answered, and be a place in a list.
                    prop_assert!(!time::rfc3339(&time).is_empty() && !written(&time).is_empty());
                }
            }
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
