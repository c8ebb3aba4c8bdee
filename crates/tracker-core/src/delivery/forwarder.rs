//! The forwarder of one best-effort output: events are sent once, and dropped when the output cannot keep up.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::delivery::instrumented::InstrumentedOutput;
use crate::event::Batch;
use crate::failure_log::FailureLog;
use crate::output::{Output, OutputError};
use crate::panics::supervise;
use crate::queue::{Queue, Queued, queue};

/// The maximum number of batches that are sent at once.
const RECEIVE_BATCHES: usize = 256;
/// The maximum number of batches that may wait.
const QUEUE_BATCHES: usize = 8_192;
/// The maximum size of the batches that may wait, in bytes.
const QUEUE_BYTES: usize = 64 << 20;

/// The sending side of one forwarder. `None` in the queue ends it.
#[derive(Debug, Clone)]
pub(crate) struct Forwarder {
    output: Arc<InstrumentedOutput>,
    queue: Arc<Queue<Option<Arc<Batch>>>>,
}

/// The forwarders of all best-effort outputs.
#[derive(Debug, Clone)]
pub(crate) struct Forwarders(Arc<[Forwarder]>);

impl FromIterator<Forwarder> for Forwarders {
    fn from_iter<I: IntoIterator<Item = Forwarder>>(forwarders: I) -> Self {
        Self(forwarders.into_iter().collect())
    }
}

impl Forwarders {
    /// Hands `batch` to each output that wants an event of it. Drops the batch for an output whose queue is full.
    pub(crate) fn forward(&self, batch: &Arc<Batch>) {
        for forwarder in self.0.iter() {
            if batch.events.iter().any(|event| forwarder.output.wants(event))
                && forwarder.queue.try_send(Some(batch.clone()), batch.size()).is_err()
            {
                forwarder.output.record_dropped(batch);
            }
        }
    }

    /// Ends each forwarder after the batches in its queue.
    pub(crate) async fn close(&self) {
        for forwarder in self.0.iter() {
            // The forwarder may have ended already.
            let _ = forwarder.queue.send(None).await;
        }
    }
}

impl Forwarder {
    pub(crate) fn start(output: Arc<InstrumentedOutput>, tasks: &mut JoinSet<()>) -> Self {
        let (queue, receiver) = queue(QUEUE_BATCHES, QUEUE_BYTES);
        let mut worker = ForwarderWorker { output: output.clone(), queue: receiver, is_open: true };
        let name = format!("the forwarder of output `{}`", output.name());
        tasks.spawn(supervise(name, async move || worker.run().await));
        Self { output, queue: Arc::new(queue) }
    }
}

struct ForwarderWorker {
    output: Arc<InstrumentedOutput>,
    queue: mpsc::Receiver<Queued<Option<Arc<Batch>>>>,
    is_open: bool,
}

impl ForwarderWorker {
    async fn run(&mut self) {
        let mut failure_log = FailureLog::new(format!("output `{}`", self.output.name()));
        let mut received = Vec::with_capacity(RECEIVE_BATCHES);
        while self.is_open && self.queue.recv_many(&mut received, RECEIVE_BATCHES).await > 0 {
            let (batches, _permits): (Vec<_>, Vec<_>) = received.drain(..).map(Queued::into_parts).unzip();
            self.is_open = batches.iter().all(Option::is_some);
            let batches: Vec<_> = batches.into_iter().flatten().collect();
            let delivered: Result<(), OutputError> = self.output.deliver(&batches).await;
            match delivered {
                Ok(()) => failure_log.succeeded(),
                Err(error) => {
                    failure_log.failed(&error);
                }
            }
        }
        self.output.close().await;
    }
}
