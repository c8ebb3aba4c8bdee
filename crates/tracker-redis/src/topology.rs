//! The way to the one server that takes pushes: known, or found by asking Sentinels or nodes of a cluster.
//!
//! fred can ask them, too. But it holds on to the first Sentinel that lets it in, says nothing of why the others do not,
//! connects to every master of a cluster where one has the list, and fails when any of them is away.

use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::config::{Server, ServerConfig};
use fred::types::{ClusterHash, CustomCommand, Key, Value};
use futures_util::future::select_ok;

use crate::config::{Credentials, RedisConfig};
use crate::connection::{Connection, Dialer};

/// Who is asked where to go.
enum Kind {
    /// Nobody: it is here.
    None(ServerConfig),
    /// Sentinels, for the master of this name.
    Sentinels { nodes: Vec<Server>, credentials: Credentials, master: String },
    /// Nodes of a cluster, for this key.
    Cluster { nodes: Vec<Server>, key: Key },
}

/// The way to the server that takes pushes.
pub(crate) struct Topology {
    kind: Kind,
    credentials: Credentials,
    database: Option<u8>,
    /// The name in each server's certificate, if it is not where the server is.
    server_name: Option<String>,
}

impl Topology {
    pub(crate) fn new(config: &RedisConfig) -> Self {
        let server_name = config.tls.as_ref().and_then(|tls| tls.server_name.clone());
        let server = |(host, port): (&str, u16)| Server::new_with_tls(host, port, server_name.clone());
        let kind = match &config.path {
            Some(path) => Kind::None(ServerConfig::new_unix_socket(path)),
            None if !config.sentinels.is_empty() => Kind::Sentinels {
                nodes: config.sentinels().map(server).collect(),
                credentials: config.sentinel_credentials(),
                master: config.master_name.clone().unwrap_or_default(),
            },
            None if !config.cluster.is_empty() => {
                Kind::Cluster { nodes: config.cluster().map(server).collect(), key: config.key.as_str().into() }
            }
            None => Kind::None(ServerConfig::Centralized { server: server((&config.host, config.port)) }),
        };
        Self { kind, credentials: config.credentials(), database: config.db, server_name }
    }

    /// Whether it leads to whom Sentinels name, who may name another at any time.
    pub(crate) fn is_sentinel(&self) -> bool {
        matches!(self.kind, Kind::Sentinels { .. })
    }

    /// Connects to the server that takes pushes. All guides are followed at once to where they point, and the first who
    /// is right wins: one that is away, frozen or behind the times holds nothing up.
    pub(crate) async fn connect_to_primary(&self, dialer: &Dialer) -> Result<Connection, Error> {
        match &self.kind {
            Kind::None(server) => dialer.connect(server.clone(), self.credentials.clone(), self.database).await,
            Kind::Sentinels { nodes, credentials, master } => {
                let attempts = nodes.iter().map(|node| Box::pin(self.by_sentinel(dialer, node, credentials, master)));
                Ok(select_ok(attempts).await?.0)
            }
            Kind::Cluster { nodes, key } => {
                let attempts = nodes.iter().map(|node| Box::pin(self.by_node(dialer, node, key)));
                Ok(select_ok(attempts).await?.0)
            }
        }
    }

    async fn connect(&self, dialer: &Dialer, server: Server) -> Result<Connection, Error> {
        dialer.connect(ServerConfig::Centralized { server }, self.credentials.clone(), self.database).await
    }

    /// As Redis' [guidelines for clients](https://redis.io/docs/latest/develop/reference/sentinel-clients/) have it.
    async fn by_sentinel(
        &self,
        dialer: &Dialer,
        node: &Server,
        credentials: &Credentials,
        master: &str,
    ) -> Result<Connection, Error> {
        let refused = |error: Error| match error.kind() {
            ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Tls => error,
            _ => Error::new(ErrorKind::Sentinel, format!("the Sentinel {node}: {}", error.details())),
        };
        let server = ServerConfig::Centralized { server: node.clone() };
        let sentinel = dialer.connect(server, credentials.clone(), None).await.map_err(refused)?;
        let question = vec!["GET-MASTER-ADDR-BY-NAME", master];
        let answer: Option<(String, u16)> =
            sentinel.client.custom(command("SENTINEL"), question).await.map_err(refused)?;
        let Some((host, port)) = answer else {
            return Err(refused(Error::new(ErrorKind::NotFound, format!("there is no master `{master}`"))));
        };
        let connection = self.connect(dialer, Server::new_with_tls(host, port, self.server_name.clone())).await?;
        let role: Vec<Value> = connection.client.custom(command("ROLE"), Vec::<Value>::new()).await?;
        if role.first().and_then(Value::as_bytes) != Some(b"master") {
            return Err(Error::new(ErrorKind::Unknown, "a failover goes on: the master is a replica now"));
        }
        Ok(connection)
    }

    async fn by_node(&self, dialer: &Dialer, node: &Server, key: &Key) -> Result<Connection, Error> {
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

/// Where `MOVED 3999 127.0.0.1:6381` leads; without a name or an address, or with one that is unknown, to `host`.
fn moved<'a>(error: &'a str, host: &'a str) -> Option<(&'a str, u16)> {
    let (_, place) = error.strip_prefix("MOVED ")?.split_once(' ')?;
    let (name, port) = place.rsplit_once(':')?;
    Some((if name.is_empty() || name == "?" { host } else { name }, port.parse().ok()?))
}

fn command(name: &'static str) -> CustomCommand {
    CustomCommand::new_static(name, ClusterHash::FirstKey, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_leads_to_a_host_and_a_port() {
        for (error, place) in [
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
            assert_eq!(moved(error, "asked"), place, "{error}");
        }
    }
}
