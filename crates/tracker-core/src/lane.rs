//! A lane commits one group of changes at a time: the changes that arrive during one commit form the next group.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::committer::{Lane, Message, Reply, Submitted};
use crate::delivery::Dispatcher;
use crate::error::{TrackerError, UnavailableReason};
use crate::failure_log::FailureLog;
use crate::group::{Change, Decision, Group, Outcome};
use crate::metrics::Metrics;
use crate::panics::{catch_panic, supervise};
use crate::queue::Queued;
use crate::request_id::RequestId;
use crate::store::{Store, StoreError};
use crate::store_failures::StoreFailures;

/// The maximum number of changes in a group.
const GROUP_CHANGES: usize = 512;
/// The size in memory at which a group is full, in bytes.
const GROUP_BYTES: usize = 4 << 20;
/// The number of messages at which a group is full.
const GROUP_MESSAGES: usize = 10_000;
/// If a commit takes longer, a delivery worker may already have read the batch from the outbox and delivered it.
const SLOW_COMMIT: Duration = Duration::from_millis(500);
/// How long a commit whose answer was lost may still take effect.
const IN_DOUBT_WINDOW: Duration = Duration::from_mins(1);

/// Starts a worker for each lane.
pub(crate) fn start(
    lanes: Vec<Lane>,
    store: &Arc<dyn Store>,
    dispatcher: &Arc<Dispatcher>,
    metrics: &Arc<Metrics>,
    failures: &Arc<StoreFailures>,
    tasks: &mut JoinSet<()>,
) {
    for (number, lane) in lanes.into_iter().enumerate() {
        let mut worker = LaneWorker {
            number,
            lane,
            received: VecDeque::new(),
            is_open: true,
            is_committing: false,
            store: store.clone(),
            dispatcher: dispatcher.clone(),
            metrics: metrics.clone(),
            failures: failures.clone(),
            in_doubt_until: None,
            failure_log: FailureLog::new("database"),
            rejection_log: FailureLog::new("a report"),
        };
        tasks.spawn(supervise(format!("lane {number}"), async move || worker.run().await));
    }
}

/// What a commit says about the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It works, although it may have refused a change.
    Works,
    /// It may be at fault for an unexpected error.
    Doubtful,
    /// It is not available.
    Down,
}

/// Commits the changes of one lane.
struct LaneWorker {
    number: usize,
    lane: Lane,
    /// What the worker has received, and not put into a group yet.
    received: VecDeque<Queued<Message>>,
    /// Whether the lane takes more changes after `received`.
    is_open: bool,
    /// Whether a commit is under way. Still set when the worker runs again after a panic.
    is_committing: bool,
    store: Arc<dyn Store>,
    dispatcher: Arc<Dispatcher>,
    metrics: Arc<Metrics>,
    failures: Arc<StoreFailures>,
    /// The end of the in-doubt window, if a commit has been in doubt.
    in_doubt_until: Option<Instant>,
    failure_log: FailureLog,
    /// Keeps the database's own reason for a rejection, for the operator. It never records a success, so that it logs
    /// one rejection a minute.
    rejection_log: FailureLog,
}

/// The sender of a change, waiting for the answer.
struct Sender {
    reply: Reply,
    request_id: Option<RequestId>,
}

impl LaneWorker {
    async fn run(&mut self) {
        if self.is_committing {
            self.failures.commit_failed(self.number, 0);
            self.commit_is_in_doubt();
        }
        let mut received = Vec::with_capacity(GROUP_CHANGES);
        while self.is_open || !self.received.is_empty() {
            if self.received.is_empty() {
                if self.lane.recv_many(&mut received, GROUP_CHANGES).await == 0 {
                    return;
                }
                self.received.extend(received.drain(..));
            }
            let (mut changes, mut senders, mut permits) = (Vec::new(), Vec::new(), Vec::new());
            let (mut bytes, mut messages) = (0, 0);
            while bytes < GROUP_BYTES
                && messages < GROUP_MESSAGES
                && let Some(queued) = self.received.pop_front()
            {
                let (message, permit) = queued.into_parts();
                match message {
                    Message::Commit(submitted) => {
                        let Submitted { change, reply, request_id } = *submitted;
                        bytes += change.size();
                        messages += change.messages();
                        changes.push(change);
                        senders.push(Sender { reply, request_id });
                        permits.push(permit);
                    }
                    Message::Close => self.is_open = false,
                }
            }
            if !changes.is_empty() {
                self.is_committing = true;
                self.commit(changes, senders).await;
                self.is_committing = false;
            }
        }
    }

    /// Commits changes together. Commits each alone if one of them may be at fault for the failure of the others.
    async fn commit(&mut self, changes: Vec<Change>, senders: Vec<Sender>) -> Verdict {
        let group = Arc::new(Group::new(changes, self.dispatcher.outputs()));
        let begun = Instant::now();
        let committed = catch_panic(|| self.store.commit(self.number, group.clone())).await;
        let took = begun.elapsed();
        let metrics = &self.metrics.commits;
        metrics.changes.record(group.changes.len() as u64);
        metrics.durations.record_time(took);
        metrics.failures.add(committed.is_err().into());
        match committed {
            Ok(decision) => {
                let is_slow = took > SLOW_COMMIT;
                let is_in_doubt = self.in_doubt_until.is_some_and(|until| Instant::now() < until);
                if is_in_doubt && group.changes.iter().any(Change::is_report) {
                    // A retried report adds no outbox row, but the original commit may have landed since the workers
                    // last read the outbox.
                    self.dispatcher.request_resync();
                }
                let is_report =
                    |(change, outcome): (&Change, &Outcome)| change.is_report() && *outcome == Outcome::Recorded;
                if group.changes.iter().zip(&decision.outcomes).any(is_report) {
                    self.failures.report_committed(self.number, begun);
                }
                self.log_committed(&group, &decision, &senders);
                self.committed(&decision, senders, is_slow || is_in_doubt);
                Verdict::Works
            }
            Err(StoreError::Rejected { .. } | StoreError::NotYet(_) | StoreError::Unexpected(_))
                if senders.len() > 1 =>
            {
                self.commit_each(&group, senders).await
            }
            Err(error) => {
                if !matches!(error, StoreError::Rejected { .. } | StoreError::NotYet(_)) {
                    self.failures.commit_failed(self.number, group.size());
                }
                let answer = match &error {
                    StoreError::Rejected { reason, clue, .. } => {
                        self.rejection_log.failed(&error);
                        let field = group.changes.first().and_then(|change| change.field_at_fault(clue));
                        TrackerError::Rejected { reason: *reason, field }
                    }
                    StoreError::Unknown(_) => {
                        self.failure_log.failed(&error);
                        self.commit_is_in_doubt();
                        UnavailableReason::InDoubt.into()
                    }
                    _ => {
                        self.failure_log.failed(&error);
                        UnavailableReason::Store.into()
                    }
                };
                self.failed(senders, &answer);
                match error {
                    StoreError::Rejected { .. } | StoreError::NotYet(_) => Verdict::Works,
                    StoreError::Unexpected(_) => Verdict::Doubtful,
                    _ => Verdict::Down,
                }
            }
        }
    }

    fn commit_is_in_doubt(&mut self) {
        self.in_doubt_until = Some(Instant::now() + IN_DOUBT_WINDOW);
        self.dispatcher.request_resync();
    }

    /// Commits each change of a group alone, so that one that fails does not affect the others. Stops when the store
    /// becomes unavailable, and after two unexpected errors in a row, because each further attempt could take as long
    /// as the first.
    async fn commit_each(&mut self, group: &Group, senders: Vec<Sender>) -> Verdict {
        let mut rest = group.changes.iter().zip(senders);
        let mut last = Verdict::Works;
        while let Some((change, sender)) = rest.next() {
            let verdict = Box::pin(self.commit(vec![change.clone()], vec![sender])).await;
            if verdict == Verdict::Down || (verdict, last) == (Verdict::Doubtful, Verdict::Doubtful) {
                self.failed(rest.map(|(_, sender)| sender), &UnavailableReason::Store.into());
                return Verdict::Down;
            }
            last = verdict;
        }
        last
    }

    fn failed(&self, senders: impl IntoIterator<Item = Sender>, answer: &TrackerError) {
        for sender in senders {
            log::debug!(request_id:? = sender.request_id, lane = self.number; "a change was not committed");
            // The sender may have stopped waiting.
            let _ = sender.reply.send(Err(answer.clone()));
        }
    }

    /// Dispatches the events before it answers the senders, so that an answered report has all earlier events under
    /// way.
    fn committed(&mut self, decision: &Decision, senders: Vec<Sender>, outbox_only: bool) {
        self.failure_log.succeeded();
        self.dispatcher.dispatch(decision, outbox_only);
        for (outcome, sender) in decision.outcomes.iter().zip(senders) {
            // The sender may have stopped waiting.
            let _ = sender.reply.send(Ok(outcome.clone()));
        }
    }

    /// Logs each committed report at debug level.
    fn log_committed(&self, group: &Group, decision: &Decision, senders: &[Sender]) {
        if !log::log_enabled!(log::Level::Debug) {
            return;
        }
        for ((change, outcome), sender) in group.changes.iter().zip(&decision.outcomes).zip(senders) {
            let Some(deployment_id) = change.deployment_id() else { continue };
            let outcome = match outcome {
                Outcome::Recorded => "recorded",
                Outcome::Unchanged => "unchanged",
                Outcome::Conflict { .. } => "conflict",
                Outcome::Unknown => "unknown",
            };
            log::debug!(
                request_id:? = sender.request_id, deployment_id = deployment_id.as_str(), lane = self.number,
                group = group.changes.len(), outcome;
                "committed a report on deployment {deployment_id}: {outcome}"
            );
        }
    }
}
