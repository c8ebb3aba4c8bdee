//! The output as Redis, and who reads from it, see it.

mod cluster;
mod sentinels;
mod tls;
mod transaction;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::Value;
use test_servers::{PATIENCE, Redis};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracker_core::testing::{OutputHarness, deployment_report, eventually, logged, new_id, output_suite, started};
use tracker_core::{Batch, DeploymentFields, MemoryStore, Output, Tracker, chain};
use tracker_redis::{ConfigError, Format, RedisConfig, RedisOutput, Secret};

use transaction::MANY;

/// What a user needs, as the documentation of `redis.username` says.
const PERMISSIONS: [&str; 13] = [
    "+eval", "+rpush", "+llen", "+set", "+del", "+type", "+ping", "+watch", "+mget", "+multi", "+exec", "+discard",
    "+lindex",
];

fn output(config: RedisConfig) -> RedisOutput {
    RedisOutput::new(config).expect("a configuration that works")
}

fn config(redis: &Redis) -> RedisConfig {
    RedisConfig { port: redis.port, timeout_millis: 500, connect_timeout_millis: 500, ..RedisConfig::default() }
}

/// How many connections Redis has, beside the one that asks.
fn connections(redis: &Redis) -> usize {
    let list = redis.command(&["CLIENT", "LIST", "TYPE", "normal"]);
    list.as_str().expect("a list").lines().count() - 1
}

fn markers(redis: &Redis) -> Vec<Value> {
    redis.command(&["KEYS", "{logstash}:delivered:*"]).as_array().expect("a list").clone()
}

fn batch(body: &str) -> Arc<Batch> {
    Arc::new(Batch::new(vec![logged(body)]))
}

fn many(messages: std::ops::Range<usize>) -> Arc<Batch> {
    let messages: Vec<_> = messages.map(|n| format!("{{\"message\":\"{n}\"}}")).collect();
    batch(&format!("[{}]", messages.join(",")))
}

fn messages(redis: &Redis) -> Vec<usize> {
    numbers(redis.elements())
}

fn numbers(elements: Vec<Value>) -> Vec<usize> {
    let number = |element: Value| {
        element["message"].as_str().and_then(|message| message.parse().ok()).expect("a numbered message")
    };
    elements.into_iter().map(number).collect()
}

/// Numbers on their way, each a batch of its own that is delivered until it is acknowledged, as a courier does.
struct Reports {
    stop: Arc<AtomicBool>,
    task: JoinHandle<usize>,
}

impl Reports {
    fn start(output: Arc<RedisOutput>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, runtime) = (stop.clone(), Handle::current());
        let task = tokio::task::spawn_blocking(move || runtime.block_on(Self::deliver(&output, &stopped)));
        Self { stop, task }
    }

    async fn deliver(output: &RedisOutput, stopped: &AtomicBool) -> usize {
        let (mut n, mut acknowledged, mut pushes) = (0, Vec::new(), 0);
        while !stopped.load(Ordering::Relaxed) {
            pushes += 1;
            let end = n + if pushes % 10 == 0 { MANY } else { 1 };
            let (batch, begun) = (many(n..end), Instant::now());
            output.forget(&acknowledged);
            while let Err(error) = output.deliver(std::slice::from_ref(&batch)).await {
                // A failover may want a second attempt of those who vote for it.
                assert!(begun.elapsed() < PATIENCE, "{n} is not acknowledged: {}", chain(&error));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            acknowledged = vec![batch.id];
            n = end;
        }
        n
    }

    /// Stops, and says how many were acknowledged: all that were begun.
    async fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        (&mut self.task).await.expect("all are acknowledged")
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// How the other side goes away.
enum Away {
    Killed,
    Frozen,
}

struct Harness {
    redis: Redis,
    output: Arc<RedisOutput>,
    away: Away,
}

#[async_trait]
impl OutputHarness for Harness {
    fn output(&self) -> Arc<dyn Output> {
        self.output.clone()
    }

    async fn received(&mut self) -> Vec<String> {
        self.redis.elements().iter().map(Value::to_string).collect()
    }

    async fn take_away(&mut self) {
        match self.away {
            Away::Killed => self.redis.kill(),
            Away::Frozen => self.redis.freeze(),
        }
    }

    async fn bring_back(&mut self) {
        match self.away {
            Away::Killed => self.redis.restart(),
            Away::Frozen => self.redis.thaw(),
        }
    }
}

#[tokio::test]
async fn it_keeps_to_what_an_output_promises_over_tcp() {
    let redis = Redis::start();
    let output = Arc::new(output(config(&redis)));
    output_suite(&mut Harness { redis, output, away: Away::Killed }).await;
}

const PASSWORD: &str = "s3:/@ cret";

#[tokio::test]
async fn it_keeps_to_what_an_output_promises_over_a_unix_socket_with_a_password() {
    let redis = Redis::start_with(&["--requirepass", PASSWORD]);
    let way_in =
        RedisConfig { path: Some(redis.socket()), port: 1, password: Some(Secret::new(PASSWORD)), ..config(&redis) };
    let output = Arc::new(output(way_in));
    output_suite(&mut Harness { redis, output, away: Away::Frozen }).await;
}

#[tokio::test]
async fn elements_arrive_in_the_configured_form() {
    let redis = Redis::start();
    let members = DeploymentFields { engine: Some("Zoë \u{2028} 😀\n".into()), ..Default::default() };
    let start = Arc::new(Batch::new(vec![started(members)]));
    for format in [Format::Logstash, Format::Original] {
        let key = format!("{format:?}");
        let output = output(RedisConfig { format, key: key.clone(), index: "i".into(), ..config(&redis) });
        output.deliver(std::slice::from_ref(&start)).await.expect("pushed");
        let element = redis.list(&key).remove(0);
        assert_eq!((&element["engine"], &element["index"]), (&"Zoë \u{2028} 😀\n".into(), &"i".into()));
        assert_eq!(element.get("@version").is_some(), format == Format::Logstash);
        assert_eq!(output.location(), format!("127.0.0.1:{} key {key}", redis.port));
    }
}

#[tokio::test]
async fn ten_thousand_messages_arrive_whole_in_order_and_once() {
    let redis = Redis::start();
    let output = output(RedisConfig { timeout_millis: 10_000, ..config(&redis) });
    let batches = [many(0..10_000), many(10_000..10_001), many(10_001..15_000), many(15_000..15_001)];
    output.deliver(&batches).await.expect("pushed");
    output.deliver(&batches[1..]).await.expect("pushed before");
    let (one, other) = (many(15_001..15_001 + MANY), many(15_001 + MANY..15_001 + 2 * MANY));
    output.deliver(&[one.clone(), one, other.clone(), other]).await.expect("pushed");
    assert!(messages(&redis).into_iter().eq(0..15_001 + 2 * MANY));
    assert_eq!(markers(&redis).len(), 6);
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_arrives_once() {
    let redis = Redis::start();
    let output = output(config(&redis));
    output.deliver(&[many(0..1)]).await.expect("pushed, over a connection that stays");

    redis.freeze();
    // Small enough for the buffers of the sockets: what is still to be sent goes with the connection.
    let lost = many(1..100);
    output.deliver(std::slice::from_ref(&lost)).await.expect_err("no answer");
    redis.thaw();
    eventually("Redis takes what it was sent", async || redis.command(&["LLEN", "logstash"]) == 100).await;

    output.deliver(&[lost, many(100..101)]).await.expect("Redis is back");
    assert!(messages(&redis).into_iter().eq(0..101));
}

#[tokio::test]
async fn a_key_that_is_no_list_is_named_and_nothing_is_marked() {
    let redis = Redis::start();
    let output = output(config(&redis));
    redis.command(&["SET", "logstash", "a string"]);
    let batch = many(0..1_500);
    for error in [
        output.deliver(std::slice::from_ref(&batch)).await.expect_err("not a list"),
        output.check().await.expect_err("not a list"),
    ] {
        let error = chain(&error);
        assert!(error.contains("`logstash` in Redis does not hold a list; delete it, or choose another"), "{error}");
    }
    assert!(markers(&redis).is_empty());

    redis.command(&["DEL", "logstash"]);
    output.check().await.expect("the key is free");
    output.deliver(&[batch]).await.expect("the key is free");
    assert!(messages(&redis).into_iter().eq(0..1_500));
}

#[tokio::test]
async fn markers_go_when_their_batches_are_settled_or_old() {
    let redis = Redis::start();
    let output = output(config(&redis));
    let (first, second) = (many(0..1), many(1..2));
    output.deliver(&[first.clone(), second.clone()]).await.expect("pushed");
    assert_eq!(markers(&redis).len(), 2);
    output.forget(&[first.id]);
    output.deliver(&[]).await.expect("settled");
    let marker = format!("{{logstash}}:delivered:{}", second.id);
    assert_eq!(markers(&redis), [marker.as_str()]);
    let seconds = redis.command(&["TTL", &marker]);
    assert!(seconds.as_u64().is_some_and(|seconds| (604_000..=604_800).contains(&seconds)), "{seconds}");
    output.forget(&[second.id]);
    output.deliver(&[many(2..3)]).await.expect("pushed and settled");
    assert_eq!(markers(&redis).len(), 1);
    assert!(messages(&redis).into_iter().eq(0..3));
}

#[tokio::test]
async fn a_batch_without_elements_leaves_nothing() {
    let redis = Redis::start();
    let output = output(config(&redis));
    output.deliver(&[Arc::new(Batch::new(Vec::new())), batch("[]")]).await.expect("nothing to push");
    assert_eq!(redis.command(&["KEYS", "*"]), serde_json::json!([]));
}

#[tokio::test]
async fn what_is_wrong_with_the_configuration_is_said() {
    let redis = Redis::start_with(&["--requirepass", "right"]);
    let right = RedisConfig { password: Some(Secret::new("right")), ..config(&redis) };
    let batch = many(0..1);
    let password = |password: Option<&str>| RedisConfig { password: password.map(Secret::new), ..right.clone() };
    for (config, remedy) in [
        (password(Some("wrong")), "check `redis.username` and `redis.password`"),
        (password(None), "check `redis.username` and `redis.password`"),
        (RedisConfig { username: Some("nobody".into()), ..right.clone() }, "check `redis.username`"),
        (RedisConfig { db: Some(200), ..right.clone() }, "check `redis.db`"),
        (
            RedisConfig { port: 1, ..right.clone() },
            "127.0.0.1:1; check that it runs, and `redis.host` and `redis.port`",
        ),
        (RedisConfig { path: Some("/nowhere".into()), ..right.clone() }, "/nowhere; check that it runs"),
        (RedisConfig { host: "redis.invalid".into(), ..right.clone() }, "cannot connect to Redis at redis.invalid:"),
    ] {
        let output = output(config);
        let check = chain(&output.check().await.expect_err("no way in"));
        let push = chain(&output.deliver(std::slice::from_ref(&batch)).await.expect_err("no way in"));
        for error in [check, push] {
            assert!(error.contains(remedy) && !error.contains("wrong"), "{error}");
        }
    }
    assert_eq!(
        RedisOutput::new(RedisConfig { key: String::new(), ..right.clone() }).map(drop),
        Err(ConfigError::Empty("key"))
    );
}

#[tokio::test]
async fn a_user_with_few_permissions_suffices_and_one_with_fewer_is_told() {
    let redis = Redis::start();
    let user = ["ACL", "SETUSER", "few", "on", ">pass", "~logstash", "~{logstash}:delivered:*"];
    redis.command(&[&user[..], &PERMISSIONS].concat());
    let output =
        output(RedisConfig { username: Some("few".into()), password: Some(Secret::new("pass")), ..config(&redis) });
    let batch = many(0..1);
    output.check().await.expect("permitted");
    output.deliver(std::slice::from_ref(&batch)).await.expect("permitted");
    let large = many(1..1 + MANY);
    output.forget(&[batch.id]);
    output.deliver(std::slice::from_ref(&large)).await.expect("permitted");
    output.forget(&[large.id]);
    output.deliver(&[]).await.expect("permitted");

    for forbidden in ["set", "eval", "rpush", "multi", "watch", "exec", "lindex", "mget", "llen"] {
        redis.command(&["ACL", "SETUSER", "few", &format!("-{forbidden}")]);
        let is_for_large_ones = !["set", "eval", "rpush"].contains(&forbidden);
        for end in [1, MANY].into_iter().skip(usize::from(is_for_large_ones)) {
            let error = chain(&output.deliver(&[many(0..end)]).await.expect_err("not permitted"));
            assert!(error.contains("give the user what is said of `redis.username`"), "{error}");
        }
        redis.command(&["ACL", "SETUSER", "few", &format!("+{forbidden}")]);
        assert!(messages(&redis).into_iter().eq(0..1 + MANY), "nothing is pushed that cannot be marked: {forbidden}");
        assert!(markers(&redis).is_empty());
    }
}

#[tokio::test]
async fn nothing_waits_for_a_frozen_redis() {
    let redis = Redis::start();
    let output = output(config(&redis));
    output.check().await.expect("there");
    output.deliver(&[many(0..1)]).await.expect("pushed");
    redis.freeze();
    for _ in 0..3 {
        let begun = Instant::now();
        output.check().await.expect_err("frozen");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        let begun = Instant::now();
        output.deliver(&[many(1..2)]).await.expect_err("frozen");
        assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    }
    let begun = Instant::now();
    output.close().await;
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    redis.thaw();
    eventually("given up connections are closed", async || connections(&redis) == 0).await;
}

#[tokio::test]
async fn a_check_is_not_held_up_by_a_push_and_ends_none() {
    let redis = Redis::start();
    let output = output(RedisConfig { timeout_millis: 10_000, ..config(&redis) });
    let batches: Vec<_> = (0..20).map(|n| many(n * 1_000..(n + 1) * 1_000)).collect();
    let pushing = async { output.deliver(&batches).await.expect("pushed") };
    let checking = async {
        for _ in 0..20 {
            output.check().await.expect("there");
        }
    };
    tokio::join!(pushing, checking);
    assert!(messages(&redis).into_iter().eq(0..20_000));
}

#[tokio::test]
async fn connections_are_used_again_and_closed() {
    let redis = Redis::start();
    let output = output(config(&redis));
    for n in 0..5 {
        output.check().await.expect("there");
        output.deliver(&[many(n..n + 1)]).await.expect("pushed");
    }
    assert_eq!(connections(&redis), 2, "one for pushes, one for checks");
    output.close().await;
    eventually("the connections are closed", async || connections(&redis) == 0).await;
}

#[tokio::test]
async fn a_list_as_long_as_it_may_be_takes_repeats_and_nothing_new() {
    let redis = Redis::start();
    let output = output(RedisConfig { max_list_length: Some(3), ..config(&redis) });
    let (first, second, large) = (many(0..4), many(4..5), many(5..5 + MANY));
    output.deliver(std::slice::from_ref(&first)).await.expect("there is room");
    let refused = output.deliver(&[first.clone(), second.clone()]).await.expect_err("there is none");
    assert!(chain(&refused).contains("redis.max_list_length"), "{}", chain(&refused));
    let refused = output.deliver(std::slice::from_ref(&large)).await.expect_err("there is none");
    assert!(chain(&refused).contains("redis.max_list_length"), "{}", chain(&refused));
    output.deliver(std::slice::from_ref(&first)).await.expect("what is there needs no room");
    redis.command(&["LPOP", "logstash", "2"]);
    output.deliver(&[first, second]).await.expect("there is room again");
    assert_eq!(messages(&redis), [2, 3, 4]);
    redis.command(&["LPOP", "logstash"]);
    output.deliver(std::slice::from_ref(&large)).await.expect("there is room again");
    output.deliver(&[large]).await.expect("what is there needs no room");
    assert!(messages(&redis).into_iter().eq(3..5 + MANY));
}

#[tokio::test]
async fn one_tracker_may_push_to_two_lists() {
    let redis = Redis::start();
    let other = RedisConfig { key: "other".into(), ..config(&redis) };
    let tracker = Tracker::builder(Arc::new(MemoryStore::new()))
        .output(Arc::new(output(config(&redis))))
        .output(Arc::new(output(other).named("other")))
        .start();
    tracker.start_deployment(deployment_report(new_id(), "{}")).await.expect("recorded");
    for key in ["logstash", "other"] {
        eventually("the list has it", async || redis.command(&["LLEN", key]) == 1).await;
    }
    tracker.shutdown(PATIENCE).await;
}

#[tokio::test]
async fn what_redis_refuses_is_told_with_what_to_do() {
    for (state, remedies) in [
        (&["CONFIG", "SET", "maxmemory", "1"][..], ["OOM", "is Logstash behind"]),
        (&["REPLICAOF", "127.0.0.1", "1"], ["READONLY", "name its master"]),
    ] {
        let redis = Redis::start();
        redis.command(state);
        let error = output(config(&redis)).deliver(&[many(0..1)]).await.expect_err("refused");
        let told = chain(&error);
        assert!(remedies.iter().all(|remedy| told.contains(remedy)), "{told}");
        assert!(!told.contains("Unknown Error"), "{told}");
    }
}
