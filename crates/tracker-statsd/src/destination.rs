//! Where the packets go: the server's address, looked up again and again, and a client that sends there.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use statsd::Client;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tracker_core::OutputError;

/// How long one waits for a lookup.
const LOOKUP_WITHIN: Duration = Duration::from_millis(1_500);
/// How long an address is taken to be right.
const LOOK_UP_EVERY: Duration = Duration::from_mins(1);
/// How long a failed lookup is not tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A server that answers to a name.
pub(crate) struct Destination {
    host: String,
    port: u16,
    prefix: String,
    state: Mutex<State>,
}

/// Where that server is, for the time being.
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
}

type Found = Result<Arc<Place>, Arc<io::Error>>;

#[derive(Default)]
struct State {
    found: Option<(Instant, Found)>,
    /// A lookup under way. It cannot be ended, so it outlasts those who wait for it, and there is never a second one.
    lookup: Option<JoinHandle<io::Result<Place>>>,
}

impl Destination {
    pub(crate) fn new(host: String, port: u16, prefix: String) -> Self {
        Self { host, port, prefix, state: Mutex::default() }
    }

    /// Where the server is. Safe to cancel.
    pub(crate) async fn place(&self) -> Result<Arc<Place>, OutputError> {
        match tokio::time::timeout(LOOKUP_WITHIN, self.look_up()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(error)) => Err(OutputError::new(self.failure_log(), error)),
            Err(late) => Err(OutputError::new(self.failure_log(), late)),
        }
    }

    fn failure_log(&self) -> String {
        format!("cannot look up `{}`; check `statsd.host`", self.host)
    }

    async fn look_up(&self) -> Found {
        let mut state = self.state.lock().await;
        if let Some((at, found)) = &state.found {
            let lasts = if found.is_ok() { LOOK_UP_EVERY } else { TRY_AGAIN_AFTER };
            if at.elapsed() < lasts {
                return found.clone();
            }
        }
        let lookup = state.lookup.get_or_insert_with(|| {
            let (host, port, prefix) = (self.host.clone(), self.port, self.prefix.clone());
            tokio::task::spawn_blocking(move || find(&host, port, &prefix))
        });
        let found = lookup.await.map_err(io::Error::other).flatten().map(Arc::new).map_err(Arc::new);
        state.lookup = None;
        state.found = Some((Instant::now(), found.clone()));
        found
    }
}

fn find(host: &str, port: u16, prefix: &str) -> io::Result<Place> {
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    let address = *address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it has no address"))?;
    let client = Client::new(address, prefix).map_err(io::Error::other)?;
    Ok(Place { address, client })
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)?;
        if !self.prefix.is_empty() {
            write!(formatter, " prefix {}", self.prefix)?;
        }
        Ok(())
    }
}
