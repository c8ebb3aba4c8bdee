//! Counts requests by route, method and status.
//!
//! The labels come from fixed lists, so that no client can add a series. Counting takes no lock: the router puts the
//! counters of a route into the data of each of its requests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode};
use actix_web::web::Data;
use tracker_core::metrics::{Counter, DURATIONS, Histogram};

use super::Metrics;

/// The label of requests that match no route or that admission control refuses.
const UNMATCHED: &str = "unmatched";
/// The method labels; the last one covers all other methods.
const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "PUT", "other"];
/// The status labels; all other statuses are `other`.
const STATUSES: [u16; 19] =
    [200, 201, 204, 302, 304, 400, 401, 403, 404, 405, 408, 409, 413, 415, 421, 429, 431, 500, 503];

/// Metrics of all requests.
#[derive(Debug)]
pub struct RequestMetrics {
    in_flight: AtomicU64,
    unmatched: Arc<RouteMetrics>,
    routes: Mutex<BTreeMap<&'static str, Arc<RouteMetrics>>>,
}

/// Metrics of the requests to one route.
#[derive(Debug)]
pub struct RouteMetrics {
    pattern: &'static str,
    methods: [MethodMetrics; METHODS.len()],
}

/// Metrics of the requests to one route with one method.
#[derive(Debug)]
pub struct MethodMetrics {
    /// One counter for each of [`STATUSES`], and one for all other statuses.
    statuses: [Counter; STATUSES.len() + 1],
    /// In nanoseconds.
    pub durations: Histogram,
}

impl RequestMetrics {
    pub(super) fn new() -> Self {
        let unmatched = Arc::new(RouteMetrics::new(UNMATCHED));
        let routes = Mutex::new(BTreeMap::from([(UNMATCHED, unmatched.clone())]));
        Self { in_flight: AtomicU64::default(), unmatched, routes }
    }

    /// The metrics of the route with this pattern. `routes` puts them into the data of the route.
    pub fn route(&self, pattern: &'static str) -> Arc<RouteMetrics> {
        self.lock_routes().entry(pattern).or_insert_with(|| Arc::new(RouteMetrics::new(pattern))).clone()
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// All routes, by pattern.
    pub fn routes(&self) -> BTreeMap<&'static str, Arc<RouteMetrics>> {
        self.lock_routes().clone()
    }

    fn lock_routes(&self) -> MutexGuard<'_, BTreeMap<&'static str, Arc<RouteMetrics>>> {
        // A panic cannot leave the map half changed.
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RouteMetrics {
    fn new(pattern: &'static str) -> Self {
        let method = |_| MethodMetrics { statuses: Default::default(), durations: Histogram::new(DURATIONS) };
        Self { pattern, methods: std::array::from_fn(method) }
    }

    /// The methods with at least one request.
    pub fn methods(&self) -> impl Iterator<Item = (&'static str, &MethodMetrics)> {
        METHODS.into_iter().zip(&self.methods).filter(|(_, method)| method.durations.count() > 0)
    }

    fn record(&self, method: usize, status: StatusCode, duration: Duration) {
        let MethodMetrics { statuses, durations } = &self.methods[method];
        let status = STATUSES.iter().position(|known| *known == status.as_u16()).unwrap_or(STATUSES.len());
        statuses[status].add(1);
        durations.record_time(duration);
    }
}

impl MethodMetrics {
    /// The statuses of the responses, each with its count.
    pub fn statuses(&self) -> impl Iterator<Item = (String, u64)> {
        let labels = STATUSES.iter().map(u16::to_string).chain(["other".to_owned()]);
        labels.zip(self.statuses.iter().map(Counter::count)).filter(|(_, count)| *count > 0)
    }
}

/// The index of the method in [`METHODS`].
fn method_index(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PUT => 3,
        _ => METHODS.len() - 1,
    }
}

/// Measures one request. Dropping the timer, as when the client disconnects before the response, does not count the
/// request.
#[derive(Debug)]
pub struct RequestTimer {
    metrics: Data<Metrics>,
    method: usize,
    started: Instant,
}

impl RequestTimer {
    /// Starts the timer.
    pub fn start(request: &ServiceRequest) -> Self {
        let metrics = request.app_data::<Data<Metrics>>().expect("the server has metrics").clone();
        metrics.requests.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { metrics, method: method_index(request.method()), started: Instant::now() }
    }

    /// Counts the response and returns the label of its route. A request that was not admitted has none.
    pub fn stop(self, response: &ServiceResponse, was_admitted: bool) -> &'static str {
        let route = response.request().app_data::<Arc<RouteMetrics>>().filter(|_| was_admitted);
        let route = route.unwrap_or(&self.metrics.requests.unmatched);
        route.record(self.method, response.status(), self.started.elapsed());
        route.pattern
    }
}

impl Drop for RequestTimer {
    fn drop(&mut self) {
        self.metrics.requests.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
