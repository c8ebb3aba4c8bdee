//! The output.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use statsd::client::Pipeline;
use tokio::net::UdpSocket;
use tracker_config::{ConfigError, ConfiguredOutput};
use tracker_core::{Batch, Delivery, Event, EventKind, Output, OutputError};

use crate::config::{Names, StatsdConfig};
use crate::destination::Destination;
use crate::encode::{self, Metric};

/// The maximum size of a packet, in bytes. It fits an Ethernet frame of 1,500 bytes with the headers of tunnels,
/// IP and UDP.
const MAX_PACKET: usize = 1_432;
/// The number of queued metrics at which a delivery sends them and yields to other tasks.
const METRICS_PER_YIELD: usize = 512;
/// How long a health check waits for the ICMP error of a closed port.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(50);

/// Sends events to StatsD as counters and timers, best effort.
///
/// It packs metrics into packets of at most 1,432 bytes. A longer metric gets its own packet.
pub struct StatsdOutput {
    name: String,
    destination: Destination,
    prefix: String,
    suffix: String,
    names: Names,
}

impl StatsdOutput {
    /// Creates an output. It looks the server up at the first delivery, so neither the server nor its name need
    /// exist yet.
    ///
    /// # Errors
    /// [`ConfigError`] for a configuration that cannot work.
    pub fn new(config: StatsdConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let (prefix, suffix) = (encode::prefix(&config.prefix), encode::suffix(&config.suffix));
        let destination = Destination::new(config.host, config.port, prefix.clone());
        Ok(Self { name: "statsd".to_owned(), destination, prefix, suffix, names: config.names })
    }

    /// Replaces the [name](Output::name) `statsd`, for a tracker with several StatsD outputs.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Appends the suffix to a name.
    fn suffixed<'a>(&self, name: Cow<'a, str>) -> Cow<'a, str> {
        if self.suffix.is_empty() { name } else { Cow::Owned(name.into_owned() + &self.suffix) }
    }
}

impl fmt::Debug for StatsdOutput {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.debug_tuple("StatsdOutput").field(&self.location()).finish()
    }
}

impl ConfiguredOutput for StatsdOutput {
    type Config = StatsdConfig;

    fn build(name: &str, config: StatsdConfig) -> Result<Self, ConfigError> {
        Ok(Self::new(config)?.named(name))
    }

    /// The address and the prefix: `127.0.0.1:8125 prefix deployment-tracker`.
    fn location(&self) -> String {
        self.destination.to_string()
    }
}

#[async_trait]
impl Output for StatsdOutput {
    fn name(&self) -> &str {
        &self.name
    }

    fn delivery(&self) -> Delivery {
        Delivery::BestEffort
    }

    fn wants(&self, _: &Event) -> bool {
        true
    }

    async fn deliver(&self, batches: &[Arc<Batch>]) -> Result<(), OutputError> {
        let endpoint = self.destination.endpoint().await?;
        let mut pipeline = Pipeline::new();
        pipeline.set_max_udp_size(MAX_PACKET);
        let (mut queued, mut messages) = (0, 0);
        for event in batches.iter().flat_map(|batch| &batch.events) {
            if let EventKind::Logged(logs) = &event.kind {
                messages += logs.messages.len();
            }
            for metric in encode::metrics(self.names, event) {
                match metric {
                    Metric::Count(name) => pipeline.incr(&self.suffixed(name)),
                    #[expect(
                        clippy::cast_precision_loss,
                        reason = "the library takes f64; durations are far below 2^53"
                    )]
                    Metric::Time(name, value) => pipeline.timer(&self.suffixed(name), value as f64),
                }
                queued += 1;
            }
            if queued >= METRICS_PER_YIELD {
                pipeline.send(&endpoint.client);
                queued = 0;
                tokio::task::yield_now().await;
            }
        }
        if messages > 0 {
            #[expect(clippy::cast_precision_loss, reason = "2^53 messages do not fit into memory")]
            pipeline.count(&self.suffixed("logs.message".into()), messages as f64);
        }
        pipeline.send(&endpoint.client);
        Ok(())
    }

    async fn check(&self) -> Result<(), OutputError> {
        let endpoint = self.destination.endpoint().await?;
        let dot = if self.prefix.is_empty() { "" } else { "." };
        let metric = format!("{}{dot}healthcheck{}:1|c", self.prefix, self.suffix);
        send_and_listen(endpoint.address, metric.as_bytes()).await.map_err(|error| {
            let address = endpoint.address;
            OutputError::new(format!("cannot reach StatsD at {address}; check `host` and `port`"), error)
        })
    }
}

/// Sends one packet and waits briefly for the ICMP error of a closed port. Only a connected socket receives this error.
async fn send_and_listen(address: SocketAddr, packet: &[u8]) -> io::Result<()> {
    let any: SocketAddr =
        if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    socket.send(packet).await?;
    match tokio::time::timeout(REFUSAL_TIMEOUT, socket.recv(&mut [0; 1])).await {
        Ok(Err(refused)) => Err(refused),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}
