//! Slow links: large pushes arrive, and are not sent without end.

use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use test_servers::Redis;
use tracker_core::testing::eventually;
use tracker_core::{Output, chain};
use tracker_redis::{RedisConfig, RedisOutput};

use crate::support::{Reaction, batch, config, numbered, numbers, output, proxy, pushed, with, without_scripts};

/// A link to Redis that carries a number of bytes a second.
struct SlowLink {
    output: RedisOutput,
    carried: Arc<AtomicUsize>,
}

impl SlowLink {
    fn to(redis: &Redis, bytes_per_second: usize) -> Self {
        Self::with(redis, bytes_per_second, |_| {})
    }

    fn with(redis: &Redis, bytes_per_second: usize, change: impl FnOnce(&mut RedisConfig)) -> Self {
        let carried = Arc::new(AtomicUsize::new(0));
        let count = carried.clone();
        let port = proxy(redis, move |piece| {
            thread::sleep(Duration::from_micros((1_000_000 * piece.len() / bytes_per_second) as u64));
            count.fetch_add(piece.len(), SeqCst);
            Reaction::Forward
        });
        let output = output(with(&config(redis), |config| {
            config.port = port;
            config.timeout_millis = 200;
            change(config);
        }));
        Self { output, carried }
    }

    /// Retries until everything is delivered, as a delivery worker does.
    async fn deliver(&self, batches: &[Arc<tracker_core::Batch>]) {
        eventually("the batches arrive", async || match self.output.deliver(batches).await {
            Ok(()) => true,
            Err(error) => {
                eprintln!("{}", chain(&error));
                false
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_takes_many_timeouts_arrives_once_and_is_not_sent_again() {
    for redis in [Redis::start(), without_scripts()] {
        let link = SlowLink::to(&redis, 512 << 10);
        let batch = numbered(0..4_000);
        link.deliver(slice::from_ref(&batch)).await;
        assert!(pushed(&redis).into_iter().eq(0..4_000));

        let carried = link.carried.load(SeqCst);
        link.deliver(slice::from_ref(&batch)).await;
        let again = link.carried.load(SeqCst) - carried;
        assert!(again < 4_096, "{again} bytes to recognize a duplicate");
        assert!(pushed(&redis).into_iter().eq(0..4_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_many_batches_shrinks_until_the_link_carries_it() {
    for redis in [Redis::start(), without_scripts()] {
        let link = SlowLink::to(&redis, 256 << 10);
        let batches: Vec<_> = (0..120).map(|n| numbered(n * 20..(n + 1) * 20)).collect();
        link.deliver(&batches).await;
        assert!(pushed(&redis).into_iter().eq(0..2_400));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_seventy_thousand_messages_arrives_whole() {
    let redis = Redis::start();
    let link = SlowLink::to(&redis, 12 << 20);
    let messages = vec![r#"{"message":""}"#; 69_904].join(",");
    let batch = batch(&format!("[{messages}]"));
    link.deliver(slice::from_ref(&batch)).await;
    assert_eq!(redis.command(&["LLEN", "logstash"]), 69_904);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_with_long_keys_arrive_on_a_slow_link() {
    for redis in [Redis::start(), without_scripts()] {
        let key = "k".repeat(1_000);
        let link = SlowLink::with(&redis, 64 << 10, |config| config.key = key.clone());
        let batches: Vec<_> = (0..60).map(|n| numbered(n..n + 1)).collect();
        link.deliver(&batches).await;
        assert!(numbers(redis.list(&key)).into_iter().eq(0..60));
        link.output.forget(&batches.iter().map(|batch| batch.id).collect::<Vec<_>>());
        link.deliver(&[]).await;
        assert_eq!(redis.command(&["DBSIZE"]), 1);
    }
}
