//! An output whose deliveries are counted, and whose panics are errors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use uuid::Uuid;

use crate::event::{Batch, Event};
use crate::metrics::OutputMetrics;
use crate::output::{Delivery, Output, OutputError};
use crate::panics::catch_panic;

/// The output that it was given, and what was counted of it.
#[derive(Debug)]
pub(crate) struct InstrumentedOutput {
    output: Arc<dyn Output>,
    metrics: Arc<OutputMetrics>,
}

impl InstrumentedOutput {
    pub(crate) fn new(output: Arc<dyn Output>) -> Self {
        let metrics = Arc::new(OutputMetrics::new(output.name(), output.delivery()));
        Self { output, metrics }
    }

    pub(crate) fn metrics(&self) -> Arc<OutputMetrics> {
        self.metrics.clone()
    }

    /// Counts a batch that the output goes without.
    pub(crate) fn record_dropped(&self, batch: &Batch) {
        self.metrics.dropped.add(self.wanted(batch));
    }

    /// How many messages in `batch` the output wants.
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
        // What is not known to be unwanted is wanted.
        catch_unwind(AssertUnwindSafe(|| self.output.wants(event))).unwrap_or(true)
    }

    async fn deliver(&self, batches: &[Arc<Batch>], acknowledged: &[Uuid]) -> Result<(), OutputError> {
        let begun = Instant::now();
        let delivered = catch_panic(|| self.output.deliver(batches, acknowledged)).await;
        self.metrics.attempted(begun.elapsed(), delivered.is_ok());
        if delivered.is_ok() {
            batches.iter().for_each(|batch| self.metrics.batches.record(self.wanted(batch)));
        } else if self.delivery() == Delivery::BestEffort {
            batches.iter().for_each(|batch| self.record_dropped(batch));
        }
        delivered
    }

    async fn check(&self) -> Result<(), OutputError> {
        catch_panic(|| self.output.check()).await
    }

    async fn close(&self) {
        let closed = catch_panic(|| async {
            self.output.close().await;
            Ok(())
        });
        let closed: Result<(), OutputError> = closed.await;
        if let Err(error) = closed {
            log::warn!("output `{}`: {error}", self.name());
        }
    }
}
