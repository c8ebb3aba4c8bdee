//! Adds the required scopes and the responses of admission control to each operation.

use std::collections::BTreeMap;

use actix_web::http::Method;
use utoipa::IntoResponses;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};

use crate::admission::Rule;
use crate::error::ApiError;

/// The name of the security scheme.
const TOKEN: &str = "token";

/// Adds the required scopes to each operation, and the responses of admission control when it refuses a request.
/// `rules` has the rule of each path.
pub(super) fn describe(description: &mut OpenApi, rules: &BTreeMap<&'static str, Rule>) {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("Required if the server has tokens; otherwise every client is admitted"))
        .build();
    let components = description.components.get_or_insert_default();
    components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer));
    for (path, item) in &mut description.paths.paths {
        let rule = *rules.get(path.as_str()).expect("every described path has a route");
        let methods = [(Method::GET, &mut item.get), (Method::POST, &mut item.post), (Method::PUT, &mut item.put)];
        for (method, operation) in methods {
            let Some(operation) = operation.as_mut().filter(|_| !matches!(rule, Rule::Probe)) else { continue };
            let mut refusals = Refusals::responses();
            if let Some(scopes) = rule.scopes(&method) {
                let one_of = scopes.iter().map(|scope| SecurityRequirement::new(TOKEN, [scope.to_string()]));
                operation.security = Some(std::iter::once(SecurityRequirement::default()).chain(one_of).collect());
                refusals.extend(TokenRefusals::responses());
            }
            for (status, response) in refusals {
                operation.responses.responses.entry(status).or_insert(response);
            }
        }
    }
}

#[derive(IntoResponses)]
#[allow(dead_code, reason = "only describes the responses")]
enum TokenRefusals {
    #[response(
        status = 401,
        description = "The token is missing (`token_required`) or invalid (`invalid_token`)",
        headers(("WWW-Authenticate" = String, description = "The challenge of RFC 6750"))
    )]
    Unauthorized(ApiError),
    #[response(
        status = 403,
        description = "The token lacks the scope, or may not report deployments of this environment",
        headers(("WWW-Authenticate" = String, description = "The challenge of RFC 6750"))
    )]
    Forbidden(ApiError),
}

#[derive(IntoResponses)]
#[allow(dead_code, reason = "only describes the responses")]
enum Refusals {
    #[response(status = 421, description = "The requested host is not one that the server allows")]
    Misdirected(ApiError),
    #[response(status = 431, description = "The head of the request is over the limit")]
    HeadTooLarge(ApiError),
    #[response(
        status = 503,
        description = "Too many requests are in progress",
        headers(("Retry-After" = u32, description = "Seconds to wait before a retry"))
    )]
    Overloaded(ApiError),
}
