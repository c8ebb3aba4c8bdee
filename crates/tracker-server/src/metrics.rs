//! `/metrics` for Prometheus. A scrape does not wait for the store or an output.

mod exposition;
mod requests;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::HttpResponse;
use actix_web::web::Data;
use tracker_core::metrics::OutputMetrics;
use tracker_core::{
    Deleted, Delivery, Metrics as TrackerMetrics, OutputStatus, ReportKind, ReportResult, Threads, Tracker, time,
};

use exposition::{CONTENT_TYPE, COUNT, Exposition, NANOSECONDS};

pub use requests::{RequestMetrics, RequestTimer};

/// The statuses that answer invalid reports.
const INVALID: [&str; 3] = ["400", "413", "415"];

/// The metrics of the server. The tracker has its own metrics.
#[derive(Debug)]
pub struct Metrics {
    started: Duration,
    dropped_log_lines: fn() -> u64,
    /// Metrics of HTTP requests.
    pub requests: RequestMetrics,
}

impl Metrics {
    /// Starts all counters at zero.
    pub fn new(dropped_log_lines: fn() -> u64) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started, dropped_log_lines, requests: RequestMetrics::new() }
    }
}

/// Metrics for Prometheus
///
/// In the Prometheus text format, version 0.0.4. The backlogs of outputs are counted once a second.
#[utoipa::path(
    get, path = "/metrics", tag = "service",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain"))
)]
pub async fn metrics(metrics: Data<Metrics>, tracker: Data<Tracker>) -> HttpResponse {
    let mut text = Exposition::default();
    process(&mut text, &metrics);
    requests(&mut text, &metrics.requests);
    reports(&mut text, &metrics.requests, tracker.metrics());
    misspelled(&mut text, tracker.metrics());
    commits(&mut text, &tracker);
    outputs(&mut text, &tracker.metrics().outputs);
    backlogs(&mut text, &tracker.outputs());
    threads(&mut text, &tracker.threads());
    deleted(&mut text, tracker.deleted());
    HttpResponse::Ok().content_type(CONTENT_TYPE).body(text.into_text())
}

fn process(text: &mut Exposition, metrics: &Metrics) {
    text.family("deployment_tracker_build_info", "gauge", "The running version, as a label; always 1.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.family("process_start_time_seconds", "gauge", "Start time of the process, in seconds since the Unix epoch.")
        .sample(&[], metrics.started.as_secs_f64());
    text.family(
        "deployment_tracker_log_lines_dropped_total",
        "counter",
        "Lines missing in the log of the service, because standard error was not read fast enough.",
    )
    .sample(&[], (metrics.dropped_log_lines)());
    let help = "Panics in outputs, in the store and in tasks of the server; each is a bug.";
    text.family("deployment_tracker_panics_total", "counter", help).sample(&[], tracker_core::panics());
}

fn requests(text: &mut Exposition, requests: &RequestMetrics) {
    let routes = requests.routes();
    let mut family = text.family(
        "deployment_tracker_http_requests_total",
        "counter",
        "Answered requests, by route pattern, method and status.",
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
        "Time from receiving the head of a request to starting its response.",
    );
    for (route, metrics) in &routes {
        for (method, answers) in metrics.methods() {
            family.histogram(&[("route", *route), ("method", method)], &answers.durations, NANOSECONDS);
        }
    }
    text.family(
        "deployment_tracker_http_requests_in_flight",
        "gauge",
        "Requests whose response has not started, including this one.",
    )
    .sample(&[], requests.in_flight());
}

fn reports(text: &mut Exposition, requests: &RequestMetrics, metrics: &TrackerMetrics) {
    let routes = requests.routes();
    let invalid = |kind| {
        let (route, method) = endpoint(kind);
        let answers = routes.get(route).into_iter().flat_map(|route| route.methods());
        let statuses = answers.filter(|(name, _)| *name == method).flat_map(|(_, answers)| answers.statuses());
        statuses.filter(|(status, _)| INVALID.contains(&status.as_str())).map(|(_, count)| count).sum::<u64>()
    };
    // If the store rejects a report, the API answers 400, which counts as `invalid`.
    let results = || ReportResult::ALL.into_iter().filter(|result| *result != ReportResult::Rejected);
    let mut family =
        text.family("deployment_tracker_reports_total", "counter", "Answered reports, by kind and result.");
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
        "Log messages in answered batches, by result of the batch.",
    );
    for result in ReportResult::ALL {
        family.sample(&[("result", result.as_str())], metrics.log_messages(result));
    }
}

fn misspelled(text: &mut Exposition, metrics: &TrackerMetrics) {
    let mut family = text.family(
        "deployment_tracker_misspelled_fields_total",
        "counter",
        "Recorded reports that misspelled this field, so that its value was ignored.",
    );
    for (field, count) in metrics.misspelled() {
        family.sample(&[("field", field)], count);
    }
}

/// The route and method of reports of this kind.
fn endpoint(kind: ReportKind) -> (&'static str, &'static str) {
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
        text.family("deployment_tracker_deleted_total", "counter", "Records deleted because of their age.");
    for (kind, count) in [("deployment", deployments), ("server", servers), ("log_message", messages)] {
        family.sample(&[("kind", kind)], count);
    }
}

fn commits(text: &mut Exposition, tracker: &Tracker) {
    let commits = &tracker.metrics().commits;
    text.family(
        "deployment_tracker_commit_changes",
        "histogram",
        "Changes per group commit: reports, new pending batches and acknowledgements.",
    )
    .histogram(&[], &commits.changes, COUNT);
    text.family(
        "deployment_tracker_commit_duration_seconds",
        "histogram",
        "Duration of group commits, successful or not.",
    )
    .histogram(&[], &commits.durations, NANOSECONDS);
    text.family("deployment_tracker_commit_failures_total", "counter", "Failed group commits.")
        .sample(&[], commits.failures.count());
    text.family("deployment_tracker_commit_waiting_changes", "gauge", "Changes waiting for a group commit.")
        .sample(&[], tracker.waiting_changes());
}

fn outputs(text: &mut Exposition, outputs: &[Arc<OutputMetrics>]) {
    let name: fn(&Arc<OutputMetrics>) -> (&str, &str) = |output| ("output", &output.name);
    let mut family = text.family(
        "deployment_tracker_output_batch_messages",
        "histogram",
        "Messages per batch delivered to an output.",
    );
    for output in outputs {
        family.histogram(&[name(output)], &output.batches, COUNT);
    }
    let mut family = text.family(
        "deployment_tracker_output_attempt_duration_seconds",
        "histogram",
        "Duration of delivery attempts, successful or not.",
    );
    for output in outputs {
        family.histogram(&[name(output)], &output.attempts, NANOSECONDS);
    }
    let rows: [Row<Arc<OutputMetrics>>; 4] = [
        (
            "deployment_tracker_output_delivered_messages_total",
            "counter",
            "Messages delivered to an output; a log batch counts each of its messages, any other event counts as one.",
            |output| output.batches.sum() as f64,
        ),
        ("deployment_tracker_output_delivered_batches_total", "counter", "Batches delivered to an output.", |output| {
            output.batches.count() as f64
        }),
        (
            "deployment_tracker_output_failures_total",
            "counter",
            "Failed delivery attempts; at-least-once outputs retry.",
            |output| output.failures.count() as f64,
        ),
        (
            "deployment_tracker_output_failing",
            "gauge",
            "1 if the last delivery attempt failed, otherwise 0.",
            |output| output.is_failing().into(),
        ),
    ];
    table(text, outputs, name, &rows);
    let best_effort: Vec<_> =
        outputs.iter().filter(|output| output.delivery == Delivery::BestEffort).cloned().collect();
    let rows: [Row<Arc<OutputMetrics>>; 1] = [(
        "deployment_tracker_output_dropped_messages_total",
        "counter",
        "Messages dropped by a best-effort output.",
        |output| output.dropped.count() as f64,
    )];
    table(text, &best_effort, name, &rows);
}

fn backlogs(text: &mut Exposition, statuses: &[OutputStatus]) {
    let rows: [Row<OutputStatus>; 3] = [
        (
            "deployment_tracker_output_backlog_messages",
            "gauge",
            "Pending messages of an at-least-once output, counted once a second.",
            |status| status.backlog.messages as f64,
        ),
        (
            "deployment_tracker_output_backlog_bytes",
            "gauge",
            "Size of the pending messages in the database, counted once a second.",
            |status| status.backlog.bytes as f64,
        ),
        (
            "deployment_tracker_output_backlog_age_seconds",
            "gauge",
            "Age of the oldest pending message; 0 if there is none.",
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
        ("deployment_tracker_database_threads", "gauge", "Threads that run jobs on the database.", |threads| {
            threads.threads as f64
        }),
        ("deployment_tracker_database_threads_busy", "gauge", "Threads running a job.", |threads| threads.busy as f64),
        ("deployment_tracker_database_jobs_waiting", "gauge", "Jobs waiting for a thread.", |threads| {
            threads.waiting as f64
        }),
        (
            "deployment_tracker_database_jobs_refused_total",
            "counter",
            "Jobs refused because the queue was full.",
            |threads| threads.refused as f64,
        ),
        (
            "deployment_tracker_database_jobs_late_total",
            "counter",
            "Jobs abandoned because the database did not answer in time.",
            |threads| threads.late as f64,
        ),
    ];
    table(text, threads, |threads| ("role", threads.name), &rows);
}

/// A metric of a `T`: its name, type, help text and value.
type Row<T> = (&'static str, &'static str, &'static str, fn(&T) -> f64);

/// Adds the metrics in `rows`, each with one sample per item.
fn table<T>(text: &mut Exposition, items: &[T], label: fn(&T) -> (&str, &str), rows: &[Row<T>]) {
    for (name, kind, help, value) in rows {
        let mut family = text.family(name, kind, help);
        for item in items {
            family.sample(&[label(item)], value(item));
        }
    }
}
