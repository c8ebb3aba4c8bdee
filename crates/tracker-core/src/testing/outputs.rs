//! The suite of outputs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{PATIENCE, finished, logged, pause, server_finished, server_started, started, within};
use crate::event::{Batch, Event, EventKind};
use crate::fields::{MAX_ARGUMENTS, Text};
use crate::output::{Delivery, Output, OutputError};
use crate::server::ServerFields;
use crate::{DeploymentFields, DeploymentResult};

/// How long a check may take: the two seconds that it promises, and some for a machine that is busy.
const CHECK_WITHIN: Duration = Duration::from_millis(3_500);

/// An output under test with what stands behind it.
#[async_trait]
pub trait OutputHarness: Send {
    /// The output.
    fn output(&self) -> Arc<dyn Output>;
    /// Everything that has arrived since the beginning, in order: a line for each element, metric or row.
    async fn received(&mut self) -> Vec<String>;
    /// Makes the other side unreachable.
    async fn take_away(&mut self);
    /// Makes it reachable again.
    async fn bring_back(&mut self);
}

/// Holds an output against what [`Output`] says.
///
/// # Panics
/// When it does not keep to that.
pub async fn output_suite(harness: &mut dyn OutputHarness) {
    let output = harness.output();
    let output = output.as_ref();
    let promises = (output.name().to_owned(), output.delivery());
    let is_sure = output.delivery() == Delivery::AtLeastOnce;
    assert!(!output.name().is_empty());
    check(output).await.expect("the other side is there");
    deliver(output, &[], &[]).await.expect("nothing is easily delivered");

    let [first, second, third] = ["one", "two", "three"].map(events_of_all_kinds);
    deliver(output, &[&first, &second], &[]).await.expect("both are delivered");
    arrive(harness, &[&first, &second]).await;
    if is_sure {
        let before = harness.received().await.len();
        deliver(output, &[&first, &second], &[]).await.expect("a repeat is taken");
        deliver(output, &[&second], &[&first]).await.expect("a repeat of a part is taken");
        assert_eq!(harness.received().await.len(), before, "a repeat does not arrive twice");
    }
    deliver(output, &[&second, &third], &[]).await.expect("a repeat and what is new are delivered");
    arrive(harness, &[&first, &second, &third]).await;

    let hostile = "x\n.:|@/\u{0}\u{1F600}\"\\";
    let fields = DeploymentFields {
        engine: Some(hostile.into()),
        environment: Some(hostile.into()),
        package: Some("".into()),
        ..Default::default()
    };
    let long = "a".repeat(MAX_ARGUMENTS);
    let arguments = DeploymentFields { arguments: Some(long.as_str().into()), ..Default::default() };
    let message = logged(&format!(r#"{{"message":"{long}"}}"#));
    let long_ones = [started(arguments), message];
    let mut events = vec![
        started(fields),
        finished(DeploymentFields::default()),
        server_started(hostile, ServerFields::default()),
        server_finished(hostile, ServerFields::default()),
    ];
    events.extend(long_ones.clone());
    deliver(output, &[&Arc::new(Batch::new(events))], &[]).await.expect("any text is delivered");
    if is_sure {
        let wanted = long_ones.iter().filter(|event| output.wants(event)).count();
        let whole = harness.received().await.iter().filter(|line| line.contains(&long)).count();
        assert_eq!(whole, wanted, "a long text arrives whole");
    }

    harness.take_away().await;
    within(PATIENCE, "the check notices that the other side is gone", async {
        while check(output).await.is_ok() {
            pause().await;
        }
    })
    .await;
    let [lost, next] = ["four", "five"].map(events_of_all_kinds);
    let delivered = deliver(output, &[&lost], &[]).await;
    if is_sure {
        delivered.expect_err("what cannot be delivered is not confirmed");
    }
    harness.bring_back().await;
    let due: &[_] = if is_sure { &[&lost, &next] } else { &[&next] };
    within(PATIENCE, "the other side is back, and delivery goes on", async {
        while check(output).await.is_err() {
            pause().await;
        }
        for batch in due {
            while deliver(output, &[batch], &[]).await.is_err() {
                pause().await;
            }
        }
    })
    .await;
    arrive(harness, due).await;
    assert_eq!((output.name().to_owned(), output.delivery()), promises, "what an output says of itself stays");
    within(PATIENCE, "close", output.close()).await;
}

async fn check(output: &dyn Output) -> Result<(), OutputError> {
    within(CHECK_WITHIN, "check", output.check()).await
}

async fn deliver(
    output: &dyn Output,
    batches: &[&Arc<Batch>],
    acknowledged: &[&Arc<Batch>],
) -> Result<(), OutputError> {
    let batches: Vec<_> = batches.iter().copied().cloned().collect();
    let acknowledged: Vec<_> = acknowledged.iter().map(|batch| batch.id).collect();
    within(PATIENCE, "deliver", output.deliver(&batches, &acknowledged)).await
}

/// A batch with two of every kind of event, so that its order shows whatever is wanted of it. Each is known by a text
/// with `name` in it.
fn events_of_all_kinds(name: &str) -> Arc<Batch> {
    let of_one_round = |round: &str| {
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
    Arc::new(Batch::new(["early", "late"].into_iter().flat_map(of_one_round).collect()))
}

/// The texts that an event of [`events_of_all_kinds`] is known by.
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

/// Waits until `batches` have arrived, and sees that they did in order; of an output that must have everything, once and
/// whole. How it writes an event is its own affair; of one that is best effort only starts are known, by their engine.
async fn arrive(harness: &mut dyn OutputHarness, batches: &[&Arc<Batch>]) {
    let output = harness.output();
    let is_sure = output.delivery() == Delivery::AtLeastOnce;
    let is_known =
        |event: &&Arc<Event>| output.wants(event) && (is_sure || matches!(event.kind, EventKind::DeploymentStarted(_)));
    let events = batches.iter().flat_map(|batch| &batch.events).filter(is_known);
    let marks: Vec<_> = events.flat_map(|event| marks(event)).collect();
    let mut found = Vec::new();
    within(PATIENCE, "all of it arrives", async {
        while !marks.iter().all(|mark| found.contains(mark)) {
            pause().await;
            let text = harness.received().await.join("\n");
            let mut places: Vec<_> = marks.iter().flat_map(|mark| text.match_indices(mark.as_str())).collect();
            places.sort_unstable();
            found = places.into_iter().map(|(_, mark)| Text::from(mark)).collect();
        }
    })
    .await;
    // An event may be told in several lines.
    found.dedup();
    let mut repeats = HashSet::new();
    found.retain(|mark| is_sure || repeats.insert(mark.clone()));
    assert_eq!(found, marks, "in order");
}
