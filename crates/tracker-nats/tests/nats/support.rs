//! Outputs, batches and expectations.

use std::sync::Arc;

use test_servers::Nats;
use tracker_core::testing::{logged, started};
use tracker_core::{Batch, DeploymentFields, Output, OutputError, chain};
use tracker_nats::{NatsConfig, NatsOutput};

pub(crate) fn config(nats: &Nats) -> NatsConfig {
    NatsConfig::default().url(format!("nats://127.0.0.1:{}", nats.port)).instance("one").timeout_millis(1_000)
}

pub(crate) fn output(nats: &Nats) -> NatsOutput {
    NatsOutput::new(config(nats)).expect("the configuration is valid")
}

/// A batch with one start.
pub(crate) fn start() -> Arc<Batch> {
    Arc::new(Batch::new(vec![started(DeploymentFields::default())]))
}

/// A batch of one event with log messages.
pub(crate) fn log_messages(texts: impl IntoIterator<Item = String>) -> Arc<Batch> {
    let messages: Vec<_> = texts.into_iter().map(|text| format!(r#"{{"message":"{text}"}}"#)).collect();
    Arc::new(Batch::new(vec![logged(&format!("[{}]", messages.join(",")))]))
}

/// Delivers until it succeeds.
pub(crate) async fn deliver_at_last(output: &dyn Output, batches: &[Arc<Batch>]) {
    tracker_core::testing::eventually("the delivery succeeds", async || output.deliver(batches).await.is_ok()).await;
}

/// The texts of the log messages in the stream.
pub(crate) fn texts(nats: &Nats) -> Vec<String> {
    let messages = nats.messages();
    messages.iter().filter_map(|message| Some(message.payload["message"].as_str()?.to_owned())).collect()
}

/// The message of an error and its causes.
pub(crate) fn message(error: &OutputError) -> String {
    chain(error)
}
