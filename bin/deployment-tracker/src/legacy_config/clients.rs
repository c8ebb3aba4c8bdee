//! The options of the clients for Redis and StatsD: ioredis and node-statsd.

use serde_json::Value;

use super::{Notes, Section, as_node_reads};
use crate::config::ConfigError;

/// Options that have their own name here: the option and its name.
const REDIS_RENAMED: [(&str, &str); 5] = [
    ("connectTimeout", "connect_timeout_millis"),
    ("commandTimeout", "timeout_millis"),
    ("name", "master_name"),
    ("sentinelUsername", "sentinel_username"),
    ("sentinelPassword", "sentinel_password"),
];
/// Options without which Redis would be another one, or less safe.
const REDIS_REFUSED: [(&str, &str); 3] = [
    ("natMap", "servers are where the Sentinels say; have them announce an address that can be reached"),
    ("readOnly", "it is for replicas, which take no elements; leave it out"),
    ("protocol", "the protocol is that which Redis speaks by itself; leave it out"),
];
/// Options about how the client for Node.js works inside.
const REDIS_IGNORED: [&str; 37] = [
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
    "scripts",
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

/// Puts ioredis' options into our terms.
pub fn redis(redis: &mut Section, notes: &mut Notes) -> Result<(), ConfigError> {
    as_node_reads(redis);
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
            notes.ignored.push(format!("`redis.{option}`: `redis.{name}` is given"));
        } else if value.is_u64() || !name.ends_with("_millis") {
            redis.insert(name.into(), value);
            notes.understood.push(format!("`redis.{option}`, here `redis.{name}`"));
        } else {
            return Err(ConfigError::new(&format!("redis.{option}"), "must be a whole number of milliseconds"));
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
        Some(_) => return Err(ConfigError::new("redis.keyPrefix", "must be a text")),
    }
    ignore(redis, "redis", &REDIS_IGNORED, notes);
    Ok(())
}

/// Whom ioredis would ask for the master, and how.
fn sentinels(redis: &mut Section) -> Result<(), ConfigError> {
    if redis.remove("role").is_some_and(|role| role != "master") {
        return Err(ConfigError::new("redis.role", "must be `master`: replicas take no elements"));
    }
    if let Some(Value::Array(sentinels)) = redis.get_mut("sentinels") {
        sentinels.iter_mut().filter_map(Value::as_object_mut).for_each(as_node_reads);
        return Ok(());
    }
    // Without Sentinels these mean nothing to ioredis.
    for option in ["name", "sentinelUsername", "sentinelPassword"] {
        redis.remove(option);
    }
    Ok(())
}

/// TLS as Node.js has it, where it verifies servers as we do.
fn tls(redis: &mut Section, notes: &mut Notes) -> Result<(), ConfigError> {
    const ONE: &str = "TLS is for Redis and Sentinels alike here; give the same `tls` and `sentinelTLS`, and \
                       `enableTLSForSentinelMode`, or none of them";
    let (sentinels, is_enabled) = (redis.remove("sentinelTLS"), redis.remove("enableTLSForSentinelMode"));
    // Who says `master_name` does not speak to ioredis.
    if redis.get("sentinels").is_some_and(Value::is_array) && redis.contains_key("name") {
        let tls = redis.get("tls").filter(|_| is_enabled == Some(Value::Bool(true)));
        if sentinels.as_ref() != tls || tls != redis.get("tls") {
            return Err(ConfigError::new("redis.sentinelTLS", ONE));
        }
    }
    match redis.get_mut("tls") {
        Some(Value::Bool(false)) => drop(redis.remove("tls")),
        Some(tls @ Value::Bool(true)) => *tls = Value::Object(Section::new()),
        Some(Value::Object(tls)) => {
            if tls.remove("rejectUnauthorized").is_some_and(|reject| reject != Value::Bool(true)) {
                return Err(ConfigError::new(
                    "redis.tls.rejectUnauthorized",
                    "certificates are always verified; leave it out",
                ));
            }
            tls.retain(|_, given| !given.is_null());
            for (option, name) in [("ca", "ca"), ("cert", "certificate"), ("key", "key")] {
                if tls.get(option).is_some_and(|given| option != name || !given.is_string() || is_pem(given)) {
                    let problem = format_args!("put it into a file, and give the file as `redis.tls.{name}`");
                    return Err(ConfigError::new(&format!("redis.tls.{option}"), problem));
                }
            }
            if let Some(name) = tls.remove("servername") {
                tls.entry("server_name").or_insert(name);
                notes.understood.push("`redis.tls.servername`, here `redis.tls.server_name`".to_owned());
            }
        }
        _ => {}
    }
    Ok(())
}

fn is_pem(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("-----BEGIN"))
}

/// Puts node-statsd's options into our terms.
pub fn statsd(statsd: &mut Section, notes: &mut Notes) -> Result<(), ConfigError> {
    as_node_reads(statsd);
    if statsd.remove("mock").is_some_and(|mock| mock != Value::Bool(false)) {
        return Err(ConfigError::new("statsd.mock", "leave the section out instead: then nothing is sent"));
    }
    ignore(statsd, "statsd", &STATSD_IGNORED, notes);
    Ok(())
}

fn ignore(section: &mut Section, name: &str, options: &[&str], notes: &mut Notes) {
    let found = options.iter().filter(|option| section.remove(**option).is_some());
    notes.ignored.extend(found.map(|option| format!("`{name}.{option}`: makes no difference here")));
}
