//! The API description (OpenAPI). Handlers and the types of their responses describe themselves.

mod admission;

use std::collections::{BTreeMap, HashMap};

use actix_web::web::Bytes;
use serde::Serialize;
use serde_json::json;
use utoipa::{IntoResponses, OpenApi, ToSchema};

use crate::admission::Rule;
use crate::error::ApiError;
use crate::prefix::Prefix;
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
)]
pub struct Description;

/// The description as JSON.
#[derive(Debug)]
pub struct Document(pub Bytes);

impl Document {
    /// Serializes the description. `rules` has the rule of each path.
    pub fn new(rules: &BTreeMap<&'static str, Rule>) -> Self {
        let mut description = Description::openapi();
        admission::describe(&mut description, rules);
        let json = description.to_json().expect("the description contains only valid JSON");
        Self(Bytes::from(json))
    }

    /// The description of an API below `prefix`, to which its paths are relative.
    pub fn below(&self, prefix: &Prefix) -> Vec<u8> {
        let members = self.0.strip_prefix(b"{").expect("the description is an object");
        let servers = json!([{ "url": prefix.to_string() }]);
        [format!("{{\"servers\":{servers},").as_bytes(), members].concat()
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
    /// The `@timestamp` of the received object if it is a time in RFC 3339, otherwise the time of receipt. Any other
    /// `@timestamp` of the object is kept as `_@timestamp`.
    #[schema(format = DateTime, rename = "@timestamp", example = "2015-07-07T17:34:12.075Z")]
    timestamp: String,
    #[serde(flatten)]
    others: HashMap<String, serde_json::Value>,
}
