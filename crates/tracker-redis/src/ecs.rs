//! The format `ecs`: the names and types of the Elastic Common Schema.
//!
//! Fields that the schema has no name for become labels: `docs/decisions/0006-ecs-labels-for-unmapped-fields.md`.

use std::collections::BTreeMap;

use chrono::{SecondsFormat, Timelike};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tracker_core::json::write;
use tracker_core::{
    Deployment, DeploymentFields, DeploymentResult, Event, LogBatch, LogMessage, LogTime, TimedMessage, time,
};

use crate::config::RedisConfig;
use crate::encode::{Elements, Encoder, Phase, message_text};

/// The version of the schema: <https://www.elastic.co/docs/reference/ecs>.
const ECS_VERSION: &str = "9.3.0";
/// The labels that a member of a log message cannot set.
const RESERVED: [&str; 2] = ["deployment_id", "index"];
/// The label for all members that cannot have their own label.
const OTHERS: &str = "_others";
/// The maximum length of a label's name, in bytes. If a value is too long to index, Elasticsearch indexes the name of
/// its field as a term instead, and it rejects terms longer than 32,766 bytes.
const MAX_LABEL: usize = 512;

/// Encodes events as `ecs`.
#[derive(Debug)]
pub(crate) struct Ecs {
    index: String,
    additional_fields: Map<String, Value>,
}

impl Ecs {
    pub(crate) fn new(config: &RedisConfig) -> Self {
        Self { index: config.index.clone(), additional_fields: config.additional_fields.clone() }
    }

    /// Completes `element` with the common members, removes members that are `null`, and appends the element.
    fn push(&self, mut element: Value, elements: &mut Elements) {
        element["ecs"]["version"] = ECS_VERSION.into();
        element["event"]["kind"] = "event".into();
        element["labels"]["index"] = self.index.as_str().into();
        prune(&mut element);
        for (name, field) in &self.additional_fields {
            match (&mut element[name], field) {
                (Value::Object(members), Value::Object(added)) => members.extend(added.clone()),
                (member, field) => *member = field.clone(),
            }
        }
        write(&mut elements.bytes, &element);
        elements.ends.push(elements.bytes.len());
    }
}

impl Encoder for Ecs {
    fn deployment(&self, event: &Event, deployment: &Deployment, phase: Phase, elements: &mut Elements) {
        let DeploymentFields {
            engine,
            engine_version,
            host,
            user,
            environment,
            package,
            package_url,
            version,
            arguments,
            result,
            elapsed_seconds,
        } = &deployment.fields;
        let is_end = phase == Phase::End;
        let element = json!({
            "@timestamp": time::rfc3339(&event.at),
            "message": message_text(phase, deployment.id).to_string(),
            "event": {
                "id": event.id,
                "action": format!("deployment-{phase}"),
                "outcome": result.map(DeploymentResult::as_str).or(is_end.then_some("unknown")),
                "start": deployment.created_at.as_ref().map(time::rfc3339),
                "end": deployment.updated_at.as_ref().filter(|_| is_end).map(time::rfc3339),
                // Left out if the nanoseconds do not fit, which takes a stored number that no report may have.
                "duration": elapsed_seconds.and_then(|seconds| seconds.checked_mul(1_000_000_000)),
            },
            "service": { "name": package, "version": version, "environment": environment },
            "host": { "name": host },
            "user": { "name": user },
            "labels": {
                "deployment_id": deployment.id,
                "engine": engine,
                "engine_version": engine_version,
                "package_url": package_url,
                "arguments": arguments,
                "reporter": event.reporter,
            },
        });
        self.push(element, elements);
    }

    fn message(&self, event: &Event, logs: &LogBatch, message: &LogMessage, elements: &mut Elements) {
        let TimedMessage { time, members } = message.timed();
        let mut rest: Vec<_> = members.iter().map(|(name, value)| (name.as_ref(), *value)).collect();
        let mut take = |name: &str, read: fn(&RawValue) -> Option<String>| {
            let at = rest.iter().position(|(other, _)| *other == name)?;
            let value = read(rest[at].1)?;
            rest.remove(at);
            Some(value)
        };
        let text = take("message", string);
        let level = take("severity", scalar).or_else(|| take("level", scalar));
        let (host, user) = (take("host", string), take("user", string));
        let mut labels = labels(rest);
        labels.insert("deployment_id".into(), logs.deployment_id.as_str().into());
        if let Some(reporter) = &event.reporter {
            labels.insert("reporter".into(), reporter.as_ref().into());
        }
        let element = json!({
            "@timestamp": timestamp(time),
            "message": text,
            "event": { "id": message.event_id, "action": "deployment-log" },
            "log": { "level": level },
            "host": { "name": host },
            "user": { "name": user },
            "labels": labels,
        });
        self.push(element, elements);
    }
}

/// Converts `members` to labels, except those with a [`RESERVED`] name.
fn labels(mut members: Vec<(&str, &RawValue)>) -> Map<String, Value> {
    members.retain(|(name, _)| !RESERVED.contains(name));
    // Names without a dot go first, so that they get their label; a later name with the same label goes to OTHERS.
    members.sort_by_key(|(name, _)| name.contains('.'));
    let mut labels = Map::new();
    let mut others = BTreeMap::new();
    for (name, value) in members {
        // In Elasticsearch, a dot separates the name of an object from the name of its member.
        let label = name.replace('.', "_");
        if is_allowed(&label) && !labels.contains_key(&label) {
            labels.insert(label, text(value).into());
        } else {
            others.insert(name, value);
        }
    }
    if !others.is_empty() {
        let others = serde_json::to_string(&others).expect("raw JSON values with string keys serialize");
        labels.insert(OTHERS.into(), others.into());
    }
    labels
}

/// Whether a member may have the label `name`. Elasticsearch refuses blank names, and Java's white space
/// includes control characters that Unicode's white space does not.
fn is_allowed(name: &str) -> bool {
    let is_blank = name.chars().all(|c| c.is_whitespace() || c.is_control());
    !is_blank && name.len() <= MAX_LABEL && name != OTHERS && !RESERVED.contains(&name)
}

/// The text of a string, or the JSON of any other value.
fn text(value: &RawValue) -> String {
    string(value).unwrap_or_else(|| value.get().to_owned())
}

fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// The text of a string, a number or a boolean.
fn scalar(value: &RawValue) -> Option<String> {
    (!value.get().starts_with(['{', '[', 'n'])).then(|| text(value))
}

/// `time` in UTC, as Elasticsearch can parse it: with at most nine decimals, and a leap second as the second before it.
fn timestamp(time: LogTime) -> String {
    match time {
        LogTime::Own { time, .. } => {
            let nanos = time.nanosecond() % 1_000_000_000;
            let time = time.to_utc().with_nanosecond(nanos).expect("the nanoseconds are less than a second");
            time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
        }
        LogTime::Received(time) => time::rfc3339(&time).into(),
    }
}

/// Removes `null`s and empty objects. Returns whether anything is left.
fn prune(value: &mut Value) -> bool {
    if let Value::Object(members) = value {
        members.retain(|_, member| prune(member));
        return !members.is_empty();
    }
    !value.is_null()
}

#[cfg(test)]
mod tests;
