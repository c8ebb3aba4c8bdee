//! `/v1/deployments`.

use std::mem;

use actix_web::HttpResponse;
use actix_web::http::header::{ContentType, LOCATION};
use actix_web::web::Data;
use tracker_core::{DeploymentId, DeploymentQuery, DeploymentReport, DeploymentWithServers, Tracker, is_log_message};

use crate::body::Body;
use crate::description::{ReportErrors, Unavailable};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::logs;
use crate::paging::{Paging, PagingParameters, json};
use crate::parameter::Parameter;
use crate::prefix::Prefix;
use crate::response_budget::ResponseBudget;

fn named(id: DeploymentId) -> impl FnOnce(tracker_core::TrackerError) -> ApiError {
    move |error| ApiError::from_tracker(error, format_args!("deployment {id}"))
}

/// Record the start of a deployment
///
/// A retry of the same start gets 201 and changes nothing. A body with a string `message` and no field of a deployment
/// except `deployment_id` is recorded as a log message.
#[utoipa::path(
    post, path = "/v1/deployments/{id}", operation_id = "start_deployment", tag = "deployments",
    params((
        "id" = String, Path, format = Uuid, description = "The id that the engine chose",
        example = "84e803f7-9562-4d95-b828-25b167aea34b",
    )),
    request_body = DeploymentReport,
    responses(
        (status = 201, description = "Recorded durably",
            headers(
                ("Location" = String, description = "`/v1/deployments/{id}`; absent for a log message"),
                ("Warning" = String, description = "Names fields that the report seems to misspell"),
            )),
        (status = 400, description = "The body or the id is invalid; `Error` says what to change", body = ApiError),
        (status = 404, body = ApiError,
            description = "The body is a log message, and the server takes none (`logs_not_taken`)"),
        (status = 409, body = ApiError,
            description = "The deployment is already recorded with another value; see `field`"),
        ReportErrors,
    )
)]
pub async fn start(
    engine: Engine,
    Parameter(id): Parameter,
    prefix: Prefix,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let json = body.json()?;
    if is_log_message(json) {
        return logs::record(&engine, &id, json).await;
    }
    let id = DeploymentId::parse(&id)?;
    let mut report = DeploymentReport { reporter: engine.reporter(), ..DeploymentReport::read(id, json)? };
    let misspelled = mem::take(&mut report.misspelled);
    engine.start_deployment(report).await?;
    let response = HttpResponse::Created().insert_header((LOCATION, format!("{prefix}/v1/deployments/{id}"))).finish();
    Ok(engine.with_warning(response, &misspelled))
}

/// Record the finish of a deployment
///
/// Every given field overwrites the recorded value. A finish that changes nothing gets 204, and no event is forwarded.
#[utoipa::path(
    put, path = "/v1/deployments/{id}", operation_id = "finish_deployment", tag = "deployments",
    params((
        "id" = String, Path, format = Uuid, description = "The deployment",
        example = "84e803f7-9562-4d95-b828-25b167aea34b",
    )),
    request_body = DeploymentReport,
    responses(
        (status = 204, description = "Recorded durably",
            headers(("Warning" = String, description = "Names fields that the report seems to misspell"))),
        (status = 400, description = "The body or the id is invalid; `Error` says what to change", body = ApiError),
        (status = 404, description = "The start of the deployment is not recorded", body = ApiError),
        ReportErrors,
    )
)]
pub async fn finish(engine: Engine, Parameter(id): Parameter, body: Body) -> Result<HttpResponse, ApiError> {
    let id = DeploymentId::parse(&id)?;
    let mut report = DeploymentReport { reporter: engine.reporter(), ..DeploymentReport::read(id, body.json()?)? };
    let misspelled = mem::take(&mut report.misspelled);
    engine.check_deployment(Some(id)).await?;
    if report.fields.environment.is_some() {
        engine.check_environment(report.fields.environment.as_deref())?;
    }
    engine.tracker.finish_deployment(report).await.map_err(named(id))?;
    Ok(engine.with_warning(HttpResponse::NoContent().finish(), &misspelled))
}

/// A deployment with its servers
#[utoipa::path(
    get, path = "/v1/deployments/{id}", operation_id = "deployment", tag = "deployments",
    params((
        "id" = String, Path, format = Uuid, description = "The deployment",
        example = "84e803f7-9562-4d95-b828-25b167aea34b",
    )),
    responses(
        (status = 200, description = "The deployment", body = DeploymentWithServers),
        (status = 400, description = "The id is not a UUID", body = ApiError),
        (status = 404, description = "The deployment is not recorded", body = ApiError),
        Unavailable,
    )
)]
pub async fn one(tracker: Data<Tracker>, Parameter(id): Parameter) -> Result<HttpResponse, ApiError> {
    let id = DeploymentId::parse(&id)?;
    let deployment = tracker.deployment(id).await.map_err(named(id))?;
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(json(&deployment)))
}

/// Deployments with their servers, newest first
#[utoipa::path(
    get, path = "/v1/deployments", operation_id = "deployments", tag = "deployments",
    params(PagingParameters),
    responses(
        (status = 200, description = "By `createdAt`, then by id, both descending", body = Vec<DeploymentWithServers>,
            headers(("Link" = String, description = "Links to the next and, after the first page, the previous page"))),
        (status = 400, description = "`limit`, `offset` or `before` is invalid", body = ApiError),
        Unavailable,
    )
)]
pub async fn list(
    tracker: Data<Tracker>,
    paging: Paging,
    budget: Data<ResponseBudget>,
) -> Result<HttpResponse, ApiError> {
    let fetch = move |page| {
        let tracker = tracker.clone();
        async move {
            tracker
                .deployments(DeploymentQuery::new(page))
                .await
                .map_err(|error| ApiError::from_tracker(error, "this list"))
        }
    };
    paging.answer(budget, fetch).await
}
