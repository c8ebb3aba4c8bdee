//! Pushing events.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::{ClusterHash, CustomCommand};
use tracker_core::{Batch, Delivery, Event, Output, OutputError};
use uuid::Uuid;

use crate::config::{ConfigError, RedisConfig};
use crate::connection::Link;
use crate::encode::{self, Elements, Encoder};
use crate::push::{Keys, Push};

/// How long the health test may take.
const CHECK_WITHIN: Duration = Duration::from_millis(1_800);

/// Pushes deployments' starts, ends and log messages to a list, each exactly once as long as Redis keeps its data.
///
/// A batch is pushed whole or not at all, together with a marker, `{key}:delivered:<batch id>`. A batch whose marker is
/// there is not pushed again. A marker goes when it is said that its batch will not come again, at the latest after a
/// week.
#[derive(Debug)]
pub struct RedisOutput {
    name: String,
    address: String,
    whereabouts: String,
    key: String,
    keys: Keys,
    max_list_length: Option<u64>,
    wait_replicas: u8,
    timeout: Duration,
    encoder: Box<dyn Encoder>,
    pushes: Link,
    forgotten: std::sync::Mutex<Vec<Uuid>>,
    /// Of their own, so that a test does not wait behind a push, nor end one.
    checks: Link,
}

impl RedisOutput {
    /// An output as `config` says. It connects when there is something to push; Redis need not be there yet.
    ///
    /// # Errors
    /// [`ConfigError`] for a configuration that cannot work.
    pub fn new(config: RedisConfig) -> Result<Self, ConfigError> {
        config.check()?;
        if let Some(tls) = &config.tls {
            tls.connector().map_err(|error| ConfigError::TlsFile(error.details().to_owned()))?;
        }
        Ok(Self {
            name: "redis".to_owned(),
            address: config.address(),
            whereabouts: config.whereabouts(),
            keys: Keys::new(&config.key),
            max_list_length: config.max_list_length,
            wait_replicas: config.wait_replicas,
            timeout: config.timeout(),
            encoder: encode::encoder(&config),
            pushes: Link::new(&config),
            checks: Link::new(&config),
            forgotten: std::sync::Mutex::default(),
            key: config.key,
        })
    }

    /// Gives it another [name](Output::name) than `redis`, where one tracker has several.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Where it pushes to, for people: `127.0.0.1:6379 key logstash`.
    pub fn location(&self) -> String {
        format!("{} key {}", self.address, self.key)
    }

    /// The elements that a batch makes, as they are pushed.
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
        let sending = push.encode().send(lease.client(), &self.keys, self.max_list_length);
        let sent = match tokio::time::timeout(self.timeout, sending).await {
            Ok(sent) => sent,
            Err(late) => Err(Error::new(ErrorKind::Timeout, late.to_string())),
        };
        sent.map_err(|error| self.failed("push to", error))?;
        if self.wait_replicas > 0 {
            self.wait(lease.client()).await?;
        }
        lease.keep();
        Ok(())
    }

    /// Waits until enough replicas have what was pushed over this connection. When they have not, it is not kept: its
    /// server may be a master no longer, and not know it.
    async fn wait(&self, client: &Client) -> Result<(), OutputError> {
        let wait = CustomCommand::new_static("WAIT", ClusterHash::FirstKey, false);
        // Redis takes 0 for ever.
        let millis = i64::try_from((self.timeout / 2).as_millis()).unwrap_or(i64::MAX).max(1);
        let have: Result<u64, Error> = client.custom(wait, vec![i64::from(self.wait_replicas), millis]).await;
        let have = have.map_err(|error| self.failed("wait for the replicas of", error))?;
        if have < u64::from(self.wait_replicas) {
            return Err(OutputError::message(format!(
                "of the {} replicas that `redis.wait_replicas` asks for, {have} have what was pushed to Redis at {}",
                self.wait_replicas, self.address
            )));
        }
        Ok(())
    }

    /// The type of what the list's key holds.
    async fn kind(&self) -> Result<String, OutputError> {
        let lease = self.checks.lease().await.map_err(|error| self.failed("connect to", error))?;
        let kind: Result<String, Error> = lease.client().r#type(self.keys.list().clone()).await;
        let kind = kind.map_err(|error| self.failed("ask", error))?;
        lease.keep();
        Ok(kind)
    }

    fn failed(&self, doing: &str, error: Error) -> OutputError {
        let details = error.details();
        if details.contains("WRONGTYPE") {
            return OutputError::new(not_a_list(&self.key), error.details());
        }
        if details.contains("CONGESTED") {
            return OutputError::message(format!(
                "the list `{}` in Redis is as long as `redis.max_list_length` lets it be; is Logstash behind?",
                self.key
            ));
        }
        let place = format!("; check that it runs, and {}", self.whereabouts);
        let remedy = match error.kind() {
            ErrorKind::Auth => "; check `redis.username` and `redis.password`",
            ErrorKind::Sentinel => {
                "; check `redis.master_name`, `redis.sentinel_username` and `redis.sentinel_password`"
            }
            _ if details.contains("UnknownIssuer") => "; give who signed its certificate in `redis.tls.ca`",
            _ if details.contains("NotValidForName") => {
                "; give the name that its certificate is for in `redis.tls.server_name`"
            }
            _ if details.contains("CertificateRequired") => "; give `redis.tls.certificate` and `redis.tls.key`",
            ErrorKind::IO | ErrorKind::Timeout => &place,
            _ if details.contains("DB index") => "; check `redis.db`",
            _ if details.starts_with("MOVED") && self.whereabouts.starts_with("`redis.cluster`") => {
                "; its slot has moved, and the next attempt goes where it is"
            }
            _ if details.starts_with("READONLY") => "; it is a replica: name its master, or `redis.sentinels`",
            _ if details.starts_with("OOM") => "; it has no memory left: is Logstash behind, or its `maxmemory` small?",
            _ if details.starts_with("LOADING") => "; it reads its data, and is there when it has",
            _ if details.starts_with("MOVED") => "; name nodes of the cluster in `redis.cluster`",
            _ if is_forbidden(details) => "; give the user what is said of `redis.username`",
            _ => "",
        };
        OutputError::new(format!("cannot {doing} Redis at {}{remedy}", self.address), error.details())
    }
}

/// Whether a user lacks a permission, in the words of Redis 6 and 7 for commands and for scripts.
fn is_forbidden(details: &str) -> bool {
    ["NOPERM", "ACL failure", "executing the script can't"].iter().any(|words| details.contains(words))
}

fn not_a_list(key: &str) -> String {
    format!("the key `{key}` in Redis does not hold a list; delete it, or choose another `redis.key`")
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

    /// Takes up to `connect_timeout_millis`, and for every 1,000 elements or 1 MiB up to `timeout_millis`. While Redis takes
    /// one push, the next is encoded; it is sent when the one before it has arrived, or there would be no order.
    async fn deliver(&self, batches: &[Arc<Batch>]) -> Result<(), OutputError> {
        let mut rest = batches.iter();
        let mut next = |mut push: Push| {
            while !push.is_full()
                && let Some(batch) = rest.next()
            {
                push.add(&self.keys, self.encoder.as_ref(), batch);
            }
            push
        };
        let mut push = Push::default();
        push.forget(&self.keys, &std::mem::take(&mut *self.forgotten.lock().expect("no holder panics")));
        push = next(push);
        while !push.is_empty() {
            let (pushed, following) = tokio::join!(self.push(push), async { next(Push::default()) });
            pushed?;
            push = following;
        }
        Ok(())
    }

    fn forget(&self, batches: &[Uuid]) {
        self.forgotten.lock().expect("no holder panics").extend(batches);
    }

    async fn check(&self) -> Result<(), OutputError> {
        let kind = match tokio::time::timeout(CHECK_WITHIN, self.kind()).await {
            Ok(kind) => kind?,
            Err(late) => return Err(OutputError::new(format!("Redis at {} does not answer", self.address), late)),
        };
        match kind.as_str() {
            "list" | "none" => Ok(()),
            other => Err(OutputError::message(format!("{} (it is a {other})", not_a_list(&self.key)))),
        }
    }

    async fn close(&self) {
        self.pushes.close().await;
        self.checks.close().await;
    }
}
