//! Metrics of a tracker, counted since its start. Recording is lock-free and does not allocate.

mod histogram;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::error::{TrackerError, UnavailableReason};
use crate::group::Outcome;
use crate::misspelled;
use crate::output::Delivery;

pub use histogram::{Counter, DURATIONS, Histogram, SIZES};

/// The kind of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    /// The start of a deployment.
    DeploymentStart,
    /// The finish of a deployment.
    DeploymentFinish,
    /// The start of a deployment on a server.
    ServerStart,
    /// The finish of a deployment on a server.
    ServerFinish,
    /// Log messages.
    LogBatch,
}

impl ReportKind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::DeploymentStart, Self::DeploymentFinish, Self::ServerStart, Self::ServerFinish, Self::LogBatch];

    /// The kind in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeploymentStart => "deployment_start",
            Self::DeploymentFinish => "deployment_finish",
            Self::ServerStart => "server_start",
            Self::ServerFinish => "server_finish",
            Self::LogBatch => "log_batch",
        }
    }
}

/// The result of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportResult {
    /// [`Outcome::Recorded`].
    Recorded,
    /// [`Outcome::Unchanged`], or an empty batch of log messages.
    Unchanged,
    /// [`Outcome::Conflict`].
    Conflict,
    /// [`Outcome::Unknown`].
    Unknown,
    /// [`TrackerError::Rejected`].
    Rejected,
    /// [`UnavailableReason::Busy`] or [`UnavailableReason::Closed`].
    Busy,
    /// [`UnavailableReason::TimedOut`].
    TimedOut,
    /// [`UnavailableReason::Store`] or [`UnavailableReason::InDoubt`].
    Unavailable,
    /// [`UnavailableReason::OutboxFull`].
    OutboxFull,
    /// [`TrackerError::NoLogDestination`].
    Nowhere,
}

impl ReportResult {
    /// All results.
    pub const ALL: [Self; 10] = [
        Self::Recorded,
        Self::Unchanged,
        Self::Conflict,
        Self::Unknown,
        Self::Rejected,
        Self::Busy,
        Self::TimedOut,
        Self::Unavailable,
        Self::OutboxFull,
        Self::Nowhere,
    ];

    /// The result in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Unchanged => "unchanged",
            Self::Conflict => "conflict",
            Self::Unknown => "unknown",
            Self::Rejected => "rejected",
            Self::Busy => "busy",
            Self::TimedOut => "timed_out",
            Self::Unavailable => "unavailable",
            Self::OutboxFull => "outbox_full",
            Self::Nowhere => "nowhere",
        }
    }
}

impl From<&Result<Outcome, TrackerError>> for ReportResult {
    fn from(outcome: &Result<Outcome, TrackerError>) -> Self {
        match outcome {
            Ok(Outcome::Recorded) => Self::Recorded,
            Ok(Outcome::Unchanged) => Self::Unchanged,
            Ok(Outcome::Conflict { .. }) | Err(TrackerError::Conflict { .. }) => Self::Conflict,
            Ok(Outcome::Unknown) | Err(TrackerError::Unknown) => Self::Unknown,
            Err(TrackerError::Rejected { .. }) => Self::Rejected,
            Err(TrackerError::NoLogDestination | TrackerError::LogsNotKept) => Self::Nowhere,
            Err(TrackerError::Unavailable(reason)) => match reason {
                UnavailableReason::Busy | UnavailableReason::Closed => Self::Busy,
                UnavailableReason::TimedOut => Self::TimedOut,
                UnavailableReason::Store | UnavailableReason::InDoubt => Self::Unavailable,
                UnavailableReason::OutboxFull => Self::OutboxFull,
            },
        }
    }
}

/// The metrics of a tracker, counted since its start. Serialized, they are the counts at that moment.
#[derive(Debug)]
pub struct Metrics {
    reports: [[Counter; ReportResult::ALL.len()]; ReportKind::ALL.len()],
    log_messages: [Counter; ReportResult::ALL.len()],
    /// Fields that reports misspelled.
    misspelled: BTreeMap<&'static str, Counter>,
    /// Group commits.
    pub commits: CommitMetrics,
    /// Outputs, in the order in which they were added.
    pub outputs: Vec<Arc<OutputMetrics>>,
}

impl Metrics {
    pub(crate) fn new(outputs: Vec<Arc<OutputMetrics>>) -> Self {
        Self {
            reports: Default::default(),
            log_messages: Default::default(),
            misspelled: misspelled::all_fields().map(|field| (field, Counter::default())).collect(),
            commits: CommitMetrics::default(),
            outputs,
        }
    }

    /// The number of reports of this kind with this result. A report whose future was dropped does
    /// not count.
    pub fn reports(&self, kind: ReportKind, result: ReportResult) -> u64 {
        self.reports[kind as usize][result as usize].count()
    }

    /// The number of log messages in the batches with this result.
    pub fn log_messages(&self, result: ReportResult) -> u64 {
        self.log_messages[result as usize].count()
    }

    /// Every field of reports, with the number of recorded reports that misspelled it.
    pub fn misspelled(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.misspelled.iter().map(|(field, count)| (*field, count.count()))
    }

    /// Counts a recorded report that misspelled `fields`.
    pub fn count_misspelled(&self, fields: &[&'static str]) {
        for count in fields.iter().filter_map(|field| self.misspelled.get(field)) {
            count.add(1);
        }
    }

    /// Whether there was any report or commit.
    pub(crate) fn is_used(&self) -> bool {
        let mut reports = self.reports.iter().flatten();
        self.commits.changes.count() > 0 || reports.any(|reports| reports.count() > 0)
    }

    pub(crate) fn reported(&self, kind: ReportKind, result: ReportResult) {
        self.reports[kind as usize][result as usize].add(1);
    }

    pub(crate) fn logged(&self, result: ReportResult, messages: u64) {
        self.reported(ReportKind::LogBatch, result);
        self.log_messages[result as usize].add(messages);
    }
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { reports: _, log_messages: _, misspelled, commits, outputs } = self;
        let results = |count: &dyn Fn(ReportResult) -> u64| {
            ReportResult::ALL.map(|result| (result.as_str(), count(result))).into_iter().collect::<BTreeMap<_, _>>()
        };
        let reports = ReportKind::ALL.map(|kind| (kind.as_str(), results(&|result| self.reports(kind, result))));
        let mut metrics = serializer.serialize_struct("Metrics", 5)?;
        metrics.serialize_field("reports", &BTreeMap::from(reports))?;
        metrics.serialize_field("log_messages", &results(&|result| self.log_messages(result)))?;
        metrics.serialize_field("misspelled", misspelled)?;
        metrics.serialize_field("commits", commits)?;
        metrics.serialize_field("outputs", outputs)?;
        metrics.end()
    }
}

/// Metrics of group commits.
#[derive(Debug, Serialize)]
pub struct CommitMetrics {
    /// Changes per group: reports, and batches enqueued or acknowledged.
    pub changes: Histogram,
    /// The duration of each commit in nanoseconds, whether it succeeded or not.
    pub durations: Histogram,
    /// Commits that failed.
    pub failures: Counter,
}

impl Default for CommitMetrics {
    fn default() -> Self {
        Self { changes: Histogram::new(SIZES), durations: Histogram::new(DURATIONS), failures: Counter::default() }
    }
}

/// Metrics of an output.
#[derive(Debug, Serialize)]
pub struct OutputMetrics {
    /// The output's name.
    pub name: String,
    /// The output's delivery guarantee.
    pub delivery: Delivery,
    /// Messages that the output wants, per delivered batch.
    pub batches: Histogram,
    /// The duration of each delivery attempt in nanoseconds, whether it succeeded or not.
    pub attempts: Histogram,
    /// Delivery attempts that failed.
    pub failures: Counter,
    /// Messages dropped by a best-effort output.
    pub dropped: Counter,
    #[serde(skip)]
    is_failing: AtomicBool,
}

impl OutputMetrics {
    pub(crate) fn new(name: &str, delivery: Delivery) -> Self {
        Self {
            name: name.to_owned(),
            delivery,
            batches: Histogram::new(SIZES),
            attempts: Histogram::new(DURATIONS),
            failures: Counter::default(),
            dropped: Counter::default(),
            is_failing: AtomicBool::new(false),
        }
    }

    /// Whether the last delivery attempt failed.
    pub fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    pub(crate) fn attempted(&self, took: Duration, succeeded: bool) {
        self.attempts.record_time(took);
        self.failures.add((!succeeded).into());
        self.is_failing.store(!succeeded, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enum_discriminants_index_their_arrays() {
        assert!(ReportKind::ALL.iter().enumerate().all(|(number, kind)| *kind as usize == number));
        assert!(ReportResult::ALL.iter().enumerate().all(|(number, result)| *result as usize == number));
    }
}
