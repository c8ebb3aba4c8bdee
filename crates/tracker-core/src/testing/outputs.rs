//! The suite of outputs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{eventually, logged, started};
use crate::DeploymentMembers;
use crate::event::Batch;
use crate::output::{Delivery, Output, OutputError};

/// An output under test with what stands behind it.
#[async_trait]
pub trait OutputHarness {
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
    let named = |engine: &str| started(DeploymentMembers { engine: Some(engine.into()), ..Default::default() });

    assert!(!output.name().is_empty());
    output.check().await.expect("the other side is there");
    output.deliver(&[], &[]).await.expect("nothing is easily delivered");

    let first = Arc::new(Batch::new(vec![named("engine_a"), logged(r#"[{"message":"b"},{"message":"c"}]"#)]));
    let second = Arc::new(Batch::new(vec![named("engine_d")]));
    output.deliver(&[first.clone(), second.clone()], &[]).await.expect("both are delivered");
    let position = |lines: &[String], engine: &str| lines.iter().position(|line| line.contains(engine));
    eventually("both batches arrive, in order", async || {
        let lines = harness.received().await;
        matches!((position(&lines, "engine_a"), position(&lines, "engine_d")), (Some(a), Some(d)) if a < d)
    })
    .await;

    if output.delivery() == Delivery::AtLeastOnce {
        let before = harness.received().await.len();
        output.deliver(&[first.clone(), second.clone()], &[]).await.expect("a repeat is taken");
        output.deliver(std::slice::from_ref(&second), &[first.id]).await.expect("a repeat of a part is taken");
        assert_eq!(harness.received().await.len(), before, "a repeat does not arrive twice");
    }

    let hostile = "x\n.:|@/\u{0}\u{1F600}\"\\";
    let members = DeploymentMembers {
        engine: Some(hostile.into()),
        environment: Some(hostile.into()),
        package: Some("".into()),
        arguments: Some("a".repeat(65_536).into()),
        ..Default::default()
    };
    output.deliver(&[Arc::new(Batch::new(vec![started(members)]))], &[]).await.expect("any text is delivered");

    harness.take_away().await;
    let begun = Instant::now();
    eventually("the check notices that the other side is gone", async || output.check().await.is_err()).await;
    if output.delivery() == Delivery::AtLeastOnce {
        let lost: Result<(), OutputError> = output.deliver(&[Arc::new(Batch::new(vec![named("engine_e")]))], &[]).await;
        lost.expect_err("what cannot be delivered is not confirmed");
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "nothing waits for ever");
    harness.bring_back().await;
    eventually("the check notices that the other side is back", async || output.check().await.is_ok()).await;
    let batch = Arc::new(Batch::new(vec![named("engine_f")]));
    eventually("delivery goes on", async || output.deliver(std::slice::from_ref(&batch), &[]).await.is_ok()).await;
    eventually("it arrives", async || position(&harness.received().await, "engine_f").is_some()).await;
    output.close().await;
}
