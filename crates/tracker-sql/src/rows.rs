//! Rows, and their conversion from and to the types of the core.
//!
//! A row that is read and a row that is written have separate types: a table may already contain values that this
//! service never writes. Conversions name every field (no `..`), so that the compiler reports a forgotten one.

use std::borrow::Cow;
use std::fmt::Display;
#[cfg(any(feature = "postgres", feature = "mysql"))]
use std::fmt::Write as _;

use chrono::DateTime;
use diesel::prelude::*;
use serde_json::value::RawValue;
use tracker_core::time::Timestamp;
use tracker_core::{
    Changed, Deployment, DeploymentFields, DeploymentId, DeploymentResult, Hostname, LogBatch, LogMessage, OutboxEntry,
    Server, ServerFields, Text, time,
};
use uuid::Uuid;

use crate::fields::with_text_fields;
use crate::schema::{deployments, logs, outbox, servers};
use crate::unreadable;
use crate::values::{Id, Name, Seconds, Stored, Time};

#[cfg(any(feature = "postgres", feature = "mysql"))]
mod size;

#[cfg(any(feature = "postgres", feature = "mysql"))]
pub use size::Size;

macro_rules! deployment_row {
    ($($text:ident)*) => {
        /// A deployment to read.
        #[derive(Debug, Queryable)]
        pub struct DeploymentRow {
            deployment_id: Stored<Id>,
            $($text: Stored<Text>,)*
            result: Stored<Text>,
            elapsed_seconds: Stored<Seconds>,
            created_at: Stored<Time>,
            updated_at: Stored<Time>,
        }

        impl DeploymentRow {
            /// The record, without values that do not fit. `None` if the row has no valid id.
            pub fn record(self) -> Option<Deployment> {
                let Self { deployment_id, $($text,)* result, elapsed_seconds, created_at, updated_at } = self;
                let Some(Id(id)) = deployment_id.0 else {
                    unreadable::log_once("Deployments", None, "deployment_id");
                    return None;
                };
                let fields = DeploymentFields {
                    $($text: $text.0,)*
                    result: result_of(result),
                    elapsed_seconds: elapsed_seconds.0.map(|seconds| seconds.0),
                };
                let [created_at, updated_at] = times("Deployments", &id, created_at, updated_at);
                Some(Deployment { id: DeploymentId(id), fields, created_at, updated_at })
            }

            /// The record in a list. `None` if the row cannot be read, or has no place in the order of the list.
            pub fn listed(self) -> Option<Deployment> {
                self.record().filter(|deployment| deployment.created_at.is_some())
            }
        }

        /// A deployment to write.
        #[derive(Debug, Insertable)]
        #[diesel(table_name = deployments, treat_none_as_default_value = false)]
        pub struct NewDeployment<'a> {
            deployment_id: Id,
            $($text: Option<&'a str>,)*
            result: Option<&'static str>,
            elapsed_seconds: Option<Seconds>,
            created_at: Option<Time>,
            updated_at: Option<Time>,
        }

        impl<'a> NewDeployment<'a> {
            fn new(
                id: DeploymentId,
                fields: &'a DeploymentFields,
                created_at: Option<Timestamp>,
                updated_at: Option<Timestamp>,
            ) -> Self {
                let DeploymentFields { $($text,)* result, elapsed_seconds } = fields;
                Self {
                    deployment_id: Id(id.0),
                    $($text: $text.as_deref(),)*
                    result: result.map(DeploymentResult::as_str),
                    elapsed_seconds: elapsed_seconds.map(Seconds),
                    created_at: created_at.map(Time),
                    updated_at: updated_at.map(Time),
                }
            }
        }

        /// The columns of a deployment to change: those that are not `None`.
        #[cfg(feature = "sqlite")]
        #[derive(Debug, AsChangeset)]
        #[diesel(table_name = deployments)]
        pub struct DeploymentChanges<'a> {
            $($text: Option<&'a str>,)*
            result: Option<&'static str>,
            elapsed_seconds: Option<Seconds>,
            updated_at: Option<Time>,
        }

        #[cfg(feature = "sqlite")]
        impl<'a> From<&'a Changed<Deployment, DeploymentFields>> for DeploymentChanges<'a> {
            fn from(Changed { record, fields }: &'a Changed<Deployment, DeploymentFields>) -> Self {
                let DeploymentFields { $($text,)* result, elapsed_seconds } = fields;
                Self {
                    $($text: $text.as_deref(),)*
                    result: result.map(DeploymentResult::as_str),
                    elapsed_seconds: elapsed_seconds.map(Seconds),
                    updated_at: record.updated_at.map(Time),
                }
            }
        }
    };
}

with_text_fields!(deployment_row);

impl<'a> From<&'a Deployment> for NewDeployment<'a> {
    fn from(Deployment { id, fields, created_at, updated_at }: &'a Deployment) -> Self {
        Self::new(*id, fields, *created_at, *updated_at)
    }
}

/// The row of an upsert that changes an existing deployment. It has all columns, although the upsert writes only those
/// that change: the database server checks constraints and runs triggers before it finds the existing row.
#[cfg(any(feature = "postgres", feature = "mysql"))]
impl<'a> From<&'a Changed<Deployment, DeploymentFields>> for NewDeployment<'a> {
    fn from(Changed { record, fields }: &'a Changed<Deployment, DeploymentFields>) -> Self {
        let Deployment { id, fields: all, created_at, updated_at } = record;
        Self {
            // A stored number may be larger than those that this service writes.
            elapsed_seconds: fields.elapsed_seconds.map(Seconds),
            ..Self::new(*id, all, created_at.or(*updated_at), *updated_at)
        }
    }
}

fn result_of(text: Stored<Text>) -> Option<DeploymentResult> {
    text.0.and_then(|text| DeploymentResult::parse(&text))
}

/// The times of the row `id`.
fn times(
    table: &'static str,
    id: &dyn Display,
    created_at: Stored<Time>,
    updated_at: Stored<Time>,
) -> [Option<Timestamp>; 2] {
    for (column, time) in [("createdAt", &created_at), ("updatedAt", &updated_at)] {
        if time.0.is_none() {
            unreadable::log_once(table, Some(id), column);
        }
    }
    [created_at, updated_at].map(|time| time.0.map(|time| time.0))
}

/// A server to read.
#[derive(Debug, Queryable, QueryableByName)]
#[diesel(table_name = servers)]
pub struct ServerRow {
    hostname: Stored<Name>,
    deployment_id: Stored<Id>,
    ip_address: Stored<Text>,
    result: Stored<Text>,
    elapsed_seconds: Stored<Seconds>,
    created_at: Stored<Time>,
    updated_at: Stored<Time>,
}

impl ServerRow {
    /// The record, without values that do not fit. `None` if the row has no valid key.
    pub fn record(self) -> Option<Server> {
        let Self { hostname, deployment_id, ip_address, result, elapsed_seconds, created_at, updated_at } = self;
        let (Some(Id(id)), Some(Name { text: hostname, is_exact: _ })) = (deployment_id.0, hostname.0) else {
            unreadable::log_once("Servers", None, "deployment_id");
            return None;
        };
        let [created_at, updated_at] = times("Servers", &id, created_at, updated_at);
        Some(Server {
            hostname: Hostname::stored(hostname),
            deployment_id: DeploymentId(id),
            fields: ServerFields {
                ip_address: ip_address.0,
                result: result_of(result),
                elapsed_seconds: elapsed_seconds.0.map(|seconds| seconds.0),
            },
            created_at,
            updated_at,
        })
    }

    /// The record in a list. `None` if the row cannot be read, or has no place in the order of the list.
    pub fn listed(self) -> Option<Server> {
        self.record().filter(|server| server.created_at.is_some())
    }

    /// The record for a decision. `None` if a statement cannot find the row by the key of the record.
    pub fn changeable(self) -> Option<Server> {
        let is_exact = self.hostname.0.as_ref().is_some_and(|name| name.is_exact);
        is_exact.then(|| self.record()).flatten()
    }
}

/// A server to write.
#[derive(Debug, Insertable)]
#[diesel(table_name = servers, treat_none_as_default_value = false)]
pub struct NewServer<'a> {
    hostname: Cow<'a, str>,
    deployment_id: Id,
    ip_address: Option<&'a str>,
    result: Option<&'static str>,
    elapsed_seconds: Option<Seconds>,
    created_at: Option<Time>,
    updated_at: Option<Time>,
}

impl<'a> NewServer<'a> {
    fn new(record: &'a Server, created_at: Option<Timestamp>) -> Self {
        let Server { hostname, deployment_id, fields, created_at: _, updated_at } = record;
        let ServerFields { ip_address, result, elapsed_seconds } = fields;
        Self {
            hostname: hostname.as_str().into(),
            deployment_id: Id(deployment_id.0),
            ip_address: ip_address.as_deref(),
            result: result.map(DeploymentResult::as_str),
            elapsed_seconds: elapsed_seconds.map(Seconds),
            created_at: created_at.map(Time),
            updated_at: updated_at.map(Time),
        }
    }
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
impl<'a> NewServer<'a> {
    /// With the text in which the database stores the hostname.
    pub fn stored_as(self, hostname: Cow<'a, str>) -> Self {
        Self { hostname, ..self }
    }
}

impl<'a> From<&'a Server> for NewServer<'a> {
    fn from(server: &'a Server) -> Self {
        Self::new(server, server.created_at)
    }
}

/// As for a deployment.
#[cfg(any(feature = "postgres", feature = "mysql"))]
impl<'a> From<&'a Changed<Server, ServerFields>> for NewServer<'a> {
    fn from(Changed { record, fields }: &'a Changed<Server, ServerFields>) -> Self {
        Self {
            elapsed_seconds: fields.elapsed_seconds.map(Seconds),
            ..Self::new(record, record.created_at.or(record.updated_at))
        }
    }
}

/// The columns of a server to change: those that are not `None`.
#[cfg(feature = "sqlite")]
#[derive(Debug, AsChangeset)]
#[diesel(table_name = servers)]
pub struct ServerChanges<'a> {
    ip_address: Option<&'a str>,
    result: Option<&'static str>,
    elapsed_seconds: Option<Seconds>,
    updated_at: Option<Time>,
}

#[cfg(feature = "sqlite")]
impl<'a> From<&'a Changed<Server, ServerFields>> for ServerChanges<'a> {
    fn from(Changed { record, fields }: &'a Changed<Server, ServerFields>) -> Self {
        let ServerFields { ip_address, result, elapsed_seconds } = fields;
        Self {
            ip_address: ip_address.as_deref(),
            result: result.map(DeploymentResult::as_str),
            elapsed_seconds: elapsed_seconds.map(Seconds),
            updated_at: record.updated_at.map(Time),
        }
    }
}

/// A log message to read.
#[derive(Debug, Queryable)]
pub struct LogRow {
    _deployment_id: Stored<Text>,
    event_id: Stored<Id>,
    received_at: Stored<Time>,
    message: Stored<String>,
}

impl LogRow {
    /// The message. `None` if the row has no valid id, no time, or no JSON object.
    pub fn listed(self) -> Option<LogMessage> {
        let Self { _deployment_id, event_id, received_at, message } = self;
        let Some(Id(id)) = event_id.0 else {
            unreadable::log_once("Logs", None, "event_id");
            return None;
        };
        let unreadable = |column| {
            unreadable::log_once("Logs", Some(&id), column);
            None
        };
        // The id contains the time of receipt as well.
        let Some(received_at) = received_at.0.map(|time| time.0).or_else(|| time_of(id)) else {
            return unreadable("receivedAt");
        };
        let object = message.0.and_then(|message| RawValue::from_string(message).ok());
        object.and_then(|object| LogMessage::stored(id, received_at, object).ok()).or_else(|| unreadable("message"))
    }
}

/// The time in a UUIDv7.
fn time_of(id: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
}

/// A log message to write.
#[derive(Debug, Insertable)]
#[diesel(table_name = logs)]
pub struct NewLog<'a> {
    deployment_id: &'a str,
    event_id: Id,
    received_at: Option<Time>,
    message: Cow<'a, str>,
}

impl<'a> NewLog<'a> {
    pub fn of(LogBatch { deployment_id, messages, reporter: _ }: &'a LogBatch) -> impl Iterator<Item = Self> {
        messages.iter().map(|message| Self {
            deployment_id: deployment_id.as_str(),
            event_id: Id(message.event_id),
            received_at: Some(Time(message.received_at)),
            message: message.object().get().into(),
        })
    }

    /// With the message in ASCII, for a database whose encoding lacks a character.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub fn in_ascii(self) -> Self {
        Self { message: escape(&self.message).into(), ..self }
    }
}

#[derive(Debug, Insertable)]
#[diesel(table_name = outbox)]
pub struct OutboxRow<'a> {
    output: &'a str,
    batch_id: Id,
    owner: &'a str,
    is_taken_over: bool,
    messages: i64,
    bytes: i64,
    created_at: Time,
    events: String,
}

impl<'a> OutboxRow<'a> {
    pub fn new(OutboxEntry { output, batch }: &'a OutboxEntry, owner: &'a str) -> Result<Self, serde_json::Error> {
        let events = serde_json::to_string(&batch.events)?;
        Ok(Self {
            output,
            batch_id: Id(batch.id),
            owner,
            is_taken_over: false,
            messages: i64::try_from(batch.messages()).unwrap_or(i64::MAX),
            bytes: i64::try_from(events.len()).unwrap_or(i64::MAX),
            created_at: Time(batch.events.first().map_or_else(time::now, |event| event.at)),
            events,
        })
    }

    /// The row with random text of `bytes` bytes, which no database can compress.
    pub fn padded(self, bytes: usize) -> Self {
        let events = std::iter::repeat_with(fastrand::alphanumeric).take(bytes).collect();
        Self { events, ..self }
    }
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
impl OutboxRow<'_> {
    /// With the events in ASCII, for a database whose encoding lacks a character.
    pub fn in_ascii(self) -> Self {
        let events = escape(&self.events);
        Self { bytes: i64::try_from(events.len()).unwrap_or(i64::MAX), events, ..self }
    }
}

/// The same JSON with every character that is not ASCII as an escape sequence. Such a character can only be in a string.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn escape(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}
