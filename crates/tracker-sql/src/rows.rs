//! Rows, and their conversion from and to the types of the core.
//!
//! Conversions name every field (no `..`), so that the compiler reports a forgotten one.

use std::borrow::Cow;

use diesel::prelude::*;
use serde::de::Error as _;
use serde_json::value::RawValue;
use tracker_core::{
    Deployment, DeploymentFields, DeploymentId, DeploymentResult, Hostname, LogBatch, LogMessage, OutboxEntry, Server,
    ServerFields, Text, time,
};

use crate::fields::with_text_fields;
use crate::schema::{deployments, logs, outbox, servers};
use crate::values::{Id, Time};

#[cfg(any(feature = "postgres", feature = "mysql"))]
mod size;

#[cfg(any(feature = "postgres", feature = "mysql"))]
pub use size::Size;

macro_rules! deployment_row {
    ($($text:ident)*) => {
        #[derive(Debug, Insertable, Queryable, AsChangeset)]
        #[diesel(table_name = deployments, primary_key(deployment_id))]
        #[diesel(treat_none_as_null = true, treat_none_as_default_value = false)]
        pub struct DeploymentRow<'a> {
            pub deployment_id: Id,
            $($text: Option<Cow<'a, Text>>,)*
            result: Option<Cow<'a, Text>>,
            elapsed_seconds: Option<i32>,
            created_at: Time,
            updated_at: Time,
        }

        impl<'a> From<&'a Deployment> for DeploymentRow<'a> {
            fn from(Deployment { id, fields, created_at, updated_at }: &'a Deployment) -> Self {
                let DeploymentFields { $($text,)* result, elapsed_seconds } = fields;
                Self {
                    deployment_id: Id(id.0),
                    $($text: borrowed($text),)*
                    result: result_text(*result),
                    elapsed_seconds: *elapsed_seconds,
                    created_at: Time(*created_at),
                    updated_at: Time(*updated_at),
                }
            }
        }

        impl From<DeploymentRow<'_>> for Deployment {
            fn from(row: DeploymentRow) -> Self {
                let DeploymentRow { deployment_id, $($text,)* result, elapsed_seconds, created_at, updated_at } = row;
                let fields = DeploymentFields {
                    $($text: owned($text),)*
                    result: result_value(result),
                    elapsed_seconds,
                };
                Self { id: DeploymentId(deployment_id.0), fields, created_at: created_at.0, updated_at: updated_at.0 }
            }
        }
    };
}

with_text_fields!(deployment_row);

fn borrowed(text: &Option<Text>) -> Option<Cow<'_, Text>> {
    text.as_ref().map(Cow::Borrowed)
}

fn owned(text: Option<Cow<'_, Text>>) -> Option<Text> {
    text.map(Cow::into_owned)
}

fn result_text(result: Option<DeploymentResult>) -> Option<Cow<'static, Text>> {
    result.map(|result| Cow::Owned(Text::const_new(result.as_str())))
}

fn result_value(text: Option<Cow<'_, Text>>) -> Option<DeploymentResult> {
    text.and_then(|text| DeploymentResult::parse(&text))
}

#[derive(Debug, Insertable, Queryable, QueryableByName, AsChangeset)]
#[diesel(table_name = servers, primary_key(hostname, deployment_id))]
#[diesel(treat_none_as_null = true, treat_none_as_default_value = false)]
pub struct ServerRow<'a> {
    hostname: Text,
    deployment_id: Id,
    ip_address: Option<Cow<'a, Text>>,
    result: Option<Cow<'a, Text>>,
    elapsed_seconds: Option<i32>,
    created_at: Time,
    updated_at: Time,
}

impl<'a> From<&'a Server> for ServerRow<'a> {
    fn from(Server { deployment_id, hostname, fields, created_at, updated_at }: &'a Server) -> Self {
        let ServerFields { ip_address, result, elapsed_seconds } = fields;
        Self {
            hostname: hostname.as_str().into(),
            deployment_id: Id(deployment_id.0),
            ip_address: borrowed(ip_address),
            result: result_text(*result),
            elapsed_seconds: *elapsed_seconds,
            created_at: Time(*created_at),
            updated_at: Time(*updated_at),
        }
    }
}

impl From<ServerRow<'_>> for Server {
    fn from(row: ServerRow) -> Self {
        let ServerRow { hostname, deployment_id, ip_address, result, elapsed_seconds, created_at, updated_at } = row;
        Self {
            hostname: Hostname::stored(hostname),
            deployment_id: DeploymentId(deployment_id.0),
            fields: ServerFields { ip_address: owned(ip_address), result: result_value(result), elapsed_seconds },
            created_at: created_at.0,
            updated_at: updated_at.0,
        }
    }
}

#[derive(Debug, Insertable, Queryable)]
#[diesel(table_name = logs)]
pub struct LogRow<'a> {
    deployment_id: Cow<'a, str>,
    event_id: Id,
    received_at: Time,
    message: Cow<'a, str>,
}

impl<'a> LogRow<'a> {
    pub fn of(LogBatch { deployment_id, messages, reporter: _ }: &'a LogBatch) -> impl Iterator<Item = Self> {
        messages.iter().map(|message| Self {
            deployment_id: deployment_id.as_str().into(),
            event_id: Id(message.event_id),
            received_at: Time(message.received_at),
            message: message.object().get().into(),
        })
    }
}

impl TryFrom<LogRow<'_>> for LogMessage {
    type Error = serde_json::Error;

    fn try_from(LogRow { deployment_id: _, event_id, received_at, message }: LogRow) -> Result<Self, Self::Error> {
        let object = RawValue::from_string(message.into_owned())?;
        Self::stored(event_id.0, received_at.0, object).map_err(serde_json::Error::custom)
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
