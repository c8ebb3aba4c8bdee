//! Servers of a deployment: where it ran, and how it ended there.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::fields::{Conflict, DeploymentId, DeploymentResult, MAX_TEXT, Merge, Reporter, Text, differs, replace};
use crate::input_error::InputError;
use crate::json::{Object, ObjectWriter, WriteJson, write_text};
use crate::time::{self, Timestamp};

/// The name of a server: 1 to 2,048 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hostname(Text);

impl Hostname {
    /// Takes `text` as a hostname; nothing is asked of its form but that it is not empty.
    ///
    /// # Errors
    /// [`InputError`] when it is empty, longer than 2,048 characters, or has a NUL.
    pub fn new(text: impl Into<Text>) -> Result<Self, InputError> {
        let text = text.into();
        match text.chars().count() {
            _ if text.contains('\0') => Err(InputError::member("hostname", "must not have a NUL")),
            0 => Err(InputError::member("hostname", "must not be empty")),
            1..=MAX_TEXT => Ok(Self(text)),
            _ => Err(InputError::member("hostname", format_args!("must have at most {MAX_TEXT} characters"))),
        }
    }

    /// A hostname as a store holds it, the empty one of old records included.
    pub fn stored(text: impl Into<Text>) -> Self {
        Self(text.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl WriteJson for Hostname {
    fn write_json(&self, out: &mut Vec<u8>) {
        write_text(out, &self.0);
    }
}

/// What identifies the record of a server: one host takes part in many deployments.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerKey {
    /// The deployment that ran there.
    pub deployment_id: DeploymentId,
    /// The host.
    pub hostname: Hostname,
}

/// What is known of a deployment on one server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerFields {
    /// The address of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<Text>,
    /// How it ended there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<DeploymentResult>,
    /// Whole seconds, 0 to 2,147,483,647.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_seconds: Option<i32>,
}

impl ServerFields {
    /// About how many bytes they take.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.ip_address.as_ref().map_or(0, Text::len)
    }

    /// Whether the finish on this server was reported.
    pub fn is_finished(&self) -> bool {
        self.result.is_some() || self.elapsed_seconds.is_some()
    }
}

impl Merge for ServerFields {
    fn conflict(&self, reported: &Self) -> Option<Conflict> {
        let conflicts = [
            differs("ip_address", &self.ip_address, &reported.ip_address),
            differs("result", &self.result, &reported.result),
            differs("elapsed_seconds", &self.elapsed_seconds, &reported.elapsed_seconds),
        ];
        // A value that contradicts the record weighs more than one that the record lacks.
        conflicts.into_iter().flatten().min_by_key(|conflict| conflict.absent)
    }

    fn merge(&mut self, reported: Self) -> bool {
        replace(&mut self.ip_address, reported.ip_address)
            | replace(&mut self.result, reported.result)
            | replace(&mut self.elapsed_seconds, reported.elapsed_seconds)
    }
}

/// The record of a deployment on one server. As JSON: absent members are left out, times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The host.
    pub hostname: Hostname,
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// What is known of it.
    #[serde(flatten)]
    pub fields: ServerFields,
    /// When it was recorded first.
    #[serde(rename = "createdAt", serialize_with = "time::serialize")]
    pub created_at: Timestamp,
    /// When it was changed last.
    #[serde(rename = "updatedAt", serialize_with = "time::serialize")]
    pub updated_at: Timestamp,
}

impl Server {
    /// What identifies it.
    pub fn key(&self) -> ServerKey {
        ServerKey { deployment_id: self.deployment_id, hostname: self.hostname.clone() }
    }
}

impl WriteJson for Server {
    fn write_json(&self, out: &mut Vec<u8>) {
        let Self { hostname, deployment_id, fields, created_at, updated_at } = self;
        let mut object = ObjectWriter::begin(out);
        object.text("hostname", hostname.as_str());
        object.id("deployment_id", deployment_id.0);
        object.text_if_given("ip_address", fields.ip_address.as_ref());
        object.outcome(fields.result, fields.elapsed_seconds);
        object.time("createdAt", created_at);
        object.time("updatedAt", updated_at);
        object.end();
    }
}

/// What an engine says of a deployment's start or finish on one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReport {
    /// The record it is about.
    pub key: ServerKey,
    /// What the engine gave.
    pub fields: ServerFields,
    /// Who sent it, if that is known; a body cannot say it.
    pub reporter: Option<Reporter>,
}

impl ServerReport {
    /// Reads the body of a report on a server of the deployment `id`: a JSON object. Unknown members are ignored.
    ///
    /// # Errors
    /// [`InputError`], naming the member, for a missing hostname, a wrong type, a value out of range and an id that is
    /// not `id`.
    pub fn read(id: DeploymentId, body: &RawValue) -> Result<Self, InputError> {
        let object = Object::parse(body)?;
        object.same_id(id)?;
        let hostname =
            object.text("hostname", MAX_TEXT)?.ok_or_else(|| InputError::member("hostname", "is required"))?;
        Ok(Self {
            key: ServerKey { deployment_id: id, hostname: Hostname::new(hostname)? },
            fields: ServerFields {
                ip_address: object.text("ip_address", MAX_TEXT)?,
                result: object.result()?,
                elapsed_seconds: object.elapsed_seconds()?,
            },
            reporter: None,
        })
    }
}
