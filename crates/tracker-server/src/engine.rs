//! The engine that sends a report.

use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use tracker_core::{DeploymentId, Reporter, Tracker, TrackerError};

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
