//! What the door answers in the place of every handler.

use actix_web::http::Method;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::{IntoResponses, Modify};

use super::Error;
use crate::auth::needed;

/// The name of the security scheme.
const TOKEN: &str = "token";

/// Adds to each operation what the door asks for, and may answer.
pub(super) struct Admission;

impl Modify for Admission {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("Wanted where `auth.tokens` is configured; otherwise everybody is let in"))
            .build();
        let components = description.components.get_or_insert_default();
        components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer));
        for (path, item) in &mut description.paths.paths {
            let methods = [(Method::GET, &mut item.get), (Method::POST, &mut item.post), (Method::PUT, &mut item.put)];
            for (method, operation) in methods {
                let (Some(operation), Some(scopes)) = (operation, needed(&method, path)) else { continue };
                let one_of = scopes.iter().map(|scope| SecurityRequirement::new(TOKEN, [scope.to_string()]));
                operation.security = Some(std::iter::once(SecurityRequirement::default()).chain(one_of).collect());
                for (status, response) in Refusals::responses() {
                    operation.responses.responses.entry(status).or_insert(response);
                }
            }
        }
    }
}

#[derive(IntoResponses)]
#[allow(dead_code, reason = "a shape, for the description only")]
enum Refusals {
    #[response(
        status = 401,
        description = "A token is needed (`token_required`), or this one is not good (`invalid_token`)",
        headers(("WWW-Authenticate" = String, description = "The challenge of RFC 6750"))
    )]
    Unauthorized(Error),
    #[response(
        status = 403,
        description = "The token lacks the scope, or may not report on this environment",
        headers(("WWW-Authenticate" = String, description = "The challenge of RFC 6750"))
    )]
    Forbidden(Error),
    #[response(status = 431, description = "The head of the request is over the limit")]
    HeadTooLarge(Error),
    #[response(
        status = 503,
        description = "Too many requests are worked on",
        headers(("Retry-After" = u32, description = "After how many seconds to try again"))
    )]
    Overloaded(Error),
}
