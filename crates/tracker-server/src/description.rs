//! The API description (OpenAPI). Handlers and the types of their responses describe themselves.

mod admission;

use std::collections::HashMap;

use actix_web::web::Bytes;
use serde::Serialize;
use utoipa::{IntoResponses, OpenApi, ToSchema};

use crate::description::admission::Admission;
use crate::error::ApiError;
use crate::{deployments, health, logs, metrics, servers, service};

/// The description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "deployment-tracker",
        description = "Deployment tools (engines) report here: deployments, their servers, and log messages.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "deployments", description = "Deployments: reports of start and finish, and the records"),
        (name = "logs", description = "Log messages of deployments"),
        (name = "servers", description = "Deployments on individual servers"),
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
        health::healthcheck,
        health::livez,
        health::readyz,
        metrics::metrics,
        service::openapi,
        service::swagger_json,
        service::swagger,
    ),
    modifiers(&Admission),
)]
pub struct Description;

/// The description as JSON.
#[derive(Debug)]
pub struct Document(pub Bytes);

impl Document {
    /// Serializes the description.
    pub fn new() -> Self {
        let json = Description::openapi().to_json().expect("the description contains only valid JSON");
        Self(Bytes::from(json))
    }
}

/// Error responses to any report.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "only describes the responses")]
pub enum ReportErrors {
    #[response(status = 408, description = "The body did not arrive in time")]
    TooSlow(ApiError),
    #[response(status = 413, description = "The body is over the limit, after decompression")]
    TooLarge(ApiError),
    #[response(status = 415, description = "The content type is not `application/json` in UTF-8")]
    MediaType(ApiError),
    #[response(
        status = 503,
        description = "The server cannot record the report durably now, or is at a limit",
        headers(("Retry-After" = u32, description = "Seconds to wait before a retry"))
    )]
    Unavailable(ApiError),
}

/// Error response to any query.
#[derive(IntoResponses)]
#[response(
    status = 503,
    description = "The database is not available, or too many requests are in progress",
    headers(("Retry-After" = u32, description = "Seconds to wait before a retry"))
)]
#[allow(dead_code, reason = "only describes the responses")]
pub struct Unavailable(ApiError);

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

/// Log messages: an array of messages, or one message.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(example = json!([{"message": "Starting deployment phase 1", "severity": "info"}]))]
#[allow(dead_code, reason = "only describes the body")]
pub enum LogMessages {
    Many(Vec<LogMessage>),
    One(LogMessage),
}

/// A log message: any object with a string `message`. All other members are kept unchanged.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"message": "Starting deployment phase 1", "severity": "info"}))]
#[allow(dead_code, reason = "only describes the body")]
pub struct LogMessage {
    /// The text.
    message: String,
    #[serde(flatten)]
    others: HashMap<String, serde_json::Value>,
}

/// A stored log message: the received object and its ids.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "only describes the body")]
pub struct KeptLogMessage {
    /// The text.
    message: String,
    /// The deployment.
    deployment_id: String,
    /// The id of the message, a UUIDv7.
    #[schema(format = Uuid)]
    event_id: String,
    /// The `@timestamp` of the received object or, if it has none, the time of receipt.
    #[schema(rename = "@timestamp", example = "2015-07-07T17:34:12.075Z")]
    timestamp: String,
    #[serde(flatten)]
    others: HashMap<String, serde_json::Value>,
}
