//! Finds the Redis primary: directly, through Sentinel, or in a cluster.
//!
//! This module replaces fred's own search. fred stays with the first Sentinel that accepts a connection, and hides
//! why the others refuse. In a cluster, fred connects to every primary, although only one has the list, and fails
//! when any of them is down.

use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::config::{Server, ServerConfig};
use fred::types::{ClusterHash, CustomCommand, Key, Value};
use futures_util::future::select_ok;

use crate::config::{Credentials, RedisConfig};
use crate::connection::{Connection, Dialer};

/// How the primary is found.
enum Kind {
    /// The configuration names it.
    Direct(ServerConfig),
    /// Sentinels know it by this name.
    Sentinel { sentinels: Vec<Server>, credentials: Credentials, primary: String },
    /// Nodes of the cluster know which of them has this key.
    Cluster { nodes: Vec<Server>, key: Key },
}

/// Where the primary is: the server that accepts pushes.
pub(crate) struct Topology {
    kind: Kind,
    credentials: Credentials,
    database: Option<u8>,
    /// The name in the certificate of every server, if it differs from the address.
    server_name: Option<String>,
}

impl Topology {
    pub(crate) fn new(config: &RedisConfig) -> Self {
        let server_name = config.tls.as_ref().and_then(|tls| tls.server_name.clone());
        let server = |(host, port): (&str, u16)| Server::new_with_tls(host, port, server_name.clone());
        let kind = match &config.path {
            Some(path) => Kind::Direct(ServerConfig::new_unix_socket(path)),
            None if !config.sentinels.is_empty() => Kind::Sentinel {
                sentinels: config.sentinel_addresses().map(server).collect(),
                credentials: config.sentinel_credentials(),
                primary: config.master_name.clone().unwrap_or_default(),
            },
            None if !config.cluster.is_empty() => Kind::Cluster {
                nodes: config.cluster_addresses().map(server).collect(),
                key: config.key.as_str().into(),
            },
            None => Kind::Direct(ServerConfig::Centralized { server: server((&config.host, config.port)) }),
        };
        Self { kind, credentials: config.credentials(), database: config.db, server_name }
    }

    /// Whether Sentinels name the primary; they may name another one at any time.
    pub(crate) fn is_sentinel(&self) -> bool {
        matches!(self.kind, Kind::Sentinel { .. })
    }

    /// Connects to the primary. Asks all Sentinels or nodes at once and follows each answer; the first answer that
    /// leads to a primary wins. Servers that are down, frozen or out of date therefore cause no delay.
    pub(crate) async fn connect_to_primary(&self, dialer: &Dialer) -> Result<Connection, Error> {
        match &self.kind {
            Kind::Direct(server) => dialer.connect(server.clone(), self.credentials.clone(), self.database).await,
            Kind::Sentinel { sentinels, credentials, primary } => {
                let attempts = sentinels
                    .iter()
                    .map(|sentinel| Box::pin(self.connect_through_sentinel(dialer, sentinel, credentials, primary)));
                Ok(select_ok(attempts).await?.0)
            }
            Kind::Cluster { nodes, key } => {
                let attempts = nodes.iter().map(|node| Box::pin(self.connect_through_node(dialer, node, key)));
                Ok(select_ok(attempts).await?.0)
            }
        }
    }

    async fn connect(&self, dialer: &Dialer, server: Server) -> Result<Connection, Error> {
        dialer.connect(ServerConfig::Centralized { server }, self.credentials.clone(), self.database).await
    }

    /// Asks one Sentinel for the primary and connects to it, as Redis'
    /// [guidelines for clients](https://redis.io/docs/latest/develop/reference/sentinel-clients/) describe.
    async fn connect_through_sentinel(
        &self,
        dialer: &Dialer,
        sentinel: &Server,
        credentials: &Credentials,
        primary: &str,
    ) -> Result<Connection, Error> {
        let refused = |error: Error| match error.kind() {
            ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Tls => error,
            _ => Error::new(ErrorKind::Sentinel, format!("Sentinel {sentinel}: {}", error.details())),
        };
        let server = ServerConfig::Centralized { server: sentinel.clone() };
        let connection = dialer.connect(server, credentials.clone(), None).await.map_err(refused)?;
        let query = vec!["GET-MASTER-ADDR-BY-NAME", primary];
        let address: Option<(String, u16)> =
            connection.client.custom(command("SENTINEL"), query).await.map_err(refused)?;
        let Some((host, port)) = address else {
            return Err(refused(Error::new(ErrorKind::NotFound, format!("it knows no primary named `{primary}`"))));
        };
        let connection = self.connect(dialer, Server::new_with_tls(host, port, self.server_name.clone())).await?;
        let role: Vec<Value> = connection.client.custom(command("ROLE"), Vec::<Value>::new()).await?;
        if role.first().and_then(Value::as_bytes) != Some(b"master") {
            return Err(Error::new(
                ErrorKind::Unknown,
                "failover in progress: Sentinel named a server that is now a replica",
            ));
        }
        Ok(connection)
    }

    /// Asks one node for the key and connects to the node that has it.
    async fn connect_through_node(&self, dialer: &Dialer, node: &Server, key: &Key) -> Result<Connection, Error> {
        let connection = self.connect(dialer, node.clone()).await?;
        let kind: Result<String, Error> = connection.client.r#type(key.clone()).await;
        match kind {
            Ok(_) => Ok(connection),
            Err(error) => match moved(error.details(), &node.host) {
                Some((host, port)) => {
                    self.connect(dialer, Server::new_with_tls(host, port, self.server_name.clone())).await
                }
                None => Err(error),
            },
        }
    }
}

/// The host and port of a redirection such as `MOVED 3999 127.0.0.1:6381`. An empty or unknown host (`?`) means
/// `host`.
fn moved<'a>(error: &'a str, host: &'a str) -> Option<(&'a str, u16)> {
    let (_, address) = error.strip_prefix("MOVED ")?.split_once(' ')?;
    let (name, port) = address.rsplit_once(':')?;
    Some((if name.is_empty() || name == "?" { host } else { name }, port.parse().ok()?))
}

fn command(name: &'static str) -> CustomCommand {
    CustomCommand::new_static(name, ClusterHash::FirstKey, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_names_a_host_and_a_port() {
        for (error, address) in [
            ("MOVED 3999 127.0.0.1:6381", Some(("127.0.0.1", 6381))),
            ("MOVED 3999 redis-2.example.com:6381", Some(("redis-2.example.com", 6381))),
            ("MOVED 3999 ::1:6381", Some(("::1", 6381))),
            ("MOVED 3999 :6381", Some(("asked", 6381))),
            ("MOVED 3999 ?:6381", Some(("asked", 6381))),
            ("MOVED 3999 127.0.0.1:x", None),
            ("MOVED", None),
            ("ASK 3999 127.0.0.1:6381", None),
            ("CLUSTERDOWN The cluster is down", None),
        ] {
            assert_eq!(moved(error, "asked"), address, "{error}");
        }
    }
}
