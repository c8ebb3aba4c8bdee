//! `/v1/deployments/{id}/logs`.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use tracker_core::json::{WriteJson, write};
use tracker_core::{
    DeploymentId, LogBatch, LogDeploymentId, LogMessage, LogQuery, LogTime, TimedMessage, Tracker, TrackerError,
    UnavailableReason, time,
};

use crate::body::Body;
use crate::description::{KeptLogMessage, LogMessages, ReportErrors, Unavailable};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::paging::{Paging, PagingParameters};
use crate::parameter::Parameter;
use crate::response_budget::ResponseBudget;

/// Record log messages
///
/// The body is an array of messages or one message. Either all messages are recorded or none. The start of the
/// deployment may arrive later.
#[utoipa::path(
    post, path = "/v1/deployments/{id}/logs", operation_id = "append_logs", tag = "logs",
    params(("id" = String, Path, description = "The deployment", example = "84e803f7-9562-4d95-b828-25b167aea34b")),
    request_body = LogMessages,
    responses(
        (status = 201, description = "Recorded durably"),
        (status = 400, body = ApiError,
            description = "A message is not an object with a string `message`; no message is recorded"),
        (status = 404, description = "The server takes no log messages (`logs_not_taken`)", body = ApiError),
        ReportErrors,
    )
)]
pub async fn append(engine: Engine, Parameter(id): Parameter, body: Body) -> Result<HttpResponse, ApiError> {
    record(&engine, &id, body.json()?).await
}

/// Records the log messages in `body` for the deployment `id`.
pub(crate) async fn record(engine: &Engine, id: &str, body: &RawValue) -> Result<HttpResponse, ApiError> {
    let logs = LogBatch::read(LogDeploymentId::new(id)?, body)?;
    engine.check_deployment(DeploymentId::parse(id).ok()).await?;
    let recorded = engine.tracker.append_logs(LogBatch { reporter: engine.reporter(), ..logs }).await;
    recorded.map_err(|error| match error {
        // Log messages carry no id by which a retry could be recognized.
        TrackerError::Unavailable(UnavailableReason::InDoubt | UnavailableReason::TimedOut) => {
            ApiError::unavailable(&error, "send it again, which may record its log messages twice")
        }
        error => ApiError::from_tracker(error, "these log messages"),
    })?;
    Ok(HttpResponse::Created().finish())
}

/// The log messages of a deployment, oldest first
#[utoipa::path(
    get, path = "/v1/deployments/{id}/logs", operation_id = "logs", tag = "logs",
    params(
        ("id" = String, Path, description = "The deployment", example = "84e803f7-9562-4d95-b828-25b167aea34b"),
        PagingParameters,
    ),
    responses(
        (status = 200, description = "The messages as they were received", body = Vec<KeptLogMessage>,
            headers(("Link" = String, description = "Links to the next and, after the first page, the previous page"))),
        (status = 400, description = "`limit`, `offset` or `before` is invalid", body = ApiError),
        (status = 404, description = "The server does not keep log messages (`logs_not_kept`)", body = ApiError),
        Unavailable,
    )
)]
pub async fn list(
    tracker: Data<Tracker>,
    Parameter(id): Parameter,
    paging: Paging,
    budget: Data<ResponseBudget>,
) -> Result<HttpResponse, ApiError> {
    let id = LogDeploymentId::new(&id)?;
    let fetch = move |page| {
        let (tracker, id) = (tracker.clone(), id.clone());
        async move {
            let messages = tracker.logs(LogQuery::new(id.clone(), page)).await;
            let messages = messages.map_err(|error| ApiError::from_tracker(error, format_args!("deployment {id}")))?;
            Ok(messages.map(|message| Stored { deployment_id: id.clone(), message }))
        }
    };
    paging.answer(budget, fetch).await
}

/// A stored message as the API returns it: the received object and its ids.
struct Stored {
    deployment_id: LogDeploymentId,
    message: LogMessage,
}

impl WriteJson for Stored {
    fn write_json(&self, out: &mut Vec<u8>) {
        write(out, self);
    }
}

impl Serialize for Stored {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let TimedMessage { time, members } = self.message.timed();
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in members.iter().filter(|(name, _)| !["deployment_id", "event_id"].contains(&name.as_ref()))
        {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("deployment_id", &self.deployment_id)?;
        map.serialize_entry("event_id", &self.message.event_id)?;
        match time {
            LogTime::Own { json, .. } => map.serialize_entry("@timestamp", json)?,
            LogTime::Received(time) => map.serialize_entry("@timestamp", &time::rfc3339(&time))?,
        }
        map.end()
    }
}
