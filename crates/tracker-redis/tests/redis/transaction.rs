//! Races in large pushes, which are transactions.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{slice, thread};

use test_servers::{DEADLINE, Redis};
use tracker_core::testing::eventually;
use tracker_core::{Output, chain};
use tracker_redis::RedisOutput;

use crate::support::{LARGE, config, connections, markers, numbered, output, pass, pushed, with, without_scripts};

/// A proxy to Redis that holds back the first EXEC until the test releases it.
struct Gate {
    port: u16,
    reached: Receiver<()>,
    release: Sender<()>,
}

impl Gate {
    fn in_front_of(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("the socket is bound").port();
        let (redis, (reach, reached), (release, released)) = (redis.port, channel(), channel());
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("the output connects");
                let server = TcpStream::connect(("127.0.0.1", redis)).expect("Redis is running");
                let handle = |stream: &TcpStream| stream.try_clone().expect("sockets can be cloned");
                let (from_server, to_client) = (handle(&server), handle(&client));
                thread::spawn(move || pass(from_server, to_client, |_| true));
                let mut has_elements = false;
                pass(client, server, |piece| {
                    // The probe of a new connection is a transaction, too, but pushes nothing.
                    has_elements |= piece.windows(5).any(|word| word == b"RPUSH");
                    if has_elements && piece.windows(4).any(|word| word == b"EXEC") {
                        reach.send(()).expect("the test keeps the gate");
                        released.recv().expect("the test releases the gate");
                    }
                    true
                });
            }
        });
        Self { port, reached, release }
    }

    fn output(&self, redis: &Redis, timeout_millis: u64) -> RedisOutput {
        output(with(&config(redis), |config| {
            config.port = self.port;
            config.timeout_millis = timeout_millis;
        }))
    }
}

#[tokio::test]
async fn a_hanging_transaction_fails_after_its_retry() {
    let redis = Redis::start();
    let gate = Gate::in_front_of(&redis);
    let (hanging, other) = (gate.output(&redis, 300), output(config(&redis)));
    let batch = numbered(0..LARGE);
    hanging.deliver(slice::from_ref(&batch)).await.expect_err("the gate holds EXEC back");
    other.deliver(slice::from_ref(&batch)).await.expect("Redis is running");
    gate.release.send(()).expect("the proxy is running");
    eventually("the hanging transaction reaches Redis", async || connections(&redis) == 1).await;
    assert!(pushed(&redis).into_iter().eq(0..LARGE));
}

#[tokio::test]
async fn a_transaction_whose_answer_was_lost_is_not_pushed_twice() {
    let redis = Redis::start();
    let gate = Gate::in_front_of(&redis);
    let (hanging, other) = (gate.output(&redis, 300), output(config(&redis)));
    let batch = numbered(0..LARGE);
    hanging.deliver(slice::from_ref(&batch)).await.expect_err("the gate holds EXEC back");
    gate.release.send(()).expect("the proxy is running");
    eventually("the hanging transaction reaches Redis", async || redis.command(&["LLEN", "logstash"]) == LARGE).await;
    other.deliver(&[batch, numbered(LARGE..2 * LARGE)]).await.expect("Redis is running");
    assert!(pushed(&redis).into_iter().eq(0..2 * LARGE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_another_connection_pushes_meanwhile_is_not_pushed_twice() {
    let redis = Redis::start();
    let gate = Gate::in_front_of(&redis);
    let (slow, other) = (Arc::new(gate.output(&redis, 10_000)), output(config(&redis)));
    let batches = [numbered(0..LARGE), numbered(LARGE..2 * LARGE)];
    let pushing = tokio::spawn({
        let (slow, batches) = (slow.clone(), batches.clone());
        async move { slow.deliver(&batches).await }
    });
    tokio::task::block_in_place(|| gate.reached.recv_timeout(DEADLINE)).expect("a transaction reaches the gate");
    other.deliver(&batches[..1]).await.expect("Redis is running");
    // The first transaction fails, and the second has only the other batch.
    for _ in 0..2 {
        gate.release.send(()).expect("the proxy is running");
    }
    pushing.await.expect("no panic").expect("the other connection pushed the first batch");
    assert!(pushed(&redis).into_iter().eq(0..2 * LARGE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_rpush_refuses_in_a_transaction_gets_no_marker() {
    for redis in [Redis::start(), without_scripts()] {
        rpush_is_refused(&redis).await;
    }
}

async fn rpush_is_refused(redis: &Redis) {
    let gate = Gate::in_front_of(redis);
    let slow = Arc::new(gate.output(redis, 10_000));
    let batch = numbered(0..LARGE);
    let pushing = tokio::spawn({
        let (slow, batch) = (slow.clone(), batch.clone());
        async move { slow.deliver(&[batch]).await }
    });
    tokio::task::block_in_place(|| gate.reached.recv_timeout(DEADLINE)).expect("a transaction reaches the gate");
    redis.command(&["SET", "logstash", "a string"]);
    gate.release.send(()).expect("the proxy is running");
    let error = chain(&pushing.await.expect("no panic").expect_err("the key holds a string"));
    assert!(error.contains("does not hold a list"), "{error}");
    assert!(markers(redis).is_empty());

    redis.command(&["DEL", "logstash"]);
    output(config(redis)).deliver(&[batch]).await.expect("the key is free");
    assert!(pushed(redis).into_iter().eq(0..LARGE));
}
