//! The API as a program uses it that embeds a tracker.

use std::error::Error as _;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Value, json, to_value};
use tracker_core::testing::{finished, new_id, started};
use tracker_core::{
    Batch, Delivery, DeploymentId, DeploymentReport, DeploymentResult, Event, Hostname, LogBatch, LogDeploymentId,
    LogMessage, LogQuery, MemoryStore, Output, OutputError, Page, ServerReport, Store, Tracker, async_trait, chain,
};

/// An output that counts as delivered at once.
#[derive(Debug)]
struct Sink(&'static str);

#[async_trait]
impl Output for Sink {
    fn name(&self) -> &str {
        self.0
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn wants(&self, _: &Event) -> bool {
        true
    }

    async fn deliver(&self, _: &[Arc<Batch>]) -> Result<(), OutputError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), OutputError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_builder_takes_values_and_shared_values() {
    let (store, output) = (Arc::new(MemoryStore::new()), Arc::new(Sink("shared")));
    let (any_store, any_output): (Arc<dyn Store>, Arc<dyn Output>) = (store.clone(), Arc::new(Sink("any")));
    for builder in [Tracker::builder(MemoryStore::new()), Tracker::builder(store.clone()), Tracker::builder(any_store)]
    {
        let tracker = builder.output(Sink("value")).output(output.clone()).output(any_output.clone()).start();
        tracker.start_deployment(DeploymentReport::new(new_id())).await.expect("the store works");
        let names: Vec<_> = tracker.outputs().into_iter().map(|output| output.name).collect();
        assert_eq!(names, ["value", "shared", "any"]);
        assert!(tracker.shutdown(Duration::from_secs(10)).await);
    }
    let shared = Tracker::builder(store).start();
    let query = tracker_core::DeploymentQuery::new(Page::first(10));
    assert_eq!(shared.deployments(query).await.expect("the store works").records.len(), 2);
    assert!(shared.shutdown(Duration::from_secs(10)).await);
}

#[test]
fn random_ids_differ_and_have_one_text() {
    let [one, two] = [DeploymentId::random(), DeploymentId::random()];
    assert_ne!(one, two);
    assert_eq!((one.0.get_version_num(), one.to_string().len()), (4, 36));
    assert_eq!(one.to_string().to_uppercase().parse(), Ok(one));
    assert_eq!(DeploymentId::from(one.0), one);
    for text in ["", "x", &one.0.simple().to_string(), &one.0.urn().to_string(), &format!("{one} ")] {
        assert!(text.parse::<DeploymentId>().is_err(), "{text}");
    }
}

#[test]
fn names_are_parsed_as_their_constructors_do() {
    assert_eq!("web-1".parse(), Hostname::new("web-1"));
    assert_eq!("".parse::<Hostname>(), Hostname::new(""));
    assert_eq!("Nightly".parse(), LogDeploymentId::new("Nightly"));
    assert_eq!("a\0".parse::<LogDeploymentId>(), LogDeploymentId::new("a\0"));
}

#[test]
fn a_message_from_text_is_a_message_that_the_api_accepts() {
    for (text, object) in [
        ("", r#"{"message":""}"#),
        ("copied 3 files", r#"{"message":"copied 3 files"}"#),
        ("a \"quote\", a \\ and\n\u{1}", r#"{"message":"a \"quote\", a \\ and\n\u0001"}"#),
        ("größer 🚀 \u{2028}", "{\"message\":\"größer 🚀 \u{2028}\"}"),
        ("a\0b\0", "{\"message\":\"a\u{fffd}b\u{fffd}\"}"),
    ] {
        let message = LogMessage::text(text);
        assert_eq!(message.object().get(), object);
        let body = tracker_core::json::read(object.as_bytes()).expect("the API accepts this body");
        let read = LogBatch::read(DeploymentId::random().into(), body).expect("valid log message");
        assert_eq!(read.messages[0].object().get(), object);
    }
    assert!(LogMessage::text("first").event_id < LogMessage::text("second").event_id);
}

#[tokio::test]
async fn reports_and_logs_need_no_json() {
    let tracker = Tracker::builder(MemoryStore::new()).start();
    let id = DeploymentId::random();
    tracker.start_deployment(DeploymentReport::new(id)).await.expect("the store works");
    let mut report = ServerReport::new(id, "web-1".parse().expect("a valid hostname"));
    tracker.start_server(report.clone()).await.expect("the store works");
    report.fields.result = Some(DeploymentResult::Success);
    tracker.finish_server(report).await.expect("the store works");
    let logs = LogBatch::new(id, ["copying", "restarting"].map(LogMessage::text));
    tracker.append_logs(logs).await.expect("the store keeps logs");

    let recorded = tracker.deployment(id).await.expect("it is recorded");
    let [server] = recorded.servers.as_slice() else { panic!("{recorded:?}") };
    assert_eq!((server.hostname.as_str(), server.fields.result), ("web-1", Some(DeploymentResult::Success)));
    let kept = tracker.logs(LogQuery::new(id.into(), Page::first(10))).await.expect("logs are kept").records;
    let objects: Vec<_> = kept.iter().map(|message| message.object().get()).collect();
    assert_eq!(objects, [r#"{"message":"copying"}"#, r#"{"message":"restarting"}"#]);
    assert!(tracker.shutdown(Duration::from_secs(10)).await);
}

#[test]
fn an_output_error_names_each_operation_and_cause_once() {
    let io = || io::Error::new(io::ErrorKind::TimedOut, "no answer");
    for (error, expected) in [
        (OutputError::from(io()), "no answer"),
        (OutputError::from(io()).context("cannot connect"), "cannot connect: no answer"),
        (
            OutputError::from(io()).context("cannot connect").context("cannot send"),
            "cannot send: cannot connect: no answer",
        ),
        (OutputError::new("cannot connect", io()).context("cannot send"), "cannot send: cannot connect: no answer"),
        (OutputError::message("refused").context("cannot send"), "cannot send: refused"),
    ] {
        assert_eq!(chain(&error), expected);
    }
    let error = OutputError::from(io()).context("cannot connect");
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    assert_eq!(cause.map(io::Error::kind), Some(io::ErrorKind::TimedOut));
}

/// The JSON that the HTTP API answers with.
fn api_json(value: &impl tracker_core::json::WriteJson) -> Value {
    let mut bytes = Vec::new();
    value.write_json(&mut bytes);
    serde_json::from_slice(&bytes).expect("the API writes JSON")
}

#[tokio::test]
async fn records_reports_and_states_are_printed_as_json() {
    let tracker = Tracker::builder(MemoryStore::new()).output(Sink("sink")).start();
    let id = DeploymentId::random();
    let mut start = DeploymentReport::new(id);
    start.fields.package = Some("shop".into());
    start.assert_empty_server_result = true;
    let body = json!({
        "deployment_id": id.to_string(), "package": "shop", "assert_empty_server_result": true, "is_limited": false,
    });
    assert_eq!(to_value(&start).expect("plain data"), body);
    let read = tracker_core::json::read(body.to_string().as_bytes()).and_then(|body| DeploymentReport::read(id, body));
    assert_eq!(read.as_ref(), Ok(&start), "the API reads what is printed");
    let server = ServerReport::new(id, "web-1".parse().expect("a valid hostname"));
    assert_eq!(to_value(&server).expect("plain data"), json!({"deployment_id": id.to_string(), "hostname": "web-1"}));
    tracker.start_deployment(start).await.expect("the store works");
    tracker.start_server(server).await.expect("the store works");

    let record = tracker.deployment(id).await.expect("it is recorded");
    assert_eq!(to_value(&record).expect("plain data"), api_json(&record));
    let query = tracker_core::DeploymentQuery::new(Page::first(1));
    let list = to_value(tracker.deployments(query).await.expect("the store works")).expect("plain data");
    assert_eq!(list["records"], json!([api_json(&record)]));
    assert_eq!(list["next"]["after"]["deployment_id"], json!(id.to_string()));

    assert!(tracker.shutdown(Duration::from_secs(10)).await);
    let metrics = to_value(tracker.metrics()).expect("plain data");
    assert_eq!(metrics["reports"]["deployment_start"]["recorded"], json!(1));
    assert_eq!(metrics["reports"]["server_finish"]["timed_out"], json!(0));
    assert_eq!(metrics["log_messages"]["nowhere"], json!(0));
    assert_eq!(metrics["outputs"][0]["delivery"], json!("at_least_once"));
    let outputs = to_value(tracker.outputs()).expect("plain data");
    assert_eq!(outputs[0]["name"], json!("sink"));
    assert_eq!(outputs[0]["last_error"], Value::Null);
    let health = tracker.health().await;
    let printed = to_value(&health).expect("plain data");
    assert_eq!(printed["checks"][1]["name"], json!("sink"));
    assert_eq!(printed["duration_seconds"], json!(health.duration.as_secs_f64()));
    for (kind, result) in tracker_core::ReportKind::ALL.into_iter().zip(tracker_core::ReportResult::ALL) {
        assert_eq!(to_value(kind).expect("plain data"), json!(kind.as_str()));
        assert_eq!(to_value(result).expect("plain data"), json!(result.as_str()));
    }
}

#[test]
fn events_and_batches_are_compared_by_value() {
    let start = started(Default::default());
    let mut other = Event::clone(&start);
    assert_eq!(*start, other);
    other.reporter = Some("jenkins".into());
    assert_ne!(*start, other);
    assert_ne!(start, finished(Default::default()));
    let batch = Batch::new(vec![start.clone()]);
    assert_eq!(batch, batch.clone());
    assert_ne!(batch, Batch::new(vec![start]), "another batch has another id");
    let restored: Batch = serde_json::from_value(to_value(&batch).expect("plain data")).expect("a batch");
    assert_eq!(restored, batch);

    let logs = LogBatch::new(DeploymentId::random(), [LogMessage::text("first"), LogMessage::text("second")]);
    assert_eq!(logs, logs.clone());
    let mut swapped = logs.clone();
    swapped.messages.swap(0, 1);
    assert_ne!(logs, swapped);
    let LogMessage { event_id, received_at, .. } = logs.messages[0];
    let text = |text: &str| serde_json::value::to_raw_value(&json!({ "message": text })).expect("plain data");
    let message = |text: Box<_>| LogMessage::stored(event_id, received_at, text).expect("a log message");
    assert_eq!(message(text("first")), logs.messages[0]);
    assert_ne!(message(text("second")), logs.messages[0]);
}

/// The warnings about dropped trackers, by the thread that dropped them.
static DROPS: Mutex<Vec<ThreadId>> = Mutex::new(Vec::new());

struct Capture;

impl log::Log for Capture {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        if record.args().to_string().starts_with("a tracker was dropped without `shutdown`") {
            assert_eq!(record.level(), log::Level::Warn);
            DROPS.lock().expect("no holder panics").push(thread::current().id());
        }
    }

    fn flush(&self) {}
}

fn warnings() -> usize {
    let this = thread::current().id();
    DROPS.lock().expect("no holder panics").iter().filter(|thread| **thread == this).count()
}

#[tokio::test]
async fn dropping_the_last_clone_of_a_used_tracker_is_logged_once() {
    log::set_logger(&Capture).expect("no other test sets a logger");
    log::set_max_level(log::LevelFilter::Warn);
    let used = async || {
        let tracker = Tracker::builder(MemoryStore::new()).start();
        tracker.start_deployment(DeploymentReport::new(new_id())).await.expect("the store works");
        tracker
    };

    drop(Tracker::builder(MemoryStore::new()).start());
    assert_eq!(warnings(), 0, "a tracker without a report loses nothing");

    let tracker = used().await;
    assert!(tracker.clone().shutdown(Duration::from_secs(10)).await);
    drop(tracker);
    assert_eq!(warnings(), 0, "the tracker was shut down");

    let tracker = used().await;
    let report = async move { panic!("{:?} is dropped during a panic", tracker.metrics().commits) };
    let panicked = std::panic::AssertUnwindSafe(report).catch_unwind().await;
    assert!(panicked.is_err());
    assert_eq!(warnings(), 0, "a logger that panics would abort the process");

    let tracker = used().await;
    let clone = tracker.clone();
    drop(tracker);
    assert_eq!(warnings(), 0, "a clone is left");
    drop(clone);
    assert_eq!(warnings(), 1);

    let sink = Tracker::builder(MemoryStore::new()).output(Sink("sink")).keep_logs(false).start();
    let logs = LogBatch::new(new_id(), [LogMessage::text("sent without a commit")]);
    sink.append_logs(logs).await.expect("the output takes logs");
    drop(sink);
    assert_eq!(warnings(), 2);
}

#[test]
fn the_types_of_signatures_can_be_named_without_other_dependencies() {
    use tracker_core::{chrono, compact_str, serde_json, uuid};

    let _: fn() -> chrono::DateTime<chrono::Utc> = tracker_core::time::now;
    let _: fn(DeploymentId, &serde_json::value::RawValue) -> Result<DeploymentReport, tracker_core::InputError> =
        DeploymentReport::read;
    let _: Option<compact_str::CompactString> = DeploymentReport::new(uuid::Uuid::nil().into()).fields.user;
}
