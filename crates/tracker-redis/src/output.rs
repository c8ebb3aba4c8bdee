//! The output.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::{ClusterHash, CustomCommand};
use tracker_config::{ConfigError, ConfiguredOutput};
use tracker_core::{Batch, Delivery, Event, Output, OutputError};
use uuid::Uuid;

use crate::config::{RedisConfig, Scripts};
use crate::connection::Link;
use crate::encode::{self, Elements, Encoder};
use crate::forgotten::Forgotten;
use crate::mode::{Mode, ModeCell};
use crate::pace::Pace;
use crate::push::{Keys, Push, Target};

/// The timeout of a health check.
const CHECK_TIMEOUT: Duration = Duration::from_millis(1_800);

/// Pushes the starts and ends of deployments and their log messages to a list, each exactly once while Redis
/// keeps its data.
///
/// A batch is pushed whole or not at all, together with a marker: the key `{key}:delivered:<batch id>`. A batch whose
/// marker exists is a duplicate and is not pushed. The marker is deleted after the batch is acknowledged, and expires
/// after a week.
#[derive(Debug)]
pub struct RedisOutput {
    name: String,
    address: String,
    /// The fields to check when Redis does not answer.
    address_fields: &'static str,
    is_cluster: bool,
    key: String,
    keys: Arc<Keys>,
    max_list_length: Option<u64>,
    wait_replicas: u8,
    timeout: Duration,
    pace: Pace,
    mode: Arc<ModeCell>,
    /// Whether the last push failed, so that its batches may have arrived.
    is_in_doubt: AtomicBool,
    encoder: Box<dyn Encoder>,
    forgotten: Forgotten,
    pushes: Link,
    /// Separate from `pushes`, so that a health check neither waits for a push nor ends one.
    checks: Link,
}

impl RedisOutput {
    /// Creates an output. It connects at the first push, so Redis need not be running yet.
    ///
    /// # Errors
    /// [`ConfigError`] for a configuration that cannot work, or a TLS file that cannot be used.
    pub fn new(config: RedisConfig) -> Result<Self, ConfigError> {
        config.check()?;
        if let Some(tls) = &config.tls {
            tls.connector()?;
        }
        let keys = Arc::new(Keys::new(&config.key));
        let initial = (config.scripts == Scripts::Required).then_some(Mode::Scripts);
        let mode = Arc::new(ModeCell::new(config.address(), initial));
        Ok(Self {
            name: "redis".to_owned(),
            address: config.address(),
            address_fields: config.address_fields(),
            is_cluster: !config.cluster.is_empty(),
            max_list_length: config.max_list_length,
            wait_replicas: config.wait_replicas,
            timeout: config.timeout(),
            pace: Pace::new(config.timeout()),
            is_in_doubt: AtomicBool::new(true),
            encoder: encode::encoder(&config),
            forgotten: Forgotten::default(),
            pushes: Link::new(&config, keys.clone(), mode.clone()),
            checks: Link::new(&config, keys.clone(), mode.clone()),
            keys,
            mode,
            key: config.key,
        })
    }

    /// Replaces the [name](Output::name) `redis`, for a tracker with several Redis outputs.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The elements of a batch, as they are pushed.
    pub fn elements(&self, batch: &Batch) -> Vec<Vec<u8>> {
        let mut elements = Elements::default();
        for event in &batch.events {
            self.encoder.encode(event, &mut elements);
        }
        let Elements { bytes, ends } = elements;
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts.zip(&ends).map(|(start, &end)| bytes[start..end].to_vec()).collect()
    }

    async fn push(&self, push: Push) -> Result<(), OutputError> {
        let lease = self.pushes.lease().await.map_err(|error| self.failed("connect to", error))?;
        let target = Target {
            client: lease.client(),
            keys: &self.keys,
            max_list_length: self.max_list_length,
            pace: &self.pace,
            mode: self.mode.get().expect("opening a connection sets the mode"),
            is_in_doubt: self.is_in_doubt.load(Ordering::Relaxed),
        };
        push.encode().send(&target).await.map_err(|error| self.failed("push to", error))?;
        if self.wait_replicas > 0 {
            self.wait(lease.client()).await?;
        }
        lease.keep();
        Ok(())
    }

    /// Waits until enough replicas have the writes of this connection. If too few have them, the caller closes the
    /// connection, because the server may not have noticed that it is no longer the primary.
    async fn wait(&self, client: &Client) -> Result<(), OutputError> {
        let wait = CustomCommand::new_static("WAIT", ClusterHash::FirstKey, false);
        // Redis interprets 0 as no timeout.
        let millis = i64::try_from((self.timeout / 2).as_millis()).unwrap_or(i64::MAX).max(1);
        let confirmed = client.custom(wait, vec![i64::from(self.wait_replicas), millis]);
        let confirmed: Result<u64, Error> = self.pace.within(0, confirmed).await;
        let confirmed = confirmed.map_err(|error| self.failed("wait for the replicas of", error))?;
        if confirmed < u64::from(self.wait_replicas) {
            return Err(OutputError::message(format!(
                "{confirmed} of the {} replicas that `wait_replicas` requires confirmed a push to Redis at {}",
                self.wait_replicas, self.address
            )));
        }
        Ok(())
    }

    /// Asks for the type of the value at the list's key.
    async fn key_type(&self) -> Result<String, OutputError> {
        let lease = self.checks.lease().await.map_err(|error| self.failed("connect to", error))?;
        let key_type: Result<String, Error> = lease.client().r#type(self.keys.list().clone()).await;
        let key_type = key_type.map_err(|error| self.failed("query", error))?;
        lease.keep();
        Ok(key_type)
    }

    fn failed(&self, operation: &str, error: Error) -> OutputError {
        // Redis quotes the arguments of a command that it does not know: log messages do not belong in an error.
        let details = error.details().split(", with args beginning with").next().unwrap_or_default();
        if details.contains("WRONGTYPE") {
            return OutputError::new(not_a_list(&self.key), details);
        }
        if details.contains("CONGESTED") {
            return OutputError::message(format!(
                "the list `{}` in Redis has reached `max_list_length`; check whether Logstash is behind",
                self.key
            ));
        }
        let address = format!("; check that Redis is running, and check {}", self.address_fields);
        let remedy = match error.kind() {
            ErrorKind::Auth => "; check `username` and `password`",
            ErrorKind::Sentinel if details.contains("unknown command") => {
                "; list Sentinels in `sentinels`, instead of Redis servers"
            }
            ErrorKind::Sentinel => "; check `master_name`, `sentinel_username` and `sentinel_password`",
            _ if details.contains("UnknownIssuer") => "; set `tls.ca` to the authority that signed its certificate",
            _ if details.contains("NotValidForName") => "; set `tls.server_name` to the name in its certificate",
            _ if details.contains("ExpiredContext") => "; a certificate has expired: renew that of the server",
            _ if details.contains("CertificateExpired") => "; a certificate has expired: renew `tls.certificate`",
            _ if details.contains("AlertReceived(UnknownCA)") => {
                "; set `tls.certificate` and `tls.key` to a certificate of an authority that Redis trusts"
            }
            _ if details.contains("CertificateRequired") => "; set `tls.certificate` and `tls.key`",
            ErrorKind::IO | ErrorKind::Timeout => &address,
            _ if details.contains("DB index") => "; check `db`",
            _ if details.contains("SELECT is not allowed in cluster mode") => "; remove `db`: a cluster has only 0",
            _ if details.starts_with("MOVED") && self.is_cluster => {
                "; the slot has moved, and the next attempt connects to its new node"
            }
            _ if details.starts_with("MOVED") => "; list nodes of the cluster in `cluster`",
            _ if details.starts_with("READONLY") || details.starts_with("MASTERDOWN") => {
                "; the server is a replica: configure its primary, or `sentinels`"
            }
            _ if details.starts_with("CLUSTERDOWN") => {
                "; no node of the cluster serves the list now: see `CLUSTER INFO` on its nodes"
            }
            _ if details.starts_with("NOREPLICAS") => {
                "; start the replicas of Redis, or lower its setting `min-replicas-to-write`"
            }
            _ if details.starts_with("MISCONF") => {
                "; Redis cannot save its data: check its log, and that its disk has space"
            }
            _ if details.starts_with("OOM") => {
                "; Redis is out of memory: check whether Logstash is behind, or raise `maxmemory`"
            }
            _ if details.starts_with("LOADING") => {
                "; Redis is loading its data, and will accept pushes when it has finished"
            }
            _ if details.starts_with("BUSY ") => "; wait until the script of another client ends, or use `SCRIPT KILL`",
            _ if details.contains("max number of clients") => "; raise the setting `maxclients` of Redis",
            _ if details.to_lowercase().contains("unknown command") => {
                "; enable the commands that are listed for `username`; if this is a Sentinel, list it in `sentinels`"
            }
            _ if is_forbidden(details) => "; grant the user the permissions that are listed for `username`",
            _ => "",
        };
        OutputError::new(format!("cannot {operation} Redis at {}{remedy}", self.address), details)
    }
}

/// Whether `details` reports a missing permission, for a command or a script. Redis 6 and 7 use different words.
fn is_forbidden(details: &str) -> bool {
    ["NOPERM", "ACL failure", "executing the script can't"].iter().any(|words| details.contains(words))
}

fn not_a_list(key: &str) -> String {
    format!("the key `{key}` in Redis does not hold a list; delete it, or set `key` to another one")
}

impl ConfiguredOutput for RedisOutput {
    type Config = RedisConfig;

    fn build(name: &str, config: RedisConfig) -> Result<Self, ConfigError> {
        Ok(Self::new(config)?.named(name))
    }

    /// The address and the key: `127.0.0.1:6379 key logstash`.
    fn location(&self) -> String {
        format!("{} key {}", self.address, self.key)
    }
}

#[async_trait]
impl Output for RedisOutput {
    fn name(&self) -> &str {
        &self.name
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn wants(&self, event: &Event) -> bool {
        encode::has_elements(event)
    }

    /// Adds batches to a push until it has 1,000 elements or 1 MiB, or less after timeouts. Each step of a push takes
    /// up to `timeout_millis` and the time for its bytes; opening a connection takes up to `connect_timeout_millis`
    /// more.
    ///
    /// It encodes the next push while Redis handles the current one, but sends it only after the answer, to keep the
    /// order.
    async fn deliver(&self, batches: &[Arc<Batch>]) -> Result<(), OutputError> {
        let mut rest = batches.iter();
        let mut fill = |mut push: Push| {
            while !push.is_full(&self.pace)
                && let Some(batch) = rest.next()
            {
                push.add(&self.keys, self.encoder.as_ref(), batch);
            }
            push
        };
        let forgotten = self.forgotten.take();
        let mut push = fill(Push::forgetting(&self.keys, &forgotten));
        while !push.is_empty() {
            let (pushed, next) = tokio::join!(self.push(push), async { fill(Push::default()) });
            self.is_in_doubt.store(pushed.is_err(), Ordering::Relaxed);
            if let Err(error) = pushed {
                // Deleting a marker twice is harmless.
                self.forgotten.add(&forgotten);
                return Err(error);
            }
            push = next;
        }
        Ok(())
    }

    /// Keeps the ids until the next push, which deletes their markers.
    fn forget(&self, batches: &[Uuid]) {
        self.forgotten.add(batches);
    }

    async fn check(&self) -> Result<(), OutputError> {
        let key_type = tokio::time::timeout(CHECK_TIMEOUT, self.key_type()).await;
        let key_type = key_type.map_err(|elapsed| {
            let problem = format!("Redis at {} does not answer; check that it is running", self.address);
            OutputError::new(problem, elapsed)
        })??;
        match key_type.as_str() {
            "list" | "none" => Ok(()),
            other => Err(OutputError::message(format!("{} (it holds a {other})", not_a_list(&self.key)))),
        }
    }

    fn warning(&self) -> Option<String> {
        (self.mode.get() == Some(Mode::Plain)).then(|| self.mode.warning())
    }

    async fn close(&self) {
        self.pushes.close().await;
        self.checks.close().await;
    }
}
