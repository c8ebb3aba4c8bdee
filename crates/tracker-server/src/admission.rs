//! Admission control: authentication, the limit on the request head, and the limit on requests in flight. It also
//! counts and logs every request.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{ConnectionType, Method};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{HttpMessage, ResponseError};
use arc_swap::ArcSwapOption;
use percent_encoding::percent_decode_str;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracker_core::{DeploymentId, RequestId};

use crate::allowed_hosts::AllowedHost;
use crate::auth::{Scope, Token, Tokens};
use crate::error::ApiError;
use crate::limits::Limits;
use crate::metrics::RequestTimer;
use crate::response_budget::{self, ResponseBudget, Share, StaticBody};
use crate::stalled_connections::{Connection, InFlight, TrackedBody};
use crate::unread_body::UnreadBody;
use crate::upgrade;

/// Access control. All clones share the same tokens. A change applies to the next request.
#[derive(Debug, Clone, Default)]
pub struct Access(Arc<ArcSwapOption<Tokens>>);

impl Access {
    /// Admits every client.
    pub fn open() -> Self {
        Self::default()
    }

    /// Admits only clients with one of these tokens. Replaces earlier tokens.
    pub fn restrict(&self, tokens: Tokens) {
        self.0.store(Some(Arc::new(tokens)));
    }

    /// Whether every client is admitted.
    pub fn is_open(&self) -> bool {
        self.0.load().is_none()
    }
}

/// How admission control treats the requests for a route. Each route declares its rule.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    /// Admits every request: a supervisor or a load balancer has no token, often requests an IP address, and needs the
    /// answer when the server is at a limit.
    Probe,
    /// Needs no token, because the responses contain no data.
    Public,
    /// Needs a token with one of these scopes.
    Token(&'static [Scope]),
    /// Needs a token with one of these scopes. Admitted when too many requests are in flight, because operators need
    /// these routes then.
    Unlimited(&'static [Scope]),
    /// Needs `read` for a safe method and `write` for another.
    Records,
}

impl Rule {
    /// The scopes of which a token needs one. `None` if the request needs no token.
    pub(crate) fn scopes(self, method: &Method) -> Option<&'static [Scope]> {
        match self {
            Self::Probe | Self::Public => None,
            Self::Token(scopes) | Self::Unlimited(scopes) => Some(scopes),
            Self::Records if method.is_safe() => Some(&[Scope::Read]),
            Self::Records => Some(&[Scope::Write]),
        }
    }
}

/// The state of admission control, shared by all workers.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) limits: Limits,
    /// One permit per byte of a body in memory.
    pub(crate) body_permits: Arc<Semaphore>,
    access: Access,
    allowed_hosts: Vec<AllowedHost>,
    /// One permit per body in decompression. Brotli takes up to 16 MB in addition to its output, so few run at once.
    pub(crate) inflate_permits: Arc<Semaphore>,
    /// One permit per request in flight.
    request_permits: Semaphore,
}

impl Admission {
    pub(crate) fn new(limits: Limits, access: Access, allowed_hosts: Vec<AllowedHost>) -> Self {
        Self {
            body_permits: Arc::new(Semaphore::new(limits.buffered_bytes as usize)),
            inflate_permits: Arc::new(Semaphore::new(thread::available_parallelism().map_or(1, usize::from))),
            access,
            allowed_hosts,
            request_permits: Semaphore::new(limits.in_flight_requests.min(Semaphore::MAX_PERMITS)),
            limits,
        }
    }

    /// Admits or refuses a request. The caller keeps the permit until the response starts.
    fn admit(&self, request: &ServiceRequest) -> Result<Option<SemaphorePermit<'_>>, ApiError> {
        // A request for an unknown path needs the token that a record at this path would need.
        let route = request.app_data::<Rule>().copied();
        let rule = route.unwrap_or(Rule::Records);
        if matches!(rule, Rule::Probe) {
            return Ok(None);
        }
        if !AllowedHost::allow(&self.allowed_hosts, request) {
            return Err(ApiError::misdirected());
        }
        let headers = request.headers();
        let size = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        if size.sum::<usize>() + request.path().len() + request.query_string().len() > self.limits.header_bytes {
            return Err(ApiError::head_too_large(self.limits.header_bytes));
        }
        if let Some(tokens) = self.access.0.load().as_ref()
            && let Some(scopes) = rule.scopes(request.method())
        {
            request.extensions_mut().insert(tokens.admit(headers, scopes)?);
        }
        // The router decodes the path once, and each parameter once more.
        let is_utf8 = |path: &str| !path.contains('%') || percent_decode_str(path).decode_utf8().is_ok();
        let path = request.match_info();
        let is_record = route.map_or(path.unprocessed().starts_with("/v1/"), |_| matches!(rule, Rule::Records));
        if is_record && ![request.uri().path(), path.as_str()].into_iter().all(is_utf8) {
            let message = "the path is not UTF-8; percent-encode each byte of the UTF-8 text";
            return Err(ApiError::bad_request("unreadable_path", message));
        }
        if matches!(rule, Rule::Unlimited(_)) {
            return Ok(None);
        }
        let permit = self.request_permits.try_acquire();
        permit.map(Some).map_err(|_| ApiError::overloaded("too many requests are in progress; retry later"))
    }
}

/// Middleware that admits or refuses a request, counts it, and writes the access log at debug level.
/// Each route has its own, behind the router, so that it knows the rule of the route.
pub(crate) async fn pass(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<TrackedBody<BoxBody>>, actix_web::Error> {
    let traced = log::log_enabled!(log::Level::Debug).then(|| (RequestId::new(), Instant::now()));
    let timer = RequestTimer::start(&request);
    let admission = request.app_data::<Data<Admission>>().expect("the server has admission control").clone();
    let in_flight = InFlight::on(request.conn_data::<Arc<Connection>>().cloned());
    let unread_body = UnreadBody::of(&mut request);
    upgrade::bound_body(&mut request);
    let is_upgrade = request.head().upgrade();
    let admitted = admission.admit(&request);
    let response = match &admitted {
        Ok(_) => {
            let call = next.call(request);
            match traced {
                Some((id, _)) => id.scope(call).await?,
                None => call.await?,
            }
        }
        Err(refusal) => request.into_response(refusal.error_response()),
    };
    let (mut response, share) = take_share(response);
    let head = response.response_mut().head_mut();
    // On HTTP/1, as the Node.js service wrote them: some scripts look for `Location:` in the bytes.
    head.set_camel_case_headers(true);
    if is_upgrade {
        head.set_connection_type(ConnectionType::Close);
    }
    let status = response.status();
    if let Some(unread_body) = unread_body.filter(|_| status.is_client_error() || status.is_server_error()) {
        unread_body.discard().await;
    }
    let route = timer.stop(&response, admitted.is_ok());
    if let Some((id, started)) = traced {
        log_access(&response, route, id, started);
    }
    let is_head = response.request().method() == Method::HEAD;
    Ok(response.map_body(|_, body| {
        if is_head { TrackedBody::omitted(body, in_flight) } else { TrackedBody::new(body, share, in_flight) }
    }))
}

/// Takes the share of a body in memory, or refuses it. A stream takes a share for each of its pieces.
fn take_share(response: ServiceResponse) -> (ServiceResponse, Option<Share>) {
    let BodySize::Sized(bytes) = response.response().body().size() else { return (response, None) };
    if !response_budget::counts(bytes) || response.response().extensions().contains::<StaticBody>() {
        return (response, None);
    }
    let budget = response.request().app_data::<Data<ResponseBudget>>().expect("the server has a response budget");
    match budget.try_take(usize::try_from(bytes).unwrap_or(usize::MAX)) {
        Ok(share) => (response, Some(share)),
        Err(refusal) => {
            let (request, _) = response.into_parts();
            (ServiceResponse::new(request, refusal.error_response()), None)
        }
    }
}

/// Logs a request. Fields that do not apply are empty.
fn log_access<B>(response: &ServiceResponse<B>, route: &str, id: RequestId, started: Instant) {
    let request = response.request();
    let (method, path, status) = (request.method(), request.path(), response.status().as_u16());
    let peer = request.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
    let parameter = request.match_info().iter().last().filter(|_| route.contains("{id}"));
    let deployment_id = parameter.and_then(|(_, id)| DeploymentId::parse(id).ok());
    let deployment_id = deployment_id.map(|id| id.to_string()).unwrap_or_default();
    let extensions = request.extensions();
    let token = extensions.get::<Arc<Token>>().map_or("", |token| &token.name);
    log::debug!(
        request_id:% = id, method = method.as_str(), route, path, status,
        deployment_id = deployment_id.as_str(), millis = started.elapsed().as_secs_f64() * 1000.0,
        peer = peer.as_str(), token;
        "{method} {path} {status}"
    );
}
