//! Shutdown signals, and notifications to systemd.

use std::io;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::logger;

/// The handlers for SIGTERM and SIGINT.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// If a handler cannot be installed.
    pub fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for a signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for the first signal. A second signal then ends the process immediately.
    pub async fn first(mut self) {
        self.next().await;
        notify_systemd(NotifyState::Stopping);
        log::info!("stopping: answering requests in flight, then delivering pending events");
        tokio::spawn(async move {
            self.next().await;
            log::warn!("stopped immediately by a second signal");
            logger::flush();
            std::process::exit(1);
        });
    }
}

/// Notifies systemd if it started this process as a `Type=notify` service.
pub fn notify_systemd(state: NotifyState) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::warn!("cannot notify systemd through NOTIFY_SOCKET: {error}");
    }
}
