//! Runs: messages that are sent without waiting for each answer, none of which can overtake another.
//!
//! The first message of a run expects the last sequence of its subject (`Nats-Expected-Last-Subject-Sequence`), which
//! the output knows. The sequence of the first message is not known before its answer, because other subjects share the
//! stream. Each further message therefore expects that the last message of the stream is the one before it
//! (`Nats-Expected-Last-Msg-Id`). If the server does not store a message, it refuses all that follow in the run.
//!
//! When another instance publishes in the middle of a run, the server refuses the rest, and the next run begins with
//! the first message that was refused. A run has fewer messages after that, and more after each run that succeeds.

use std::collections::VecDeque;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use async_nats::header::{NATS_EXPECTED_LAST_MESSAGE_ID, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{HeaderMap, jetstream};
use tracker_core::{Batch, OutputError, Uuid};

use crate::arrivals::{Arrivals, MARK, Mark};
use crate::connection::{Connection, failed};
use crate::encode::{self, Message};

/// The header with the kind of event.
const KIND: &str = "Deployment-Tracker-Event";
/// The maximum number of messages in a run.
const MAX_MESSAGES: usize = 256;
/// The maximum size of a run of more than one message, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// The slowest link, in bytes per second.
const SLOWEST: u64 = 8 << 10;

/// A message that waits to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) batch: Uuid,
    /// The number of messages of the batch up to this one.
    pub(crate) place: usize,
    pub(crate) message: Message,
}

/// The end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Every message has arrived.
    Complete,
    /// Another message was stored between two of the run.
    Interrupted,
    /// The last message of the subject is not the expected one.
    Outdated,
}

/// The size of the next run.
#[derive(Debug)]
pub(crate) struct Window(usize);

impl Default for Window {
    fn default() -> Self {
        Self(MAX_MESSAGES)
    }
}

impl Window {
    /// Moves batches to `waiting` until it has enough messages for any run.
    pub(crate) fn fill<'a>(
        waiting: &mut VecDeque<Outgoing>,
        arrivals: &mut Arrivals,
        mut batches: impl Iterator<Item = &'a Arc<Batch>>,
    ) {
        let mut bytes: usize = waiting.iter().map(|outgoing| outgoing.message.payload.len()).sum();
        while waiting.len() < MAX_MESSAGES
            && bytes < MAX_BYTES
            && let Some(batch) = batches.next()
        {
            let messages = batch.events.iter().flat_map(|event| encode::messages(event));
            for (message, place) in messages.zip(1..).skip(arrivals.deliver(batch.id)) {
                bytes += message.payload.len();
                waiting.push_back(Outgoing { batch: batch.id, place, message });
            }
        }
    }

    /// The number of messages that the next run takes from `waiting`.
    pub(crate) fn take(&self, waiting: &VecDeque<Outgoing>) -> usize {
        let mut bytes = 0;
        let fits = waiting.iter().take(self.0).take_while(|outgoing| {
            bytes += outgoing.message.payload.len();
            bytes <= MAX_BYTES
        });
        fits.count().max(1)
    }

    /// Adapts the size after a run of which `arrived` messages arrived.
    pub(crate) fn adapt(&mut self, end: End, arrived: usize) {
        self.0 = match end {
            End::Complete => (2 * self.0).min(MAX_MESSAGES),
            End::Interrupted | End::Outdated => arrived.max(1),
        };
    }
}

/// Sends the first `count` messages, and removes those that arrive from `waiting`. Logs and skips a message that is too
/// large for the server.
pub(crate) async fn send(
    connection: &Connection,
    subject: &str,
    count: usize,
    waiting: &mut VecDeque<Outgoing>,
    arrivals: &mut Arrivals,
) -> Result<End, OutputError> {
    let oldest = arrivals.oldest();
    let mark = |outgoing: &Outgoing| Mark { batch: outgoing.batch, place: outgoing.place, oldest };
    let mut previous = None;
    let mut answers = Vec::with_capacity(count);
    for outgoing in waiting.iter().take(count) {
        let Message { id, kind, payload } = &outgoing.message;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, id.to_string());
        match previous {
            None => headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, arrivals.last().to_string()),
            Some(previous) => headers.insert(NATS_EXPECTED_LAST_MESSAGE_ID, Uuid::to_string(previous)),
        }
        headers.insert(KIND, *kind);
        headers.insert(MARK, mark(outgoing).to_string());
        let publish = PublishMessage::build().payload(payload.clone().into()).headers(headers);
        let sent = connection.context.send_publish(subject.to_owned(), publish);
        answers.push(match connection.within(allowance(payload.len()), sent).await? {
            Ok(answer) => {
                previous = Some(id);
                Some(answer)
            }
            Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => None,
            Err(error) => return Err(failed("publish to", &error)),
        });
    }
    let mut is_first = true;
    for answer in answers {
        let outgoing = &waiting[0];
        match answer {
            None => skip(outgoing, "the maximum payload of the server, `max_payload`"),
            Some(answer) => {
                let answer = connection.within(allowance(outgoing.message.payload.len()), answer.into_future());
                match answer.await? {
                    Ok(answer) if answer.duplicate => arrivals.add_duplicate(mark(outgoing)),
                    Ok(answer) => arrivals.add(mark(outgoing), answer.sequence),
                    Err(error) if is_conflict(&error) => {
                        return Ok(if is_first { End::Outdated } else { End::Interrupted });
                    }
                    Err(error) if code(&error) == Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM) => {
                        skip(outgoing, "the maximum message size of the stream, `max_msg_size`");
                    }
                    Err(error) => return Err(failed("publish to", &error)),
                }
                is_first = false;
            }
        }
        waiting.pop_front();
    }
    Ok(End::Complete)
}

/// The time that a message may take in addition to the timeout.
fn allowance(bytes: usize) -> Duration {
    Duration::from_millis(bytes as u64 * 1_000 / SLOWEST)
}

fn skip(outgoing: &Outgoing, limit: &str) {
    let Outgoing { batch, message: Message { id, kind, payload }, .. } = outgoing;
    log::error!(
        event_id:% = id, batch:% = batch;
        "skipped the {kind} `{id}` of {} bytes, which NATS will never accept; raise {limit}", payload.len()
    );
}

fn is_conflict(error: &PublishError) -> bool {
    let is_wrong = matches!(error.kind(), PublishErrorKind::WrongLastMessageId | PublishErrorKind::WrongLastSequence);
    // Servers from 2.11 have a second code, for a message with the same subject that is being stored.
    is_wrong || code(error) == Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}

fn code(error: &PublishError) -> Option<ErrorCode> {
    Some(error.source()?.downcast_ref::<jetstream::Error>()?.error_code())
}
