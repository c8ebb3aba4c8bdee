//! Deployments: the reports of engines, and the records of the store.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::fields::{DeploymentResult, MAX_ARGUMENTS, MAX_TEXT, Reporter, record_fields};
use crate::id::DeploymentId;
use crate::input_error::InputError;
use crate::json::{Object, ObjectWriter, WriteJson};
use crate::misspelled;
use crate::server::Server;
use crate::time::{self, Timestamp};

record_fields! {
    /// The fields of a deployment. A report has the values that the engine sent, and a record has the stored values.
    pub struct DeploymentFields {
        /// The deployment tool (engine), such as `vagrant_orchestrate`.
        engine: MAX_TEXT,
        /// The version of the engine.
        engine_version: MAX_TEXT,
        /// The host that the engine runs on.
        host: MAX_TEXT,
        /// The user who deploys.
        user: MAX_TEXT,
        /// The environment that is deployed to.
        environment: MAX_TEXT,
        /// The package that is deployed.
        package: MAX_TEXT,
        /// The origin of the package.
        package_url: MAX_TEXT,
        /// The version of the package.
        version: MAX_TEXT,
        /// The arguments of the engine.
        arguments: MAX_ARGUMENTS,
    }
}

/// The record of a deployment. In JSON, absent fields are left out and times are in RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The id.
    #[serde(rename = "deployment_id")]
    pub id: DeploymentId,
    /// The fields.
    #[serde(flatten)]
    pub fields: DeploymentFields,
    /// When the start was recorded. `None` if another program stored something else than a time.
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

/// A deployment with the records of its servers, which are the member `servers` in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeploymentWithServers {
    /// The deployment.
    #[serde(flatten)]
    pub deployment: Deployment,
    /// The servers, ordered by hostname.
    pub servers: Vec<Server>,
}

impl WriteJson for DeploymentWithServers {
    fn write_json(&self, out: &mut Vec<u8>) {
        let Self { deployment: Deployment { id, fields, created_at, updated_at }, servers } = self;
        let mut object = ObjectWriter::begin(out);
        object.id("deployment_id", id.0);
        fields.write(&mut object);
        object.time_if_known("createdAt", created_at.as_ref());
        object.time_if_known("updatedAt", updated_at.as_ref());
        servers.write_json(object.member("servers"));
        object.end();
    }
}

/// The report of a deployment's start or finish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeploymentReport {
    /// The deployment.
    #[serde(rename = "deployment_id")]
    pub id: DeploymentId,
    /// The fields that the engine sent.
    #[serde(flatten)]
    pub fields: DeploymentFields,
    /// Whether every server without a result gets the result of the deployment. Only a finish has this effect.
    pub assert_empty_server_result: bool,
    /// Whether the engine may report only some environments. Its start is then a conflict in the field
    /// [`Self::SERVERS`] if servers of the deployment are already recorded, because they may belong to another
    /// environment. Only a start has this effect.
    pub is_limited: bool,
    /// The name of the token that sent the report, if there is one. It never comes from the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reporter: Option<Reporter>,
    /// Fields that the engine seems to have misspelled. Their values were ignored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub misspelled: Vec<&'static str>,
}

impl DeploymentReport {
    /// The field of a conflict with servers that were reported before the start.
    pub const SERVERS: &'static str = "servers";

    /// A report with an id and no fields.
    pub fn new(id: DeploymentId) -> Self {
        let fields = DeploymentFields::default();
        Self {
            id,
            fields,
            assert_empty_server_result: false,
            is_limited: false,
            reporter: None,
            misspelled: Vec::new(),
        }
    }

    /// The result that a finish gives to each server without one.
    pub(crate) fn asserted_result(&self) -> Option<DeploymentResult> {
        self.fields.result.filter(|_| self.assert_empty_server_result)
    }

    /// Reads the body of a report about the deployment `id`: a JSON object. Unknown members are ignored.
    ///
    /// # Errors
    /// [`InputError`] that names the field: a wrong type, a value out of range, or another id than `id`.
    pub fn read(id: DeploymentId, body: &RawValue) -> Result<Self, InputError> {
        let object = Object::parse(body)?;
        object.check_id(id)?;
        let fields = DeploymentFields::read(&object)?;
        Ok(Self {
            id,
            misspelled: misspelled::in_deployment(&object, fields.count()),
            fields,
            assert_empty_server_result: object.flag("assert_empty_server_result")?,
            is_limited: false,
            reporter: None,
        })
    }
}

/// The members that tell a deployment report from a log message. The list is part of the v1 API: later fields are not
/// added to it.
pub(crate) const REPORT_MEMBERS: [&str; 12] = [
    "engine",
    "engine_version",
    "host",
    "user",
    "environment",
    "package",
    "package_url",
    "version",
    "arguments",
    "result",
    "elapsed_seconds",
    "assert_empty_server_result",
];

/// Whether `body`, which was sent as the start of a deployment, is a log message: it has a string `message` and none of
/// the fields of a deployment except `deployment_id`. The README of the Node.js service sends logs this way.
pub fn is_log_message(body: &RawValue) -> bool {
    let Ok(object) = Object::parse(body) else { return false };
    object.get("message").is_some_and(|message| message.get().starts_with('"'))
        && REPORT_MEMBERS.iter().all(|name| object.get(name).is_none())
}
