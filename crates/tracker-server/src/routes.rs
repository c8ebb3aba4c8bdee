//! The routes.

use actix_web::guard::{Any, Get, Head};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{Handler, HttpResponse, Resource, Responder, Route};

use crate::description::Document;
use crate::error::ApiError;
use crate::metrics::RequestMetrics;
use crate::{deployments, health, logs, metrics, servers, service};

/// Adds every route, with its metrics from `requests`.
pub fn configure(config: &mut ServiceConfig, requests: &RequestMetrics) {
    let at = |path, allow| at(path, allow).app_data(requests.route(path));
    config
        .app_data(Data::new(Document::new()))
        // The router tries the routes in this order, so the routes of reports come first.
        .service(
            at("/v1/deployments/{id}/logs", "GET, HEAD, POST")
                .route(get(logs::list))
                .route(web::post().to(logs::append)),
        )
        .service(
            at("/v1/deployments/{id}", "GET, HEAD, POST, PUT")
                .route(get(deployments::one))
                .route(web::post().to(deployments::start))
                .route(web::put().to(deployments::finish)),
        )
        .service(
            at("/v1/deployments/{id}/servers", "POST, PUT")
                .route(web::post().to(servers::start))
                .route(web::put().to(servers::finish)),
        )
        .service(at("/", "GET, HEAD").route(get(service::root)))
        .service(at("/config", "GET, HEAD").route(get(service::config)))
        .service(at("/healthcheck", "GET, HEAD").route(get(health::healthcheck)))
        .service(at("/livez", "GET, HEAD").route(get(health::livez)))
        .service(at("/readyz", "GET, HEAD").route(get(health::readyz)))
        .service(at("/metrics", "GET, HEAD").route(get(metrics::metrics)))
        .service(at("/openapi.json", "GET, HEAD").route(get(service::openapi)))
        .service(at("/swagger.json", "GET, HEAD").route(get(service::swagger_json)))
        .service(at("/swagger", "GET, HEAD").route(get(service::swagger)))
        .service(at("/v1/deployments", "GET, HEAD").route(get(deployments::list)))
        .service(at("/v1/servers", "GET, HEAD").route(get(servers::hostnames)))
        .service(at("/v1/servers/{hostname}", "GET, HEAD").route(get(servers::one)))
        .default_service(web::to(service::no_route));
    #[cfg(feature = "docs")]
    crate::docs::configure(config, requests);
}

/// The resource at `path`, with or without a trailing slash. Methods other than those in `allow` get 405.
fn at(path: &str, allow: &'static str) -> Resource {
    let paths = if path == "/" { vec![path.to_owned()] } else { vec![path.to_owned(), format!("{path}/")] };
    web::resource(paths).default_service(not_allowed(allow))
}

pub(crate) fn not_allowed(allow: &'static str) -> Route {
    web::to(move || async move { Err::<HttpResponse, _>(ApiError::method_not_allowed(allow)) })
}

/// Routes GET, and HEAD, which is GET without a response body.
pub(crate) fn get<F, Args>(handler: F) -> Route
where
    F: Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::route().guard(Any(Get()).or(Head())).to(handler)
}
