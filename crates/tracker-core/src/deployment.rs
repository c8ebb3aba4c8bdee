//! Deployments: what engines report of them and what is recorded.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::fields::{
    Conflict, DeploymentId, DeploymentResult, MAX_ARGUMENTS, MAX_TEXT, Merge, Reporter, Text, differs, replace,
};
use crate::input_error::InputError;
use crate::json::{Object, ObjectWriter, WriteJson};
use crate::server::Server;
use crate::time::{self, Timestamp};

/// What is known of a deployment. In a report: what the engine gave; in a record: what is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeploymentFields {
    /// The deployment engine, such as `vagrant_orchestrate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<Text>,
    /// The engine's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<Text>,
    /// The host that the engine runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Text>,
    /// Who deploys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Text>,
    /// The environment that is deployed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Text>,
    /// The package that is deployed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<Text>,
    /// Where the package comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_url: Option<Text>,
    /// The package's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Text>,
    /// The engine's arguments; at most [`MAX_ARGUMENTS`](crate::MAX_ARGUMENTS) characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Text>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<DeploymentResult>,
    /// Whole seconds, 0 to 2,147,483,647.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_seconds: Option<i32>,
}

/// The names of the members of a deployment, beside its id and times.
pub const DEPLOYMENT_FIELDS: [&str; 11] = [
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
];

impl DeploymentFields {
    /// About how many bytes they take.
    pub(crate) fn size(&self) -> usize {
        let texts = [
            &self.engine,
            &self.engine_version,
            &self.host,
            &self.user,
            &self.environment,
            &self.package,
            &self.package_url,
            &self.version,
            &self.arguments,
        ];
        size_of::<Self>() + texts.into_iter().flatten().map(Text::len).sum::<usize>()
    }

    fn read(object: &Object) -> Result<Self, InputError> {
        Ok(Self {
            engine: object.text("engine", MAX_TEXT)?,
            engine_version: object.text("engine_version", MAX_TEXT)?,
            host: object.text("host", MAX_TEXT)?,
            user: object.text("user", MAX_TEXT)?,
            environment: object.text("environment", MAX_TEXT)?,
            package: object.text("package", MAX_TEXT)?,
            package_url: object.text("package_url", MAX_TEXT)?,
            version: object.text("version", MAX_TEXT)?,
            arguments: object.text("arguments", MAX_ARGUMENTS)?,
            result: object.result()?,
            elapsed_seconds: object.elapsed_seconds()?,
        })
    }
}

impl Merge for DeploymentFields {
    fn conflict(&self, reported: &Self) -> Option<Conflict> {
        differs("engine", &self.engine, &reported.engine)
            .or_else(|| differs("engine_version", &self.engine_version, &reported.engine_version))
            .or_else(|| differs("host", &self.host, &reported.host))
            .or_else(|| differs("user", &self.user, &reported.user))
            .or_else(|| differs("environment", &self.environment, &reported.environment))
            .or_else(|| differs("package", &self.package, &reported.package))
            .or_else(|| differs("package_url", &self.package_url, &reported.package_url))
            .or_else(|| differs("version", &self.version, &reported.version))
            .or_else(|| differs("arguments", &self.arguments, &reported.arguments))
            .or_else(|| differs("result", &self.result, &reported.result))
            .or_else(|| differs("elapsed_seconds", &self.elapsed_seconds, &reported.elapsed_seconds))
    }

    fn merge(&mut self, reported: Self) -> bool {
        replace(&mut self.engine, reported.engine)
            | replace(&mut self.engine_version, reported.engine_version)
            | replace(&mut self.host, reported.host)
            | replace(&mut self.user, reported.user)
            | replace(&mut self.environment, reported.environment)
            | replace(&mut self.package, reported.package)
            | replace(&mut self.package_url, reported.package_url)
            | replace(&mut self.version, reported.version)
            | replace(&mut self.arguments, reported.arguments)
            | replace(&mut self.result, reported.result)
            | replace(&mut self.elapsed_seconds, reported.elapsed_seconds)
    }
}

/// The record of a deployment. As JSON: absent members are left out, times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its id.
    #[serde(rename = "deployment_id")]
    pub id: DeploymentId,
    /// What is known of it.
    #[serde(flatten)]
    pub fields: DeploymentFields,
    /// When its start was recorded.
    #[serde(rename = "createdAt", serialize_with = "time::serialize")]
    pub created_at: Timestamp,
    /// When it was changed last.
    #[serde(rename = "updatedAt", serialize_with = "time::serialize")]
    pub updated_at: Timestamp,
}

/// A deployment with the records of its servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeploymentWithServers {
    /// The deployment.
    #[serde(flatten)]
    pub deployment: Deployment,
    /// Its servers, by hostname.
    pub servers: Vec<Server>,
}

impl WriteJson for DeploymentWithServers {
    fn write_json(&self, out: &mut Vec<u8>) {
        let Deployment { id, fields, created_at, updated_at } = &self.deployment;
        let mut object = ObjectWriter::begin(out);
        object.id("deployment_id", id.0);
        object.text_if_given("engine", fields.engine.as_ref());
        object.text_if_given("engine_version", fields.engine_version.as_ref());
        object.text_if_given("host", fields.host.as_ref());
        object.text_if_given("user", fields.user.as_ref());
        object.text_if_given("environment", fields.environment.as_ref());
        object.text_if_given("package", fields.package.as_ref());
        object.text_if_given("package_url", fields.package_url.as_ref());
        object.text_if_given("version", fields.version.as_ref());
        object.text_if_given("arguments", fields.arguments.as_ref());
        object.outcome(fields.result, fields.elapsed_seconds);
        object.time("createdAt", created_at);
        object.time("updatedAt", updated_at);
        self.servers.write_json(object.member("servers"));
        object.end();
    }
}

/// What an engine says of a deployment at its start or finish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentReport {
    /// The deployment.
    pub id: DeploymentId,
    /// What the engine gave.
    pub fields: DeploymentFields,
    /// Give every server without a result this deployment's. Only a finish heeds it.
    pub assert_empty_server_result: bool,
    /// Who sent it, if that is known; a body cannot say it.
    pub reporter: Option<Reporter>,
}

impl DeploymentReport {
    /// A report that says nothing but the id.
    pub fn new(id: DeploymentId) -> Self {
        Self { id, fields: DeploymentFields::default(), assert_empty_server_result: false, reporter: None }
    }

    /// The result that each server without one gets by this report, if it is a finish.
    pub(crate) fn asserted_result(&self) -> Option<DeploymentResult> {
        self.fields.result.filter(|_| self.assert_empty_server_result)
    }

    /// Reads the body of a report on the deployment `id`: a JSON object. Unknown members are ignored.
    ///
    /// # Errors
    /// [`InputError`], naming the member, for a wrong type, a value out of range and an id that is not `id`.
    pub fn read(id: DeploymentId, body: &RawValue) -> Result<Self, InputError> {
        Self::from_object(id, &Object::parse(body)?)
    }

    fn from_object(id: DeploymentId, object: &Object) -> Result<Self, InputError> {
        object.same_id(id)?;
        Ok(Self {
            id,
            fields: DeploymentFields::read(object)?,
            assert_empty_server_result: object.flag("assert_empty_server_result")?,
            reporter: None,
        })
    }
}

/// Whether `body`, sent where a deployment's start belongs, is a log message instead: it has a string `message` and no
/// member of a deployment beside `deployment_id`. The README of the service before this one shows logs sent so.
pub fn is_log_message(body: &RawValue) -> bool {
    let Ok(object) = Object::parse(body) else { return false };
    object.get("message").is_some_and(|message| message.get().starts_with('"'))
        && DEPLOYMENT_FIELDS.iter().chain(&["assert_empty_server_result"]).all(|name| object.get(name).is_none())
}
