//! Order, duplicates and markers.

use std::sync::Arc;
use std::{fs, slice};

use test_servers::{DEADLINE, Redis};
use tracker_config::ConfiguredOutput;
use tracker_core::testing::{deployment_report, eventually, new_id, output_suite, started};
use tracker_core::{Batch, DeploymentFields, MemoryStore, Output, Tracker, chain};
use tracker_redis::{Format, Secret};

use crate::support::{Harness, LARGE, Outage, batch, config, markers, numbered, output, pushed, with, without_scripts};

#[tokio::test]
async fn it_passes_the_output_suite_over_tcp() {
    let redis = Redis::start();
    let output = Arc::new(output(config(&redis)));
    output_suite(&mut Harness { redis, output, outage: Outage::Killed }).await;
}

const PASSWORD: &str = "s3:/@ cret";

#[tokio::test]
async fn it_passes_the_output_suite_over_a_unix_socket_with_a_password() {
    let redis = Redis::start_with(&["--requirepass", PASSWORD]);
    let config = with(&config(&redis), |config| {
        config.path = Some(redis.socket());
        config.port = 1;
        config.password = Some(Secret::new(PASSWORD));
    });
    let output = Arc::new(output(config));
    output_suite(&mut Harness { redis, output, outage: Outage::Frozen }).await;
}

#[tokio::test]
async fn elements_have_the_configured_format() {
    let redis = Redis::start();
    let fields = DeploymentFields { engine: Some("Zoë \u{2028} 😀\n".into()), ..Default::default() };
    let start = Arc::new(Batch::new(vec![started(fields)]));
    for format in [Format::Logstash, Format::Original] {
        let key = format!("{format:?}");
        let output = output(with(&config(&redis), |config| {
            config.format = format;
            config.key.clone_from(&key);
            config.index = "i".into();
        }));
        output.deliver(slice::from_ref(&start)).await.expect("Redis is running");
        let element = redis.list(&key).remove(0);
        assert_eq!((&element["engine"], &element["index"]), (&"Zoë \u{2028} 😀\n".into(), &"i".into()));
        assert_eq!(element.get("@version").is_some(), format == Format::Logstash);
        assert_eq!(output.location(), format!("127.0.0.1:{} key {key}", redis.port));
    }
}

#[tokio::test]
async fn fifteen_thousand_messages_arrive_whole_in_order_and_once() {
    let redis = Redis::start();
    let output = output(with(&config(&redis), |config| config.timeout_millis = 10_000));
    let batches = [numbered(0..10_000), numbered(10_000..10_001), numbered(10_001..15_000), numbered(15_000..15_001)];
    output.deliver(&batches).await.expect("new batches");
    output.deliver(&batches[1..]).await.expect("duplicates");
    let (one, other) = (numbered(15_001..15_001 + LARGE), numbered(15_001 + LARGE..15_001 + 2 * LARGE));
    output.deliver(&[one.clone(), one, other.clone(), other]).await.expect("duplicates within a push");
    assert!(pushed(&redis).into_iter().eq(0..15_001 + 2 * LARGE));
    assert_eq!(markers(&redis).len(), 6);
}

#[tokio::test]
async fn a_retry_renews_the_markers_of_the_batches_that_redis_has() {
    for (redis, batch) in [
        (Redis::start(), numbered(0..1)),
        (Redis::start(), numbered(0..LARGE)),
        (without_scripts(), numbered(0..1)),
        (without_scripts(), numbered(0..LARGE)),
    ] {
        let deliver = async || output(config(&redis)).deliver(slice::from_ref(&batch)).await.expect("Redis is running");
        deliver().await;
        let marker = markers(&redis)[0].as_str().expect("a key").to_owned();
        redis.command(&["EXPIRE", &marker, "100"]);
        deliver().await;
        let seconds = redis.command(&["TTL", &marker]).as_i64().expect("the marker expires");
        assert!(seconds > 600_000, "{seconds}");
        assert!(pushed(&redis).into_iter().eq(0..batch.events[0].messages()), "each element once");
    }
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_arrives_once() {
    let redis = Redis::start();
    let output = output(config(&redis));
    output.deliver(&[numbered(0..1)]).await.expect("opens a connection that stays open");

    redis.freeze();
    // Small enough for the socket buffers: closing the connection discards data that is not sent yet.
    let lost = numbered(1..100);
    output.deliver(slice::from_ref(&lost)).await.expect_err("Redis is frozen");
    redis.thaw();
    eventually("Redis executes the push", async || redis.command(&["LLEN", "logstash"]) == 100).await;

    output.deliver(&[lost, numbered(100..101)]).await.expect("Redis is running");
    assert!(pushed(&redis).into_iter().eq(0..101));
}

#[tokio::test]
async fn errors_name_a_key_that_does_not_hold_a_list_and_no_marker_remains() {
    let redis = Redis::start();
    let output = output(config(&redis));
    redis.command(&["SET", "logstash", "a string"]);
    let batch = numbered(0..1_500);
    for error in [
        output.deliver(slice::from_ref(&batch)).await.expect_err("the key holds a string"),
        output.check().await.expect_err("the key holds a string"),
    ] {
        let error = chain(&error);
        assert!(error.contains("`logstash` in Redis does not hold a list; delete it, or set `key`"), "{error}");
    }
    assert!(markers(&redis).is_empty());

    redis.command(&["DEL", "logstash"]);
    output.check().await.expect("the key is free");
    output.deliver(&[batch]).await.expect("the key is free");
    assert!(pushed(&redis).into_iter().eq(0..1_500));
}

#[tokio::test]
async fn markers_are_deleted_after_acknowledgement_and_expire_after_a_week() {
    let redis = Redis::start();
    let output = output(config(&redis));
    let (first, second) = (numbered(0..1), numbered(1..2));
    output.deliver(&[first.clone(), second.clone()]).await.expect("Redis is running");
    assert_eq!(markers(&redis).len(), 2);
    output.forget(&[first.id]);
    output.deliver(&[]).await.expect("Redis is running");
    let marker = format!("{{logstash}}:delivered:{}", second.id);
    assert_eq!(markers(&redis), [marker.as_str()]);
    let seconds = redis.command(&["TTL", &marker]);
    assert!(seconds.as_u64().is_some_and(|seconds| (604_000..=604_800).contains(&seconds)), "{seconds}");
    output.forget(&[second.id]);
    output.deliver(&[numbered(2..3)]).await.expect("Redis is running");
    assert_eq!(markers(&redis).len(), 1);
    assert!(pushed(&redis).into_iter().eq(0..3));
}

#[tokio::test]
async fn the_next_push_after_a_failure_deletes_the_markers() {
    let redis = Redis::start();
    let output = output(config(&redis));
    let batch = numbered(0..1);
    output.deliver(slice::from_ref(&batch)).await.expect("Redis is running");
    redis.freeze();
    output.forget(&[batch.id]);
    output.deliver(&[]).await.expect_err("Redis is frozen");
    redis.thaw();
    output.deliver(&[numbered(1..2)]).await.expect("Redis is running");
    let remaining = markers(&redis);
    assert!(remaining.len() == 1 && !remaining[0].to_string().contains(&batch.id.to_string()), "{remaining:?}");
}

#[tokio::test]
async fn a_batch_without_elements_writes_nothing() {
    let redis = Redis::start();
    let output = output(config(&redis));
    output.deliver(&[Arc::new(Batch::new(Vec::new())), batch("[]")]).await.expect("nothing to push");
    assert_eq!(redis.command(&["KEYS", "*"]), serde_json::json!([]));
}

#[tokio::test]
async fn a_full_list_accepts_duplicates_and_refuses_new_batches() {
    let redis = Redis::start();
    let output = output(with(&config(&redis), |config| config.max_list_length = Some(3)));
    let (first, second, large) = (numbered(0..4), numbered(4..5), numbered(5..5 + LARGE));
    output.deliver(slice::from_ref(&first)).await.expect("the list is empty");
    for batches in [&[first.clone(), second.clone()][..], slice::from_ref(&large)] {
        let error = chain(&output.deliver(batches).await.expect_err("the list is full"));
        assert!(error.contains("the list `logstash` in Redis has reached `max_list_length`"), "{error}");
    }
    output.deliver(slice::from_ref(&first)).await.expect("a full list accepts a duplicate");
    redis.command(&["LPOP", "logstash", "2"]);
    output.deliver(&[first, second]).await.expect("the list is below its limit again");
    assert_eq!(pushed(&redis), [2, 3, 4]);
    redis.command(&["LPOP", "logstash"]);
    output.deliver(slice::from_ref(&large)).await.expect("the list is below its limit again");
    output.deliver(&[large]).await.expect("a full list accepts a duplicate");
    assert!(pushed(&redis).into_iter().eq(3..5 + LARGE));
}

#[tokio::test]
async fn one_tracker_may_push_to_two_lists() {
    let redis = Redis::start();
    let other = with(&config(&redis), |config| config.key = "other".into());
    let tracker = Tracker::builder(MemoryStore::new())
        .output(output(config(&redis)))
        .output(output(other).named("other"))
        .start();
    tracker.start_deployment(deployment_report(new_id(), "{}")).await.expect("the store is in memory");
    for key in ["logstash", "other"] {
        eventually("the list has the element", async || redis.command(&["LLEN", key]) == 1).await;
    }
    tracker.shutdown(DEADLINE).await;
}

#[tokio::test]
async fn a_truncated_append_only_file_loses_a_push_and_its_marker_together() {
    for size in [1, LARGE] {
        let mut redis = Redis::start();
        let before = output(config(&redis));
        let batches = [numbered(0..1), numbered(1..1 + size)];
        for batch in &batches {
            before.deliver(slice::from_ref(batch)).await.expect("Redis is running");
        }
        redis.kill();
        let path = redis.socket().with_file_name("appendonlydir/appendonly.aof.1.incr.aof");
        let file = fs::OpenOptions::new().write(true).open(path).expect("Redis has an append-only file");
        let length = file.metadata().expect("the file is open").len();
        file.set_len(length - 40).expect("the file is writable");
        redis.restart();
        assert_eq!((pushed(&redis), markers(&redis).len()), (vec![0], 1));
        output(config(&redis)).deliver(&batches).await.expect("Redis is running");
        assert!(pushed(&redis).into_iter().eq(0..1 + size));
    }
}
