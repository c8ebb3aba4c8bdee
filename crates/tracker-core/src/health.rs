//! Whether every output and the store can be reached.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::delivery::status::OutputStatus;
use crate::output::chain;
use crate::panics::catch_panic;
use crate::store::{Store, StoreError};
use crate::time::{self, Timestamp};

/// What the test of the store is called.
pub(crate) const STORE: &str = "db";
/// How long one test may take.
pub const CHECK_DEADLINE: Duration = Duration::from_secs(2);

/// The result of all tests.
#[derive(Debug, Clone)]
pub struct Health {
    /// When the tests were begun.
    pub generated_at: Timestamp,
    /// How long all of them took together.
    pub duration: Duration,
    /// The tests: `db` first, then the outputs.
    pub tests: Vec<HealthCheck>,
    /// How the outputs stand that must have everything.
    pub outputs: Vec<OutputStatus>,
}

impl Health {
    /// Whether every test passed.
    pub fn passed(&self) -> bool {
        self.tests.iter().all(|test| test.error.is_none())
    }
}

/// The result of one test.
#[derive(Debug, Clone)]
pub struct HealthCheck {
    /// What was tested: `db` or an output's name.
    pub name: String,
    /// When the test was begun.
    pub tested_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// What is wrong, if anything.
    pub error: Option<String>,
}

/// Runs one test, to its deadline at the most.
pub(crate) async fn test<E: std::error::Error>(name: &str, check: impl Future<Output = Result<(), E>>) -> HealthCheck {
    let (tested_at, begun) = (time::now(), Instant::now());
    let error = match tokio::time::timeout(CHECK_DEADLINE, check).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(chain(&error)),
        Err(_) => Some(format!("no answer within {} s", CHECK_DEADLINE.as_secs())),
    };
    HealthCheck { name: name.to_owned(), tested_at, duration: begun.elapsed(), error }
}

/// The test of the store: one at a time, since it waits in line with the reports, for all who ask meanwhile.
#[derive(Debug, Default)]
pub(crate) struct StoreHealthCheck {
    last: Mutex<Option<Ended>>,
    /// Whether the last who asked was told of a failure.
    has_failed: AtomicBool,
}

#[derive(Debug)]
struct Ended {
    at: Instant,
    result: Result<(), Arc<StoreError>>,
}

impl StoreHealthCheck {
    /// Tests the store, unless a test ended since this was asked for, or not longer before than `max_age`.
    pub(crate) async fn run(&self, store: &dyn Store, max_age: Duration) -> HealthCheck {
        let asked = Instant::now();
        let test = test(STORE, async {
            let mut last = self.last.lock().await;
            if let Some(Ended { at, result }) = last.as_ref()
                && *at + max_age >= asked
            {
                return result.clone();
            }
            let result = catch_panic(|| store.check()).await.map_err(Arc::new);
            *last = Some(Ended { at: Instant::now(), result: result.clone() });
            result
        });
        let test = test.await;
        let had_failed = self.has_failed.swap(test.error.is_some(), Ordering::Relaxed);
        if let Some(error) = test.error.as_ref().filter(|_| !had_failed) {
            log::warn!("the test of the database failed: {error}");
        }
        test
    }
}
