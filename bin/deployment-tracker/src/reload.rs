//! Reloads tokens and certificates on SIGHUP, without a restart.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracker_server::{Access, Tls};

use crate::config::keys::Keys;
use crate::config::{self, ConfigError};

/// Reloads tokens and certificates whenever the process receives SIGHUP.
pub struct Reloader {
    hangups: Signal,
    parts: Parts,
}

#[derive(Clone)]
struct Parts {
    file: Option<PathBuf>,
    known: Arc<Keys>,
    access: Access,
    tls: Option<Tls>,
}

impl Reloader {
    /// Installs the handler for SIGHUP. `file` is the `--config` argument, and `known` are the keys of the server.
    ///
    /// # Errors
    /// If the handler cannot be installed.
    pub fn new(file: Option<PathBuf>, known: Arc<Keys>, access: Access, tls: Option<Tls>) -> std::io::Result<Self> {
        Ok(Self { hangups: signal(SignalKind::hangup())?, parts: Parts { file, known, access, tls } })
    }

    /// Reloads after each signal. Never returns.
    pub async fn run(&mut self) {
        while self.hangups.recv().await.is_some() {
            let parts = self.parts.clone();
            // Reading a file may block.
            let reloaded = tokio::task::spawn_blocking(move || parts.reload()).await;
            match reloaded.unwrap_or_else(|error| Err(ConfigError::from_message(error))) {
                Ok(()) => log::info!("reloaded the tokens and certificates; other changes need a restart"),
                Err(error) => log::error!("reload failed, tokens and certificates are unchanged: {error}"),
            }
        }
    }
}

impl Parts {
    /// Replaces both the tokens and the certificates, or neither.
    fn reload(&self) -> Result<(), ConfigError> {
        let config = config::load(self.file.as_deref(), &self.known)?.config;
        let tokens = config.tokens()?;
        if tokens.is_none() && !self.access.is_open() {
            return Err(ConfigError::new("auth", "was removed; restart the server to turn authentication off"));
        }
        if let (Some(tls), Some(config)) = (&self.tls, &config.tls) {
            let demanded_before = tls.demands_certificates();
            tls.renew(config).map_err(ConfigError::tls)?;
            if demanded_before && !tls.demands_certificates() {
                log::warn!("clients no longer need a certificate (`tls.client_ca`, `tls.client_optional`)");
            }
        }
        if let Some(tokens) = tokens {
            self.access.restrict(tokens);
        }
        Ok(())
    }
}
