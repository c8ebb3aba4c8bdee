//! Parameters in the paths of routes.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use percent_encoding::percent_decode_str;

use crate::error::ApiError;

/// The parameter of a route, decoded. `Path` would also return the parameters of scopes around the API, which come
/// first.
#[derive(Debug)]
pub(crate) struct Parameter(pub(crate) String);

impl FromRequest for Parameter {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let encoded = request.match_info().iter().last().map_or("", |(_, value)| value);
        ready(Ok(Self(percent_decode_str(encoded).decode_utf8_lossy().into_owned())))
    }
}
