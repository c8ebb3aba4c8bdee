//! Creates the parts of the server before it serves requests, and writes the start-up log.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tracker_config::StoreOptions;
use tracker_core::{OutboxLimits, Store, Tracker, TrackerBuilder};
use tracker_server::{Address, Listener};

use crate::config::{Config, Loaded};
use crate::sections::{Configured, Origin, Section};
use crate::stores::Chosen;

/// Less than the 90 seconds after which systemd kills a service that has not started.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(60);

/// Binds every address to listen on.
///
/// # Errors
/// If an address cannot be bound.
pub fn bind(config: &Config) -> anyhow::Result<Vec<Listener>> {
    let bind = |address: Address| {
        let key = if config.listen.is_empty() { "`host` and `port`" } else { "`listen`" };
        Listener::bind(&address).with_context(|| format!("cannot listen on {address}; check {key}"))
    };
    config.addresses().into_iter().map(bind).collect()
}

/// Opens the store. Blocks while another instance that is stopping has the SQLite file open.
///
/// # Errors
/// If the database cannot be used.
pub fn store(chosen: &Chosen, config: &Config, address: &Address) -> anyhow::Result<Arc<dyn Store>> {
    // As long as an instance with the same configuration takes to stop.
    let stopping = Duration::from_secs(config.shutdown_seconds) * 2 + Duration::from_secs(2);
    let options = StoreOptions::default()
        .instance(config.instance_name(address))
        .max_waiting_queries(config.limits.queued_queries)
        .lock_wait(stopping.min(MAX_LOCK_WAIT));
    chosen
        .open(&options)
        .map_err(|error| anyhow!(error).context(format!("cannot open the database {}", chosen.location)))
}

/// Adds the configured outputs to `store`.
pub fn tracker(loaded: &Loaded, store: Arc<dyn Store>) -> TrackerBuilder {
    let Loaded { config, outputs, keep_logs, .. } = loaded;
    let limits = OutboxLimits::default().max_messages(config.outbox.max_messages).max_bytes(config.outbox.max_bytes);
    let tracker = Tracker::builder(store)
        .keep_logs(*keep_logs)
        .outbox_limits(limits)
        .max_waiting(config.limits.queued_reports)
        .delete_after(config.retention.deployments.as_ref().map(Duration::from));
    outputs.iter().fold(tracker, |tracker, configured| tracker.output(configured.output.clone()))
}

/// Logs the origin of the configuration, and where the server listens, stores and delivers.
pub fn log(
    Loaded { config, store, outputs, keep_logs, file, notes, .. }: &Loaded,
    sections: &[Section],
    addresses: &[Address],
) {
    match file {
        Some(file) => log::info!(file:% = file.display(); "configuration: read from the file and the environment"),
        None => log::info!(
            "configuration: read from the environment; the working directory has no config.json or config.toml"
        ),
    }
    for note in &notes.understood {
        log::info!("configuration: {note}");
    }
    for note in &notes.ignored {
        log::warn!("configuration: ignored {note}");
    }
    let joined = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    log::info!(
        addresses = joined,
        store:% = store.location,
        logs = if *keep_logs { "kept" } else { "not kept" },
        outputs = described(sections, outputs);
        "listening"
    );
    if config.database.logs.is_none() && !keep_logs {
        log::info!(
            "log messages are forwarded to Redis and not kept in the database; set `database.logs` to true to keep \
             them as well"
        );
    }
    if let Some(age) = &config.retention.deployments {
        log::info!("deployments older than {age} are deleted (`retention.deployments`)");
    }
}

/// The outputs of this build, each with its destination.
fn described(sections: &[Section], outputs: &[Configured]) -> String {
    let of_this_build = sections.iter().filter(|section| section.origin != Origin::NotBuiltIn);
    let described = of_this_build.map(|Section { name, .. }| {
        let configured = outputs.iter().find(|configured| configured.output.name() == *name);
        format!("{name} {}", configured.map_or("off", |configured| &configured.location))
    });
    described.collect::<Vec<_>>().join("; ")
}

/// Warns of settings that are likely to be mistakes.
pub fn warn(config: &Config, tracker: &TrackerBuilder, listeners: &[Listener], addresses: &[Address]) {
    if config.tls.is_some() && !addresses.iter().any(|address| matches!(address, Address::Https(_))) {
        log::warn!("`tls` has no effect: no address in `listen` begins with https://");
    }
    if config.auth.is_none() && listeners.iter().any(Listener::is_remote) {
        log::warn!(
            "authentication is off and the server is reachable from other machines; set `auth.tokens` or listen on \
             127.0.0.1"
        );
    }
    let is_loopback = |listener: &Listener| !listener.is_remote() && !matches!(listener, Listener::Unix(..));
    if config.auth.is_none() && config.server.allowed_hosts.is_empty() && listeners.iter().any(is_loopback) {
        log::info!(
            "authentication is off: web pages in a browser on this machine can reach the server by DNS rebinding; set \
             `server.allowed_hosts`, for example to [\"localhost\", \"127.0.0.1\"]"
        );
    }
    if !tracker.takes_logs() {
        log::warn!("log messages are refused: `database.logs` is false and no output takes them");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{legacy_config, sections};

    #[test]
    fn the_start_up_log_lists_the_outputs_of_this_build_only() {
        let mut all = vec![Section::not_built_in("absent", Some(legacy_config::STATSD))];
        all.extend(sections::built_in().into_iter().filter(|section| section.origin == Origin::BuiltIn).take(1));
        let expected = all.get(1).map(|section| format!("{} off", section.name)).unwrap_or_default();
        assert_eq!(described(&all, &[]), expected);
    }
}
