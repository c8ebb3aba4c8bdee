//! What is counted of every request. Each worker counts for itself, so that none waits for another's cache; they are
//! added up when somebody asks. Nothing that a client chooses becomes a label: neither a path nor a method's name.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode};
use tracker_core::metrics::{Counter, DURATIONS, Histogram};

/// The pattern of requests that no route takes, or that are refused before they are routed.
const UNMATCHED: &str = "unmatched";
/// The methods that are told apart; the last stands for every other.
pub const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "PUT", "other"];
/// The statuses that are told apart.
const STATUSES: [u16; 18] = [200, 201, 204, 302, 304, 400, 401, 403, 404, 405, 408, 409, 413, 415, 429, 431, 500, 503];

/// What every worker has counted.
#[derive(Debug, Default)]
pub struct RequestMetrics(Mutex<Vec<Arc<WorkerMetrics>>>);

/// What one worker has counted.
#[derive(Debug)]
pub struct WorkerMetrics {
    in_flight: AtomicU64,
    unmatched: Arc<Route>,
    routes: Mutex<Vec<Arc<Route>>>,
}

/// What was counted of the requests for one route.
#[derive(Debug)]
pub struct Route {
    pattern: &'static str,
    methods: [Answers; METHODS.len()],
}

/// What was counted of the requests for one route with one method.
#[derive(Debug)]
pub struct Answers {
    /// For each of [`STATUSES`], and for any other.
    statuses: [Counter; STATUSES.len() + 1],
    /// In nanoseconds.
    pub durations: Histogram,
}

impl RequestMetrics {
    /// Figures for one more worker.
    pub fn worker(&self) -> Arc<WorkerMetrics> {
        let unmatched = Arc::new(Route::new(UNMATCHED));
        let routes = Mutex::new(vec![unmatched.clone()]);
        let worker = Arc::new(WorkerMetrics { in_flight: AtomicU64::default(), unmatched, routes });
        lock(&self.0).push(worker.clone());
        worker
    }

    /// How many requests are not answered yet.
    pub fn in_flight(&self) -> u64 {
        lock(&self.0).iter().map(|worker| worker.in_flight.load(Ordering::Relaxed)).sum()
    }

    /// The routes of all workers, added up, by their patterns.
    pub fn routes(&self) -> BTreeMap<&'static str, Route> {
        let mut sums = BTreeMap::new();
        for worker in lock(&self.0).iter() {
            for route in lock(&worker.routes).iter() {
                sums.entry(route.pattern).or_insert_with(|| Route::new(route.pattern)).add(route);
            }
        }
        sums
    }
}

impl WorkerMetrics {
    /// Figures for the route with `pattern`, to be put among its data.
    pub fn route(&self, pattern: &'static str) -> Arc<Route> {
        let route = Arc::new(Route::new(pattern));
        lock(&self.routes).push(route.clone());
        route
    }
}

impl Route {
    fn new(pattern: &'static str) -> Self {
        let answers = |_| Answers { statuses: Default::default(), durations: Histogram::new(DURATIONS) };
        Self { pattern, methods: std::array::from_fn(answers) }
    }

    /// What was counted with each method, if anything.
    pub fn methods(&self) -> impl Iterator<Item = (&'static str, &Answers)> {
        METHODS.into_iter().zip(&self.methods).filter(|(_, answers)| answers.durations.count() > 0)
    }

    fn count(&self, method: usize, status: StatusCode, took: Duration) {
        let Answers { statuses, durations } = &self.methods[method];
        let status = STATUSES.iter().position(|known| *known == status.as_u16()).unwrap_or(STATUSES.len());
        statuses[status].add(1);
        durations.record_time(took);
    }

    fn add(&self, other: &Self) {
        for (sum, more) in self.methods.iter().zip(&other.methods) {
            for (sum, more) in sum.statuses.iter().zip(&more.statuses) {
                sum.add(more.count());
            }
            sum.durations.add(&more.durations);
        }
    }
}

impl Answers {
    /// The statuses that were answered, and how often.
    pub fn statuses(&self) -> impl Iterator<Item = (String, u64)> {
        let names = STATUSES.iter().map(u16::to_string).chain(["other".to_owned()]);
        names.zip(self.statuses.iter().map(Counter::count)).filter(|(_, count)| *count > 0)
    }
}

/// Where the method stands among [`METHODS`].
fn number(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PUT => 3,
        _ => METHODS.len() - 1,
    }
}

/// A request that is being answered. Who hangs up ends it as well, and is not counted.
#[derive(Debug)]
pub struct RequestTimer {
    worker: Arc<WorkerMetrics>,
    method: usize,
    begun: Instant,
}

impl RequestTimer {
    /// Begins with `request`, among whose data are the figures of the worker.
    pub fn begin(request: &ServiceRequest) -> Self {
        let worker = request.app_data::<Arc<WorkerMetrics>>().expect("every worker has its figures").clone();
        worker.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { worker, method: number(request.method()), begun: Instant::now() }
    }

    /// Counts `response` for the route, whose figures are among the request's data where one has taken it.
    pub fn end<B>(self, response: &ServiceResponse<B>) {
        let route = response.request().app_data::<Arc<Route>>().unwrap_or(&self.worker.unmatched);
        route.count(self.method, response.status(), self.begun.elapsed());
    }
}

impl Drop for RequestTimer {
    fn drop(&mut self) {
        self.worker.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(metrics: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whatever was put in is whole.
    metrics.lock().unwrap_or_else(PoisonError::into_inner)
}
