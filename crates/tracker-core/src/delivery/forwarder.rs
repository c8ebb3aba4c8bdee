//! Delivery to an output that takes what it can: no waiting, no repeat.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::delivery::instrumented::InstrumentedOutput;
use crate::event::Batch;
use crate::failure_log::FailureLog;
use crate::output::{Output, OutputError};
use crate::queue::{Queue, Queued, queue};

/// How many batches are taken up together.
const MAX_RECV: usize = 256;
/// How many batches may wait.
const WAITING: usize = 8_192;

/// How many bytes of batches may wait.
const WAITING_BYTES: usize = 64 << 20;

/// The way to one best-effort output. `None` ends it.
#[derive(Debug, Clone)]
pub(crate) struct Forwarder {
    output: Arc<InstrumentedOutput>,
    queue: Arc<Queue<Option<Arc<Batch>>>>,
}

/// The ways to all of them.
#[derive(Debug, Clone)]
pub(crate) struct Forwarders(Arc<[Forwarder]>);

impl FromIterator<Forwarder> for Forwarders {
    fn from_iter<I: IntoIterator<Item = Forwarder>>(forwarders: I) -> Self {
        Self(forwarders.into_iter().collect())
    }
}

impl Forwarders {
    /// Hands over `batch` if there is room; otherwise it is dropped.
    pub(crate) fn forward(&self, batch: &Arc<Batch>) {
        for forwarder in self.0.iter() {
            if batch.events.iter().any(|event| forwarder.output.wants(event)) {
                // Full: the output is far behind, and best effort means that it goes without.
                if forwarder.queue.try_send(Some(batch.clone()), batch.size()).is_err() {
                    forwarder.output.record_dropped(batch);
                }
            }
        }
    }

    /// Ends each relay after what waits for it.
    pub(crate) async fn close(&self) {
        for forwarder in self.0.iter() {
            // One that is gone has nothing left to end.
            let _ = forwarder.queue.send(None).await;
        }
    }
}

impl Forwarder {
    pub(crate) fn start(output: Arc<InstrumentedOutput>, tasks: &mut JoinSet<()>) -> Self {
        let (queue, intake) = queue(WAITING, WAITING_BYTES);
        tasks.spawn(run(output.clone(), intake));
        Self { output, queue: Arc::new(queue) }
    }
}

async fn run(output: Arc<InstrumentedOutput>, mut intake: mpsc::Receiver<Queued<Option<Arc<Batch>>>>) {
    let mut failure_log = FailureLog::new(format!("output `{}`", output.name()));
    let mut taken = Vec::with_capacity(MAX_RECV);
    let mut is_open = true;
    while is_open && intake.recv_many(&mut taken, MAX_RECV).await > 0 {
        let (batches, _permits): (Vec<_>, Vec<_>) = taken.drain(..).map(Queued::into_parts).unzip();
        is_open = batches.iter().all(Option::is_some);
        let batches: Vec<_> = batches.into_iter().flatten().collect();
        let delivered: Result<(), OutputError> = output.deliver(&batches, &[]).await;
        match delivered {
            Ok(()) => failure_log.succeeded(),
            Err(error) => {
                failure_log.failed(&error);
            }
        }
    }
    output.close().await;
}
