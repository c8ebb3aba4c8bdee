//! `/config`, the API description, and unknown paths.

use actix_web::HttpResponse;
use actix_web::http::header::{ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, LOCATION};
use actix_web::web::Data;
use serde_json::Value;

use crate::description::Document;
use crate::error::ApiError;
use crate::prefix::Prefix;
use crate::response_budget::StaticBody;

/// The documentation of the API.
const DOCUMENTATION: &str = if cfg!(feature = "docs") { "/docs/" } else { "/openapi.json" };

/// The configuration, redacted.
#[derive(Debug)]
pub struct RawConfig(pub Value);

/// Redirect to the API documentation
#[utoipa::path(
    get, path = "/", tag = "service",
    responses(
        (status = 302, description = "A redirect to the documentation",
            headers(("Location" = String, description = "The path of the documentation"))),
    )
)]
pub async fn root(prefix: Prefix) -> HttpResponse {
    HttpResponse::Found().insert_header((LOCATION, format!("{prefix}{DOCUMENTATION}"))).finish()
}

/// The configuration of the server
///
/// The merged configuration of the file and the environment, without defaults. Secrets are replaced with `[REDACTED]`.
#[utoipa::path(
    get, path = "/config", tag = "service",
    responses((status = 200, description = "The configuration", body = Object))
)]
pub async fn config(raw_config: Data<RawConfig>) -> HttpResponse {
    HttpResponse::Ok().json(&raw_config.0)
}

/// The API description: OpenAPI 3.1
///
/// The same document is at `/openapi.json`, `/swagger.json` and `/swagger`.
#[utoipa::path(
    get, path = "/openapi.json", tag = "service",
    responses(
        (status = 200, description = "This description", body = Object,
            headers(
                ("Access-Control-Allow-Origin" = String, description = "`*`"),
                ("Access-Control-Allow-Headers" = String, description = "The headers that a web page may send"),
            )),
    )
)]
pub async fn openapi(document: Data<Document>, prefix: Prefix) -> HttpResponse {
    document_response(&document, &prefix)
}

/// The API description, at a path of the legacy service
#[utoipa::path(
    get, path = "/swagger.json", tag = "service",
    responses(
        (status = 200, description = "The same document as `/openapi.json`", body = Object,
            headers(
                ("Access-Control-Allow-Origin" = String, description = "`*`"),
                ("Access-Control-Allow-Headers" = String, description = "The headers that a web page may send"),
            )),
    )
)]
pub async fn swagger_json(document: Data<Document>, prefix: Prefix) -> HttpResponse {
    document_response(&document, &prefix)
}

/// The API description, at a path of the legacy service
#[utoipa::path(
    get, path = "/swagger", tag = "service",
    responses(
        (status = 200, description = "The same document as `/openapi.json`", body = Object,
            headers(
                ("Access-Control-Allow-Origin" = String, description = "`*`"),
                ("Access-Control-Allow-Headers" = String, description = "The headers that a web page may send"),
            )),
    )
)]
pub async fn swagger(document: Data<Document>, prefix: Prefix) -> HttpResponse {
    document_response(&document, &prefix)
}

/// Marks the body as a part of the program.
pub(crate) fn is_static(mut response: HttpResponse) -> HttpResponse {
    response.extensions_mut().insert(StaticBody);
    response
}

fn document_response(document: &Document, prefix: &Prefix) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, "Origin, X-Requested-With, Content-Type, Accept"));
    if prefix.is_empty() { is_static(response.body(document.0.clone())) } else { response.body(document.below(prefix)) }
}

/// Answers requests to unknown paths.
pub async fn no_route(prefix: Prefix) -> Result<HttpResponse, ApiError> {
    let message = format!("this path does not exist; see {prefix}{DOCUMENTATION} for the paths that do");
    Err(ApiError::not_found("unknown_path", message))
}
