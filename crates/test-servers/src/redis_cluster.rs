//! A Redis Cluster.

use serde_json::Value;

use crate::{Redis, eventually, free_port};

const SLOTS: u64 = 16_384;
const MASTERS: u64 = 3;

/// Three masters, and one replica of the one that has the list `logstash`. A failover takes some two seconds.
#[derive(Debug)]
pub struct RedisCluster {
    /// The nodes, with the replica last.
    pub nodes: Vec<Redis>,
    /// Which of them had `logstash` at first.
    pub first: usize,
}

impl RedisCluster {
    /// Starts one.
    pub fn start() -> Self {
        let nodes: Vec<(Redis, String)> = (0..=MASTERS).map(|_| node()).collect();
        let share = |n: u64| (n * SLOTS / MASTERS).to_string();
        let last = |n: u64| ((n + 1) * SLOTS / MASTERS - 1).to_string();
        for ((node, _), n) in nodes.iter().zip(0..MASTERS) {
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &share(n), &last(n)]);
        }
        let seed = &nodes[0].0;
        for (node, bus) in &nodes[1..] {
            seed.command(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), bus]);
        }
        let nodes: Vec<Redis> = nodes.into_iter().map(|(node, _)| node).collect();
        eventually("the cluster is whole", || {
            let is_whole = |node: &Redis| {
                let info = node.command(&["CLUSTER", "INFO"]);
                let info = info.as_str().unwrap_or_default();
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:4")
            };
            nodes.iter().all(is_whole).then_some(())
        });
        let slot = nodes[0].command(&["CLUSTER", "KEYSLOT", "logstash"]).as_u64().expect("a slot");
        let first = usize::try_from(slot * MASTERS / SLOTS).expect("a small number");
        let cluster = Self { nodes, first };
        let id = cluster.nodes[first].command(&["CLUSTER", "MYID"]);
        cluster.nodes[3].command(&["CLUSTER", "REPLICATE", id.as_str().expect("an id")]);
        eventually("the replica follows", || (cluster.nodes[first].replicas() == 1).then_some(()));
        cluster
    }

    /// The node that has the list `logstash` now, by its own account.
    pub fn owner(&self) -> Option<&Redis> {
        self.nodes.iter().find(|node| matches!(node.try_command(&["LLEN", "logstash"]), Ok(Value::Number(_))))
    }

    /// The elements of the list `logstash`, wherever it is.
    pub fn elements(&self) -> Vec<Value> {
        eventually("a node has the list", || self.owner()).elements()
    }
}

/// A node, and its port for other nodes.
fn node() -> (Redis, String) {
    let bus = free_port().to_string();
    let options = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1000"];
    // What other shards have is not our concern; and a replica stands in however long it has not heard from its master.
    let lenient = ["--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0"];
    (Redis::start_with(&[&options[..], &lenient, &["--repl-diskless-sync-delay", "0"]].concat()), bus)
}
