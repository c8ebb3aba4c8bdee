//! Encodes events as messages, each a JSON object.

use serde::Serialize;
use tracker_core::json::{ObjectWriter, write};
use tracker_core::{Event, EventKind, LogBatch, LogMessage, LogTime, TimedMessage, Uuid, time};

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The id of the event or log message, which is the same in every delivery.
    pub(crate) id: Uuid,
    /// The kind of event.
    pub(crate) kind: &'static str,
    pub(crate) payload: Vec<u8>,
}

/// The messages of an event, in order.
pub(crate) fn messages(event: &Event) -> Vec<Message> {
    match &event.kind {
        EventKind::DeploymentStarted(deployment) => {
            let text = format!("Deployment Tracker recording deployment start for deployment {}", deployment.id);
            vec![record(event, "deployment_started", deployment, &text)]
        }
        EventKind::DeploymentFinished(deployment) => {
            let text = format!("Deployment Tracker recording deployment end for deployment {}", deployment.id);
            vec![record(event, "deployment_finished", deployment, &text)]
        }
        EventKind::ServerStarted(server) => {
            let text = format!("Deployment Tracker recording server start for deployment {}", server.deployment_id);
            vec![record(event, "server_started", server, &text)]
        }
        EventKind::ServerFinished(server) => {
            let text = format!("Deployment Tracker recording server end for deployment {}", server.deployment_id);
            vec![record(event, "server_finished", server, &text)]
        }
        EventKind::Logged(logs) => logs.messages.iter().map(|message| log_message(event, logs, message)).collect(),
        // An event of a later version of the core.
        other => vec![record(event, "other", other, "Deployment Tracker recording an event")],
    }
}

#[derive(Serialize)]
struct Document<'a, Record> {
    #[serde(flatten)]
    record: &'a Record,
    message: &'a str,
    #[serde(rename = "@timestamp")]
    timestamp: String,
    event_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    reporter: Option<&'a str>,
}

fn record<Record: Serialize>(event: &Event, kind: &'static str, record: &Record, message: &str) -> Message {
    let (timestamp, reporter) = (time::rfc3339(&event.at).to_string(), event.reporter.as_deref());
    let mut payload = Vec::new();
    write(&mut payload, &Document { record, message, timestamp, event_id: event.id, reporter });
    Message { id: event.id, kind, payload }
}

/// Members of the message keep their JSON text exactly.
fn log_message(event: &Event, logs: &LogBatch, message: &LogMessage) -> Message {
    let TimedMessage { time, members } = message.timed();
    let mut payload = Vec::new();
    let mut object = ObjectWriter::begin(&mut payload);
    for (name, value) in &members {
        let is_overridden = match name.as_ref() {
            "deployment_id" | "event_id" => true,
            "reporter" => event.reporter.is_some(),
            _ => false,
        };
        if !is_overridden {
            object.escaped_member(name).extend_from_slice(value.get().as_bytes());
        }
    }
    object.text("deployment_id", logs.deployment_id.as_str());
    match time {
        LogTime::Own { json, .. } => object.member("@timestamp").extend_from_slice(json.get().as_bytes()),
        LogTime::Received(time) => object.time("@timestamp", &time),
    }
    object.id("event_id", message.event_id);
    if let Some(reporter) = &event.reporter {
        object.text("reporter", reporter);
    }
    object.end();
    Message { id: message.event_id, kind: "log_message", payload }
}
