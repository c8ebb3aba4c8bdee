//! A Redis Cluster: the node that has the list is found, and found again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::Value;
use test_servers::{Redis, RedisCluster};
use tracker_core::testing::{OutputHarness, eventually, output_suite};
use tracker_core::{Output, chain};
use tracker_redis::{Node, RedisConfig, RedisOutput};

use crate::{Reports, config, many, numbers, output};

fn node(redis: &Redis) -> Node {
    Node { host: "127.0.0.1".into(), port: redis.port }
}

fn way_in(cluster: &RedisCluster) -> RedisConfig {
    RedisConfig { cluster: cluster.nodes.iter().map(node).collect(), ..config(&cluster.nodes[0]) }
}

/// Waits until the list has `count` elements, without stopping what it waits for.
fn wait_for(redis: &Redis, count: usize) {
    tokio::task::block_in_place(|| redis.wait_for(count));
}

struct Harness {
    cluster: RedisCluster,
    output: Arc<RedisOutput>,
}

#[async_trait]
impl OutputHarness for Harness {
    fn output(&self) -> Arc<dyn Output> {
        self.output.clone()
    }

    async fn received(&mut self) -> Vec<String> {
        self.cluster.elements().iter().map(Value::to_string).collect()
    }

    async fn take_away(&mut self) {
        self.cluster.nodes.iter_mut().for_each(Redis::kill);
    }

    async fn bring_back(&mut self) {
        self.cluster.nodes.iter_mut().for_each(Redis::restart);
    }
}

#[tokio::test]
async fn it_keeps_to_what_an_output_promises_on_a_cluster() {
    let cluster = RedisCluster::start();
    let output = Arc::new(output(way_in(&cluster)));
    output_suite(&mut Harness { cluster, output }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_master_is_killed_its_replica_has_each_element_once() {
    let mut cluster = RedisCluster::start();
    let first = cluster.first;
    let output = Arc::new(output(RedisConfig { wait_replicas: 1, ..way_in(&cluster) }));
    let reports = Reports::start(output.clone());
    wait_for(&cluster.nodes[first], 100);
    cluster.nodes[first].kill();

    let begun = Instant::now();
    output.check().await.expect_err("nobody has the list");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    test_servers::eventually("a failover", || cluster.nodes[3].try_command(&["LLEN", "logstash"]).ok()?.as_u64());
    // Now there is a master without a replica.
    let aside = crate::output(RedisConfig { wait_replicas: 1, key: "{logstash}:aside".into(), ..way_in(&cluster) });
    let lonely = chain(&aside.deliver(&[many(0..1)]).await.expect_err("no replica"));
    assert!(lonely.contains("`redis.wait_replicas`"), "{lonely}");
    cluster.nodes[first].restart();
    test_servers::eventually("the old master follows the new", || (cluster.nodes[3].replicas() == 1).then_some(()));
    wait_for(&cluster.nodes[3], cluster.nodes[3].elements().len() + 100);
    let acknowledged = reports.end().await;
    let there = numbers(cluster.nodes[3].elements());
    assert!(there.into_iter().eq(0..acknowledged));
}

#[tokio::test]
async fn a_node_that_has_not_the_list_may_be_away() {
    let mut cluster = RedisCluster::start();
    let config = RedisConfig { cluster: cluster.nodes[..3].iter().map(node).collect(), ..way_in(&cluster) };
    let first = cluster.first;
    let (killed, frozen) = ((first + 1) % 3, (first + 2) % 3);
    let before = output(config.clone());
    before.deliver(&[many(0..1)]).await.expect("pushed");
    cluster.nodes[killed].kill();
    cluster.nodes[frozen].freeze();
    let after = output(config);
    for (n, output) in [&before, &after].into_iter().enumerate() {
        output.deliver(&[many(n + 1..n + 2)]).await.expect("pushed");
        output.check().await.expect("there");
    }
    assert_eq!(numbers(cluster.nodes[first].elements()), [0, 1, 2]);
}

#[tokio::test]
async fn a_list_that_moves_to_another_node_is_followed() {
    let cluster = RedisCluster::start();
    let (from, to) = (&cluster.nodes[cluster.first], &cluster.nodes[(cluster.first + 1) % 3]);
    let output = output(RedisConfig { cluster: vec![node(to)], ..way_in(&cluster) });
    let batches = [many(0..1), many(1..2), many(2..3)];
    output.deliver(&batches[..1]).await.expect("pushed");

    let slot = from.command(&["CLUSTER", "KEYSLOT", "logstash"]).to_string();
    let id = |node: &Redis| node.command(&["CLUSTER", "MYID"]).as_str().expect("an id").to_owned();
    to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]);
    from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]);
    let half = chain(&output.deliver(&batches[..2]).await.expect_err("the keys are on both nodes"));
    assert!(half.contains("TRYAGAIN"), "{half}");
    let marker = format!("{{logstash}}:delivered:{}", batches[0].id);
    for key in ["logstash", &marker] {
        from.command(&["MIGRATE", "127.0.0.1", &to.port.to_string(), key, "0", "5000"]);
    }
    let gone = chain(&output.deliver(&batches[..2]).await.expect_err("the keys are on the other node"));
    assert!(gone.contains("ASK"), "{gone}");
    for node in [to, from] {
        node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &id(to)]);
    }
    eventually("the other node is found", async || output.deliver(&batches).await.is_ok()).await;
    output.check().await.expect("there");
    assert_eq!(numbers(to.elements()), [0, 1, 2]);
}

#[tokio::test]
async fn what_is_wrong_with_a_cluster_is_said() {
    let cluster = RedisCluster::start();
    let other = &cluster.nodes[(cluster.first + 1) % 3];
    let single = output(config(other));
    let error = chain(&single.deliver(&[many(0..1)]).await.expect_err("the list is elsewhere"));
    assert!(error.contains("MOVED") && error.contains("name nodes of the cluster in `redis.cluster`"), "{error}");
    let nobody = Node { host: "127.0.0.1".into(), port: 1 };
    let absent = output(RedisConfig { cluster: vec![nobody], ..config(other) });
    let error = chain(&absent.check().await.expect_err("nobody is there"));
    assert!(error.contains("at the cluster of 127.0.0.1:1; check that it runs, and `redis.cluster`"), "{error}");
}
