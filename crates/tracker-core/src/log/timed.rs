//! The time of a log message, which the API and the outputs agree on.

use std::borrow::Cow;

use chrono::{DateTime, FixedOffset};
use serde_json::value::RawValue;

use super::LogMessage;
use crate::json;
use crate::time::{Timestamp, parse_rfc3339};

/// The member that Logstash, Elasticsearch and the API use for the time of a message.
const TIMESTAMP: &str = "@timestamp";

/// A log message as its readers get it: its time, and all other members.
#[derive(Debug)]
pub struct TimedMessage<'a> {
    /// The value of `@timestamp`.
    pub time: LogTime<'a>,
    /// The other members, in order, each name once. If the message has an `@timestamp` that is not a time in RFC 3339, it
    /// is here as `_@timestamp`, as in Logstash.
    pub members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// The time of a log message.
#[derive(Debug, Clone, Copy)]
pub enum LogTime<'a> {
    /// The message has a time of its own.
    Own {
        /// The JSON string as it was received, with a time in RFC 3339.
        json: &'a RawValue,
        /// The time.
        time: DateTime<FixedOffset>,
    },
    /// The time of receipt.
    Received(Timestamp),
}

impl LogMessage {
    /// The time and the other members. A reader that adds nothing to a message uses [`Self::members`] instead.
    pub fn timed(&self) -> TimedMessage<'_> {
        let mut members = self.members().into_members();
        let received = LogTime::Received(self.received_at);
        let Some(at) = members.iter().position(|(name, _)| name == TIMESTAMP) else {
            return TimedMessage { time: received, members };
        };
        let json = members[at].1;
        if let Some(time) = json::text(json).and_then(|text| parse_rfc3339(&text)) {
            members.remove(at);
            return TimedMessage { time: LogTime::Own { json, time }, members };
        }
        // A `_@timestamp` of the message makes room, and becomes `__@timestamp`.
        for (name, _) in members.iter_mut().filter(|(name, _)| name.trim_start_matches('_') == TIMESTAMP) {
            name.to_mut().insert(0, '_');
        }
        TimedMessage { time: received, members }
    }
}
