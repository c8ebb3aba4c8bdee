//! Each event arrives once and in order, whatever is killed, suspended or repeated.

use std::slice::from_ref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use test_servers::Nats;
use tracker_core::testing::{OutputHarness, eventually, output_suite};
use tracker_core::{Batch, Output, async_trait};
use tracker_nats::NatsOutput;

use crate::support::{config, deliver_at_last, log_messages, output, start, texts};

struct Harness {
    nats: Nats,
    output: Arc<NatsOutput>,
    is_frozen: bool,
}

#[async_trait]
impl OutputHarness for Harness {
    fn output(&self) -> Arc<dyn Output> {
        self.output.clone()
    }

    async fn received(&mut self) -> Vec<String> {
        self.nats.messages().iter().map(|message| message.payload.to_string()).collect()
    }

    async fn take_away(&mut self) {
        self.nats.kill();
    }

    async fn fall_silent(&mut self) {
        self.nats.freeze();
        self.is_frozen = true;
    }

    async fn bring_back(&mut self) {
        if std::mem::take(&mut self.is_frozen) {
            self.nats.thaw();
        } else {
            self.nats.restart();
        }
    }
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("message {number}")).collect()
}

#[tokio::test]
async fn the_output_keeps_its_promises() {
    let nats = Nats::start();
    let output = Arc::new(output(&nats));
    output_suite(&mut Harness { nats, output, is_frozen: false }).await;
}

#[tokio::test]
async fn the_output_keeps_its_promises_while_another_instance_publishes() {
    let nats = Nats::start();
    let (one, two) =
        (output(&nats), NatsOutput::new(config(&nats).instance("two")).expect("the configuration is valid"));
    let expected = numbered(0..1_000);
    let starts: Vec<_> = (0..400).map(|_| start()).collect();
    let deliver_logs = async {
        for texts in expected.chunks(100) {
            one.deliver(&[log_messages(texts.to_vec())]).await.expect("another subject does not disturb");
        }
    };
    let deliver_starts = async {
        for starts in starts.chunks(20) {
            two.deliver(starts).await.expect("another subject does not disturb");
        }
    };
    tokio::join!(deliver_logs, deliver_starts);
    let texts = texts(&nats);
    assert_eq!(texts.len(), expected.len() + starts.len());
    let own: Vec<_> = texts.into_iter().filter(|text| text.starts_with("message")).collect();
    assert_eq!(own, expected);
}

#[tokio::test]
async fn a_message_has_its_subject_headers_and_members() {
    let nats = Nats::start();
    let (log, start) = (log_messages(["hello".to_owned()]), start());
    output(&nats).deliver(&[start.clone(), log.clone()]).await.expect("NATS runs");
    let messages = nats.messages();
    let (first, second) = (&messages[0], &messages[1]);
    let id = start.events[0].id.to_string();
    assert_eq!(first.subject, "deployment-tracker.one");
    assert_eq!(first.header("Nats-Msg-Id"), Some(id.as_str()));
    assert_eq!(first.header("Nats-Expected-Last-Subject-Sequence"), Some("0"));
    assert_eq!(first.header("Deployment-Tracker-Event"), Some("deployment_started"));
    assert_eq!(first.header("Deployment-Tracker-Batch"), Some(format!("{} 1 1", start.id).as_str()));
    let deployment = first.payload["deployment_id"].as_str().expect("a text");
    let text = format!("Deployment Tracker recording deployment start for deployment {deployment}");
    assert_eq!(
        first.payload,
        json!({
            "deployment_id": deployment, "createdAt": first.payload["createdAt"],
            "updatedAt": first.payload["updatedAt"], "message": text, "@timestamp": first.payload["@timestamp"],
            "event_id": id,
        })
    );
    let id = second.payload["event_id"].as_str().expect("a text");
    assert_eq!(second.header("Nats-Msg-Id"), Some(id));
    assert_eq!(second.header("Nats-Expected-Last-Msg-Id"), first.header("Nats-Msg-Id"));
    assert_eq!(second.header("Deployment-Tracker-Event"), Some("log_message"));
    assert_eq!(
        second.payload,
        json!({
            "message": "hello", "deployment_id": second.payload["deployment_id"],
            "@timestamp": second.payload["@timestamp"], "event_id": id,
        })
    );
}

#[tokio::test]
async fn batches_are_recognized_after_a_restart_and_without_the_duplicate_window() {
    let nats = Nats::start_with("", json!({}));
    nats.create_stream(json!({ "duplicate_window": 100_000_000 }));
    let batches: Vec<_> = numbered(0..40).into_iter().map(|text| log_messages([text])).collect();
    let first = output(&nats);
    // Several deliveries, in another order than that of the ids.
    first.deliver(&batches[20..30]).await.expect("NATS runs");
    first.deliver(&batches[..20]).await.expect("NATS runs");
    first.forget(&batches[..5].iter().map(|batch| batch.id).collect::<Vec<_>>());
    first.deliver(&batches[30..35]).await.expect("NATS runs");
    let delivered = Instant::now();
    eventually("the duplicate window has ended", async || delivered.elapsed() > Duration::from_millis(300)).await;

    for _ in 0..2 {
        output(&nats).deliver(&batches[5..]).await.expect("NATS runs");
    }
    let expected = [20..30, 0..20, 30..40].map(numbered).concat();
    assert_eq!(texts(&nats), expected);
}

#[tokio::test]
async fn a_batch_that_arrived_in_part_is_completed() {
    let nats = Nats::start();
    let batch = log_messages(numbered(0..1_000));
    let first = output(&nats);
    // The caller drops the delivery somewhere in the middle.
    let dropped = tokio::time::timeout(Duration::from_millis(30), first.deliver(from_ref(&batch))).await;
    drop(dropped);
    first.deliver(from_ref(&batch)).await.expect("NATS runs");
    output(&nats).deliver(&[batch]).await.expect("NATS runs");
    assert_eq!(texts(&nats), numbered(0..1_000));
}

#[tokio::test]
async fn nothing_is_lost_or_repeated_when_nats_is_killed_again_and_again() {
    let mut nats = Nats::start();
    let batches: Vec<Arc<Batch>> = numbered(0..3_000).chunks(3).map(|texts| log_messages(texts.to_vec())).collect();
    let mut output = output(&nats);
    for (round, batches) in batches.chunks(100).enumerate() {
        let before = nats.count();
        let kill = async {
            eventually("some messages have arrived", async || nats.count() > before).await;
            nats.kill();
            nats.restart();
        };
        tokio::join!(deliver_at_last(&output, batches), kill);
        if round % 3 == 0 {
            output = crate::support::output(&nats);
        }
    }
    assert_eq!(texts(&nats), numbered(0..3_000));
}

#[tokio::test]
async fn a_suspended_server_delays_a_delivery_and_repeats_nothing() {
    let nats = Nats::start();
    let output = output(&nats);
    output.deliver(&[start()]).await.expect("NATS runs");
    let batch = log_messages(numbered(0..500));
    nats.freeze();
    let error = output.deliver(from_ref(&batch)).await.expect_err("NATS is suspended");
    assert!(crate::support::message(&error).contains("timed out"), "{error}");
    nats.thaw();
    deliver_at_last(&output, from_ref(&batch)).await;
    assert_eq!(texts(&nats)[1..], numbered(0..500));
}

#[tokio::test]
async fn a_replica_that_lags_behind_delays_a_delivery_and_repeats_nothing() {
    let mut nats = Nats::start_with("", json!({}));
    nats.create_stream(json!({ "duplicate_window": 100_000_000 }));
    let batches: Vec<_> = numbered(0..40).into_iter().map(|text| log_messages([text])).collect();
    output(&nats).deliver(&batches[..30]).await.expect("NATS runs");
    let delivered = Instant::now();
    eventually("the duplicate window has ended", async || delivered.elapsed() > Duration::from_millis(300)).await;
    // A consumer that has no message answers instead of one that has not received the last messages yet.
    for (verb, body) in [
        ("STREAM.CREATE.empty", json!({ "name": "empty", "subjects": ["empty"] })),
        (
            "CONSUMER.DURABLE.CREATE.empty.0",
            json!({ "stream_name": "empty", "config": { "durable_name": "0", "ack_policy": "none" } }),
        ),
    ] {
        let answer = nats.request(&format!("$JS.API.{verb}"), &body).expect("NATS answers");
        assert_eq!(answer.get("error"), None);
    }
    nats.kill();
    // The only partition is 0.
    nats.configure(
        r#"mappings {
            "$JS.API.CONSUMER.MSG.NEXT.deployments.*": "$JS.API.CONSUMER.MSG.NEXT.empty.{{partition(1,1)}}"
        }"#,
    );
    nats.restart();
    let output = output(&nats);
    eventually("the output notices that messages are missing", async || {
        let error = output.deliver(&batches).await.expect_err("messages are missing");
        crate::support::message(&error).contains("check that the replicas of the stream are current")
    })
    .await;
    nats.kill();
    nats.configure("");
    nats.restart();
    deliver_at_last(&output, &batches).await;
    assert_eq!(texts(&nats), numbered(0..40));
}

#[tokio::test]
async fn two_outputs_with_one_subject_lose_and_repeat_nothing() {
    let nats = Nats::start();
    let (one, two) = (output(&nats), output(&nats));
    let [first, second, third] = [0..10, 10..20, 20..30].map(|range| log_messages(numbered(range)));
    one.deliver(from_ref(&first)).await.expect("NATS runs");
    two.deliver(&[first.clone(), second.clone()]).await.expect("NATS runs");
    one.deliver(&[second, third]).await.expect("NATS runs");
    assert_eq!(texts(&nats), numbered(0..30));
}

#[tokio::test]
async fn what_another_instance_has_delivered_is_recognized_within_the_duplicate_window() {
    let nats = Nats::start();
    let adopter = NatsOutput::new(config(&nats).instance("two")).expect("the configuration is valid");
    adopter.deliver(&[start()]).await.expect("NATS runs");
    let [adopted, new] = [0..10, 10..20].map(|range| log_messages(numbered(range)));
    output(&nats).deliver(from_ref(&adopted)).await.expect("NATS runs");
    adopter.deliver(&[adopted, new]).await.expect("NATS runs");
    assert_eq!(texts(&nats)[1..], numbered(0..20));
}

#[tokio::test]
async fn a_stream_that_is_purged_or_created_again_gets_the_next_events() {
    let nats = Nats::start();
    let output = output(&nats);
    output.deliver(&[log_messages(numbered(0..5))]).await.expect("NATS runs");
    nats.request("$JS.API.STREAM.PURGE.deployments", &json!({})).expect("NATS answers");
    output.deliver(&[log_messages(numbered(5..10))]).await.expect("NATS runs");
    assert_eq!(texts(&nats), numbered(5..10));
    nats.request("$JS.API.STREAM.DELETE.deployments", &json!({})).expect("NATS answers");
    nats.create_stream(json!({}));
    let last = log_messages(numbered(10..15));
    deliver_at_last(&output, from_ref(&last)).await;
    crate::support::output(&nats).deliver(&[last]).await.expect("NATS runs");
    assert_eq!(texts(&nats), numbered(10..15));
}

#[tokio::test]
async fn a_message_that_is_too_large_is_skipped_and_the_others_arrive() {
    for limit in ["server", "stream"] {
        let nats = Nats::start_with(if limit == "server" { "max_payload: 4096" } else { "" }, json!({}));
        nats.create_stream(if limit == "stream" { json!({ "max_msg_size": 4_096 }) } else { json!({}) });
        let large = "x".repeat(5_000);
        let batch = log_messages([large.clone(), "one".into(), large.clone(), large, "two".into()]);
        let output = output(&nats);
        output.deliver(from_ref(&batch)).await.expect("the others are accepted");
        output.deliver(from_ref(&batch)).await.expect("a duplicate is accepted");
        assert_eq!(texts(&nats), ["one", "two"], "limit of the {limit}");
    }
}
