//! The tables, with column types that every database has. Times may be NULL, because another program may have created
//! the tables without a constraint.

use diesel::query_builder::QueryId;
use diesel::sql_types::{SqlOrd, SqlType};

use crate::fields::with_text_fields;

/// `UUID` on PostgreSQL. Elsewhere hyphenated text, which this service writes in lower case.
#[derive(SqlType, QueryId)]
#[cfg_attr(feature = "postgres", diesel(postgres_type(oid = 2950, array_oid = 2951)))]
#[cfg_attr(feature = "mysql", diesel(mysql_type(name = "String")))]
#[cfg_attr(feature = "sqlite", diesel(sqlite_type(name = "Text")))]
pub struct SqlUuid;

/// `TIMESTAMPTZ` on PostgreSQL, `DATETIME(3)` in UTC on MySQL. On SQLite, text such as
/// `2015-07-07 17:34:12.075 +00:00`, which sorts by time.
#[derive(SqlType, QueryId)]
#[cfg_attr(feature = "postgres", diesel(postgres_type(oid = 1184, array_oid = 1185)))]
#[cfg_attr(feature = "mysql", diesel(mysql_type(name = "DateTime")))]
#[cfg_attr(feature = "sqlite", diesel(sqlite_type(name = "Text")))]
pub struct SqlTime;

/// `INTEGER`. Read as 64 bits, because SQLite stores 64 bits in any integer column.
#[derive(SqlType, QueryId)]
#[cfg_attr(feature = "postgres", diesel(postgres_type(oid = 23, array_oid = 1007)))]
#[cfg_attr(feature = "mysql", diesel(mysql_type(name = "LongLong")))]
#[cfg_attr(feature = "sqlite", diesel(sqlite_type(name = "Long")))]
pub struct SqlSeconds;

impl SqlOrd for SqlUuid {}
impl SqlOrd for SqlTime {}

macro_rules! deployments_table {
    ($($text:ident)*) => {
        diesel::table! {
            use diesel::sql_types::*;
            use super::{SqlSeconds, SqlTime, SqlUuid};

            #[sql_name = "Deployments"]
            deployments (deployment_id) {
                deployment_id -> SqlUuid,
                $($text -> Nullable<Text>,)*
                result -> Nullable<Text>,
                elapsed_seconds -> Nullable<SqlSeconds>,
                #[sql_name = "createdAt"]
                created_at -> Nullable<SqlTime>,
                #[sql_name = "updatedAt"]
                updated_at -> Nullable<SqlTime>,
            }
        }
    };
}

with_text_fields!(deployments_table);

diesel::table! {
    use diesel::sql_types::*;
    use super::{SqlSeconds, SqlTime, SqlUuid};

    #[sql_name = "Servers"]
    servers (hostname, deployment_id) {
        hostname -> Text,
        deployment_id -> SqlUuid,
        ip_address -> Nullable<Text>,
        result -> Nullable<Text>,
        elapsed_seconds -> Nullable<SqlSeconds>,
        #[sql_name = "createdAt"]
        created_at -> Nullable<SqlTime>,
        #[sql_name = "updatedAt"]
        updated_at -> Nullable<SqlTime>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::{SqlTime, SqlUuid};

    #[sql_name = "Logs"]
    logs (deployment_id, event_id) {
        deployment_id -> Text,
        event_id -> SqlUuid,
        #[sql_name = "receivedAt"]
        received_at -> Nullable<SqlTime>,
        message -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::{SqlTime, SqlUuid};

    #[sql_name = "Outbox"]
    outbox (output, batch_id) {
        output -> Text,
        batch_id -> SqlUuid,
        owner -> Text,
        is_taken_over -> Bool,
        messages -> BigInt,
        bytes -> BigInt,
        #[sql_name = "createdAt"]
        created_at -> SqlTime,
        events -> Text,
    }
}
