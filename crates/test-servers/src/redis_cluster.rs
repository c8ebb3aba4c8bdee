//! A Redis Cluster.

use serde_json::Value;

use crate::{Redis, eventually, free_port};

const SLOTS: u64 = 16_384;
const MASTERS: u64 = 3;

/// Three masters, and one replica of the master that holds the list `logstash`. A failover takes about two seconds.
#[derive(Debug)]
pub struct RedisCluster {
    /// The nodes; the replica is the last.
    pub nodes: Vec<Redis>,
    /// The index of the node that holds `logstash` before any failover.
    pub first: usize,
}

impl RedisCluster {
    /// Starts a cluster and waits until the replica is online.
    pub fn start() -> Self {
        let nodes: Vec<(Redis, String)> = (0..=MASTERS).map(|_| node()).collect();
        let first_slot = |n: u64| (n * SLOTS / MASTERS).to_string();
        let last_slot = |n: u64| ((n + 1) * SLOTS / MASTERS - 1).to_string();
        for ((node, _), n) in nodes.iter().zip(0..MASTERS) {
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &first_slot(n), &last_slot(n)]);
        }
        let seed = &nodes[0].0;
        for (node, bus) in &nodes[1..] {
            seed.command(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), bus]);
        }
        let nodes: Vec<Redis> = nodes.into_iter().map(|(node, _)| node).collect();
        eventually("every node sees the whole cluster", || {
            let is_whole = |node: &Redis| {
                let info = node.command(&["CLUSTER", "INFO"]);
                let info = info.as_str().unwrap_or_default();
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:4")
            };
            nodes.iter().all(is_whole)
        });
        let slot =
            nodes[0].command(&["CLUSTER", "KEYSLOT", "logstash"]).as_u64().expect("KEYSLOT replies with a number");
        let first = usize::try_from(slot * MASTERS / SLOTS).expect("there are three masters");
        let cluster = Self { nodes, first };
        let id = cluster.nodes[first].command(&["CLUSTER", "MYID"]);
        cluster.nodes[3].command(&["CLUSTER", "REPLICATE", id.as_str().expect("MYID replies with text")]);
        eventually("the replica is online", || cluster.nodes[first].replicas() == 1);
        cluster
    }

    /// The node that holds the list `logstash` now: the one that answers without a redirection.
    pub fn owner(&self) -> Option<&Redis> {
        self.nodes.iter().find(|node| matches!(node.try_command(&["LLEN", "logstash"]), Ok(Value::Number(_))))
    }

    /// The elements of the list `logstash`, on whichever node holds it.
    pub fn elements(&self) -> Vec<Value> {
        eventually("a node holds the list", || self.owner()).elements()
    }
}

/// Starts a node, and returns it with its cluster bus port.
fn node() -> (Redis, String) {
    let bus = free_port().to_string();
    let options = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1000"];
    // Serve the list even while other slots are not covered, and promote the replica however long it was disconnected.
    let lenient = ["--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0"];
    (Redis::start_with(&[&options[..], &lenient, &["--repl-diskless-sync-delay", "0"]].concat()), bus)
}
