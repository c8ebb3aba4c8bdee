//! Servers: the machines that a deployment runs on, and its result on each of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::fields::{MAX_TEXT, Reporter, Text, record_fields};
use crate::id::DeploymentId;
use crate::input_error::InputError;
use crate::json::{Object, ObjectWriter, WriteJson, write_text};
use crate::misspelled;
use crate::time::{self, Timestamp};

/// The name of a server: 1 to 2,048 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hostname(Text);

impl Hostname {
    /// Checks the length of `text`, but not its form.
    ///
    /// # Errors
    /// [`InputError`] when the text is empty, longer than 2,048 characters, or contains a NUL.
    pub fn new(text: impl Into<Text>) -> Result<Self, InputError> {
        let text = text.into();
        match text.chars().count() {
            _ if text.contains('\0') => Err(InputError::field("hostname", "must not contain a NUL")),
            0 => Err(InputError::field("hostname", "must not be empty")),
            1..=MAX_TEXT => Ok(Self(text)),
            _ => Err(InputError::field("hostname", format_args!("must have at most {MAX_TEXT} characters"))),
        }
    }

    /// A hostname that a store holds. Old records may have an empty one.
    pub fn stored(text: impl Into<Text>) -> Self {
        Self(text.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Hostname {
    type Err = InputError;

    fn from_str(text: &str) -> Result<Self, InputError> {
        Self::new(text)
    }
}

impl AsRef<str> for Hostname {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl WriteJson for Hostname {
    fn write_json(&self, out: &mut Vec<u8>) {
        write_text(out, &self.0);
    }
}

/// The key of a server record. One server may have records of many deployments.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ServerKey {
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// The name of the server.
    pub hostname: Hostname,
}

record_fields! {
    /// The fields of a deployment on one server. A report has the values that the engine sent, and a record has the
    /// stored values.
    pub struct ServerFields {
        /// The address of the server.
        ip_address: MAX_TEXT,
    }
}

impl ServerFields {
    /// Whether the finish on this server was reported.
    pub fn is_finished(&self) -> bool {
        self.result.is_some() || self.elapsed_seconds.is_some()
    }
}

/// The record of a deployment on one server. In JSON, absent fields are left out and times are in RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The name of the server.
    pub hostname: Hostname,
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// The fields.
    #[serde(flatten)]
    pub fields: ServerFields,
    /// When the record was created. `None` if another program stored something else than a time.
    #[serde(
        rename = "createdAt",
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "time::serialize"
    )]
    pub created_at: Option<Timestamp>,
    /// When the record last changed. `None` if another program stored something else than a time.
    #[serde(
        rename = "updatedAt",
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "time::serialize"
    )]
    pub updated_at: Option<Timestamp>,
}

impl Server {
    /// The key of the record.
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
        fields.write(&mut object);
        object.time_if_known("createdAt", created_at.as_ref());
        object.time_if_known("updatedAt", updated_at.as_ref());
        object.end();
    }
}

/// The report of a deployment's start or finish on one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerReport {
    /// The record that the report is about.
    #[serde(flatten)]
    pub key: ServerKey,
    /// The fields that the engine sent.
    #[serde(flatten)]
    pub fields: ServerFields,
    /// The name of the token that sent the report, if there is one. It never comes from the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reporter: Option<Reporter>,
    /// Fields that the engine seems to have misspelled. Their values were ignored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub misspelled: Vec<&'static str>,
}

impl ServerReport {
    /// A report about the server `hostname` of the deployment `id`, without fields.
    ///
    /// ```
    /// use tracker_core::{DeploymentId, DeploymentResult, ServerReport};
    ///
    /// # fn main() -> Result<(), tracker_core::InputError> {
    /// let mut report = ServerReport::new(DeploymentId::random(), "web-1.example.com".parse()?);
    /// report.fields.result = Some(DeploymentResult::Success);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(id: DeploymentId, hostname: Hostname) -> Self {
        let key = ServerKey { deployment_id: id, hostname };
        Self { key, fields: ServerFields::default(), reporter: None, misspelled: Vec::new() }
    }

    /// Reads the body of a report about a server of the deployment `id`: a JSON object. Unknown members are ignored.
    ///
    /// # Errors
    /// [`InputError`] that names the field: a missing hostname, a wrong type, a value out of range, or another id than
    /// `id`.
    pub fn read(id: DeploymentId, body: &RawValue) -> Result<Self, InputError> {
        let object = Object::parse(body)?;
        object.check_id(id)?;
        let hostname =
            object.text("hostname", MAX_TEXT)?.ok_or_else(|| InputError::field("hostname", "is required"))?;
        let key = ServerKey { deployment_id: id, hostname: Hostname::new(hostname)? };
        let fields = ServerFields::read(&object)?;
        let misspelled = misspelled::in_server(&object, fields.count());
        Ok(Self { key, fields, reporter: None, misspelled })
    }
}
