//! What the service says of itself: `/config`, `/healthcheck`, the API description.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, LOCATION};
use actix_web::web::{Data, Path};
use serde_json::{Map, Value, json};
use tracker_core::{Backlog, HealthCheck, OutputStatus, Tracker, time};

use crate::description::{Document, Error, Health};
use crate::error::ApiError;

/// The configuration as given, without secrets.
pub struct RawConfig(pub Value);

/// Leads to the API documentation
#[utoipa::path(get, path = "/", tag = "service", responses((status = 302, description = "See `/docs/`", headers(("Location" = String, description = "`/docs/`")))))]
pub async fn root() -> HttpResponse {
    HttpResponse::Found().insert_header((LOCATION, "/docs/")).finish()
}

/// The configuration as given
///
/// File and environment merged, no defaults filled in; secrets read `[REDACTED]`.
#[utoipa::path(get, path = "/config", tag = "service", responses((status = 200, description = "The configuration", body = Object)))]
pub async fn config(raw_config: Data<RawConfig>) -> HttpResponse {
    HttpResponse::Ok().json(&raw_config.0)
}

/// Test every output and the database
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
    let tests: Map<_, _> =
        health.tests.iter().map(|check| (check.name.clone(), check_report(check, &health.outputs))).collect();
    let mut response = if health.passed() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.json(json!({
        "generated_at": time::rfc3339(&health.generated_at),
        "duration_millis": millis(health.duration),
        "tests": tests,
    }))
}

fn check_report(check: &HealthCheck, outputs: &[OutputStatus]) -> Value {
    let mut report = json!({
        "test_name": check.name,
        "tested_at": time::rfc3339(&check.tested_at),
        "duration_millis": millis(check.duration),
        "result": if check.error.is_none() { "passed" } else { "failed" },
    });
    if let Some(error) = &check.error {
        report["error"] = error.as_str().into();
    }
    if let Some(output) = outputs.iter().find(|output| output.name == check.name) {
        let Backlog { messages, bytes, oldest } = output.backlog;
        // While all is well, what is owed is on its way.
        if let (true, Some(oldest)) = (output.is_catching_up, oldest) {
            let oldest_at = time::rfc3339(&oldest);
            report["backlog"] = json!({"messages": messages, "bytes": bytes, "oldest_at": oldest_at});
        }
        if let Some(since) = output.failing_since {
            report["failing_since"] = time::rfc3339(&since).as_str().into();
        }
        if let Some((at, error)) = &output.last_error {
            report["last_error"] = json!({"at": time::rfc3339(at), "error": error});
        }
    }
    report
}

/// Whether the process runs
#[utoipa::path(get, path = "/livez", tag = "service", responses((status = 200, description = "It does")))]
pub async fn livez() -> HttpResponse {
    ok()
}

/// Whether a report can be made durable now
///
/// The database takes it, and the outbox has room. An output that is away does not matter as long as it has.
#[utoipa::path(
    get, path = "/readyz", tag = "service",
    responses(
        (status = 200, description = "It can"),
        (
            status = 503, description = "It cannot", body = Error,
            headers(("Retry-After" = u32, description = "After how many seconds to try again")),
        ),
    )
)]
pub async fn readyz(tracker: Data<Tracker>) -> Result<HttpResponse, ApiError> {
    match tracker.ready().await {
        Ok(()) => Ok(ok()),
        Err(_) => Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_ready",
            "a report cannot be made durable now; see /healthcheck",
        )),
    }
}

fn ok() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

fn millis(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

/// The API description: OpenAPI 3.1
///
/// The same at `/openapi.json`, `/swagger.json` and `/swagger`.
#[utoipa::path(get, path = "/openapi.json", tag = "service", responses((status = 200, description = "This description", body = Object)))]
pub async fn openapi(document: Data<Document>) -> HttpResponse {
    described(&document)
}

/// The API description, under the name that the service before this one had
#[utoipa::path(get, path = "/swagger.json", tag = "service", responses((status = 200, description = "As `/openapi.json`", body = Object)))]
pub async fn swagger_json(document: Data<Document>) -> HttpResponse {
    described(&document)
}

/// The API description, under the name that the service before this one had
#[utoipa::path(get, path = "/swagger", tag = "service", responses((status = 200, description = "As `/openapi.json`", body = Object)))]
pub async fn swagger(document: Data<Document>) -> HttpResponse {
    described(&document)
}

fn described(document: &Document) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, "Origin, X-Requested-With, Content-Type, Accept"))
        .body(document.0.clone())
}

/// Leads into the documentation's folder.
pub async fn docs() -> HttpResponse {
    HttpResponse::Found().insert_header((LOCATION, "/docs/")).finish()
}

/// A file of the documentation, from the binary itself.
pub async fn docs_file(file: Path<String>, ui: Data<SwaggerUi>) -> Result<HttpResponse, ApiError> {
    let name = if file.is_empty() { "index.html" } else { file.as_str() };
    match utoipa_swagger_ui::serve(name, ui.0.clone()) {
        Ok(Some(file)) => {
            Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, file.content_type)).body(file.bytes.into_owned()))
        }
        _ => no_route().await,
    }
}

/// What the documentation's page is told: where the description is.
pub struct SwaggerUi(Arc<utoipa_swagger_ui::Config<'static>>);

impl SwaggerUi {
    /// For the description at `/openapi.json`.
    pub fn new() -> Self {
        Self(Arc::new(utoipa_swagger_ui::Config::new(["/openapi.json"])))
    }
}

/// For every path that is not there.
pub async fn no_route() -> Result<HttpResponse, ApiError> {
    Err(ApiError::not_found("unknown_path", "there is nothing at this path; see /docs/ for those there are"))
}
