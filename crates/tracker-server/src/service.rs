//! `/config`, the API description and its documentation, and unknown paths.

use std::borrow::Cow;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::web::{Data, Path};
use serde_json::Value;

use crate::description::Document;
use crate::error::ApiError;
use crate::response_budget::StaticBody;

/// The content security policy of the documentation. Swagger UI adds inline styles, and icons as `data:` URLs;
/// everything else comes from this server.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                           img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'";

/// The configuration, redacted.
pub struct RawConfig(pub Value);

/// Redirect to the API documentation
#[utoipa::path(
    get, path = "/", tag = "service",
    responses(
        (status = 302, description = "The documentation is at `/docs/`",
            headers(("Location" = String, description = "`/docs/`"))),
    )
)]
pub async fn root() -> HttpResponse {
    HttpResponse::Found().insert_header((LOCATION, "/docs/")).finish()
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
pub async fn openapi(document: Data<Document>) -> HttpResponse {
    document_response(&document)
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
pub async fn swagger_json(document: Data<Document>) -> HttpResponse {
    document_response(&document)
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
pub async fn swagger(document: Data<Document>) -> HttpResponse {
    document_response(&document)
}

fn is_static(mut response: HttpResponse) -> HttpResponse {
    response.extensions_mut().insert(StaticBody);
    response
}

fn document_response(document: &Document) -> HttpResponse {
    let response = HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, "Origin, X-Requested-With, Content-Type, Accept"))
        .body(document.0.clone());
    is_static(response)
}

/// Redirects to the documentation.
pub async fn docs() -> HttpResponse {
    HttpResponse::Found().insert_header((LOCATION, "/docs/")).finish()
}

/// A file of the documentation, which is embedded in the program.
pub async fn docs_file(file: Path<String>, ui: Data<SwaggerUi>) -> Result<HttpResponse, ApiError> {
    let name = if file.is_empty() { "index.html" } else { file.as_str() };
    match utoipa_swagger_ui::serve(name, ui.0.clone()) {
        Ok(Some(file)) => {
            let mut response = HttpResponse::Ok();
            response
                .insert_header((CONTENT_TYPE, file.content_type))
                .insert_header((CONTENT_SECURITY_POLICY, DOCS_POLICY))
                .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
                .insert_header((X_FRAME_OPTIONS, "DENY"));
            Ok(match file.bytes {
                Cow::Borrowed(bytes) => is_static(response.body(bytes)),
                Cow::Owned(bytes) => response.body(bytes),
            })
        }
        _ => no_route().await,
    }
}

/// Configuration of the documentation page.
pub struct SwaggerUi(Arc<utoipa_swagger_ui::Config<'static>>);

impl SwaggerUi {
    /// Documents the description at `/openapi.json`, without the badge of a validator on the Internet.
    pub fn new() -> Self {
        Self(Arc::new(utoipa_swagger_ui::Config::new(["/openapi.json"]).validator_url("none")))
    }
}

/// Answers requests to unknown paths.
pub async fn no_route() -> Result<HttpResponse, ApiError> {
    Err(ApiError::not_found("unknown_path", "this path does not exist; see /docs/ for the paths that do"))
}
