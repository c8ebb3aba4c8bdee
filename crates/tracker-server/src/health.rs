//! `/healthcheck`, `/livez` and `/readyz`.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use serde::Serialize;
use serde_json::json;
use tracker_core::{HealthCheck, OutputStatus, Text, Tracker, time};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::prefix::Prefix;

/// The results of all tests.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// When the tests started.
    #[schema(value_type = String, format = DateTime)]
    generated_at: Text,
    /// The duration of all tests together.
    duration_millis: f64,
    /// The tests by name: `db`, and each configured output.
    tests: BTreeMap<String, HealthTest>,
}

/// The result of one test.
#[derive(Serialize, ToSchema)]
struct HealthTest {
    /// The name of the test.
    test_name: String,
    /// When the test started.
    #[schema(value_type = String, format = DateTime)]
    tested_at: Text,
    /// The duration of the test.
    duration_millis: f64,
    /// `passed` or `failed`.
    #[schema(value_type = String, example = "passed", pattern = "^(passed|failed)$")]
    result: &'static str,
    /// The error, if the test failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    error: Option<String>,
    /// A restriction of an output that works, such as a Redis server that cannot recognize duplicates.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    warning: Option<String>,
    /// The backlog of an at-least-once output, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Backlog, required = false)]
    backlog: Option<Backlog>,
    /// When deliveries started to fail, if they are failing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    failing_since: Option<Text>,
    /// The last error since the start of the server, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = LastError, required = false)]
    last_error: Option<LastError>,
}

/// The pending messages of an output, counted once a second.
#[derive(Serialize, ToSchema)]
struct Backlog {
    /// The number of messages. Each message of a log batch counts, and any other event counts as one.
    messages: u64,
    /// The size of the messages in the database.
    bytes: u64,
    /// When the oldest message was recorded.
    #[schema(value_type = String, format = DateTime)]
    oldest_at: Text,
}

/// The last error of an output.
#[derive(Serialize, ToSchema)]
struct LastError {
    /// The time of the error.
    #[schema(value_type = String, format = DateTime)]
    at: Text,
    /// The error message.
    error: String,
}

impl HealthTest {
    fn new(check: HealthCheck, output: Option<&OutputStatus>) -> Self {
        // A live output delivers its pending messages immediately, so they are not a backlog.
        let backlog = output.filter(|output| output.is_catching_up).map(|output| &output.backlog);
        let backlog = backlog.and_then(|backlog| {
            let oldest_at = time::rfc3339(&backlog.oldest?);
            Some(Backlog { messages: backlog.messages, bytes: backlog.bytes, oldest_at })
        });
        let last_error = output.and_then(|output| output.last_error.as_ref());
        Self {
            test_name: check.name,
            tested_at: time::rfc3339(&check.tested_at),
            duration_millis: millis(check.duration),
            result: if check.error.is_none() { "passed" } else { "failed" },
            error: check.error,
            warning: check.warning,
            backlog,
            failing_since: output.and_then(|output| output.failing_since.as_ref()).map(time::rfc3339),
            last_error: last_error.map(|(at, error)| LastError { at: time::rfc3339(at), error: error.clone() }),
        }
    }
}

/// Milliseconds with one decimal.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

/// Test the database and every output
///
/// Each test ends within two seconds.
#[utoipa::path(
    get, path = "/healthcheck", tag = "service",
    responses(
        (status = 200, description = "Every test passed", body = Health),
        (status = 503, description = "A test failed", body = Health),
    )
)]
pub async fn healthcheck(tracker: Data<Tracker>) -> HttpResponse {
    let health = tracker.health().await;
    let mut response = if health.passed() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    let test = |check: HealthCheck| {
        let output = health.outputs.iter().find(|output| output.name == check.name);
        (check.name.clone(), HealthTest::new(check, output))
    };
    response.json(Health {
        generated_at: time::rfc3339(&health.generated_at),
        duration_millis: millis(health.duration),
        tests: health.checks.into_iter().map(test).collect(),
    })
}

/// Whether the process is alive
#[utoipa::path(get, path = "/livez", tag = "service", responses((status = 200, description = "The process is alive")))]
pub async fn livez() -> HttpResponse {
    ok()
}

/// Whether the server can record reports durably
///
/// The server is ready if the database accepts writes and the outbox is below its limit. After a failed commit or query,
/// the server is not ready until a probe of the same size, or the same query, succeeds. An unavailable output alone does
/// not change that.
#[utoipa::path(
    get, path = "/readyz", tag = "service",
    responses(
        (status = 200, description = "The server can record reports"),
        (
            status = 503, description = "The server cannot record reports", body = ApiError,
            headers(("Retry-After" = u32, description = "Seconds to wait before a retry")),
        ),
    )
)]
pub async fn readyz(tracker: Data<Tracker>, prefix: Prefix) -> Result<HttpResponse, ApiError> {
    let not_ready = |_| {
        let message = format!("the server cannot record reports durably now; see {prefix}/healthcheck");
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", message)
    };
    tracker.ready().await.map(|()| ok()).map_err(not_ready)
}

fn ok() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}
