//! A connection to a NATS server, and the stream of the subject.

use std::error::Error;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{self, LastRawMessageErrorKind, RetentionPolicy, Stream};
use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{Event, HeaderMap};
use futures_util::StreamExt;
use tokio::sync::watch;
use tracker_core::{OutputError, chain};

use crate::arrivals::{Arrivals, MARK, Mark};
use crate::config::NatsConfig;

/// The number of messages that are read at once.
const READ_MESSAGES: usize = 1_000;
/// The longest wait of a publish. The output has its own, shorter deadlines.
const LONGEST: Duration = Duration::from_secs(3_600);

/// A connection, which is dropped after an error.
pub(crate) struct Connection {
    pub(crate) context: Context,
    stream: Stream,
    timeout: Duration,
    /// The reason why the connection cannot be used any longer.
    problem: watch::Receiver<Option<String>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, and finds the stream of `subject`. Also returns a warning about the stream.
    pub(crate) async fn open(config: &NatsConfig, subject: &str) -> Result<(Self, Option<String>), OutputError> {
        let servers = config.servers().expect("`NatsOutput::new` has checked the URL");
        let count = u32::try_from(servers.len()).unwrap_or(u32::MAX);
        let (report, problem) = watch::channel(None);
        let connect = async {
            let options = config.options().await.map_err(|error| failed("read `credentials_file` for", &error))?;
            let options = options.max_reconnects(servers.len()).event_callback(move |event| {
                let problem = match event {
                    Event::Disconnected => Some("the connection was lost".to_owned()),
                    Event::ServerError(error) => Some(error.to_string()),
                    _ => None,
                };
                if problem.is_some() {
                    report.send_replace(problem);
                }
                std::future::ready(())
            });
            options.connect(servers).await.map_err(|error| failed("connect to", &error))
        };
        // The timeout of the library excludes the name lookup.
        let client = tokio::time::timeout(config.timeout() * (count + 1), connect).await;
        let client = client.map_err(|elapsed| failed("connect to", &elapsed))??;
        let context = ContextBuilder::new().timeout(LONGEST).ack_timeout(config.timeout()).build(client);
        let find = async {
            let name = context.stream_by_subject(subject).await.map_err(|error| {
                let is_missing =
                    matches!(error.kind(), async_nats::jetstream::context::GetStreamByNameErrorKind::NotFound);
                if is_missing { no_stream(subject) } else { failed("find the stream in", &error) }
            })?;
            context.get_stream(name).await.map_err(|error| failed("find the stream in", &error))
        };
        let stream = within(config.timeout(), &problem, find).await??;
        let warning = examine(&stream.cached_info().config)?;
        Ok((Self { context, stream, timeout: config.timeout(), problem }, warning))
    }

    /// Whether nothing is known that keeps the connection from working.
    pub(crate) fn is_usable(&self) -> bool {
        self.problem.borrow().is_none()
    }

    /// Runs `work` for up to the timeout and `extra`, as long as the connection works.
    pub(crate) async fn within<T>(&self, extra: Duration, work: impl Future<Output = T>) -> Result<T, OutputError> {
        within(self.timeout + extra, &self.problem, work).await
    }

    /// Asks for the stream again, and returns a warning about it.
    pub(crate) async fn check(&self) -> Result<Option<String>, OutputError> {
        let info = self.within(Duration::ZERO, self.stream.get_info()).await?;
        examine(&info.map_err(|error| failed("find the stream in", &error))?.config)
    }

    /// Reads the messages of `subject` that are new to `arrivals`. After an error, the next call reads on. It is an
    /// error if that takes longer than `limit`.
    pub(crate) async fn read(
        &self,
        subject: &str,
        arrivals: &mut Arrivals,
        limit: Duration,
    ) -> Result<(), OutputError> {
        let Some(last) = self.last(subject).await? else {
            arrivals.set_last(0);
            return Ok(());
        };
        let mark = mark(&last.headers);
        let unread = arrivals.unread(mark);
        if unread < last.sequence {
            self.scan(subject, unread..=last.sequence, arrivals, Instant::now() + limit).await?;
        } else if let (Some(mark), true) = (mark, unread == last.sequence) {
            arrivals.add(mark, last.sequence);
        }
        arrivals.set_last(last.sequence);
        Ok(())
    }

    /// The last message of `subject`, if there is one.
    async fn last(&self, subject: &str) -> Result<Option<StreamMessage>, OutputError> {
        let last = self.stream.get_last_raw_message_by_subject(subject);
        match self.within(Duration::ZERO, last).await? {
            Ok(last) => Ok(Some(last)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed("read the last message of the subject from", &error)),
        }
    }

    /// Reads the headers of the messages with these sequences.
    async fn scan(
        &self,
        subject: &str,
        sequences: RangeInclusive<u64>,
        arrivals: &mut Arrivals,
        deadline: Instant,
    ) -> Result<(), OutputError> {
        let (first, last) = sequences.into_inner();
        let reading = |error: &dyn Error| failed("read the messages of the subject from", error);
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: first },
            ack_policy: AckPolicy::None,
            filter_subject: subject.to_owned(),
            headers_only: true,
            memory_storage: true,
            inactive_threshold: self.timeout * 4,
            ..Default::default()
        };
        let created = self.within(Duration::ZERO, self.stream.create_consumer(config)).await?;
        let consumer = created.map_err(|error| reading(&error))?;
        loop {
            let fetch = consumer.fetch().max_messages(READ_MESSAGES).messages();
            let mut messages = self.within(Duration::ZERO, fetch).await?.map_err(|error| reading(&error))?;
            let mut is_empty = true;
            while let Some(message) = self.within(Duration::ZERO, messages.next()).await? {
                let message = message.map_err(|error| OutputError::message(error.to_string()))?;
                let info = message.info().map_err(|error| OutputError::message(error.to_string()))?;
                let sequence = info.stream_sequence;
                if let Some(mark) = message.headers.as_ref().and_then(mark) {
                    arrivals.add(mark, sequence);
                }
                arrivals.set_last(sequence);
                if sequence >= last {
                    return Ok(());
                }
                if Instant::now() >= deadline {
                    return Err(OutputError::message(format!(
                        "reading which messages have arrived in NATS takes long; the next attempt continues after \
                         message {sequence} of {last}"
                    )));
                }
                is_empty = false;
            }
            if is_empty {
                // Messages may have been deleted meanwhile. Otherwise a replica has the consumer, and lags behind.
                return match self.last(subject).await? {
                    Some(message) if message.sequence >= last => Err(OutputError::message(
                        "cannot read the last messages of the subject from NATS yet; if this does not end, check \
                         that the replicas of the stream are current",
                    )),
                    _ => Ok(()),
                };
            }
        }
    }
}

/// Returns a warning about a setting of the stream that weakens the guarantees.
fn examine(settings: &stream::Config) -> Result<Option<String>, OutputError> {
    let name = &settings.name;
    if settings.no_ack {
        return Err(OutputError::message(format!(
            "the stream `{name}` in NATS has the option `no_ack`; turn it off, so that messages are acknowledged"
        )));
    }
    Ok((settings.retention != RetentionPolicy::Limits).then(|| {
        format!(
            "the stream `{name}` in NATS deletes messages that were consumed, so a message that was sent before a \
             restart can arrive twice; set its retention policy to `limits`"
        )
    }))
}

fn mark(headers: &HeaderMap) -> Option<Mark> {
    headers.get(MARK)?.as_str().parse().ok()
}

async fn within<T>(
    limit: Duration,
    problem: &watch::Receiver<Option<String>>,
    work: impl Future<Output = T>,
) -> Result<T, OutputError> {
    let mut problem = problem.clone();
    let has_problem = async {
        match problem.wait_for(Option::is_some).await {
            Ok(problem) => problem.clone().unwrap_or_default(),
            // The connection has ended.
            Err(_) => "the connection was lost".to_owned(),
        }
    };
    tokio::select! {
        biased;
        done = work => Ok(done),
        problem = has_problem => Err(explain("use the connection to", &problem)),
        () = tokio::time::sleep(limit) => {
            Err(explain("use the connection to", &format!("timed out: no answer within {limit:?}")))
        }
    }
}

/// The error of an operation, with a remedy.
pub(crate) fn failed(operation: &str, error: &dyn Error) -> OutputError {
    explain(operation, &chain(error))
}

fn no_stream(subject: &str) -> OutputError {
    let prefix = subject.rsplit_once('.').map_or(subject, |(prefix, _)| prefix);
    OutputError::message(format!(
        "no stream in NATS has the subject `{subject}`; create one, for example with `nats stream add deployments \
         --subjects '{prefix}.>' --storage file --retention limits --defaults`"
    ))
}

/// The error of an operation that failed because of `details`, with a remedy.
pub(crate) fn explain(operation: &str, details: &str) -> OutputError {
    let lower = details.to_lowercase();
    let has = |words: &str| lower.contains(words);
    let remedy = if has("authorization violation") || has("signing nonce") {
        "; check `username`, `password`, `token`, `nkey_seed` and `credentials_file`"
    } else if has("permissions violation") {
        "; grant the user the permissions that are listed in the documentation of the output"
    } else if has("unknownissuer") {
        "; set `tls.ca` to the authority that signed its certificate"
    } else if has("not valid for name") || has("notvalidforname") {
        "; use a name from its certificate in `url`"
    } else if has("certificaterequired") || has("badcertificate") || has("unknownca") {
        "; set `tls.certificate` and `tls.key` to a certificate that NATS trusts"
    } else if has("expired") {
        "; a certificate or JWT has expired: renew it"
    } else if has("tls error") || has("invalidcontenttype") {
        "; check `url` and `tls`, and that the server offers TLS"
    } else if has("no responders") || has("resource does not exist") || has("not enabled") {
        "; enable JetStream in the server and for the account, and check that the cluster has a leader"
    } else if has("maximum messages exceeded") || has("maximum bytes exceeded") || has("resources exceeded") {
        "; the stream is full: raise its limits, delete messages, or set its discard policy to `old`"
    } else if has("insufficient resources") || has("insufficient storage") {
        "; free space on the disks of the servers, or raise the limits of JetStream"
    } else if has("stream not found") {
        "; create the stream again"
    } else {
        "; check that the server is running, and check `url`"
    };
    OutputError::new(format!("cannot {operation} NATS{remedy}"), details)
}
