//! The suite for outputs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{DEADLINE, finished, logged, poll_interval, server_finished, server_started, started, within};
use crate::event::{Batch, Event, EventKind};
use crate::fields::{MAX_ARGUMENTS, Text};
use crate::health::STORE;
use crate::output::{Delivery, Output, OutputError};
use crate::server::ServerFields;
use crate::{DeploymentFields, DeploymentResult};

/// The deadline of [`Output::check`]: the promised two seconds, and a margin for a busy machine.
const CHECK_DEADLINE: Duration = Duration::from_millis(3_500);

/// The rule for events that are not wanted.
const SKIPPED: &str = "an event for which `wants` returns `false` is skipped";

/// An output under test, and its destination.
#[async_trait]
pub trait OutputHarness: Send {
    /// The output under test.
    fn output(&self) -> Arc<dyn Output>;
    /// Everything that has arrived at the destination since the start, in order. A line may be an event, a batch, a
    /// metric or a row, as the output writes them. The suite looks in each line for the texts of the events: the
    /// engine and the arguments of a deployment, the hostname of a server and the text of a log message.
    async fn received(&mut self) -> Vec<String>;
    /// Makes the destination unreachable, also over connections that are open. What has arrived must survive: the
    /// suite reads it again after the outage.
    async fn take_away(&mut self);
    /// Makes the destination silent: it accepts connections and keeps those that are open, but takes and answers
    /// nothing, such as a process after `SIGSTOP`. Like [`Self::take_away`] by default, for a destination that is always
    /// fast to refuse.
    async fn fall_silent(&mut self) {
        self.take_away().await;
    }
    /// Ends what [`Self::take_away`] or [`Self::fall_silent`] began. The destination is reachable at the same address
    /// when this returns, or within 10 s.
    async fn bring_back(&mut self);
}

/// Tests that an output keeps every promise of [`Output`].
///
/// # Panics
/// Panics with the promise that the output breaks.
pub async fn output_suite(harness: &mut dyn OutputHarness) {
    let output = harness.output();
    let output = output.as_ref();
    let identity = (output.name().to_owned(), output.delivery());
    let is_at_least_once = output.delivery() == Delivery::AtLeastOnce;
    let is_valid = !["", STORE].contains(&output.name());
    assert!(is_valid, "`name` is neither empty nor `{STORE}`, the name of the store: `{}`", output.name());
    check(output).await.expect("`check` succeeds while the destination is reachable");
    deliver(output, &[], &[]).await.expect("a delivery without batches succeeds");

    let [first, second, third] = ["one", "two", "three"].map(events_of_all_kinds);
    deliver(output, &[&first, &second], &[]).await.expect("batches are delivered while the destination is reachable");
    arrive(harness, &[&first, &second]).await;
    if is_at_least_once {
        let before = harness.received().await.len();
        deliver(output, &[&first, &second], &[]).await.expect("duplicates are accepted");
        deliver(output, &[&second], &[&first])
            .await
            .expect("a duplicate is accepted after the output forgets another batch");
        assert_eq!(harness.received().await.len(), before, "a duplicate does not arrive twice");
    }
    deliver(output, &[&second, &third], &[]).await.expect("a duplicate and a new batch are delivered together");
    arrive(harness, &[&first, &second, &third]).await;

    let hostile = "x\n.:|@/\u{0}\u{1F600}\"\\";
    let fields = DeploymentFields {
        engine: Some(hostile.into()),
        environment: Some(hostile.into()),
        package: Some("".into()),
        ..Default::default()
    };
    let [long, long_log] = ["a", "b"].map(|letter| letter.repeat(MAX_ARGUMENTS));
    let arguments = DeploymentFields { arguments: Some(long.as_str().into()), ..Default::default() };
    let message = logged(&format!(r#"{{"message":"{long_log}"}}"#));
    let long_events = [(started(arguments), long), (message, long_log)];
    let mut events = vec![
        started(fields),
        finished(DeploymentFields::default()),
        server_started(hostile, ServerFields::default()),
        server_finished(hostile, ServerFields::default()),
    ];
    events.extend(long_events.iter().map(|(event, _)| event.clone()));
    deliver(output, &[&Arc::new(Batch::new(events))], &[]).await.expect("events with any text are delivered");
    if is_at_least_once {
        let lines = harness.received().await;
        for (event, text) in &long_events {
            let arrived = lines.iter().filter(|line| line.contains(text)).count();
            let promise = if output.wants(event) { "a long text arrives whole, and once" } else { SKIPPED };
            assert_eq!(arrived, usize::from(output.wants(event)), "{promise}; {}", shown(&lines));
        }
    }

    for (outage, lost, next) in [(Outage::Unreachable, "four", "five"), (Outage::Silent, "six", "seven")] {
        survives(harness, outage, [lost, next].map(events_of_all_kinds)).await;
    }
    assert_eq!((output.name().to_owned(), output.delivery()), identity, "`name` and `delivery` never change");
    within(DEADLINE, "`close` returns", output.close()).await;
}

/// How a destination becomes unavailable.
#[derive(Debug, Clone, Copy)]
enum Outage {
    Unreachable,
    Silent,
}

/// Asserts that `check` and `deliver` fail during an outage, and that the output recovers. Delivers `lost` during the
/// outage, and `next` after it.
async fn survives(harness: &mut dyn OutputHarness, outage: Outage, [lost, next]: [Arc<Batch>; 2]) {
    let output = harness.output();
    let output = output.as_ref();
    let is_at_least_once = output.delivery() == Delivery::AtLeastOnce;
    let state = match outage {
        Outage::Unreachable => {
            harness.take_away().await;
            "unreachable"
        }
        Outage::Silent => {
            harness.fall_silent().await;
            "silent"
        }
    };
    within(DEADLINE, &format!("`check` fails while the destination is {state}"), async {
        while check(output).await.is_ok() {
            poll_interval().await;
        }
    })
    .await;
    let delivered = deliver(output, &[&lost], &[]).await;
    if is_at_least_once {
        assert!(delivered.is_err(), "`deliver` fails while the destination is {state}");
    }
    harness.bring_back().await;
    let expected: &[_] = if is_at_least_once { &[&lost, &next] } else { &[&next] };
    within(DEADLINE, "`check` and `deliver` succeed once the destination is reachable again", async {
        while check(output).await.is_err() {
            poll_interval().await;
        }
        for batch in expected {
            while deliver(output, &[batch], &[]).await.is_err() {
                poll_interval().await;
            }
        }
    })
    .await;
    arrive(harness, expected).await;
}

async fn check(output: &dyn Output) -> Result<(), OutputError> {
    within(CHECK_DEADLINE, "`check` returns", output.check()).await
}

async fn deliver(output: &dyn Output, batches: &[&Arc<Batch>], forgotten: &[&Arc<Batch>]) -> Result<(), OutputError> {
    let batches: Vec<_> = batches.iter().copied().cloned().collect();
    let forgotten: Vec<_> = forgotten.iter().map(|batch| batch.id).collect();
    output.forget(&forgotten);
    within(DEADLINE, "`deliver` returns, with an error if the destination does not answer", output.deliver(&batches))
        .await
}

/// A batch with two events of every kind, so that the suite sees the order, whichever kinds the output wants. Each
/// event has a unique text that contains `name`.
fn events_of_all_kinds(name: &str) -> Arc<Batch> {
    let one_of_each = |round: &str| {
        let mark = |part: &str| format!("{name}x{round}x{part}");
        let engine = |part: &str| DeploymentFields { engine: Some(mark(part).into()), ..Default::default() };
        let (result, elapsed_seconds) = (Some(DeploymentResult::Failure), Some(7));
        let messages = format!(r#"[{{"message":"{}"}},{{"message":"{}"}}]"#, mark("first"), mark("second"));
        [
            started(engine("started")),
            server_started(&mark("on"), ServerFields::default()),
            logged(&messages),
            server_finished(&mark("off"), ServerFields { result, elapsed_seconds, ip_address: None }),
            finished(DeploymentFields { result, elapsed_seconds, ..engine("finished") }),
        ]
    };
    Arc::new(Batch::new(["early", "late"].into_iter().flat_map(one_of_each).collect()))
}

/// The unique texts of an event made by [`events_of_all_kinds`]: one for each log message,
/// otherwise one.
fn marks(event: &Event) -> Vec<Text> {
    match &event.kind {
        EventKind::DeploymentStarted(deployment) | EventKind::DeploymentFinished(deployment) => {
            deployment.fields.engine.iter().cloned().collect()
        }
        EventKind::ServerStarted(server) | EventKind::ServerFinished(server) => vec![server.hostname.as_str().into()],
        EventKind::Logged(logs) => {
            let texts = logs.messages.iter().filter_map(|message| Some(message.members().get("message")?.get()));
            texts.map(|text| text.trim_matches('"').into()).collect()
        }
    }
}

/// Waits until `batches` have arrived, and asserts that they arrived in order. For an at-least-once output it also
/// asserts that each event arrived once. The output chooses the format of an event. For a best-effort output, the suite
/// expects only the starts of deployments, each with its engine.
async fn arrive(harness: &mut dyn OutputHarness, batches: &[&Arc<Batch>]) {
    let output = harness.output();
    let is_at_least_once = output.delivery() == Delivery::AtLeastOnce;
    let is_expected = |event: &&Arc<Event>| {
        output.wants(event) && (is_at_least_once || matches!(event.kind, EventKind::DeploymentStarted(_)))
    };
    let events = batches.iter().flat_map(|batch| &batch.events).filter(is_expected);
    let unwanted = batches.iter().flat_map(|batch| &batch.events).filter(|event| !output.wants(event));
    let unwanted: Vec<_> = unwanted.flat_map(|event| marks(event)).collect();
    let marks: Vec<_> = events.flat_map(|event| marks(event)).collect();
    let mut found: Vec<Text> = Vec::new();
    let mut lines = Vec::new();
    let all_arrive = async {
        while !marks.iter().all(|mark| found.contains(mark)) {
            poll_interval().await;
            lines = harness.received().await;
            let text = lines.join("\n");
            let mut matches: Vec<_> = marks.iter().flat_map(|mark| text.match_indices(mark.as_str())).collect();
            matches.sort_unstable();
            found = matches.into_iter().map(|(_, mark)| Text::from(mark)).collect();
        }
    };
    // The assertion shows the lines that did arrive.
    let _ = tokio::time::timeout(DEADLINE, all_arrive).await;
    let missing: Vec<_> = marks.iter().filter(|mark| !found.contains(mark)).collect();
    assert!(missing.is_empty(), "every wanted event arrives within {DEADLINE:?}: {missing:?} not in {}", shown(&lines));
    let surplus = lines.iter().find(|line| unwanted.iter().any(|mark| line.contains(mark.as_str())));
    assert_eq!(surplus, None, "{SKIPPED}");
    // An output may write several lines for one event.
    found.dedup();
    let mut seen = HashSet::new();
    found.retain(|mark| is_at_least_once || seen.insert(mark.clone()));
    let lines = shown(&lines);
    assert_eq!(found, marks, "events arrive in order, and once if the output is at-least-once, in {lines}");
}

/// The last lines, each cut to a readable length.
fn shown(lines: &[String]) -> String {
    let last = lines.iter().skip(lines.len().saturating_sub(20));
    let cut = last.map(|line| line.chars().take(300).collect::<String>());
    format!("the last of {} lines:\n{}", lines.len(), cut.collect::<Vec<_>>().join("\n"))
}
