//! How batches are pushed: the strongest way that Redis permits.
//!
//! Each new connection asks for it, until Redis permits everything. The mode never becomes weaker: a batch may be in
//! doubt when permissions change, and pushing it in a weaker mode could duplicate it.

use std::sync::{Mutex, PoisonError};

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::ClientLike;
use fred::types::Value;

use crate::push::{Keys, command};

/// A way to push, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// RPUSH alone: a push whose answer is lost arrives twice.
    Plain,
    /// Transactions that set the markers with SET.
    Transactions,
    /// Scripts, also for large pushes.
    Scripts,
    /// Scripts for small pushes; transactions that set the markers with a script for large ones.
    Both,
}

/// Commands that have no effect, and fail unless Redis permits them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Probe {
    Ping,
    /// A command for lists, which a Sentinel does not know.
    List,
    Script,
    /// The commands of a transaction.
    Transaction,
}

/// The mode of an output, shared by its connections.
#[derive(Debug)]
pub(crate) struct ModeCell {
    address: String,
    mode: Mutex<Option<Mode>>,
}

impl ModeCell {
    /// `initial` is `None` if Redis decides.
    pub(crate) fn new(address: String, initial: Option<Mode>) -> Self {
        Self { address, mode: Mutex::new(initial) }
    }

    /// The mode, once Redis has been asked.
    pub(crate) fn get(&self) -> Option<Mode> {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Raises the mode to `permitted`, and logs a change.
    pub(crate) fn raise(&self, permitted: Mode) {
        let mut mode = self.mode.lock().unwrap_or_else(PoisonError::into_inner);
        if mode.is_some_and(|mode| mode >= permitted) {
            return;
        }
        *mode = Some(permitted);
        match permitted {
            Mode::Plain => log::warn!("{}", self.warning()),
            Mode::Transactions => {
                log::info!("Redis at {} does not permit EVAL; pushes use transactions instead", self.address);
            }
            Mode::Scripts => {
                log::info!("Redis at {} does not permit transactions; large pushes use EVAL instead", self.address);
            }
            Mode::Both => log::debug!("Redis at {} permits EVAL and transactions", self.address),
        }
    }

    /// The restriction of [`Mode::Plain`].
    pub(crate) fn warning(&self) -> String {
        format!(
            "Redis at {} permits neither EVAL nor transactions (WATCH, MULTI and EXEC): a push whose answer is lost \
             arrives twice; permit the commands that are listed for `username`",
            self.address
        )
    }
}

impl Probe {
    pub(crate) async fn send(self, client: &Client, keys: &Keys) -> Result<(), Error> {
        let (list, marker) = (Value::from(keys.list().clone()), keys.probe());
        match self {
            Self::Ping => client.ping(None).await,
            Self::List => client.custom(command("LLEN"), vec![list]).await,
            Self::Script => client.custom(command("EVAL"), vec!["return 1".into(), "1".into(), list]).await,
            Self::Transaction => {
                let commands = client.pipeline();
                for (name, arguments) in [
                    ("WATCH", vec![marker.clone()]),
                    ("MGET", vec![marker.clone()]),
                    ("LLEN", vec![list]),
                    ("MULTI", Vec::new()),
                    ("SET", vec![marker.clone(), "".into(), "XX".into()]),
                    ("DEL", vec![marker]),
                    ("EXEC", Vec::new()),
                ] {
                    let () = commands.custom(command(name), arguments).await?;
                }
                let _: Vec<Value> = commands.all().await?;
                Ok(())
            }
        }
    }
}

/// Whether the server did not answer or closed the connection, as some proxies do after a command that they do not
/// support.
pub(crate) fn is_silent(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::IO | ErrorKind::Canceled | ErrorKind::Timeout)
}

/// Whether a server or a proxy refuses a command in general. Other errors, such as `LOADING` or a missing permission
/// for a key, do not say that.
pub(crate) fn is_refused(error: &Error) -> bool {
    let text = error.details().to_lowercase();
    // Redis 6 and 7, then proxies: the words differ.
    let is_unpermitted = text.starts_with("noperm") && text.contains("to run the");
    let is_unknown = text.starts_with("err")
        && ["unknown command", "unsupported", "not supported", "not allowed", "forbidden", "disabled"]
            .iter()
            .any(|words| text.contains(words));
    is_unpermitted || is_unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_about_the_command_is_a_refusal() {
        for (answer, expected) in [
            ("ERR unknown command 'EVAL', with args beginning with: 'return 1' '1' 'logstash' ", true),
            ("ERR unknown command `EVAL`, with args beginning with: `return 1`, ", true),
            ("NOPERM this user has no permissions to run the 'eval' command or its subcommand", true),
            ("NOPERM User few has no permissions to run the 'eval' command", true),
            ("ERR unsupported command 'EVAL'", true),
            ("ERR handle request, command 'EVAL' is not allowed", true),
            ("NOPERM No permissions to access a key", false),
            ("NOPERM this user has no permissions to access one of the keys used as arguments", false),
            ("LOADING Redis is loading the dataset in memory", false),
            ("NOAUTH Authentication required.", false),
            ("READONLY You can't write against a read only replica.", false),
            ("MOVED 3999 127.0.0.1:6381", false),
            ("BUSY Redis is busy running a script.", false),
            ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", false),
            ("ERR max number of clients reached", false),
        ] {
            assert_eq!(is_refused(&Error::new(ErrorKind::Unknown, answer)), expected, "{answer}");
        }
    }
}
