//! Pushes that are so large that they are transactions.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::*;

/// As many elements as make a push a transaction.
pub const MANY: usize = 300;

/// A way to Redis on which the first transaction stops before its end, until it is let go.
struct Gate {
    port: u16,
    reached: Receiver<()>,
    release: Sender<()>,
}

impl Gate {
    fn before(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (redis, (at_gate, reached), (release, released)) = (redis.port, channel(), channel());
        thread::spawn(move || {
            let (client, _) = listener.accept().expect("a client");
            let server = TcpStream::connect(("127.0.0.1", redis)).expect("Redis");
            let handle = |stream: &TcpStream| stream.try_clone().expect("a handle");
            let (from_server, to_client) = (handle(&server), handle(&client));
            thread::spawn(move || pass(from_server, to_client, |_| {}));
            pass(client, server, |piece| {
                if piece.windows(4).any(|word| word == b"EXEC") {
                    at_gate.send(()).expect("a test that waits");
                    released.recv().expect("a test that lets go");
                }
            });
        });
        Self { port, reached, release }
    }

    fn output(&self, redis: &Redis, timeout_millis: u64) -> RedisOutput {
        output(RedisConfig { port: self.port, timeout_millis, ..config(redis) })
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, before: impl Fn(&[u8])) {
    let mut piece = vec![0; 1 << 20];
    while let Ok(size @ 1..) = from.read(&mut piece) {
        before(&piece[..size]);
        if to.write_all(&piece[..size]).is_err() {
            break;
        }
    }
    // What the other side has not read yet, it still reads.
    let _ = to.shutdown(Shutdown::Write);
}

#[tokio::test]
async fn what_hangs_is_not_done_after_its_repeat() {
    let redis = Redis::start();
    let gate = Gate::before(&redis);
    let (hanging, other) = (gate.output(&redis, 300), output(config(&redis)));
    let batch = many(0..MANY);
    hanging.deliver(std::slice::from_ref(&batch)).await.expect_err("no answer");
    other.deliver(std::slice::from_ref(&batch)).await.expect("pushed");
    gate.release.send(()).expect("a gate");
    eventually("what hangs has arrived", async || connections(&redis) == 1).await;
    assert!(messages(&redis).into_iter().eq(0..MANY));
}

#[tokio::test]
async fn what_was_done_without_an_answer_is_not_repeated() {
    let redis = Redis::start();
    let gate = Gate::before(&redis);
    let (hanging, other) = (gate.output(&redis, 300), output(config(&redis)));
    let batch = many(0..MANY);
    hanging.deliver(std::slice::from_ref(&batch)).await.expect_err("no answer");
    gate.release.send(()).expect("a gate");
    eventually("what hangs has arrived", async || redis.command(&["LLEN", "logstash"]) == MANY).await;
    other.deliver(&[batch, many(MANY..2 * MANY)]).await.expect("pushed");
    assert!(messages(&redis).into_iter().eq(0..2 * MANY));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_has_pushed_in_between_is_not_pushed_again() {
    let redis = Redis::start();
    let gate = Gate::before(&redis);
    let (slow, other) = (Arc::new(gate.output(&redis, 10_000)), output(config(&redis)));
    let batches = [many(0..MANY), many(MANY..2 * MANY)];
    let pushing = tokio::spawn({
        let (slow, batches) = (slow.clone(), batches.clone());
        async move { slow.deliver(&batches).await }
    });
    tokio::task::block_in_place(|| gate.reached.recv()).expect("a transaction");
    other.deliver(&batches[..1]).await.expect("pushed");
    gate.release.send(()).expect("a gate");
    pushing.await.expect("no panic").expect("pushed, or pushed before");
    assert!(messages(&redis).into_iter().eq(0..2 * MANY));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_key_refuses_in_between_is_not_marked() {
    let redis = Redis::start();
    let gate = Gate::before(&redis);
    let slow = Arc::new(gate.output(&redis, 10_000));
    let batch = many(0..MANY);
    let pushing = tokio::spawn({
        let (slow, batch) = (slow.clone(), batch.clone());
        async move { slow.deliver(&[batch]).await }
    });
    tokio::task::block_in_place(|| gate.reached.recv()).expect("a transaction");
    redis.command(&["SET", "logstash", "a string"]);
    gate.release.send(()).expect("a gate");
    let error = chain(&pushing.await.expect("no panic").expect_err("not a list"));
    assert!(error.contains("does not hold a list"), "{error}");
    assert!(markers(&redis).is_empty());

    redis.command(&["DEL", "logstash"]);
    output(config(&redis)).deliver(&[batch]).await.expect("the key is free");
    assert!(messages(&redis).into_iter().eq(0..MANY));
}
