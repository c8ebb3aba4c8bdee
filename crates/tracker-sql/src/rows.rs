//! Rows, and what they are in the domain.

use std::borrow::Cow;

use diesel::prelude::*;
use serde::de::Error as _;
use serde_json::value::RawValue;
use tracker_core::{
    Deployment, DeploymentFields, DeploymentId, DeploymentResult, Hostname, LogBatch, LogMessage, OutboxEntry, Server,
    ServerFields, Text, time,
};

use crate::schema::{deployments, logs, outbox, servers};
use crate::values::{Id, Time};

#[cfg(any(feature = "postgres", feature = "mysql"))]
mod size;

#[cfg(any(feature = "postgres", feature = "mysql"))]
pub use size::Size;

#[derive(Debug, Insertable, Queryable, AsChangeset)]
#[diesel(table_name = deployments, primary_key(deployment_id))]
#[diesel(treat_none_as_null = true, treat_none_as_default_value = false)]
pub struct DeploymentRow<'a> {
    pub deployment_id: Id,
    engine: Option<Cow<'a, Text>>,
    engine_version: Option<Cow<'a, Text>>,
    host: Option<Cow<'a, Text>>,
    user: Option<Cow<'a, Text>>,
    environment: Option<Cow<'a, Text>>,
    package: Option<Cow<'a, Text>>,
    package_url: Option<Cow<'a, Text>>,
    version: Option<Cow<'a, Text>>,
    arguments: Option<Cow<'a, Text>>,
    result: Option<Cow<'a, Text>>,
    elapsed_seconds: Option<i32>,
    created_at: Time,
    updated_at: Time,
}

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

impl<'a> From<&'a Deployment> for DeploymentRow<'a> {
    fn from(Deployment { id, fields, created_at, updated_at }: &'a Deployment) -> Self {
        Self {
            deployment_id: Id(id.0),
            engine: borrowed(&fields.engine),
            engine_version: borrowed(&fields.engine_version),
            host: borrowed(&fields.host),
            user: borrowed(&fields.user),
            environment: borrowed(&fields.environment),
            package: borrowed(&fields.package),
            package_url: borrowed(&fields.package_url),
            version: borrowed(&fields.version),
            arguments: borrowed(&fields.arguments),
            result: result_text(fields.result),
            elapsed_seconds: fields.elapsed_seconds,
            created_at: Time(*created_at),
            updated_at: Time(*updated_at),
        }
    }
}

impl From<DeploymentRow<'_>> for Deployment {
    fn from(row: DeploymentRow) -> Self {
        Self {
            id: DeploymentId(row.deployment_id.0),
            fields: DeploymentFields {
                engine: owned(row.engine),
                engine_version: owned(row.engine_version),
                host: owned(row.host),
                user: owned(row.user),
                environment: owned(row.environment),
                package: owned(row.package),
                package_url: owned(row.package_url),
                version: owned(row.version),
                arguments: owned(row.arguments),
                result: result_value(row.result),
                elapsed_seconds: row.elapsed_seconds,
            },
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
        }
    }
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
    fn from(server: &'a Server) -> Self {
        Self {
            hostname: server.hostname.as_str().into(),
            deployment_id: Id(server.deployment_id.0),
            ip_address: borrowed(&server.fields.ip_address),
            result: result_text(server.fields.result),
            elapsed_seconds: server.fields.elapsed_seconds,
            created_at: Time(server.created_at),
            updated_at: Time(server.updated_at),
        }
    }
}

impl From<ServerRow<'_>> for Server {
    fn from(row: ServerRow) -> Self {
        Self {
            hostname: Hostname::stored(row.hostname),
            deployment_id: DeploymentId(row.deployment_id.0),
            fields: ServerFields {
                ip_address: owned(row.ip_address),
                result: result_value(row.result),
                elapsed_seconds: row.elapsed_seconds,
            },
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
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
    pub fn of(batch: &'a LogBatch) -> impl Iterator<Item = Self> {
        batch.messages.iter().map(|message| Self {
            deployment_id: batch.deployment_id.as_str().into(),
            event_id: Id(message.event_id),
            received_at: Time(message.received_at),
            message: message.object().get().into(),
        })
    }
}

impl TryFrom<LogRow<'_>> for LogMessage {
    type Error = serde_json::Error;

    fn try_from(row: LogRow) -> Result<Self, Self::Error> {
        let object = RawValue::from_string(row.message.into_owned())?;
        Self::stored(row.event_id.0, row.received_at.0, object).map_err(serde_json::Error::custom)
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
}
