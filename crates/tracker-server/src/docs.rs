//! The documentation of the API: Swagger UI, which is embedded in the program.

use std::borrow::Cow;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use utoipa_swagger_ui::Config;

use crate::admission::Rule;
use crate::error::ApiError;
use crate::parameter::Parameter;
use crate::prefix::Prefix;
use crate::routes::{Routes, get};
use crate::service::{is_static, no_route};

/// The content security policy of the documentation. Swagger UI adds inline styles, and icons as `data:` URLs;
/// everything else comes from this server.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                           img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'";

/// Adds `/docs`.
pub(crate) fn configure(routes: &mut Routes) {
    routes.add_at(vec!["/docs".to_owned()], "/docs", Rule::Public, "GET, HEAD", [get(redirect)]);
    routes.add_at(vec!["/docs/{file:.*}".to_owned()], "/docs/{file}", Rule::Public, "GET, HEAD", [get(file)]);
}

/// Redirects to the documentation.
async fn redirect(prefix: Prefix) -> HttpResponse {
    HttpResponse::Found().insert_header((LOCATION, format!("{prefix}/docs/"))).finish()
}

/// A file of the documentation, which is embedded in the program.
async fn file(Parameter(file): Parameter, prefix: Prefix) -> Result<HttpResponse, ApiError> {
    let name = if file.is_empty() { "index.html" } else { file.as_str() };
    // Without the badge of a validator on the Internet.
    let config = Config::new([format!("{prefix}/openapi.json")]).validator_url("none");
    match utoipa_swagger_ui::serve(name, Arc::new(config)) {
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
        _ => no_route(prefix).await,
    }
}
