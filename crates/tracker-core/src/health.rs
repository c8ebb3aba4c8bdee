//! Health checks of the store and the outputs.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::delivery::status::OutputStatus;
use crate::output::chain;
use crate::store::{Store, StoreError};
use crate::store_failures::StoreFailures;
use crate::time::{self, Timestamp};

/// The name of the store's health check.
pub(crate) const STORE: &str = "db";
/// The deadline of a health check.
pub const CHECK_DEADLINE: Duration = Duration::from_secs(2);

/// The result of all health checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// When the checks began.
    pub generated_at: Timestamp,
    /// The time until the last of them ended; they run concurrently.
    #[serde(rename = "duration_seconds", serialize_with = "time::serialize_seconds")]
    pub duration: Duration,
    /// The checks: the store as `db` first, then the outputs.
    pub checks: Vec<HealthCheck>,
    /// The status of each at-least-once output.
    pub outputs: Vec<OutputStatus>,
}

impl Health {
    /// Whether every check passed.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.error.is_none())
    }
}

/// The result of one health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    /// `db` for the store, or the name of an output.
    pub name: String,
    /// When the check began.
    pub tested_at: Timestamp,
    /// How long the check took.
    #[serde(rename = "duration_seconds", serialize_with = "time::serialize_seconds")]
    pub duration: Duration,
    /// The error, if the check failed.
    pub error: Option<String>,
    /// The [warning](crate::Output::warning) of an output; the check passes nevertheless.
    pub warning: Option<String>,
}

/// A single-flight health check: concurrent callers share one run.
#[derive(Debug)]
pub(crate) struct SharedCheck<E> {
    last: Mutex<Option<Finished<E>>>,
}

#[derive(Debug)]
struct Finished<E> {
    at: Instant,
    result: Result<(), Arc<E>>,
}

impl<E> Default for SharedCheck<E> {
    fn default() -> Self {
        Self { last: Mutex::default() }
    }
}

impl<E: std::error::Error> SharedCheck<E> {
    /// Runs `probe`, for at most [`CHECK_DEADLINE`]. If a run ended since this call began, or at most `max_age` before
    /// it, returns that result instead.
    pub(crate) async fn run<F: Future<Output = Result<(), E>>>(
        &self,
        name: &str,
        max_age: Duration,
        probe: impl FnOnce() -> F,
    ) -> HealthCheck {
        let (tested_at, called) = (time::now(), Instant::now());
        let shared = async {
            let mut last = self.last.lock().await;
            if let Some(Finished { at, result }) = last.as_ref()
                && *at + max_age >= called
            {
                return result.clone();
            }
            let result = probe().await.map_err(Arc::new);
            *last = Some(Finished { at: Instant::now(), result: result.clone() });
            result
        };
        let error = match tokio::time::timeout(CHECK_DEADLINE, shared).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(chain(error.as_ref())),
            Err(_) => Some(format!("no answer within {} s", CHECK_DEADLINE.as_secs())),
        };
        HealthCheck { name: name.to_owned(), tested_at, duration: called.elapsed(), error, warning: None }
    }
}

/// The store's health check.
#[derive(Debug, Default)]
pub(crate) struct StoreHealthCheck {
    check: SharedCheck<StoreError>,
    /// A probe that has not ended. It outlives a check that no longer waits for it: on a slow disk, a large probe may
    /// take longer than [`CHECK_DEADLINE`], and must clear the failure nevertheless.
    running: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
    /// Whether the last call returned a failure, so that a lasting failure is logged once.
    has_failed: AtomicBool,
}

impl StoreHealthCheck {
    /// Checks the store. If a check ended since this call began, or at most `max_age` before it,
    /// returns that result instead.
    ///
    /// A result from before the last failure of the store does not count.
    pub(crate) async fn run(
        &self,
        store: &Arc<dyn Store>,
        failures: &Arc<StoreFailures>,
        max_age: Duration,
    ) -> HealthCheck {
        let max_age = failures.age().map_or(max_age, |age| age.min(max_age));
        let check = self.check.run(STORE, max_age, || self.probe(store, failures)).await;
        let had_failed = self.has_failed.swap(check.error.is_some(), Ordering::Relaxed);
        if let Some(error) = check.error.as_ref().filter(|_| !had_failed) {
            log::warn!("the health check of the database failed: {error}");
        }
        check
    }

    /// Waits for the running probe, or starts one.
    async fn probe(&self, store: &Arc<dyn Store>, failures: &Arc<StoreFailures>) -> Result<(), StoreError> {
        let mut running = self.running.lock().await;
        let probe = running.get_or_insert_with(|| {
            let (store, failures) = (store.clone(), failures.clone());
            tokio::spawn(async move { failures.probe(&store).await })
        });
        let result = probe.await;
        *running = None;
        result.unwrap_or_else(|error| Err(StoreError::Unavailable(error.into())))
    }
}
