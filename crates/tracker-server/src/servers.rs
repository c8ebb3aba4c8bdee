//! `/v1/deployments/{id}/servers` and `/v1/servers`.

use std::mem;

use actix_web::HttpResponse;
use actix_web::http::header::LOCATION;
use actix_web::web::Data;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tracker_core::{DeploymentId, Hostname, HostnameQuery, Server, ServerQuery, ServerReport, Tracker, TrackerError};

use crate::body::Body;
use crate::description::{ReportErrors, Unavailable};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::paging::{Paging, PagingParameters};
use crate::parameter::Parameter;
use crate::prefix::Prefix;
use crate::response_budget::ResponseBudget;

/// The characters to percent-encode in a path segment: all except the unreserved ones of RFC 3986, section 2.3.
pub(crate) const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Record the start of a deployment on a server
///
/// A retry of the same start gets 201 and changes nothing. After the finish, a start only fills in absent fields. The
/// start of the deployment itself may arrive later.
#[utoipa::path(
    post, path = "/v1/deployments/{id}/servers", operation_id = "start_server", tag = "servers",
    params((
        "id" = String, Path, format = Uuid, description = "The deployment",
        example = "84e803f7-9562-4d95-b828-25b167aea34b",
    )),
    request_body = ServerReport,
    responses(
        (status = 201, description = "Recorded durably",
            headers(
                ("Location" = String, description = "`/v1/servers/{hostname}`"),
                ("Warning" = String, description = "Names fields that the report seems to misspell"),
            )),
        (status = 400, description = "The body or the id is invalid; `Error` says what to change", body = ApiError),
        (status = 409, description = "The server is already recorded with another value; see `field`", body = ApiError),
        ReportErrors,
    )
)]
pub async fn start(
    engine: Engine,
    Parameter(id): Parameter,
    prefix: Prefix,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let mut report = read(&engine, &id, &body).await?;
    let misspelled = mem::take(&mut report.misspelled);
    let hostname = report.key.hostname.clone();
    let location = format!("{prefix}/v1/servers/{}", utf8_percent_encode(hostname.as_str(), SEGMENT));
    let recorded = engine.tracker.start_server(report).await;
    recorded.map_err(|error| ApiError::from_tracker(error, format_args!("server {}", hostname.as_str())))?;
    Ok(engine.with_warning(HttpResponse::Created().insert_header((LOCATION, location)).finish(), &misspelled))
}

/// Record the finish of a deployment on a server
///
/// Every given field overwrites the recorded value. A finish without a start also records the server.
#[utoipa::path(
    put, path = "/v1/deployments/{id}/servers", operation_id = "finish_server", tag = "servers",
    params((
        "id" = String, Path, format = Uuid, description = "The deployment",
        example = "84e803f7-9562-4d95-b828-25b167aea34b",
    )),
    request_body = ServerReport,
    responses(
        (status = 204, description = "Recorded durably",
            headers(("Warning" = String, description = "Names fields that the report seems to misspell"))),
        (status = 400, description = "The body or the id is invalid; `Error` says what to change", body = ApiError),
        ReportErrors,
    )
)]
pub async fn finish(engine: Engine, Parameter(id): Parameter, body: Body) -> Result<HttpResponse, ApiError> {
    let mut report = read(&engine, &id, &body).await?;
    let misspelled = mem::take(&mut report.misspelled);
    engine.tracker.finish_server(report).await.map_err(|error| ApiError::from_tracker(error, "this server"))?;
    Ok(engine.with_warning(HttpResponse::NoContent().finish(), &misspelled))
}

/// Reads the report in `body` and checks that the engine may send it.
async fn read(engine: &Engine, id: &str, body: &Body) -> Result<ServerReport, ApiError> {
    let id = DeploymentId::parse(id)?;
    let report = ServerReport { reporter: engine.reporter(), ..ServerReport::read(id, body.json()?)? };
    engine.check_deployment(Some(id)).await?;
    Ok(report)
}

/// All hostnames, without duplicates, in descending order
#[utoipa::path(
    get, path = "/v1/servers", operation_id = "hostnames", tag = "servers",
    params(PagingParameters),
    responses(
        (status = 200, description = "The hostnames", body = Vec<String>,
            headers(("Link" = String, description = "Links to the next and, after the first page, the previous page"))),
        (status = 400, description = "`limit`, `offset` or `before` is invalid", body = ApiError),
        Unavailable,
    )
)]
pub async fn hostnames(
    tracker: Data<Tracker>,
    paging: Paging,
    budget: Data<ResponseBudget>,
) -> Result<HttpResponse, ApiError> {
    let fetch = move |page| {
        let tracker = tracker.clone();
        async move {
            tracker
                .hostnames(HostnameQuery::new(page))
                .await
                .map_err(|error| ApiError::from_tracker(error, "this list"))
        }
    };
    paging.answer(budget, fetch).await
}

/// The deployments on one server, newest first
#[utoipa::path(
    get, path = "/v1/servers/{hostname}", operation_id = "servers", tag = "servers",
    params(
        ("hostname" = String, Path, description = "The hostname, percent-encoded", example = "web01.example.com"),
        PagingParameters,
    ),
    responses(
        (status = 200, description = "By `createdAt`, then by deployment id, both descending", body = Vec<Server>,
            headers(("Link" = String, description = "Links to the next and, after the first page, the previous page"))),
        (status = 400, description = "`limit`, `offset` or `before` is invalid", body = ApiError),
        (status = 404, description = "No deployment on this server is recorded", body = ApiError),
        Unavailable,
    )
)]
pub async fn one(
    tracker: Data<Tracker>,
    Parameter(hostname): Parameter,
    paging: Paging,
    budget: Data<ResponseBudget>,
) -> Result<HttpResponse, ApiError> {
    let text = hostname.clone();
    let named = move |error| ApiError::from_tracker(error, format_args!("server {text}"));
    // An invalid hostname cannot have been recorded.
    let hostname = Hostname::new(hostname).map_err(|_| named(TrackerError::Unknown))?;
    let fetch = move |page| {
        let (tracker, hostname, named) = (tracker.clone(), hostname.clone(), named.clone());
        async move { tracker.servers(ServerQuery::new(hostname, page)).await.map_err(named) }
    };
    paging.answer(budget, fetch).await
}
