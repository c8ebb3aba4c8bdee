//! Encodes events as elements of the list, each a JSON object.

use std::fmt;

use tracker_core::{Deployment, DeploymentId, Event, EventKind, LogBatch, LogMessage};

use crate::config::{Format, RedisConfig};
use crate::ecs::Ecs;
use crate::logstash::Logstash;

/// Elements in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Elements {
    pub(crate) bytes: Vec<u8>,
    /// The end of each element in `bytes`.
    pub(crate) ends: Vec<usize>,
}

/// Encodes events in one format.
pub(crate) trait Encoder: fmt::Debug + Send + Sync {
    /// Appends the element of the start or end of a deployment.
    fn deployment(&self, event: &Event, deployment: &Deployment, phase: Phase, elements: &mut Elements);

    /// Appends the element of a log message.
    fn message(&self, event: &Event, logs: &LogBatch, message: &LogMessage, elements: &mut Elements);

    /// Appends the elements of `event`, in order.
    fn encode(&self, event: &Event, elements: &mut Elements) {
        match &event.kind {
            EventKind::DeploymentStarted(deployment) => self.deployment(event, deployment, Phase::Start, elements),
            EventKind::DeploymentFinished(deployment) => self.deployment(event, deployment, Phase::End, elements),
            EventKind::Logged(logs) => {
                logs.messages.iter().for_each(|message| self.message(event, logs, message, elements));
            }
            _ => {}
        }
    }
}

/// Creates the encoder for the configured format.
pub(crate) fn encoder(config: &RedisConfig) -> Box<dyn Encoder> {
    match config.format {
        Format::Logstash | Format::Original => Box::new(Logstash::new(config)),
        Format::Ecs => Box::new(Ecs::new(config)),
    }
}

/// Whether `event` has elements.
pub(crate) fn has_elements(event: &Event) -> bool {
    matches!(event.kind, EventKind::DeploymentStarted(_) | EventKind::DeploymentFinished(_) | EventKind::Logged(_))
}

/// The part of a deployment that an element reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Start,
    End,
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Self::Start => "start",
            Self::End => "end",
        })
    }
}

/// The value of the member `message` in the element of a deployment.
pub(crate) fn message_text(phase: Phase, id: DeploymentId) -> impl fmt::Display {
    fmt::from_fn(move |formatter| {
        write!(formatter, "Deployment Tracker recording deployment {phase} for deployment {id}")
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use chrono::{TimeZone, Utc};
    use serde_json::{Value, json};
    use tracker_core::testing::{deployment_report, logged, new_id, server_report, started};
    use tracker_core::{DeploymentFields, Server, time};

    use super::*;

    pub(crate) const ID: &str = "00000000-0000-4000-8000-000000000001";
    pub(crate) const FULL: &str = r#"{"engine":"vagrant_orchestrate","engine_version":"0.6.3","host":"localhost",
        "user":"Zoë \u2028 😀","environment":"dev","package":"test",
        "package_url":"http://mypackage.mydomain.com","version":"4.5.6",
        "arguments":"a 'b' \"c\" \\ \n\t</script>","result":"success","elapsed_seconds":234}"#;

    /// The elements of `event`, as strings.
    pub(crate) fn texts(config: &RedisConfig, event: &Event) -> Vec<String> {
        let mut elements = Elements::default();
        encoder(config).encode(event, &mut elements);
        let mut start = 0;
        let texts = elements.ends.iter().map(|&end| {
            let text = String::from_utf8(elements.bytes[start..end].to_vec()).expect("elements are UTF-8");
            start = end;
            text
        });
        texts.collect()
    }

    pub(crate) fn config(format: Format) -> RedisConfig {
        RedisConfig { format, ..RedisConfig::default() }
    }

    pub(crate) fn deployment(body: &str) -> Deployment {
        let id = DeploymentId::parse(ID).expect("valid id");
        let created_at = Utc.with_ymd_and_hms(2015, 7, 7, 17, 34, 12).single().expect("valid time");
        let updated_at = created_at + chrono::TimeDelta::milliseconds(75);
        let [created_at, updated_at] = [created_at, updated_at].map(Some);
        Deployment { id, fields: deployment_report(id, body).fields, created_at, updated_at }
    }

    pub(crate) fn event(kind: EventKind) -> Event {
        Event { kind, ..Event::clone(&started(DeploymentFields::default())) }
    }

    pub(crate) fn with(mut element: Value, members: Value) -> Value {
        let Value::Object(members) = members else { unreachable!() };
        element.as_object_mut().expect("JSON object").extend(members);
        element
    }

    #[test]
    fn server_events_have_no_elements() {
        let report = server_report(new_id(), r#"{"hostname":"h"}"#);
        let now = Some(time::now());
        let server = Server {
            hostname: report.key.hostname,
            deployment_id: report.key.deployment_id,
            fields: report.fields,
            created_at: now,
            updated_at: now,
        };
        for kind in [EventKind::ServerStarted(server.clone()), EventKind::ServerFinished(server)] {
            let event = Arc::new(event(kind));
            assert!(!has_elements(&event));
            for format in [Format::Logstash, Format::Original, Format::Ecs] {
                assert_eq!(texts(&config(format), &event), [] as [&str; 0]);
            }
        }
    }

    #[test]
    fn every_format_but_original_has_the_reporter() {
        let message = r#"{"message":"m","reporter":"an impostor"}"#;
        for event in [started(DeploymentFields::default()), logged(message)] {
            let from_message = matches!(event.kind, EventKind::Logged(_)).then_some(json!("an impostor"));
            let with_token = Event { reporter: Some("ci".into()), ..Event::clone(&event) };
            for (event, in_logstash, in_original) in
                [(&*event, from_message.clone(), from_message.clone()), (&with_token, Some(json!("ci")), from_message)]
            {
                let element = |format| {
                    serde_json::from_str::<Value>(&texts(&config(format), event)[0]).expect("elements are JSON")
                };
                assert_eq!(element(Format::Original).get("reporter"), in_original.as_ref());
                assert_eq!(element(Format::Logstash).get("reporter"), in_logstash.as_ref());
                assert_eq!(element(Format::Ecs)["labels"].get("reporter"), in_logstash.as_ref());
            }
        }
    }

    #[test]
    fn an_element_is_at_most_twice_its_message_and_a_fixed_part() {
        let many = |member: fn(usize) -> String| (0..1_000).map(member).collect::<Vec<_>>().join(",");
        let messages = [
            format!(r#"{{"message":"{}"}}"#, r#"\""#.repeat(5_000)),
            format!(r#"{{"message":"","o":["{}"]}}"#, r#"\\"#.repeat(5_000)),
            format!(r#"{{"message":"","{}":1}}"#, r#"\u0001"#.repeat(2_000)),
            format!(r#"{{"message":"","@timestamp":"{}"}}"#, r#"\n"#.repeat(5_000)),
            format!(r#"{{"message":"",{}}}"#, many(|n| format!("\"{n}\":{n}"))),
            format!(r#"{{"message":"",{}}}"#, many(|n| format!("\"{}\":\"\"", " ".repeat(n % 100 + 1)))),
            format!(r#"{{"message":"",{}}}"#, many(|n| format!("\"a{}\":{{}}", ".".repeat(n % 100)))),
            r#"{"message":""}"#.to_owned(),
        ];
        for message in messages {
            let event = logged(&message);
            for format in [Format::Logstash, Format::Original, Format::Ecs] {
                let element = &texts(&config(format), &event)[0];
                assert!(element.len() <= 2 * message.len() + 512, "{format:?}: {} of {message}", element.len());
            }
        }
    }
}
