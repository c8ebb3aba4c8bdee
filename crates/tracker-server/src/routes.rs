//! The routes: each with its path, its methods and the rule that admission control applies to it.

use std::collections::BTreeMap;

use actix_web::guard::{Any, Get, Head};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data, ServiceConfig, post, put};
use actix_web::{Handler, HttpResponse, Responder, Route};

use crate::admission::{Rule, pass};
use crate::auth::Scope::{Admin, Read};
use crate::description::Document;
use crate::error::ApiError;
use crate::metrics::RequestMetrics;
use crate::{deployments, health, logs, metrics, servers, service};

/// Where the routes are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mount {
    /// They are the whole application.
    Root,
    /// They are in a scope, whose path is also that of the route `/`, with or without the slash.
    Scope,
}

/// Adds every route, with its metrics from `requests`.
pub(crate) fn configure(config: &mut ServiceConfig, requests: &RequestMetrics, mount: Mount) {
    let mut routes = Routes { config, requests, rules: BTreeMap::new() };
    let records = Rule::Records;
    let operators = Rule::Unlimited(&[Read, Admin]);
    // The router tries the routes in this order, so the routes of reports come first.
    routes.add("/v1/deployments/{id}/logs", records, "GET, HEAD, POST", [get(logs::list), post().to(logs::append)]);
    routes.add(
        "/v1/deployments/{id}",
        records,
        "GET, HEAD, POST, PUT",
        [get(deployments::one), post().to(deployments::start), put().to(deployments::finish)],
    );
    let reports = [post().to(servers::start), put().to(servers::finish)];
    routes.add("/v1/deployments/{id}/servers", records, "POST, PUT", reports);
    let root = match mount {
        Mount::Root => vec!["/".to_owned()],
        Mount::Scope => vec![String::new(), "/".to_owned()],
    };
    routes.add_at(root, "/", Rule::Public, "GET, HEAD", [get(service::root)]);
    routes.add("/config", Rule::Token(&[Admin]), "GET, HEAD", [get(service::config)]);
    routes.add("/healthcheck", operators, "GET, HEAD", [get(health::healthcheck)]);
    routes.add("/livez", Rule::Probe, "GET, HEAD", [get(health::livez)]);
    routes.add("/readyz", Rule::Probe, "GET, HEAD", [get(health::readyz)]);
    routes.add("/metrics", operators, "GET, HEAD", [get(metrics::metrics)]);
    routes.add("/openapi.json", Rule::Public, "GET, HEAD", [get(service::openapi)]);
    routes.add("/swagger.json", Rule::Public, "GET, HEAD", [get(service::swagger_json)]);
    routes.add("/swagger", Rule::Public, "GET, HEAD", [get(service::swagger)]);
    routes.add("/v1/deployments", records, "GET, HEAD", [get(deployments::list)]);
    routes.add("/v1/servers", records, "GET, HEAD", [get(servers::hostnames)]);
    routes.add("/v1/servers/{hostname}", records, "GET, HEAD", [get(servers::one)]);
    #[cfg(feature = "docs")]
    crate::docs::configure(&mut routes);
    let document = Document::new(&routes.rules);
    config.app_data(Data::new(document)).default_service(web::to(service::no_route).wrap(from_fn(pass)));
}

/// The routes so far.
pub(crate) struct Routes<'a> {
    config: &'a mut ServiceConfig,
    requests: &'a RequestMetrics,
    /// The rule of each route, by pattern.
    rules: BTreeMap<&'static str, Rule>,
}

impl Routes<'_> {
    /// Adds the route with this path, with or without a trailing slash. Methods other than those in `allow` get 405.
    fn add<const N: usize>(&mut self, path: &'static str, rule: Rule, allow: &'static str, methods: [Route; N]) {
        self.add_at(vec![path.to_owned(), format!("{path}/")], path, rule, allow, methods);
    }

    /// Adds the route at `paths` under the name `pattern`. Admission control precedes its handlers.
    pub(crate) fn add_at<const N: usize>(
        &mut self,
        paths: Vec<String>,
        pattern: &'static str,
        rule: Rule,
        allow: &'static str,
        methods: [Route; N],
    ) {
        let refuse = web::to(move || async move { Err::<HttpResponse, _>(ApiError::method_not_allowed(allow)) });
        let resource =
            web::resource(paths).app_data(self.requests.route(pattern)).app_data(rule).default_service(refuse);
        self.config
            .service(methods.into_iter().fold(resource, |resource, route| resource.route(route)).wrap(from_fn(pass)));
        self.rules.insert(pattern, rule);
    }
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
