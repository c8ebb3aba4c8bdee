//! The API description: the shapes of what goes in and out, for people and programs. The handlers describe themselves.

mod admission;

use std::collections::HashMap;

use actix_web::web::Bytes;
use serde::Serialize;
use utoipa::{IntoResponses, OpenApi, ToSchema};

use crate::description::admission::Admission;
use crate::{deployments, logs, metrics, servers, service};

/// The whole description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "deployment-tracker",
        description = "Deployment engines report here when a deployment starts and ends, on which servers, and what it logged.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "deployments", description = "Deployments: start, finish, and what is recorded"),
        (name = "logs", description = "Log messages of deployments"),
        (name = "servers", description = "Deployments on single servers"),
        (name = "service", description = "The service itself"),
    ),
    paths(
        deployments::start,
        deployments::finish,
        deployments::one,
        deployments::list,
        logs::append,
        logs::list,
        servers::start,
        servers::finish,
        servers::hostnames,
        servers::one,
        service::root,
        service::config,
        service::healthcheck,
        service::livez,
        service::readyz,
        metrics::metrics,
        service::openapi,
        service::swagger_json,
        service::swagger,
    ),
    modifiers(&Admission),
)]
pub struct Description;

/// The description as it is answered.
#[derive(Debug)]
pub struct Document(pub Bytes);

impl Document {
    /// The description in JSON.
    pub fn new() -> Self {
        let json = Description::openapi().to_json().expect("the description is made of strings and numbers");
        Self(Bytes::from(json))
    }
}

/// What every report may be answered beside its own errors.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "a shape, for the description only")]
pub enum ReportErrors {
    #[response(status = 408, description = "The body did not come in time")]
    TooSlow(Error),
    #[response(status = 413, description = "The body, inflated, is over the limit")]
    TooLarge(Error),
    #[response(status = 415, description = "The content type is not `application/json` in UTF-8")]
    MediaType(Error),
    #[response(
        status = 503,
        description = "The report cannot be made durable now, or too much is worked on",
        headers(("Retry-After" = u32, description = "After how many seconds to try again"))
    )]
    Unavailable(Error),
}

/// What every query may be answered beside its own errors.
#[derive(IntoResponses)]
#[response(
    status = 503,
    description = "The database is not available now, or too many requests are worked on",
    headers(("Retry-After" = u32, description = "After how many seconds to try again"))
)]
#[allow(dead_code, reason = "a shape, for the description only")]
pub struct Unavailable(Error);

/// How it ended.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "a shape, for the description only")]
pub enum DeploymentResult {
    Success,
    Failure,
}

/// What an engine says of a deployment. No member is required; an unknown member is ignored.
#[derive(ToSchema)]
#[schema(example = json!({
    "deployment_id": "84e803f7-9562-4d95-b828-25b167aea34b", "engine": "vagrant_orchestrate", "engine_version": "0.6.3",
    "host": "localhost", "user": "cbaldauf", "environment": "dev", "package": "test",
    "package_url": "http://mypackage.mydomain.com", "version": "4.5.6", "arguments": "--strategy parallel"
}))]
#[allow(dead_code, reason = "a shape, for the description only")]
pub struct DeploymentReport {
    /// The same id as in the path, in any letter case; it may be left out.
    #[schema(format = Uuid, required = false)]
    deployment_id: String,
    /// The deployment engine.
    #[schema(max_length = 2048, required = false)]
    engine: String,
    /// The version of the engine.
    #[schema(max_length = 2048, required = false)]
    engine_version: String,
    /// The host that the engine runs on.
    #[schema(max_length = 2048, required = false)]
    host: String,
    /// Who deploys.
    #[schema(max_length = 2048, required = false)]
    user: String,
    /// The environment that is deployed to.
    #[schema(max_length = 2048, required = false)]
    environment: String,
    /// The package that is deployed.
    #[schema(max_length = 2048, required = false)]
    package: String,
    /// Where the package comes from.
    #[schema(max_length = 2048, required = false)]
    package_url: String,
    /// The version of the package.
    #[schema(max_length = 2048, required = false)]
    version: String,
    /// The arguments of the engine.
    #[schema(max_length = 65536, required = false)]
    arguments: String,
    /// How the deployment ended.
    #[schema(required = false, inline)]
    result: DeploymentResult,
    /// How long it took, in whole seconds.
    #[schema(minimum = 0, maximum = 2_147_483_647, required = false)]
    elapsed_seconds: i32,
    /// At a finish with a `result`: each server without a result gets this one.
    #[schema(required = false)]
    assert_empty_server_result: bool,
}

/// A deployment as it is recorded. What was never given is absent.
#[derive(ToSchema)]
#[allow(dead_code, reason = "a shape, for the description only")]
pub struct Deployment {
    #[schema(format = Uuid)]
    deployment_id: String,
    #[schema(max_length = 2048, required = false)]
    engine: String,
    #[schema(max_length = 2048, required = false)]
    engine_version: String,
    #[schema(max_length = 2048, required = false)]
    host: String,
    #[schema(max_length = 2048, required = false)]
    user: String,
    #[schema(max_length = 2048, required = false)]
    environment: String,
    #[schema(max_length = 2048, required = false)]
    package: String,
    #[schema(max_length = 2048, required = false)]
    package_url: String,
    #[schema(max_length = 2048, required = false)]
    version: String,
    #[schema(max_length = 65536, required = false)]
    arguments: String,
    #[schema(required = false, inline)]
    result: DeploymentResult,
    /// In whole seconds.
    #[schema(minimum = 0, required = false)]
    elapsed_seconds: i32,
    /// When its start was recorded: RFC 3339 in UTC, with milliseconds.
    #[schema(rename = "createdAt", format = DateTime, example = "2015-07-07T17:34:12.075Z")]
    created_at: String,
    /// When it was changed last: RFC 3339 in UTC, with milliseconds.
    #[schema(rename = "updatedAt", format = DateTime, example = "2015-07-07T17:38:06.102Z")]
    updated_at: String,
    /// Its servers, by hostname.
    servers: Vec<Server>,
}

/// What an engine says of a deployment on one server. An unknown member is ignored.
#[derive(ToSchema)]
#[schema(example = json!({"hostname": "web01.example.com", "ip_address": "10.0.0.1"}))]
#[allow(dead_code, reason = "a shape, for the description only")]
pub struct ServerReport {
    /// The same id as in the path, in any letter case; it may be left out.
    #[schema(format = Uuid, required = false)]
    deployment_id: String,
    /// The host.
    #[schema(min_length = 1, max_length = 2048)]
    hostname: String,
    /// The address of the host.
    #[schema(max_length = 2048, required = false)]
    ip_address: String,
    /// How the deployment ended on this server.
    #[schema(required = false, inline)]
    result: DeploymentResult,
    /// How long it took on this server, in whole seconds.
    #[schema(minimum = 0, maximum = 2_147_483_647, required = false)]
    elapsed_seconds: i32,
}

/// A deployment on one server as it is recorded. What was never given is absent.
#[derive(ToSchema)]
#[allow(dead_code, reason = "a shape, for the description only")]
pub struct Server {
    hostname: String,
    #[schema(format = Uuid)]
    deployment_id: String,
    #[schema(required = false)]
    ip_address: String,
    #[schema(required = false, inline)]
    result: DeploymentResult,
    /// In whole seconds.
    #[schema(minimum = 0, required = false)]
    elapsed_seconds: i32,
    /// When it was recorded first: RFC 3339 in UTC, with milliseconds.
    #[schema(rename = "createdAt", format = DateTime, example = "2015-07-07T17:34:13.381Z")]
    created_at: String,
    /// When it was changed last: RFC 3339 in UTC, with milliseconds.
    #[schema(rename = "updatedAt", format = DateTime, example = "2015-07-07T17:34:20.644Z")]
    updated_at: String,
}

/// Log messages: an array of them, or one.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(example = json!([{"message": "Starting deployment phase 1", "severity": "info"}]))]
#[allow(dead_code, reason = "a shape, for the description only")]
pub enum LogMessages {
    Many(Vec<LogMessage>),
    One(LogMessage),
}

/// A log message: any object with a string `message`. Every other member is kept as it came.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"message": "Starting deployment phase 1", "severity": "info"}))]
#[allow(dead_code, reason = "a shape, for the description only")]
pub struct LogMessage {
    /// The text.
    message: String,
    #[serde(flatten)]
    others: HashMap<String, serde_json::Value>,
}

/// A log message as it is kept: as it came, and what identifies it.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "a shape, for the description only")]
pub struct KeptLogMessage {
    /// The text.
    message: String,
    /// The deployment.
    deployment_id: String,
    /// The message's identity, a UUIDv7.
    #[schema(format = Uuid)]
    event_id: String,
    /// When it was received, or its own `@timestamp` as it came.
    #[schema(rename = "@timestamp", example = "2015-07-07T17:34:12.075Z")]
    timestamp: String,
    #[serde(flatten)]
    others: HashMap<String, serde_json::Value>,
}

/// What was tested, and how that went.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "a shape, for the description only")]
pub struct Health {
    /// When the tests were begun.
    #[schema(format = DateTime)]
    generated_at: String,
    /// How long they took together.
    duration_millis: f64,
    /// `db`, and each output that is configured.
    tests: HashMap<String, HealthTest>,
}

/// One test.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "a shape, for the description only")]
pub struct HealthTest {
    /// What was tested.
    test_name: String,
    /// When the test was begun.
    #[schema(format = DateTime)]
    tested_at: String,
    /// How long it took.
    duration_millis: f64,
    /// `passed` or `failed`.
    #[schema(example = "passed", pattern = "^(passed|failed)$")]
    result: String,
    /// What is wrong, when it failed.
    #[schema(required = false)]
    error: String,
    /// What is owed to an output that must have everything, if anything is.
    #[schema(required = false)]
    backlog: Backlog,
    /// Since when deliveries fail, while they do.
    #[schema(format = DateTime, required = false)]
    failing_since: String,
    /// What went wrong last, if anything did since the start.
    #[schema(required = false)]
    last_error: LastError,
}

/// What is owed to an output, as of a second ago.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "a shape, for the description only")]
pub struct Backlog {
    /// Messages: of a log batch each message, of anything else one.
    messages: u64,
    /// Their size in the database.
    bytes: u64,
    /// When the oldest of them was recorded.
    #[schema(format = DateTime)]
    oldest_at: String,
}

/// What went wrong last.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "a shape, for the description only")]
pub struct LastError {
    /// When.
    #[schema(format = DateTime)]
    at: String,
    /// What.
    error: String,
}

/// What was wrong with a request.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"Error": "`engine` must be a string", "code": "invalid_member", "field": "engine"}))]
#[allow(dead_code, reason = "a shape, for the description only")]
pub struct Error {
    /// One sentence that says what to change.
    #[schema(rename = "Error")]
    error: String,
    /// The kind of mistake, stable across releases.
    code: String,
    /// The member at fault, where there is one.
    #[schema(required = false)]
    field: String,
}
