//! An output whose deliveries are measured, and whose panics become errors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use uuid::Uuid;

use crate::event::{Batch, Event};
use crate::health::{HealthCheck, SharedCheck};
use crate::metrics::OutputMetrics;
use crate::output::{Delivery, Output, OutputError};
use crate::panics::catch_panic;

/// Wraps an output, records its metrics, and turns its panics into errors.
#[derive(Debug)]
pub(crate) struct InstrumentedOutput {
    output: Arc<dyn Output>,
    metrics: Arc<OutputMetrics>,
    check: SharedCheck<OutputError>,
}

impl InstrumentedOutput {
    pub(crate) fn new(output: Arc<dyn Output>) -> Self {
        let metrics = Arc::new(OutputMetrics::new(output.name(), output.delivery()));
        Self { output, metrics, check: SharedCheck::default() }
    }

    pub(crate) fn metrics(&self) -> Arc<OutputMetrics> {
        self.metrics.clone()
    }

    /// Checks the output. Concurrent callers share one check.
    pub(crate) async fn health(&self) -> HealthCheck {
        let check = self.check.run(self.name(), Duration::ZERO, || self.check()).await;
        HealthCheck { warning: self.warning(), ..check }
    }

    /// Counts a dropped batch.
    pub(crate) fn record_dropped(&self, batch: &Batch) {
        self.metrics.dropped.add(self.wanted(batch));
    }

    /// The number of messages in `batch` that the output wants.
    fn wanted(&self, batch: &Batch) -> u64 {
        batch.events.iter().filter(|event| self.wants(event)).map(|event| event.messages() as u64).sum()
    }
}

#[async_trait]
impl Output for InstrumentedOutput {
    fn name(&self) -> &str {
        self.output.name()
    }

    fn delivery(&self) -> Delivery {
        self.output.delivery()
    }

    fn wants(&self, event: &Event) -> bool {
        // After a panic, the event counts as wanted, so that none is lost.
        catch_unwind(AssertUnwindSafe(|| self.output.wants(event))).unwrap_or(true)
    }

    async fn deliver(&self, batches: &[Arc<Batch>]) -> Result<(), OutputError> {
        let begun = Instant::now();
        let delivered = catch_panic(|| self.output.deliver(batches)).await;
        self.metrics.attempted(begun.elapsed(), delivered.is_ok());
        if delivered.is_ok() {
            batches.iter().for_each(|batch| self.metrics.batches.record(self.wanted(batch)));
        } else if self.delivery() == Delivery::BestEffort {
            batches.iter().for_each(|batch| self.record_dropped(batch));
        }
        delivered
    }

    fn forget(&self, batches: &[Uuid]) {
        // After a panic, the output may recognize more batches than it needs to, which does no harm.
        let _ = catch_unwind(AssertUnwindSafe(|| self.output.forget(batches)));
    }

    async fn check(&self) -> Result<(), OutputError> {
        catch_panic(|| self.output.check()).await
    }

    fn warning(&self) -> Option<String> {
        // After a panic, the check has no warning.
        catch_unwind(AssertUnwindSafe(|| self.output.warning())).unwrap_or_default()
    }

    async fn close(&self) {
        let closed = catch_panic(|| async {
            self.output.close().await;
            Ok(())
        });
        let closed: Result<(), OutputError> = closed.await;
        if let Err(error) = closed {
            log::warn!(output = self.name(); "output `{}`: {error}", self.name());
        }
    }
}
