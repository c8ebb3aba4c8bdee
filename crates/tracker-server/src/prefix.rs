//! The path at which a program mounts the API. Locations in responses begin with it.

use std::fmt;
use std::future::{Ready, ready};

use actix_web::dev::{Payload, Service, ServiceRequest};
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use crate::error::ApiError;
use crate::slashes;

/// The prefix of a request, as in the request's path: percent-encoded, without a final slash. Empty for the server of
/// [`run`](crate::run).
#[derive(Debug)]
pub(crate) struct Prefix(String);

impl Prefix {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The length of a prefix that is not empty, in bytes of the path.
struct Length(usize);

/// Middleware around the router of the API. The router has taken the prefix off the path.
pub(crate) fn enter<S: Service<ServiceRequest>>(mut request: ServiceRequest, routes: &S) -> S::Future {
    let length = length(&request);
    slashes::merge(&mut request, length);
    if length > 0 {
        request.extensions_mut().insert(Length(length));
    }
    routes.call(request)
}

fn length(request: &ServiceRequest) -> usize {
    let routed = request.match_info().as_str();
    let taken = &routed[..routed.len() - request.match_info().unprocessed().len()];
    if taken.is_empty() {
        return 0;
    }
    // The router decodes the path, except for encoded slashes.
    let path = request.uri().path();
    path.match_indices('/').nth(taken.matches('/').count()).map_or(path.len(), |(end, _)| end)
}

impl FromRequest for Prefix {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let length = request.extensions().get::<Length>().map_or(0, |length| length.0);
        ready(Ok(Self(request.uri().path()[..length].to_owned())))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
