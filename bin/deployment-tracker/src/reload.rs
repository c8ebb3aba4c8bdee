//! SIGHUP: tokens and certificates are read anew, while everything else goes on.

use std::path::PathBuf;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracker_server::{Access, Tls};

use crate::config::{self, ConfigError};

/// What can change while the server runs.
pub struct Reloadable {
    hangups: Signal,
    parts: Parts,
}

#[derive(Clone)]
struct Parts {
    file: Option<PathBuf>,
    access: Access,
    tls: Option<Tls>,
}

impl Reloadable {
    /// From here on SIGHUP is ours. `file` is where the configuration comes from.
    ///
    /// # Errors
    /// When the system does not give us the signal.
    pub fn new(file: Option<PathBuf>, access: Access, tls: Option<Tls>) -> std::io::Result<Self> {
        Ok(Self { hangups: signal(SignalKind::hangup())?, parts: Parts { file, access, tls } })
    }

    /// Reloads at each signal, for ever.
    pub async fn run(mut self) {
        while self.hangups.recv().await.is_some() {
            let parts = self.parts.clone();
            // A file may be slow to come.
            let reloaded = tokio::task::spawn_blocking(move || parts.reload()).await;
            match reloaded.unwrap_or_else(|error| Err(ConfigError::explained(error))) {
                Ok(()) => log::info!("reloaded the tokens and certificates; other changes need a restart"),
                Err(error) => log::error!("not reloaded, everything stays as it is: {error}"),
            }
        }
    }
}

impl Parts {
    /// All or nothing.
    fn reload(&self) -> Result<(), ConfigError> {
        let config = config::load(self.file.as_deref())?.config;
        let tokens = config.tokens()?;
        if tokens.is_none() && !self.access.is_open() {
            return Err(ConfigError::new("auth", "is gone; restart the server to let everybody in"));
        }
        if let (Some(tls), Some(config)) = (&self.tls, &config.tls) {
            let demanded = tls.demands_certificates();
            tls.renew(config).map_err(ConfigError::explained)?;
            if demanded && !tls.demands_certificates() {
                log::warn!("from now on clients need no certificate (`tls.client_ca`, `tls.client_optional`)");
            }
        }
        if let Some(tokens) = tokens {
            self.access.restrict(tokens);
        }
        Ok(())
    }
}
