//! Servers that do not permit scripts, or neither scripts nor transactions.

use std::slice;
use std::sync::Arc;

use test_servers::Redis;
use tracker_core::testing::output_suite;
use tracker_core::{Output, chain};
use tracker_redis::{RedisConfig, Scripts, Secret};

use crate::support::{
    Harness, LARGE, Outage, Reaction, config, has, markers, numbered, numbers, output, proxy, pushed, with,
    without_scripts, without_transactions,
};

#[tokio::test]
async fn it_passes_the_output_suite_without_scripts() {
    for outage in [Outage::Killed, Outage::Frozen] {
        let redis = without_scripts();
        let output = Arc::new(output(config(&redis)));
        output_suite(&mut Harness { redis, output, outage }).await;
    }
}

/// A proxy to `redis` that reacts to each of `commands`.
fn refusing(redis: &Redis, commands: &'static [&str], reaction: fn() -> Reaction) -> RedisConfig {
    let port = proxy(redis, move |piece| {
        let is_refused = commands.iter().any(|command| has(piece, &format!("{command}\r\n")));
        if is_refused { reaction() } else { Reaction::Forward }
    });
    with(&config(redis), |config| config.port = port)
}

#[tokio::test]
async fn without_scripts_each_batch_arrives_once_and_nothing_warns() {
    let user = ["ACL", "SETUSER", "few", "on", ">pass", "~logstash", "~{logstash}:delivered:*", "+@all", "-eval"];
    let forbidden = Redis::start();
    forbidden.command(&user);
    let forbidden_config = with(&config(&forbidden), |config| {
        config.username = Some("few".into());
        config.password = Some(Secret::new("pass"));
    });
    let (renamed, answering, closing, silent) = (without_scripts(), Redis::start(), Redis::start(), Redis::start());
    let unknown = || Reaction::Answer("-ERR unknown command 'EVAL'\r\n");
    for (refusal, redis, config) in [
        ("a forbidden command", &forbidden, forbidden_config),
        ("a renamed command", &renamed, config(&renamed)),
        ("a proxy that answers", &answering, refusing(&answering, &["EVAL"], unknown)),
        ("a proxy that closes the connection", &closing, refusing(&closing, &["EVAL"], || Reaction::Close)),
        ("a proxy that does not answer", &silent, refusing(&silent, &["EVAL"], || Reaction::Ignore)),
    ] {
        let first = output(config.clone());
        assert_eq!(first.check().await.map_err(|error| chain(&error)), Ok(()), "{refusal}");
        let batches = [numbered(0..1), numbered(1..1 + LARGE), numbered(1 + LARGE..2 + LARGE)];
        let [one, large, last] = &batches;
        first.deliver(slice::from_ref(one)).await.expect(refusal);
        first.deliver(&[one.clone(), large.clone(), large.clone()]).await.expect(refusal);
        assert_eq!(markers(redis).len(), 2, "{refusal}");
        assert_eq!(first.warning(), None, "{refusal}");
        // Another instance delivers batches that it has adopted.
        let second = output(config);
        second.deliver(&batches).await.expect(refusal);
        assert!(pushed(redis).into_iter().eq(0..2 + LARGE), "{refusal}");
        first.forget(&[one.id, large.id, last.id]);
        first.deliver(&[]).await.expect(refusal);
        assert!(markers(redis).is_empty(), "{refusal}");
    }
}

#[tokio::test]
async fn without_scripts_a_full_list_accepts_duplicates_and_refuses_new_batches() {
    for redis in [Redis::start(), without_scripts()] {
        let output = output(with(&config(&redis), |config| config.max_list_length = Some(LARGE as u64 + 1)));
        let batches = [numbered(0..LARGE), numbered(LARGE..2 * LARGE), numbered(2 * LARGE..2 * LARGE + 1)];
        let error = chain(&output.deliver(&batches).await.expect_err("the third batch does not fit"));
        assert!(error.contains("has reached `max_list_length`"), "{error}");
        assert!(pushed(&redis).into_iter().eq(0..2 * LARGE));
        output.deliver(&batches[..2]).await.expect("duplicates");
        redis.command(&["LTRIM", "logstash", "-1", "-1"]);
        output.deliver(&batches).await.expect("the list has room");
        assert!(pushed(&redis).into_iter().eq(2 * LARGE - 1..2 * LARGE + 1));
    }
}

#[tokio::test]
async fn without_transactions_elements_arrive_and_a_warning_says_that_they_may_arrive_twice() {
    const REFUSED: &[&str] = &["EVAL", "WATCH", "MULTI"];
    let (forbidden, closing, silent) = (without_transactions(), Redis::start(), Redis::start());
    for (redis, config) in [
        (&forbidden, config(&forbidden)),
        (&closing, refusing(&closing, REFUSED, || Reaction::Close)),
        (
            &silent,
            with(&refusing(&silent, REFUSED, || Reaction::Ignore), |config| config.connect_timeout_millis = 2_000),
        ),
    ] {
        let output = output(config.clone());
        assert_eq!(output.warning(), None, "it is not connected yet");
        output.check().await.expect("Redis is running");
        let warning = output.warning().expect("Redis has been asked");
        let words = "permits neither EVAL nor transactions (WATCH, MULTI and EXEC): a push whose answer is lost arrives \
                     twice; permit the commands that are listed for `username`";
        assert_eq!(warning, format!("Redis at 127.0.0.1:{} {words}", config.port));
        let batches = [numbered(0..1), numbered(1..LARGE)];
        output.deliver(&batches).await.expect("Redis permits RPUSH");
        output.forget(&[batches[0].id, batches[1].id]);
        output.deliver(&[numbered(LARGE..LARGE + 1)]).await.expect("Redis permits RPUSH");
        assert!(pushed(redis).into_iter().eq(0..=LARGE));
        assert!(markers(redis).is_empty());
    }
}

#[tokio::test]
async fn with_scripts_but_without_transactions_large_batches_arrive_once() {
    let multi = Redis::start_with(&["--rename-command", "MULTI", ""]);
    let (forbidden, silent) = (Redis::start(), Redis::start());
    forbidden.command(&["ACL", "SETUSER", "default", "-watch"]);
    for (refusal, redis, config) in [
        ("a forbidden command", &forbidden, config(&forbidden)),
        ("a renamed command", &multi, config(&multi)),
        ("a proxy that does not answer", &silent, refusing(&silent, &["WATCH", "MULTI"], || Reaction::Ignore)),
        (
            "required scripts",
            &multi,
            with(&config(&multi), |config| (config.key, config.scripts) = ("other".into(), Scripts::Required)),
        ),
    ] {
        let batches = [numbered(0..1), numbered(1..1 + LARGE), numbered(1 + LARGE..20 * LARGE)];
        let first = output(config.clone());
        first.deliver(&batches[..2]).await.expect(refusal);
        first.deliver(&batches[..2]).await.expect(refusal);
        assert_eq!(first.warning(), None, "{refusal}");
        let second = output(config.clone());
        second.deliver(&batches).await.expect(refusal);
        assert!(numbers(redis.list(&config.key)).into_iter().eq(0..20 * LARGE), "{refusal}");
        second.forget(&batches.each_ref().map(|batch| batch.id));
        second.deliver(&[]).await.expect(refusal);
        assert_eq!(redis.command(&["KEYS", "*:delivered:*"]), serde_json::json!([]), "{refusal}");
    }
}

#[tokio::test]
async fn required_scripts_rule_out_weaker_ways() {
    for redis in [without_scripts(), without_transactions()] {
        let output = output(with(&config(&redis), |config| config.scripts = Scripts::Required));
        let error = chain(&output.deliver(&[numbered(0..1)]).await.expect_err("scripts are required"));
        assert!(error.contains("enable the commands that are listed for `username`"), "{error}");
        assert!(error.contains("unknown command"), "{error}");
        assert_eq!(output.warning(), None);
        assert!(pushed(&redis).is_empty());
    }
}

#[tokio::test]
async fn a_running_output_never_moves_to_a_weaker_way() {
    let redis = Redis::start();
    let output = output(config(&redis));
    let batch = numbered(0..1);
    output.deliver(slice::from_ref(&batch)).await.expect("Redis permits everything");
    redis.command(&["ACL", "SETUSER", "default", "-eval", "-watch", "-multi"]);
    for _ in 0..2 {
        let error = chain(&output.deliver(&[batch.clone(), numbered(1..2)]).await.expect_err("EVAL is forbidden"));
        assert!(error.contains("grant the user the permissions that are listed for `username`"), "{error}");
        output.check().await.expect("Redis is running");
        assert_eq!(output.warning(), None);
    }
    redis.command(&["ACL", "SETUSER", "default", "+eval", "+watch", "+multi"]);
    output.deliver(&[batch, numbered(1..2)]).await.expect("Redis permits everything");
    assert!(pushed(&redis).into_iter().eq(0..2));
}

#[tokio::test]
async fn an_output_moves_to_a_stronger_way_with_its_next_connection() {
    let redis = Redis::start();
    redis.command(&["ACL", "SETUSER", "default", "-eval", "-watch", "-multi"]);
    let output = output(config(&redis));
    output.check().await.expect("Redis is running");
    assert!(output.warning().is_some());
    redis.command(&["ACL", "SETUSER", "default", "+eval", "+watch", "+multi"]);
    // The first push opens a connection of its own.
    output.deliver(&[numbered(0..1)]).await.expect("Redis is running");
    assert_eq!(output.warning(), None);
    assert_eq!(markers(&redis).len(), 1);
}

#[tokio::test]
async fn a_server_that_cannot_answer_now_does_not_decide_the_way() {
    let redis = Redis::start_with(&["--requirepass", "right"]);
    let output = output(with(&config(&redis), |config| config.password = Some(Secret::new("right"))));
    redis.command(&["REPLICAOF", "127.0.0.1", "1"]);
    redis.command(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    output.check().await.expect_err("the replica has no data");
    assert_eq!(output.warning(), None);
    redis.command(&["REPLICAOF", "NO", "ONE"]);
    output.deliver(&[numbered(0..1)]).await.expect("Redis is a primary");
    assert_eq!((output.warning(), markers(&redis).len()), (None, 1));
}
