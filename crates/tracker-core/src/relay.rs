//! Delivery to an output that takes what it can: no waiting, no repeat.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::complaint::Complaint;
use crate::counted::Counted;
use crate::event::Batch;
use crate::output::{Output, OutputError};
use crate::queue::{Queue, Queued, queue};

/// How many batches are taken up together.
const LOAD: usize = 256;
/// How many batches may wait.
const WAITING: usize = 8_192;

/// How many bytes of batches may wait.
const WAITING_BYTES: usize = 64 << 20;

/// The way to one best-effort output. `None` ends it.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    output: Arc<Counted>,
    queue: Arc<Queue<Option<Arc<Batch>>>>,
}

/// The ways to all of them.
#[derive(Debug, Clone)]
pub(crate) struct Relays(Arc<[Relay]>);

impl FromIterator<Relay> for Relays {
    fn from_iter<I: IntoIterator<Item = Relay>>(relays: I) -> Self {
        Self(relays.into_iter().collect())
    }
}

impl Relays {
    /// Hands over `batch` if there is room; otherwise it is dropped.
    pub(crate) fn announce(&self, batch: &Arc<Batch>) {
        for relay in self.0.iter() {
            if batch.events.iter().any(|event| relay.output.wants(event)) {
                // Full: the output is far behind, and best effort means that it goes without.
                if relay.queue.try_send(Some(batch.clone()), batch.size()).is_err() {
                    relay.output.goes_without(batch);
                }
            }
        }
    }

    /// Ends each relay after what waits for it.
    pub(crate) async fn close(&self) {
        for relay in self.0.iter() {
            // One that is gone has nothing left to end.
            let _ = relay.queue.send(None).await;
        }
    }
}

impl Relay {
    pub(crate) fn start(output: Arc<Counted>, tasks: &mut JoinSet<()>) -> Self {
        let (queue, intake) = queue(WAITING, WAITING_BYTES);
        tasks.spawn(run(output.clone(), intake));
        Self { output, queue: Arc::new(queue) }
    }
}

async fn run(output: Arc<Counted>, mut intake: mpsc::Receiver<Queued<Option<Arc<Batch>>>>) {
    let mut complaint = Complaint::about(format!("output `{}`", output.name()));
    let mut taken = Vec::with_capacity(LOAD);
    let mut is_open = true;
    while is_open && intake.recv_many(&mut taken, LOAD).await > 0 {
        let (batches, _shares): (Vec<_>, Vec<_>) = taken.drain(..).map(Queued::into_parts).unzip();
        is_open = batches.iter().all(Option::is_some);
        let batches: Vec<_> = batches.into_iter().flatten().collect();
        let delivered: Result<(), OutputError> = output.deliver(&batches, &[]).await;
        match delivered {
            Ok(()) => complaint.works(),
            Err(error) => {
                complaint.failed(&error);
            }
        }
    }
    output.close().await;
}
