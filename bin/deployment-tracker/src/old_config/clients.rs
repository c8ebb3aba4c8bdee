//! The options of the clients for Redis and StatsD: ioredis and node-statsd.

use serde_json::Value;

use super::{Notes, Section, as_node_reads};
use crate::config::Wrong;

/// Options that have their own name here: the option and its name.
const REDIS_RENAMED: [(&str, &str); 2] =
    [("connectTimeout", "connect_timeout_millis"), ("commandTimeout", "timeout_millis")];
/// Options without which Redis would be another one, or less safe.
const REDIS_REFUSED: [(&str, &str); 9] = [
    ("tls", "Redis is reached without TLS only; leave it out, with a tunnel such as stunnel between"),
    ("sentinels", SENTINELS),
    ("name", SENTINELS),
    ("role", SENTINELS),
    ("sentinelUsername", SENTINELS),
    ("sentinelPassword", SENTINELS),
    ("natMap", SENTINELS),
    ("readOnly", "it is for replicas, which take no elements; leave it out"),
    ("protocol", "the protocol is that which Redis speaks by itself; leave it out"),
];
const SENTINELS: &str = "Sentinel is not asked; give `host` and `port` of the primary, or of a proxy that follows it";
/// Options about how the client for Node.js works inside.
const REDIS_IGNORED: [&str; 31] = [
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
    "retryStrategy",
    "return_buffers",
    "scripts",
    "showFriendlyErrorStack",
    "socketTimeout",
    "stringNumbers",
    "updateSentinels",
];
const STATSD_IGNORED: [&str; 6] = ["cacheDns", "cache_dns", "globalize", "global_tags", "globalTags", "errorHandler"];

/// Puts ioredis' options into our terms.
pub fn redis(redis: &mut Section, notes: &mut Notes) -> Result<(), Wrong> {
    as_node_reads(redis);
    for (option, problem) in REDIS_REFUSED {
        if redis.remove(option).is_some_and(|value| value != Value::Bool(false)) {
            return Err(Wrong::new(&format!("redis.{option}"), problem));
        }
    }
    for (option, name) in REDIS_RENAMED {
        let Some(value) = redis.remove(option) else { continue };
        if redis.contains_key(name) {
            notes.ignored.push(format!("`redis.{option}`: `redis.{name}` is given"));
        } else if value.is_u64() {
            redis.insert(name.into(), value);
            notes.understood.push(format!("`redis.{option}`, here `redis.{name}`"));
        } else {
            return Err(Wrong::new(&format!("redis.{option}"), "must be a whole number of milliseconds"));
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
        Some(_) => return Err(Wrong::new("redis.keyPrefix", "must be a text")),
    }
    ignore(redis, "redis", &REDIS_IGNORED, notes);
    Ok(())
}

/// Puts node-statsd's options into our terms.
pub fn statsd(statsd: &mut Section, notes: &mut Notes) -> Result<(), Wrong> {
    as_node_reads(statsd);
    if statsd.remove("mock").is_some_and(|mock| mock != Value::Bool(false)) {
        return Err(Wrong::new("statsd.mock", "leave the section out instead: then nothing is sent"));
    }
    ignore(statsd, "statsd", &STATSD_IGNORED, notes);
    Ok(())
}

fn ignore(section: &mut Section, name: &str, options: &[&str], notes: &mut Notes) {
    let found = options.iter().filter(|option| section.remove(**option).is_some());
    notes.ignored.extend(found.map(|option| format!("`{name}.{option}`: makes no difference here")));
}
