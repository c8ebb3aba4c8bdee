//! `/metrics`: what an operator watches, for Prometheus. Nothing here waits for the store or an output.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::HttpResponse;
use actix_web::web::Data;
use tracker_core::metrics::OutputMetrics;
use tracker_core::{
    Deleted, Delivery, Metrics as TrackerMetrics, OutputStatus, ReportKind, ReportResult, Threads, Tracker, time,
};

use crate::exposition::{CONTENT_TYPE, Exposition, NANOSECONDS, PIECES};
use crate::requests::RequestMetrics;

/// The statuses that say that a report is wrong in itself.
const INVALID: [&str; 3] = ["400", "413", "415"];

/// What the server counts itself.
#[derive(Debug)]
pub struct Metrics {
    started: Duration,
    /// What was counted of requests.
    pub requests: RequestMetrics,
}

impl Metrics {
    /// Nothing is counted yet.
    pub fn new() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started, requests: RequestMetrics::default() }
    }
}

/// Figures for Prometheus
///
/// In its text format, version 0.0.4. What is owed to an output is as of a second ago.
#[utoipa::path(get, path = "/metrics", tag = "service", responses((status = 200, description = "The figures", body = String, content_type = "text/plain")))]
pub async fn metrics(metrics: Data<Metrics>, tracker: Data<Tracker>) -> HttpResponse {
    let mut text = Exposition::default();
    about(&mut text, &metrics);
    requests(&mut text, &metrics.requests);
    reports(&mut text, &metrics.requests, tracker.metrics());
    commits(&mut text, &tracker);
    outputs(&mut text, &tracker.metrics().outputs);
    backlogs(&mut text, &tracker.outputs());
    threads(&mut text, &tracker.threads());
    deleted(&mut text, tracker.deleted());
    HttpResponse::Ok().content_type(CONTENT_TYPE).body(text.into_text())
}

fn about(text: &mut Exposition, metrics: &Metrics) {
    text.family("deployment_tracker_build_info", "gauge", "Which version runs; always 1.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.family("process_start_time_seconds", "gauge", "When the server was started, in Unix time.")
        .sample(&[], metrics.started.as_secs_f64());
}

fn requests(text: &mut Exposition, requests: &RequestMetrics) {
    let routes = requests.routes();
    let mut family = text.family(
        "deployment_tracker_http_requests_total",
        "counter",
        "Requests that were answered, by the pattern of the route, method and status.",
    );
    for (route, metrics) in &routes {
        for (method, answers) in metrics.methods() {
            for (status, count) in answers.statuses() {
                family.sample(&[("route", *route), ("method", method), ("status", status.as_str())], count);
            }
        }
    }
    let mut family = text.family(
        "deployment_tracker_http_request_duration_seconds",
        "histogram",
        "How long requests took, from their head to the begin of the answer.",
    );
    for (route, metrics) in &routes {
        for (method, answers) in metrics.methods() {
            family.histogram(&[("route", *route), ("method", method)], &answers.durations, NANOSECONDS);
        }
    }
    text.family(
        "deployment_tracker_http_requests_in_flight",
        "gauge",
        "Requests whose answer has not begun, this one included.",
    )
    .sample(&[], requests.in_flight());
}

fn reports(text: &mut Exposition, requests: &RequestMetrics, metrics: &TrackerMetrics) {
    let routes = requests.routes();
    let invalid = |kind| {
        let (route, method) = address(kind);
        let answers = routes.get(route).into_iter().flat_map(|route| route.methods());
        let statuses = answers.filter(|(name, _)| *name == method).flat_map(|(_, answers)| answers.statuses());
        statuses.filter(|(status, _)| INVALID.contains(&status.as_str())).map(|(_, count)| count).sum::<u64>()
    };
    // What the store rejects is answered as invalid.
    let results = || ReportResult::ALL.into_iter().filter(|result| *result != ReportResult::Rejected);
    let mut family =
        text.family("deployment_tracker_reports_total", "counter", "Reports that were answered, by kind and result.");
    for kind in ReportKind::ALL {
        for result in results() {
            let labels = [("kind", kind.as_str()), ("result", result.as_str())];
            family.sample(&labels, metrics.reports(kind, result));
        }
        family.sample(&[("kind", kind.as_str()), ("result", "invalid")], invalid(kind));
    }
    let mut family = text.family(
        "deployment_tracker_log_messages_total",
        "counter",
        "Log messages in the batches that were answered, by the result of the batch.",
    );
    for result in ReportResult::ALL {
        family.sample(&[("result", result.as_str())], metrics.log_messages(result));
    }
}

/// Where reports of the kind are sent to.
fn address(kind: ReportKind) -> (&'static str, &'static str) {
    match kind {
        ReportKind::DeploymentStart => ("/v1/deployments/{id}", "POST"),
        ReportKind::DeploymentFinish => ("/v1/deployments/{id}", "PUT"),
        ReportKind::ServerStart => ("/v1/deployments/{id}/servers", "POST"),
        ReportKind::ServerFinish => ("/v1/deployments/{id}/servers", "PUT"),
        ReportKind::LogBatch => ("/v1/deployments/{id}/logs", "POST"),
    }
}

fn deleted(text: &mut Exposition, Deleted { deployments, servers, messages }: Deleted) {
    let mut family =
        text.family("deployment_tracker_deleted_total", "counter", "Records that were deleted because they were old.");
    for (kind, count) in [("deployment", deployments), ("server", servers), ("log_message", messages)] {
        family.sample(&[("kind", kind)], count);
    }
}

fn commits(text: &mut Exposition, tracker: &Tracker) {
    let commits = &tracker.metrics().commits;
    text.family(
        "deployment_tracker_commit_changes",
        "histogram",
        "Changes in each group commit: reports, and batches that become owed or are settled.",
    )
    .histogram(&[], &commits.changes, PIECES);
    text.family(
        "deployment_tracker_commit_duration_seconds",
        "histogram",
        "How long each group commit took, whether it succeeded or not.",
    )
    .histogram(&[], &commits.durations, NANOSECONDS);
    text.family("deployment_tracker_commit_failures_total", "counter", "Group commits that failed.")
        .sample(&[], commits.failures.count());
    text.family("deployment_tracker_commit_waiting_changes", "gauge", "Changes that wait for a group commit.")
        .sample(&[], tracker.waiting_changes());
}

fn outputs(text: &mut Exposition, outputs: &[Arc<OutputMetrics>]) {
    let name: fn(&Arc<OutputMetrics>) -> (&str, &str) = |output| ("output", &output.name);
    let mut family = text.family(
        "deployment_tracker_output_batch_messages",
        "histogram",
        "Messages in each batch that was delivered to an output.",
    );
    for output in outputs {
        family.histogram(&[name(output)], &output.batches, PIECES);
    }
    let mut family = text.family(
        "deployment_tracker_output_attempt_duration_seconds",
        "histogram",
        "How long each attempt to deliver took, whether it succeeded or not.",
    );
    for output in outputs {
        family.histogram(&[name(output)], &output.attempts, NANOSECONDS);
    }
    let rows: [Row<Arc<OutputMetrics>>; 4] = [
        (
            "deployment_tracker_output_delivered_messages_total",
            "counter",
            "Messages that were delivered to an output: of a log batch each message, of anything else one.",
            |output| output.batches.sum() as f64,
        ),
        (
            "deployment_tracker_output_delivered_batches_total",
            "counter",
            "Batches that were delivered to an output.",
            |output| output.batches.count() as f64,
        ),
        (
            "deployment_tracker_output_failures_total",
            "counter",
            "Attempts to deliver that failed; what an output must have is tried again.",
            |output| output.failures.count() as f64,
        ),
        (
            "deployment_tracker_output_failing",
            "gauge",
            "1 while the last attempt to deliver to an output failed, otherwise 0.",
            |output| output.is_failing().into(),
        ),
    ];
    table(text, outputs, name, &rows);
    let best_effort: Vec<_> =
        outputs.iter().filter(|output| output.delivery == Delivery::BestEffort).cloned().collect();
    let rows: [Row<Arc<OutputMetrics>>; 1] = [(
        "deployment_tracker_output_dropped_messages_total",
        "counter",
        "Messages that an output went without, because it takes what it can.",
        |output| output.dropped.count() as f64,
    )];
    table(text, &best_effort, name, &rows);
}

fn backlogs(text: &mut Exposition, statuses: &[OutputStatus]) {
    let rows: [Row<OutputStatus>; 3] = [
        (
            "deployment_tracker_output_backlog_messages",
            "gauge",
            "Messages in the database that an output must have and has not confirmed, as of a second ago.",
            |status| status.backlog.messages as f64,
        ),
        (
            "deployment_tracker_output_backlog_bytes",
            "gauge",
            "Their size in the database, as of a second ago.",
            |status| status.backlog.bytes as f64,
        ),
        (
            "deployment_tracker_output_backlog_age_seconds",
            "gauge",
            "How long ago the oldest of them was recorded; 0 when there is none.",
            |status| {
                let age = status.backlog.oldest.and_then(|oldest| (time::now() - oldest).to_std().ok());
                age.unwrap_or_default().as_secs_f64()
            },
        ),
    ];
    table(text, statuses, |status| ("output", &status.name), &rows);
}

fn threads(text: &mut Exposition, threads: &[Threads]) {
    let rows: [Row<Threads>; 5] = [
        ("deployment_tracker_database_threads", "gauge", "Threads that talk to the database.", |threads| {
            threads.threads as f64
        }),
        ("deployment_tracker_database_threads_busy", "gauge", "Threads that do a job now.", |threads| {
            threads.busy as f64
        }),
        ("deployment_tracker_database_jobs_waiting", "gauge", "Jobs that wait for a thread.", |threads| {
            threads.waiting as f64
        }),
        (
            "deployment_tracker_database_jobs_refused_total",
            "counter",
            "Jobs that were refused because too many waited.",
            |threads| threads.refused as f64,
        ),
        (
            "deployment_tracker_database_jobs_late_total",
            "counter",
            "Jobs that were given up because the database did not answer in time.",
            |threads| threads.late as f64,
        ),
    ];
    table(text, threads, |threads| ("role", threads.name), &rows);
}

/// A metric of a `T`: its name, kind and meaning, and its value.
type Row<T> = (&'static str, &'static str, &'static str, fn(&T) -> f64);

/// Adds metrics that each have a sample for each of `items`.
fn table<T>(text: &mut Exposition, items: &[T], label: fn(&T) -> (&str, &str), rows: &[Row<T>]) {
    for (name, kind, help, value) in rows {
        let mut family = text.family(name, kind, help);
        for item in items {
            family.sample(&[label(item)], value(item));
        }
    }
}
