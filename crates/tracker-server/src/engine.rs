//! The engine that sends a report.

use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header::{HeaderValue, WARNING};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse};
use tracker_core::{DeploymentId, DeploymentReport, Reporter, Tracker, TrackerError};

use crate::auth::Token;
use crate::error::ApiError;

/// The engine that sends a report, and the tracker that receives it.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) tracker: Data<Tracker>,
    /// `None` if authentication is off.
    token: Option<Arc<Token>>,
}

impl Engine {
    /// The name of the engine's token.
    pub(crate) fn reporter(&self) -> Option<Reporter> {
        self.token.as_ref().map(|token| token.name.clone())
    }

    /// Adds a warning to the `response` to a recorded report, if the report misspelled fields, and counts them.
    ///
    /// The warning has the form of RFC 7234, section 5.5: code, agent, text. It repeats nothing that the engine sent.
    pub(crate) fn with_warning(&self, mut response: HttpResponse, misspelled: &[&'static str]) -> HttpResponse {
        if !misspelled.is_empty() {
            self.tracker.metrics().count_misspelled(misspelled);
            let fields = misspelled.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ");
            let text = format!("299 - \"unknown fields were ignored; check the spelling of {fields}\"");
            let text = HeaderValue::try_from(text).expect("names of fields are visible ASCII characters");
            response.headers_mut().insert(WARNING, text);
        }
        response
    }

    /// Records the start of a deployment, if the engine may report it. Servers that were reported before the start may
    /// belong to any environment, so only an engine that may report all environments adopts them.
    pub(crate) async fn start_deployment(&self, report: DeploymentReport) -> Result<(), ApiError> {
        self.check_environment(report.fields.environment.as_deref())?;
        let limited = self.token.as_ref().filter(|token| token.is_limited());
        let (id, is_limited) = (report.id, limited.is_some());
        let started = self.tracker.start_deployment(DeploymentReport { is_limited, ..report }).await;
        started.map_err(|error| match (error, limited) {
            (TrackerError::Conflict { field: DeploymentReport::SERVERS }, Some(token)) => token.not_allowed(
                "servers of this deployment were reported before its start; send the start with a token that has no \
                 `environments`",
            ),
            (error, _) => ApiError::from_tracker(error, format_args!("deployment {id}")),
        })
    }

    /// Fails unless the engine may report deployments of `environment`.
    pub(crate) fn check_environment(&self, environment: Option<&str>) -> Result<(), ApiError> {
        self.token.as_ref().map_or(Ok(()), |token| token.check_environment(environment))
    }

    /// Fails unless the engine may report deployments of the environment in the record of `id`.
    pub(crate) async fn check_deployment(&self, id: Option<DeploymentId>) -> Result<(), ApiError> {
        if self.token.as_ref().is_none_or(|token| !token.is_limited()) {
            return Ok(());
        }
        let Some(id) = id else { return self.check_environment(None) };
        match self.tracker.deployment(id).await {
            Ok(record) => self.check_environment(record.deployment.fields.environment.as_deref()),
            Err(TrackerError::Unknown) => self.check_environment(None),
            Err(error) => Err(ApiError::from_tracker(error, format_args!("deployment {id}"))),
        }
    }
}

impl FromRequest for Engine {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let tracker = request.app_data::<Data<Tracker>>().expect("the server has a tracker").clone();
        let token = request.extensions().get::<Arc<Token>>().cloned();
        ready(Ok(Self { tracker, token }))
    }
}
