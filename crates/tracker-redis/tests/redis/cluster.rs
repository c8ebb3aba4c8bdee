//! Redis Cluster: the output finds the node that has the list, and follows it to another node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::Value;
use test_servers::{Redis, RedisCluster};
use tracker_core::testing::{OutputHarness, eventually, output_suite};
use tracker_core::{Output, chain};
use tracker_redis::{Node, RedisConfig, RedisOutput};

use crate::support::{Reports, config, numbered, numbers, output, with};

fn node(redis: &Redis) -> Node {
    Node::new("127.0.0.1", redis.port)
}

fn cluster_config(cluster: &RedisCluster) -> RedisConfig {
    with(&config(&cluster.nodes[0]), |config| config.cluster = cluster.nodes.iter().map(node).collect())
}

/// Waits until the list has `count` elements, without blocking the tasks that push them.
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
async fn it_passes_the_output_suite_on_a_cluster() {
    let cluster = RedisCluster::start();
    let output = Arc::new(output(cluster_config(&cluster)));
    output_suite(&mut Harness { cluster, output }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_primary_is_killed_its_replica_has_each_element_once() {
    let mut cluster = RedisCluster::start();
    let first = cluster.first;
    let output = Arc::new(output(with(&cluster_config(&cluster), |config| config.wait_replicas = 1)));
    let reports = Reports::start(output.clone());
    wait_for(&cluster.nodes[first], 100);
    cluster.nodes[first].kill();

    let begun = Instant::now();
    output.check().await.expect_err("no node has the list");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    test_servers::eventually("the replica takes over", || {
        cluster.nodes[3].try_command(&["LLEN", "logstash"]).ok()?.as_u64()
    });
    // The new primary has no replica yet.
    let aside = crate::support::output(with(&cluster_config(&cluster), |config| {
        config.wait_replicas = 1;
        config.key = "{logstash}:aside".into();
    }));
    let error = chain(&aside.deliver(&[numbered(0..1)]).await.expect_err("there is no replica"));
    assert!(error.contains("0 of the 1 replicas that `wait_replicas` requires confirmed"), "{error}");
    cluster.nodes[first].restart();
    test_servers::eventually("the old primary follows the new one", || {
        (cluster.nodes[3].replicas() == 1).then_some(())
    });
    wait_for(&cluster.nodes[3], cluster.nodes[3].elements().len() + 100);
    let delivered = reports.end().await;
    let pushed = numbers(cluster.nodes[3].elements());
    assert!(pushed.into_iter().eq(0..delivered));
}

#[tokio::test]
async fn nodes_that_do_not_have_the_list_may_be_down() {
    let mut cluster = RedisCluster::start();
    let config = with(&cluster_config(&cluster), |config| config.cluster.truncate(3));
    let first = cluster.first;
    let (killed, frozen) = ((first + 1) % 3, (first + 2) % 3);
    let before = output(config.clone());
    before.deliver(&[numbered(0..1)]).await.expect("the cluster is running");
    cluster.nodes[killed].kill();
    cluster.nodes[frozen].freeze();
    let after = output(config);
    for (n, output) in [&before, &after].into_iter().enumerate() {
        output.deliver(&[numbered(n + 1..n + 2)]).await.expect("the cluster is running");
        output.check().await.expect("the cluster is running");
    }
    assert_eq!(numbers(cluster.nodes[first].elements()), [0, 1, 2]);
}

#[tokio::test]
async fn it_follows_a_list_that_moves_to_another_node() {
    let cluster = RedisCluster::start();
    let (from, to) = (&cluster.nodes[cluster.first], &cluster.nodes[(cluster.first + 1) % 3]);
    let output = output(with(&cluster_config(&cluster), |config| config.cluster = vec![node(to)]));
    let batches = [numbered(0..1), numbered(1..2), numbered(2..3)];
    output.deliver(&batches[..1]).await.expect("the cluster is running");

    let slot = from.command(&["CLUSTER", "KEYSLOT", "logstash"]).to_string();
    let id = |node: &Redis| node.command(&["CLUSTER", "MYID"]).as_str().expect("MYID returns a text").to_owned();
    to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]);
    from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]);
    let error = chain(&output.deliver(&batches[..2]).await.expect_err("the keys are on both nodes"));
    assert!(error.contains("TRYAGAIN"), "{error}");
    let marker = format!("{{logstash}}:delivered:{}", batches[0].id);
    for key in ["logstash", &marker] {
        from.command(&["MIGRATE", "127.0.0.1", &to.port.to_string(), key, "0", "5000"]);
    }
    let error = chain(&output.deliver(&batches[..2]).await.expect_err("the keys are on the other node"));
    assert!(error.contains("ASK"), "{error}");
    for node in [to, from] {
        node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &id(to)]);
    }
    eventually("the output finds the other node", async || output.deliver(&batches).await.is_ok()).await;
    output.check().await.expect("the cluster is running");
    assert_eq!(numbers(to.elements()), [0, 1, 2]);
}

#[tokio::test]
async fn errors_name_the_field_cluster() {
    let cluster = RedisCluster::start();
    let other = &cluster.nodes[(cluster.first + 1) % 3];
    let single = output(config(other));
    let error = chain(&single.deliver(&[numbered(0..1)]).await.expect_err("another node has the list"));
    assert!(error.contains("MOVED") && error.contains("list nodes of the cluster in `cluster`"), "{error}");
    let numbered_database = output(with(&config(other), |config| config.db = Some(1)));
    let error = chain(&numbered_database.check().await.expect_err("a cluster has one database"));
    assert!(error.contains("remove `db`: a cluster has only 0"), "{error}");
    let unreachable = output(with(&config(other), |config| config.cluster = vec![Node::new("127.0.0.1", 1)]));
    let error = chain(&unreachable.check().await.expect_err("the port is closed"));
    let expected = "at the cluster of 127.0.0.1:1; check that Redis is running, and check `cluster`";
    assert!(error.contains(expected), "{error}");
}

#[tokio::test]
async fn delivery_resumes_when_a_node_serves_the_slot_again() {
    let cluster = RedisCluster::start();
    let owner = &cluster.nodes[cluster.first];
    let outputs = [output(cluster_config(&cluster)), output(config(owner))];
    let batches = [numbered(0..1), numbered(1..2)];
    for output in &outputs {
        output.deliver(&batches[..1]).await.expect("the cluster is running");
    }
    let slot = owner.command(&["CLUSTER", "KEYSLOT", "logstash"]).to_string();
    for node in &cluster.nodes[..3] {
        node.command(&["CLUSTER", "DELSLOTS", &slot]);
    }
    for output in &outputs {
        let error = chain(&output.deliver(&batches).await.expect_err("no node serves the slot"));
        assert!(
            error.contains("CLUSTERDOWN") && error.contains("no node of the cluster serves the list now"),
            "{error}"
        );
    }
    owner.command(&["CLUSTER", "ADDSLOTS", &slot]);
    for output in &outputs {
        eventually("the owner serves the slot", async || output.deliver(&batches).await.is_ok()).await;
    }
    assert_eq!(numbers(owner.elements()), [0, 1]);
}
