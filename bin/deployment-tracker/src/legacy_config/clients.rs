//! Translates the options of the Redis and StatsD clients, ioredis and node-statsd.

use serde_json::Value;

use super::{Legacy, Notes, Section, normalize, redis_url};
use crate::config::ConfigError;

/// The section `redis` of the legacy service, which passed it to ioredis.
pub const REDIS: Legacy =
    Legacy { expand: redis_url::section, has_short_variable: true, note_on_short_form: None, translate: redis };
/// The section `statsd` of the legacy service, which passed it to node-statsd.
pub const STATSD: Legacy = Legacy {
    expand: statsd_host,
    has_short_variable: false,
    note_on_short_form: Some("used as `statsd.host`"),
    translate: statsd,
};

/// Renamed options: the legacy name and the current name.
const REDIS_RENAMED: [(&str, &str); 6] = [
    // The README of the legacy service misspells this key of its own.
    ("additional_fileds", "additional_fields"),
    ("connectTimeout", "connect_timeout_millis"),
    ("commandTimeout", "timeout_millis"),
    ("name", "master_name"),
    ("sentinelUsername", "sentinel_username"),
    ("sentinelPassword", "sentinel_password"),
];
/// Options that are not safe to ignore, because the service would use another Redis or a less secure connection.
const REDIS_REFUSED: [(&str, &str); 3] = [
    ("natMap", "remove it, and configure the Redis servers to announce addresses that this machine can reach"),
    ("readOnly", "remove it: replicas do not accept writes"),
    ("protocol", "remove it: the protocol version cannot be configured"),
];
/// Options that concern only the internals of ioredis.
const REDIS_IGNORED: [&str; 36] = [
    "autoPipeliningIgnoredCommands",
    "autoResendUnfulfilledCommands",
    "autoResubscribe",
    "blockingTimeout",
    "clientInfoTag",
    "connectionName",
    "detect_buffers",
    "disableClientInfo",
    "disconnectTimeout",
    "dropBufferSupport",
    "enableAutoPipelining",
    "enableOfflineQueue",
    "enableReadyCheck",
    "failoverDetector",
    "family",
    "keepAlive",
    "lazyConnect",
    "maxLoadingRetryTime",
    "maxRetriesPerRequest",
    "maxScriptsCachingTime",
    "monitor",
    "noDelay",
    "offlineQueue",
    "parser",
    "reconnectOnError",
    "preferredSlaves",
    "retryStrategy",
    "return_buffers",
    "sentinelCommandTimeout",
    "sentinelMaxConnections",
    "sentinelReconnectStrategy",
    "sentinelRetryStrategy",
    "showFriendlyErrorStack",
    "socketTimeout",
    "stringNumbers",
    "updateSentinels",
];
const STATSD_IGNORED: [&str; 6] = ["cacheDns", "cache_dns", "globalize", "global_tags", "globalTags", "errorHandler"];

/// Translates ioredis' options.
fn redis(redis: &mut Section, notes: &mut Notes) -> Result<(), ConfigError> {
    normalize(redis);
    for (option, problem) in REDIS_REFUSED {
        if redis.remove(option).is_some_and(|value| value != Value::Bool(false)) {
            return Err(ConfigError::new(&format!("redis.{option}"), problem));
        }
    }
    sentinels(redis)?;
    tls(redis, notes)?;
    for (option, name) in REDIS_RENAMED {
        let Some(value) = redis.remove(option) else { continue };
        if redis.contains_key(name) {
            notes.ignored.push(format!("`redis.{option}`: `redis.{name}` is set"));
        } else if value.is_u64() || !name.ends_with("_millis") {
            redis.insert(name.into(), value);
            notes.understood.push(format!("`redis.{option}`: renamed to `redis.{name}`"));
        } else {
            return Err(ConfigError::new(&format!("redis.{option}"), "must be an integer number of milliseconds"));
        }
    }
    match redis.remove("keyPrefix") {
        None => {}
        Some(Value::String(prefix)) => {
            let key = redis.get("key").map_or(Some("logstash"), Value::as_str);
            if let Some(key) = key.map(|key| format!("{prefix}{key}")) {
                notes.understood.push(format!("`redis.keyPrefix`: the list is `{key}`"));
                redis.insert("key".into(), key.into());
            }
        }
        Some(_) => return Err(ConfigError::new("redis.keyPrefix", "must be a string")),
    }
    ignore(redis, "redis", &REDIS_IGNORED, notes);
    // The value of ioredis is an object, and ours is a string.
    if redis.get("scripts").is_some_and(Value::is_object) {
        ignore(redis, "redis", &["scripts"], notes);
    }
    Ok(())
}

/// Translates the Sentinel options.
fn sentinels(redis: &mut Section) -> Result<(), ConfigError> {
    if redis.remove("role").is_some_and(|role| role != "master") {
        return Err(ConfigError::new("redis.role", "must be `master`: replicas do not accept writes"));
    }
    if let Some(Value::Array(sentinels)) = redis.get_mut("sentinels") {
        sentinels.iter_mut().filter_map(Value::as_object_mut).for_each(normalize);
        return Ok(());
    }
    // ioredis ignores these options without Sentinels.
    for option in ["name", "sentinelUsername", "sentinelPassword"] {
        redis.remove(option);
    }
    Ok(())
}

/// Translates the TLS options of Node.js. Rejects those that would disable verification.
fn tls(redis: &mut Section, notes: &mut Notes) -> Result<(), ConfigError> {
    const SAME: &str = "Redis and the Sentinels share one TLS configuration; set `tls`, the same `sentinelTLS` and \
                        `enableTLSForSentinelMode: true`, or none of them";
    let (sentinels, is_enabled) = (redis.remove("sentinelTLS"), redis.remove("enableTLSForSentinelMode"));
    // A configuration with `master_name` instead of `name` was not written for ioredis.
    if redis.get("sentinels").is_some_and(Value::is_array) && redis.contains_key("name") {
        let tls = redis.get("tls").filter(|_| is_enabled == Some(Value::Bool(true)));
        if sentinels.as_ref() != tls || tls != redis.get("tls") {
            return Err(ConfigError::new("redis.sentinelTLS", SAME));
        }
    }
    match redis.get_mut("tls") {
        Some(Value::Bool(false)) => drop(redis.remove("tls")),
        Some(tls @ Value::Bool(true)) => *tls = Value::Object(Section::new()),
        Some(Value::Object(tls)) => {
            if tls.remove("rejectUnauthorized").is_some_and(|reject| reject != Value::Bool(true)) {
                return Err(ConfigError::new(
                    "redis.tls.rejectUnauthorized",
                    "remove it: certificates are always verified",
                ));
            }
            tls.retain(|_, value| !value.is_null());
            for (option, name) in [("ca", "ca"), ("cert", "certificate"), ("key", "key")] {
                if tls.get(option).is_some_and(|value| option != name || !value.is_string() || is_pem(value)) {
                    let problem = format_args!("save it to a file, and set `redis.tls.{name}` to the path");
                    return Err(ConfigError::new(&format!("redis.tls.{option}"), problem));
                }
            }
            if let Some(name) = tls.remove("servername") {
                tls.entry("server_name").or_insert(name);
                notes.understood.push("`redis.tls.servername`: renamed to `redis.tls.server_name`".to_owned());
            }
        }
        _ => {}
    }
    Ok(())
}

fn is_pem(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("-----BEGIN"))
}

/// Reads the host of StatsD alone.
fn statsd_host(value: &Value) -> Result<Section, ConfigError> {
    if !value.is_string() {
        return Err(ConfigError::new("statsd", "must be a section, or the name or address of the host as a string"));
    }
    Ok(Section::from_iter([("host".to_owned(), value.clone())]))
}

/// Translates node-statsd's options.
fn statsd(statsd: &mut Section, notes: &mut Notes) -> Result<(), ConfigError> {
    normalize(statsd);
    if statsd.remove("mock").is_some_and(|mock| mock != Value::Bool(false)) {
        return Err(ConfigError::new("statsd.mock", "remove the `statsd` section instead, so that nothing is sent"));
    }
    ignore(statsd, "statsd", &STATSD_IGNORED, notes);
    Ok(())
}

fn ignore(section: &mut Section, name: &str, options: &[&str], notes: &mut Notes) {
    let found = options.iter().filter(|option| section.remove(**option).is_some());
    notes.ignored.extend(found.map(|option| format!("`{name}.{option}`: has no effect")));
}
