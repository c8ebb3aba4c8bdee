//! The door: who is let in, and how many at a time.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{HttpMessage, ResponseError};
use arc_swap::ArcSwapOption;
use percent_encoding::percent_decode_str;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::auth::{Token, Tokens, required_scopes};
use crate::error::ApiError;
use crate::limits::Limits;
use crate::requests::RequestTimer;
use crate::stalled_connections::{Answer, Connection, InFlight};
use crate::unread_body::UnreadBody;

/// Who is let in. Clones are the same: what is changed in one holds for all, from the next request on.
#[derive(Debug, Clone, Default)]
pub struct Access(Arc<ArcSwapOption<Tokens>>);

impl Access {
    /// Lets everybody in.
    pub fn open() -> Self {
        Self::default()
    }

    /// Lets in who has one of these tokens, and nobody else from now on.
    pub fn restrict(&self, tokens: Tokens) {
        self.0.store(Some(Arc::new(tokens)));
    }

    /// Whether everybody is let in.
    pub fn is_open(&self) -> bool {
        self.0.load().is_none()
    }
}

/// What every request passes.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) limits: Limits,
    /// Bytes that bodies may still take.
    pub(crate) body_permits: Arc<Semaphore>,
    access: Access,
    /// Bodies that may still be inflated at the same time: brotli takes up to 16 MB beside what comes out.
    pub(crate) inflate_permits: Arc<Semaphore>,
    /// Requests that may still be begun.
    request_permits: Semaphore,
}

impl Admission {
    pub(crate) fn new(limits: &Limits, access: &Access) -> Self {
        Self {
            limits: limits.clone(),
            body_permits: Arc::new(Semaphore::new(limits.buffered_bytes as usize)),
            inflate_permits: Arc::new(Semaphore::new(thread::available_parallelism().map_or(1, usize::from))),
            access: access.clone(),
            request_permits: Semaphore::new(limits.in_flight_requests.min(Semaphore::MAX_PERMITS)),
        }
    }

    /// Lets a request in, or says why not. It takes a place until it is answered.
    fn admit(&self, request: &ServiceRequest) -> Result<Option<SemaphorePermit<'_>>, ApiError> {
        let path = path_of(request);
        let Some(needs) = required_scopes(request.method(), path) else { return Ok(None) };
        let headers = request.headers();
        let size = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        if size.sum::<usize>() + request.path().len() + request.query_string().len() > self.limits.header_bytes {
            return Err(ApiError::head_too_large(self.limits.header_bytes));
        }
        if let Some(tokens) = self.access.0.load().as_ref() {
            request.extensions_mut().insert(tokens.admit(headers, needs)?);
        }
        // The router decodes once, and what it takes out of a path once more.
        let is_text = |path: &str| !path.contains('%') || percent_decode_str(path).decode_utf8().is_ok();
        if path.starts_with("/v1/") && ![request.uri().path(), path].into_iter().all(is_text) {
            let message = "the path is not UTF-8; percent-encode each byte of the UTF-8 text";
            return Err(ApiError::bad_request("unreadable_path", message));
        }
        // Whoever looks after the service must see it when it is full.
        if ["/healthcheck", "/metrics"].contains(&path) {
            return Ok(None);
        }
        let permit = self.request_permits.try_acquire();
        permit.map(Some).map_err(|_| ApiError::overloaded("too many requests are worked on; send this one again later"))
    }
}

/// The path as the router sees it, so that percent-encoding hides nothing; without its trailing slash.
fn path_of(request: &ServiceRequest) -> &str {
    let path = request.match_info().as_str();
    path.strip_suffix('/').unwrap_or(path)
}

/// Lets a request in or refuses it, counts it, and writes one line of it at debug.
pub(crate) async fn pass<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<Answer<EitherBody<B>>>, actix_web::Error> {
    let begun = log::log_enabled!(log::Level::Debug).then(Instant::now);
    let timer = RequestTimer::begin(&request);
    let admission = request.app_data::<Data<Admission>>().expect("the server has admission control").clone();
    let in_flight = InFlight::on(request.conn_data::<Arc<Connection>>().cloned());
    let unread_body = UnreadBody::of(&mut request);
    let admitted = admission.admit(&request);
    let response = match &admitted {
        Ok(_) => next.call(request).await?.map_into_left_body(),
        Err(refusal) => request.into_response(refusal.error_response()).map_into_right_body(),
    };
    let status = response.status();
    if let Some(unread_body) = unread_body.filter(|_| status.is_client_error() || status.is_server_error()) {
        unread_body.discard().await;
    }
    timer.end(&response);
    if let Some(begun) = begun {
        log_access(&response, begun);
    }
    Ok(response.map_body(|_, body| Answer::new(body, in_flight)))
}

fn log_access<B>(response: &ServiceResponse<B>, begun: Instant) {
    let request = response.request();
    let (method, path, status) = (request.method(), request.path(), response.status().as_u16());
    let peer = request.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
    let extensions = request.extensions();
    let token = extensions.get::<Arc<Token>>().map_or("", |token| &token.name);
    log::debug!(
        method = method.as_str(), path, status, millis = begun.elapsed().as_secs_f64() * 1000.0, peer = peer.as_str(),
        token;
        "{method} {path} {status}"
    );
}
