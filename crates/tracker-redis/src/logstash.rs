//! The formats `logstash` and `original`: one flat object with the members of the event.
//!
//! Members of log messages keep their JSON text exactly.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tracker_core::json::{ObjectWriter, write};
use tracker_core::{Deployment, Event, LogBatch, LogMessage, LogTime, TimedMessage, time};
use uuid::Uuid;

use crate::config::{Format, RedisConfig};
use crate::encode::{Elements, Encoder, Phase, message_text};

/// Encodes events as `logstash` or `original`.
#[derive(Debug)]
pub(crate) struct Logstash {
    format: Format,
    /// The members that are the same in every element. They replace members of the same name.
    constants: Map<String, Value>,
    /// The constants as JSON, with a comma before each. Every element ends with them.
    encoded_constants: Vec<u8>,
}

impl Logstash {
    pub(crate) fn new(config: &RedisConfig) -> Self {
        let mut constants = Map::new();
        constants.insert("index".into(), config.index.as_str().into());
        if config.format == Format::Logstash {
            constants.insert("@version".into(), "1".into());
        }
        constants.extend(config.additional_fields.clone());
        let mut encoded_constants = Vec::new();
        write(&mut encoded_constants, &constants);
        // `{"a":1,"b":2}` becomes `,"a":1,"b":2`.
        encoded_constants[0] = b',';
        encoded_constants.pop();
        Self { format: config.format, constants, encoded_constants }
    }
}

/// The text columns of the Node.js service. Its element for a finish has exactly these texts, with `null` for absent
/// ones.
const ORIGINAL_TEXTS: [&str; 9] =
    ["engine", "engine_version", "host", "user", "environment", "package", "package_url", "version", "arguments"];

impl Encoder for Logstash {
    fn deployment(&self, event: &Event, deployment: &Deployment, phase: Phase, elements: &mut Elements) {
        let is_original_end = self.format == Format::Original && phase == Phase::End;
        let Deployment { id, fields, created_at, updated_at } = deployment;
        let mut element = Element::begin(self, elements);
        element.id("deployment_id", id.0);
        for (name, text) in fields.texts() {
            match text {
                _ if is_original_end && !ORIGINAL_TEXTS.contains(&name) => {}
                Some(text) => element.text(name, text),
                None if is_original_end => element.value(name, &()),
                None => {}
            }
        }
        if fields.result.is_some() || is_original_end {
            element.value("result", &fields.result);
        }
        if fields.elapsed_seconds.is_some() || is_original_end {
            element.value("elapsed_seconds", &fields.elapsed_seconds);
        }
        for (name, time) in [("createdAt", created_at), ("updatedAt", updated_at)] {
            match time {
                Some(time) => element.time(name, time),
                None if is_original_end => element.value(name, &()),
                None => {}
            }
        }
        element.text("message", &message_text(phase, *id).to_string());
        if self.format == Format::Logstash {
            element.time("@timestamp", &event.at);
            element.id("event_id", event.id);
            element.reporter(event);
        }
        element.end();
    }

    fn message(&self, event: &Event, logs: &LogBatch, message: &LogMessage, elements: &mut Elements) {
        let mut element = Element::begin(self, elements);
        if self.format == Format::Original {
            for (name, value) in message.members().iter().filter(|(name, _)| *name != "deployment_id") {
                element.raw(name, value);
            }
            element.text("deployment_id", logs.deployment_id.as_str());
            return element.end();
        }
        let TimedMessage { time, members } = message.timed();
        for (name, value) in &members {
            let is_overridden = match name.as_ref() {
                "deployment_id" | "event_id" => true,
                "reporter" => event.reporter.is_some(),
                _ => false,
            };
            if !is_overridden {
                element.raw(name, value);
            }
        }
        element.text("deployment_id", logs.deployment_id.as_str());
        match time {
            LogTime::Own { json, .. } => element.raw("@timestamp", json),
            LogTime::Received(time) => element.time("@timestamp", &time),
        }
        element.id("event_id", message.event_id);
        element.reporter(event);
        element.end();
    }
}

/// Writes one element. Omits members that a constant replaces.
struct Element<'a> {
    encoder: &'a Logstash,
    object: ObjectWriter<'a>,
    ends: &'a mut Vec<usize>,
}

impl<'a> Element<'a> {
    fn begin(encoder: &'a Logstash, Elements { bytes, ends }: &'a mut Elements) -> Self {
        Self { encoder, object: ObjectWriter::begin(bytes), ends }
    }

    fn is_free(&self, name: &str) -> bool {
        !self.encoder.constants.contains_key(name)
    }

    fn text(&mut self, name: &'static str, text: &str) {
        if self.is_free(name) {
            self.object.text(name, text);
        }
    }

    fn id(&mut self, name: &'static str, id: Uuid) {
        if self.is_free(name) {
            self.object.id(name, id);
        }
    }

    fn time(&mut self, name: &'static str, time: &time::Timestamp) {
        if self.is_free(name) {
            self.object.time(name, time);
        }
    }

    fn value(&mut self, name: &'static str, value: &impl Serialize) {
        if self.is_free(name) {
            write(self.object.member(name), value);
        }
    }

    /// Appends a member of a log message, with its JSON text unchanged.
    fn raw(&mut self, name: &str, value: &RawValue) {
        if self.is_free(name) {
            self.object.escaped_member(name).extend_from_slice(value.get().as_bytes());
        }
    }

    fn reporter(&mut self, event: &Event) {
        if let Some(reporter) = &event.reporter {
            self.text("reporter", reporter);
        }
    }

    fn end(mut self) {
        self.object.raw_members(&self.encoder.encoded_constants);
        self.ends.push(self.object.end());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tracker_core::EventKind;
    use tracker_core::testing::logged;

    use super::*;
    use crate::encode::tests::{FULL, ID, config, deployment, event, texts, with};

    fn encode(config: RedisConfig, event: &Event) -> Vec<Value> {
        let parsed = texts(&config, event).into_iter().map(|text| {
            let value: Value = serde_json::from_str(&text).expect("elements are JSON");
            for name in value.as_object().expect("JSON object").keys() {
                let written = serde_json::to_string(name).expect("strings serialize") + ":";
                assert_eq!(text.matches(&written).count(), 1, "`{name}` must occur once in {text}");
            }
            value
        });
        parsed.collect()
    }

    #[test]
    fn the_element_of_a_deployment_has_its_fields_and_a_message() {
        let full = json!({"deployment_id": ID, "engine": "vagrant_orchestrate", "engine_version": "0.6.3",
            "host": "localhost", "user": "Zoë \u{2028} 😀", "environment": "dev", "package": "test",
            "package_url": "http://mypackage.mydomain.com", "version": "4.5.6",
            "arguments": "a 'b' \"c\" \\ \n\t</script>", "result": "success", "elapsed_seconds": 234,
            "createdAt": "2015-07-07T17:34:12.000Z", "updatedAt": "2015-07-07T17:34:12.075Z",
            "index": "deployment-tracker"});
        let bare = json!({"deployment_id": ID, "createdAt": "2015-07-07T17:34:12.000Z",
            "updatedAt": "2015-07-07T17:34:12.075Z", "index": "deployment-tracker"});
        let nulls = with(
            bare.clone(),
            json!({"engine": null, "engine_version": null, "host": null, "user": null, "environment": null,
                "package": null, "package_url": null, "version": null, "arguments": null, "result": null,
                "elapsed_seconds": null}),
        );
        let start = json!({"message": format!("Deployment Tracker recording deployment start for deployment {ID}")});
        let end = json!({"message": format!("Deployment Tracker recording deployment end for deployment {ID}")});
        for (kind, original, logstash, message) in [
            (EventKind::DeploymentStarted(deployment(FULL)), &full, &full, &start),
            (EventKind::DeploymentStarted(deployment("{}")), &bare, &bare, &start),
            (EventKind::DeploymentFinished(deployment(FULL)), &full, &full, &end),
            (EventKind::DeploymentFinished(deployment("{}")), &nulls, &bare, &end),
        ] {
            let event = event(kind);
            let expected = with(original.clone(), message.clone());
            assert_eq!(encode(config(Format::Original), &event), [expected]);
            let ours = json!({"@timestamp": time::rfc3339(&event.at), "@version": "1", "event_id": event.id});
            let expected = with(with(logstash.clone(), message.clone()), ours);
            assert_eq!(encode(config(Format::Logstash), &event), [expected]);
        }
    }

    #[test]
    fn every_field_of_a_deployment_is_encoded() {
        let deployment = deployment(FULL);
        let Value::Object(stored) = json!(deployment) else { unreachable!() };
        assert_eq!(stored.len(), 14, "add the new field to FULL");
        let element = encode(config(Format::Original), &event(EventKind::DeploymentFinished(deployment))).remove(0);
        for (name, value) in stored {
            assert_eq!(element[&name], value, "{name}");
        }
    }

    #[test]
    fn the_element_of_a_log_message_has_its_members() {
        let table = [
            (r#"{"message":"one"}"#, json!({"message": "one"}), json!({})),
            (
                r#"{ "message" : "two", "severity":"info","host":{"h":1},"n":5,"o":{"a":[1,null]},"q\"\n":"" }"#,
                json!({"message": "two", "severity": "info", "host": {"h": 1}, "n": 5, "o": {"a": [1, null]},
                    "q\"\n": ""}),
                json!({}),
            ),
            (r#"{"deployment_id":"mine","message":"m","ind\u0065x":"mine"}"#, json!({"message": "m"}), json!({})),
            (
                r#"{"message":"m","@timestamp":"2015-01-01T00:00:00Z","@version":"7","event_id":9}"#,
                json!({"message": "m", "@timestamp": "2015-01-01T00:00:00Z", "@version": "7", "event_id": 9}),
                json!({"@timestamp": "2015-01-01T00:00:00Z"}),
            ),
        ];
        for (body, own, overriding) in table {
            let event = logged(body);
            let EventKind::Logged(logs) = &event.kind else { unreachable!() };
            let message = &logs.messages[0];
            let original = with(own, json!({"deployment_id": logs.deployment_id, "index": "deployment-tracker"}));
            assert_eq!(encode(config(Format::Original), &event), std::slice::from_ref(&original));
            let ours = json!({"@timestamp": time::rfc3339(&message.received_at), "@version": "1",
                "event_id": message.event_id});
            assert_eq!(encode(config(Format::Logstash), &event), [with(with(original, ours), overriding)]);
        }
    }

    #[test]
    fn numbers_keep_their_digits_and_messages_keep_their_order() {
        let event = logged(r#"[{"message":"1","i":123456789012345678901,"f":1.0},{"message":"2"}]"#);
        let texts = texts(&config(Format::Original), &event);
        assert!(texts[0].starts_with(r#"{"message":"1","i":123456789012345678901,"f":1.0,"#), "{texts:?}");
        assert!(texts[1].starts_with(r#"{"message":"2","#), "{texts:?}");
    }

    #[test]
    fn additional_fields_replace_members_of_the_same_name() {
        let everything = json!({"deployment_id": 1, "engine": 2, "message": 3, "index": 4, "@timestamp": 5,
            "@version": 6, "event_id": 7, "createdAt": 8, "updatedAt": 9, "new": {"a": [true]}});
        let Value::Object(additional_fields) = everything.clone() else { unreachable!() };
        for format in [Format::Original, Format::Logstash] {
            let config = || RedisConfig { additional_fields: additional_fields.clone(), ..config(format) };
            let start = event(EventKind::DeploymentStarted(deployment(r#"{"engine":"e"}"#)));
            assert_eq!(encode(config(), &start), std::slice::from_ref(&everything));
            let log = logged(r#"{"message":"m","new":1,"kept":true}"#);
            assert_eq!(encode(config(), &log), [with(everything.clone(), json!({"kept": true}))]);
        }
    }
}
