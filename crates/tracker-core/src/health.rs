//! Whether every output and the store can be reached.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::output::chain;
use crate::standing::OutputStatus;
use crate::time::{self, Timestamp};

/// How long one test may take.
pub const TEST_DEADLINE: Duration = Duration::from_secs(2);

/// The result of all tests.
#[derive(Debug, Clone)]
pub struct Health {
    /// When the tests were begun.
    pub generated_at: Timestamp,
    /// How long all of them took together.
    pub duration: Duration,
    /// The tests: `db` first, then the outputs.
    pub tests: Vec<HealthTest>,
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
pub struct HealthTest {
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
pub(crate) async fn test<E: std::error::Error>(name: &str, check: impl Future<Output = Result<(), E>>) -> HealthTest {
    let (tested_at, begun) = (time::now(), Instant::now());
    let error = match tokio::time::timeout(TEST_DEADLINE, check).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(chain(&error)),
        Err(_) => Some(format!("no answer within {} s", TEST_DEADLINE.as_secs())),
    };
    HealthTest { name: name.to_owned(), tested_at, duration: begun.elapsed(), error }
}
