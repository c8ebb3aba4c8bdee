//! The log on standard error: one line of text or JSON per record. Logging never blocks.

mod queue;

use std::io::Write;
use std::panic;

use env_logger::Target;
use env_logger::fmt::Formatter;
use log::kv::{Error, Key, Value, VisitSource};
use log::{LevelFilter, Record};
use serde_json::Map;
use tracker_core::time;

use crate::config::ConfigError;

pub use queue::{StandardError, dropped, flush, start};

/// Starts logging with the level in `DEPLOYMENT_TRACKER_LOG_LEVEL` and the format in `DEPLOYMENT_TRACKER_LOG_FORMAT`.
/// Dependencies log warnings and errors only; the crates of the project and the crate `server` log at the level.
///
/// # Errors
/// [`ConfigError`] if one of the variables has an unknown value.
pub fn init(server: &str) -> Result<(), ConfigError> {
    let level = variable("DEPLOYMENT_TRACKER_LOG_LEVEL", "info")?;
    // `fatal` is the highest level of Bunyan, the logger of the legacy service.
    let level = if level.eq_ignore_ascii_case("fatal") { "error" } else { &level };
    let level: LevelFilter = level.parse().map_err(|_| {
        ConfigError::new(
            "DEPLOYMENT_TRACKER_LOG_LEVEL",
            format_args!("must be one of off, error, warn, info, debug, trace, not `{level}`"),
        )
    })?;
    let format = variable("DEPLOYMENT_TRACKER_LOG_FORMAT", "text")?;
    let write: fn(&mut Formatter, &Record) -> std::io::Result<()> = match format.as_str() {
        "text" => write_text,
        "json" => write_json,
        _ => {
            let problem = format_args!("must be text or json, not `{format}`");
            return Err(ConfigError::new("DEPLOYMENT_TRACKER_LOG_FORMAT", problem));
        }
    };
    env_logger::Builder::new()
        .filter_level(level.min(LevelFilter::Warn))
        // actix-http logs every malformed request as an error.
        .filter_module("actix_http", LevelFilter::Off)
        // The Redis output logs connection failures itself.
        .filter_module("fred", LevelFilter::Off)
        // Clients can cause as many warnings as they like, for example by asking for a renegotiation.
        .filter_module("rustls", LevelFilter::Error)
        .filter_module("tracker_", level)
        .filter_module("deployment_tracker", level)
        .filter_module(&server.replace('-', "_"), level)
        .format(write)
        .target(Target::Pipe(Box::new(StandardError)))
        .init();
    // The default hook writes to standard error itself, and would block.
    panic::set_hook(Box::new(|panic| log::error!("{panic}")));
    Ok(())
}

fn variable(name: &str, default: &str) -> Result<String, ConfigError> {
    match std::env::var(name) {
        // As in the legacy service, an empty variable counts as absent.
        Ok(value) if !value.is_empty() => Ok(value),
        Ok(_) | Err(std::env::VarError::NotPresent) => Ok(default.to_owned()),
        Err(error) => Err(ConfigError::new(name, error)),
    }
}

fn write_text(out: &mut Formatter, record: &Record) -> std::io::Result<()> {
    write!(out, "{} {:5} {}", time::rfc3339(&time::now()), record.level(), record.args())?;
    for (name, value) in fields(record) {
        write!(out, " {name}={value}")?;
    }
    writeln!(out)
}

fn write_json(out: &mut Formatter, record: &Record) -> std::io::Result<()> {
    let mut line = fields(record);
    line.insert("@timestamp".into(), time::rfc3339(&time::now()).as_str().into());
    line.insert("level".into(), record.level().as_str().to_lowercase().into());
    line.insert("target".into(), record.target().into());
    line.insert("message".into(), record.args().to_string().into());
    writeln!(out, "{}", serde_json::Value::from(line))
}

/// The key-value pairs of a record.
fn fields(record: &Record) -> Map<String, serde_json::Value> {
    struct Fields(Map<String, serde_json::Value>);
    impl<'kvs> VisitSource<'kvs> for Fields {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
            let value = match (value.to_u64(), value.to_f64()) {
                (Some(number), _) => number.into(),
                (None, Some(number)) => number.into(),
                (None, None) => value.to_string().into(),
            };
            self.0.insert(key.to_string(), value);
            Ok(())
        }
    }
    let mut fields = Fields(Map::new());
    // The visitor returns no errors.
    let _ = record.key_values().visit(&mut fields);
    fields.0
}
