//! Looks up the address of the server periodically, and provides a client that sends to it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use statsd::Client;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tracker_core::{Backoff, OutputError};

/// The timeout of a lookup.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(1_500);
/// The age of an address at which the output looks it up again.
const ADDRESS_MAX_AGE: Duration = Duration::from_mins(1);
/// The pause after a failed lookup. Until it ends, callers get the same error.
const LOOKUP_BACKOFF: Backoff = Backoff::constant(Duration::from_secs(1));

/// A StatsD server, by its name or address.
pub(crate) struct Destination {
    host: String,
    port: u16,
    prefix: String,
    state: Mutex<State>,
}

/// The current address of the server.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
}

type Lookup = Result<Arc<Endpoint>, Arc<io::Error>>;

struct State {
    /// The last lookup, and until when it counts.
    last: Option<(Instant, Lookup)>,
    backoff: Backoff,
    /// The running lookup. It is single-flight: it cannot be cancelled, so later callers wait for it instead of
    /// starting another one.
    running: Option<JoinHandle<io::Result<Endpoint>>>,
}

impl Destination {
    pub(crate) fn new(host: String, port: u16, prefix: String) -> Self {
        let state = State { last: None, backoff: LOOKUP_BACKOFF, running: None };
        Self { host, port, prefix, state: Mutex::new(state) }
    }

    /// Looks the server up, unless the last lookup is recent. Safe to cancel.
    pub(crate) async fn endpoint(&self) -> Result<Arc<Endpoint>, OutputError> {
        match tokio::time::timeout(LOOKUP_TIMEOUT, self.look_up()).await {
            Ok(Ok(endpoint)) => Ok(endpoint),
            Ok(Err(error)) => Err(OutputError::new(self.failed_lookup(), error)),
            Err(elapsed) => Err(OutputError::new(self.failed_lookup(), elapsed)),
        }
    }

    fn failed_lookup(&self) -> String {
        format!("cannot look up `{}`; check `host`", self.host)
    }

    async fn look_up(&self) -> Lookup {
        let mut state = self.state.lock().await;
        if let Some((until, lookup)) = &state.last
            && Instant::now() < *until
        {
            return lookup.clone();
        }
        let running = state.running.get_or_insert_with(|| {
            let (host, port, prefix) = (self.host.clone(), self.port, self.prefix.clone());
            tokio::task::spawn_blocking(move || find(&host, port, &prefix))
        });
        let lookup = running.await.map_err(io::Error::other).flatten().map(Arc::new).map_err(Arc::new);
        state.running = None;
        let age = if lookup.is_ok() { ADDRESS_MAX_AGE } else { state.backoff.next_pause() };
        state.last = Some((Instant::now() + age, lookup.clone()));
        lookup
    }
}

fn find(host: &str, port: u16, prefix: &str) -> io::Result<Endpoint> {
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    let address = *address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    let client = Client::new(address, prefix).map_err(io::Error::other)?;
    Ok(Endpoint { address, client })
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
