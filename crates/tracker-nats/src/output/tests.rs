use std::slice::from_ref;

use serde_json::json;
use test_servers::Nats;
use tracker_core::testing::{eventually, logged};

use super::*;

fn output(nats: &Nats) -> NatsOutput {
    let url = format!("nats://127.0.0.1:{}", nats.port);
    NatsOutput::new(NatsConfig::default().url(url).instance("one")).expect("the configuration is valid")
}

fn log_messages(texts: &[String]) -> Arc<Batch> {
    let messages: Vec<_> = texts.iter().map(|text| json!({ "message": text })).collect();
    Arc::new(Batch::new(vec![logged(&json!(messages).to_string())]))
}

fn texts(nats: &Nats) -> Vec<String> {
    let text = |payload: &serde_json::Value| payload["message"].as_str().expect("a text").to_owned();
    nats.messages().iter().map(|message| text(&message.payload)).collect()
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("message {number}")).collect()
}

#[tokio::test]
async fn an_outage_that_is_longer_than_batches_are_known_repeats_nothing() {
    let mut nats = Nats::start_with("", json!({}));
    nats.create_stream(json!({ "duplicate_window": 100_000_000 }));
    let mut output = output(&nats);
    let [large, small] = [0..1_000, 1_000..1_001].map(|range| log_messages(&numbered(range)));
    output.deliver(from_ref(&small)).await.expect("NATS runs");
    nats.kill();
    output.deliver(from_ref(&large)).await.expect_err("NATS is away");
    // Any time that counts from now on is too long.
    output.state.get_mut().arrivals.known = Duration::ZERO;
    let away = Instant::now();
    eventually("the duplicate window has ended", async || away.elapsed() > Duration::from_millis(300)).await;
    nats.restart();
    // The outbox has the batches in the order of their ids.
    eventually("the delivery succeeds", async || output.deliver(&[large.clone(), small.clone()]).await.is_ok()).await;
    assert_eq!(texts(&nats), [1_000..1_001, 0..1_000].map(numbered).concat());
}

#[tokio::test]
async fn a_long_subject_is_read_in_several_deliveries() {
    let nats = Nats::start_with("", json!({}));
    nats.create_stream(json!({ "duplicate_window": 100_000_000 }));
    let batches = [0..3, 3..6].map(|range| log_messages(&numbered(range)));
    output(&nats).deliver(&batches[..1]).await.expect("NATS runs");
    let delivered = Instant::now();
    eventually("the duplicate window has ended", async || delivered.elapsed() > Duration::from_millis(300)).await;
    let restarted = NatsOutput { read_limit: Duration::ZERO, ..output(&nats) };
    for place in [1, 2] {
        let error = restarted.deliver(&batches).await.expect_err("there is more to read").to_string();
        assert!(error.ends_with(&format!("continues after message {place} of 3")), "{error}");
    }
    restarted.deliver(&batches).await.expect("everything is read");
    assert_eq!(texts(&nats), numbered(0..6));
}
