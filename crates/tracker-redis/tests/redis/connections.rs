//! Reuse of connections, and timeouts.

use std::time::{Duration, Instant};

use test_servers::Redis;
use tracker_core::Output;
use tracker_core::testing::eventually;

use crate::support::{config, connections, numbered, output, pushed, with};

#[tokio::test]
async fn a_frozen_redis_delays_nothing_beyond_the_timeouts() {
    let redis = Redis::start();
    let output = output(config(&redis));
    output.check().await.expect("Redis is running");
    output.deliver(&[numbered(0..1)]).await.expect("Redis is running");
    redis.freeze();
    for _ in 0..3 {
        let begun = Instant::now();
        output.check().await.expect_err("Redis is frozen");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        let begun = Instant::now();
        output.deliver(&[numbered(1..2)]).await.expect_err("Redis is frozen");
        assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    }
    let begun = Instant::now();
    output.close().await;
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    redis.thaw();
    eventually("abandoned connections are closed", async || connections(&redis) == 0).await;
}

#[tokio::test]
async fn health_checks_neither_wait_for_a_push_nor_end_it() {
    let redis = Redis::start();
    let output = output(with(&config(&redis), |config| config.timeout_millis = 10_000));
    let batches: Vec<_> = (0..20).map(|n| numbered(n * 1_000..(n + 1) * 1_000)).collect();
    let pushing = async { output.deliver(&batches).await.expect("Redis is running") };
    let checking = async {
        for _ in 0..20 {
            output.check().await.expect("Redis is running");
        }
    };
    tokio::join!(pushing, checking);
    assert!(pushed(&redis).into_iter().eq(0..20_000));
}

#[tokio::test]
async fn connections_are_reused_and_closed() {
    let redis = Redis::start();
    let output = output(config(&redis));
    for n in 0..5 {
        output.check().await.expect("Redis is running");
        output.deliver(&[numbered(n..n + 1)]).await.expect("Redis is running");
    }
    assert_eq!(connections(&redis), 2, "one for pushes, one for health checks");
    output.close().await;
    eventually("the connections are closed", async || connections(&redis) == 0).await;
}
