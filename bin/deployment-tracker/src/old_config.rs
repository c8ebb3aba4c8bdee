//! The configuration of deployment-tracker 0.1, put into our terms: Sequelize's, ioredis' and node-statsd's options.
//! What each of them becomes is in `docs/migrating.md`.

use std::net::TcpListener;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use crate::config::{Config, Wrong};

/// What a part of a URL cannot have as it stands: all but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

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
    ("protocol", "only the protocol that Redis speaks by itself is spoken here; leave it out"),
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

/// What there is to say about a configuration in old terms. Each note names its key.
#[derive(Debug, Default)]
pub struct Notes {
    /// What was followed, and how.
    pub understood: Vec<String>,
    /// What makes no difference here.
    pub ignored: Vec<String>,
}

/// Puts `given` into our terms. `environment` is what `NODE_ENV` says.
///
/// # Errors
/// [`Wrong`] for an option that would change what is recorded, or where, and that cannot be followed.
pub fn translate(given: &mut Value, environment: Option<&str>) -> Result<Notes, Wrong> {
    let mut notes = Notes::default();
    let Some(top) = given.as_object_mut() else { return Ok(notes) };
    number(top, "port");
    if let Some(Value::Object(redis)) = top.get_mut("redis") {
        translate_redis(redis, &mut notes)?;
    }
    if let Some(Value::Object(statsd)) = top.get_mut("statsd") {
        translate_statsd(statsd, &mut notes)?;
    }
    let Some(Value::Object(database)) = top.get_mut("database") else { return Ok(notes) };
    if translate_database(database, environment, &mut notes)? {
        open_up(top, &mut notes);
    }
    Ok(notes)
}

/// What else is different where `database` has blocks: the old service listened everywhere and knew no wrong key.
fn open_up(top: &mut Map<String, Value>, notes: &mut Notes) {
    let ours = json!(Config::default());
    top.retain(|key, _| {
        let is_known = ours.get(key).is_some();
        if !is_known {
            notes.ignored.push(format!("`{key}`: nothing here has that name"));
        }
        is_known
    });
    for output in ["redis", "statsd"] {
        if !top.contains_key(output) {
            notes.understood.push(format!(
                "no `{output}`: nothing is sent there; the old service took one on 127.0.0.1, `\"{output}\": {{}}` does"
            ));
        }
    }
    if !top.contains_key("host") {
        // As Node.js does: both families where the system has both.
        let everywhere = if TcpListener::bind("[::]:0").is_ok() { "::" } else { "0.0.0.0" };
        top.insert("host".into(), everywhere.into());
        notes.understood.push(format!(
            "no `host`: listens on every address ({everywhere}), as the old service did; `\"host\": \"127.0.0.1\"` is for this machine only"
        ));
    }
}

/// Makes `database.url` of the block of `environment`; whether there are blocks.
fn translate_database(
    database: &mut Map<String, Value>,
    environment: Option<&str>,
    notes: &mut Notes,
) -> Result<bool, Wrong> {
    let (mut blocks, ours): (Map<_, _>, Map<_, _>) =
        std::mem::take(database).into_iter().partition(|(_, value)| value.is_object());
    *database = ours;
    if blocks.is_empty() {
        return Ok(false);
    }
    if !database.get("url").is_none_or(Value::is_null) {
        let ignored = blocks.keys().map(|name| format!("`database.{name}`: `database.url` is given"));
        notes.ignored.extend(ignored);
        return Ok(true);
    }
    let (chosen, by) = match environment {
        Some(name) => (name, "as NODE_ENV says"),
        None => ("development", "as NODE_ENV is not set"),
    };
    let known = blocks.keys().cloned().collect::<Vec<_>>().join(", ");
    let Some(Value::Object(block)) = blocks.remove(chosen) else {
        let problem = format_args!("is wanted, {by}, but not there; set NODE_ENV to one of {known}");
        return Err(Wrong::new(&format!("database.{chosen}"), problem));
    };
    let url = Block { key: format!("database.{chosen}"), options: block }.into_url(notes)?;
    notes.understood.push(format!("`database.{chosen}`, {by}, of the blocks {known}"));
    database.insert("url".into(), url.into());
    Ok(true)
}

/// Sequelize's options, and the key that they stand under.
struct Block {
    key: String,
    options: Map<String, Value>,
}

impl Block {
    fn into_url(mut self, notes: &mut Notes) -> Result<String, Wrong> {
        for (option, problem) in [
            ("define", "tables and columns have the names that Sequelize gives by itself; leave it out"),
            ("schema", "set the user's search_path in PostgreSQL, and leave it out"),
            ("replication", "give `host` of the primary"),
        ] {
            if self.take(option).is_some() {
                return Err(self.wrong(option, problem));
            }
        }
        if self.take("quoteIdentifiers") == Some(Value::Bool(false)) {
            return Err(self.wrong("quoteIdentifiers", "the tables must be named \"Deployments\" and \"Servers\""));
        }
        let url = match self.text("dialect")?.as_deref() {
            Some("sqlite") => self.sqlite()?,
            Some("postgres" | "postgresql") => self.postgres()?,
            _ => return Err(self.wrong("dialect", "must be `sqlite` or `postgres`")),
        };
        let ignored = self.options.keys().map(|option| format!("`{}.{option}`: makes no difference here", self.key));
        notes.ignored.extend(ignored);
        Ok(url)
    }

    fn sqlite(&mut self) -> Result<String, Wrong> {
        match self.text("storage")? {
            Some(path) if path != ":memory:" => Ok(format!("sqlite:{path}")),
            _ => Err(self.wrong("storage", "must be the path of a file; what is in memory only would be lost")),
        }
    }

    fn postgres(&mut self) -> Result<String, Wrong> {
        let encoded = |text: String| utf8_percent_encode(&text, RESERVED).to_string();
        let mut url = "postgres://".to_owned();
        if let Some(username) = self.text("username")? {
            url.push_str(&encoded(username));
            if let Some(password) = self.text("password")? {
                url.push_str(&format!(":{}", encoded(password)));
            }
            url.push('@');
        }
        let host = self.text("host")?.unwrap_or_else(|| "localhost".into());
        url.push_str(&if host.contains(':') && !host.starts_with('/') { format!("[{host}]") } else { encoded(host) });
        if let Some(port) = self.text("port")? {
            if port.parse::<u16>().is_err() {
                return Err(self.wrong("port", "must be a whole number from 0 to 65535"));
            }
            url.push_str(&format!(":{port}"));
        }
        if let Some(database) = self.text("database")? {
            url.push_str(&format!("/{}", encoded(database)));
        }
        if self.wants_tls()? {
            url.push_str("?sslmode=require");
        }
        Ok(url)
    }

    fn wants_tls(&mut self) -> Result<bool, Wrong> {
        let below = self.options.get_mut("dialectOptions").and_then(Value::as_object_mut);
        let below = below.and_then(|options| options.remove("ssl"));
        let mut is_wanted = false;
        for (option, value) in [("ssl", self.take("ssl")), ("dialectOptions.ssl", below)] {
            is_wanted |= match value {
                None | Some(Value::Bool(false)) => false,
                Some(Value::Bool(true)) => true,
                Some(Value::Object(tls))
                    if tls.iter().all(|(key, value)| {
                        key == "require" || (key == "rejectUnauthorized" && *value == json!(false))
                    }) =>
                {
                    true
                }
                Some(_) => {
                    let problem =
                        "give `database.url`, with `sslmode` and `sslrootcert` as PostgreSQL's libpq has them";
                    return Err(self.wrong(option, problem));
                }
            };
        }
        Ok(is_wanted)
    }

    /// The option, unless it is `null`; then it is done with.
    fn take(&mut self, option: &str) -> Option<Value> {
        self.options.remove(option).filter(|value| !value.is_null())
    }

    fn text(&mut self, option: &str) -> Result<Option<String>, Wrong> {
        match self.take(option) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(self.wrong(option, "must be a text")),
        }
    }

    fn wrong(&self, option: &str, problem: &str) -> Wrong {
        Wrong::new(&format!("{}.{option}", self.key), problem)
    }
}

fn translate_redis(redis: &mut Map<String, Value>, notes: &mut Notes) -> Result<(), Wrong> {
    number(redis, "port");
    number(redis, "db");
    for (option, problem) in REDIS_REFUSED {
        if redis.remove(option).is_some_and(|value| !value.is_null() && value != json!(false)) {
            return Err(Wrong::new(&format!("redis.{option}"), problem));
        }
    }
    for (option, name) in REDIS_RENAMED {
        let Some(value) = redis.remove(option) else { continue };
        if redis.contains_key(name) {
            notes.ignored.push(format!("`redis.{option}`: `redis.{name}` is given"));
        } else if !value.is_null() {
            redis.insert(name.into(), value);
            notes.understood.push(format!("`redis.{option}`, here `redis.{name}`"));
        }
    }
    match redis.remove("keyPrefix") {
        None | Some(Value::Null) => {}
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

fn translate_statsd(statsd: &mut Map<String, Value>, notes: &mut Notes) -> Result<(), Wrong> {
    number(statsd, "port");
    if statsd.remove("mock") == Some(Value::Bool(true)) {
        return Err(Wrong::new("statsd.mock", "leave the section out instead: then nothing is sent"));
    }
    ignore(statsd, "statsd", &STATSD_IGNORED, notes);
    Ok(())
}

fn ignore(section: &mut Map<String, Value>, name: &str, options: &[&str], notes: &mut Notes) {
    let found = options.iter().filter(|option| section.remove(**option).is_some());
    notes.ignored.extend(found.map(|option| format!("`{name}.{option}`: makes no difference here")));
}

/// A number that is written as a text, which Node.js takes as well.
fn number(section: &mut Map<String, Value>, key: &str) {
    if let Some(value) = section.get_mut(key)
        && let Some(number) = value.as_str().and_then(|text| text.parse::<u64>().ok())
    {
        *value = number.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: Value, environment: Option<&str>) -> Result<(Value, Notes), String> {
        let mut value = given;
        let notes = translate(&mut value, environment).map_err(|wrong| wrong.to_string())?;
        Ok((value, notes))
    }

    fn url(block: Value) -> Result<String, String> {
        let (value, _) = read(json!({ "database": { "production": block } }), Some("production"))?;
        Ok(value["database"]["url"].as_str().expect("a URL").to_owned())
    }

    #[test]
    fn a_block_becomes_a_url() {
        for (block, expected) in [
            (json!({ "dialect": "sqlite", "storage": "data.sqlite3" }), "sqlite:data.sqlite3"),
            (json!({ "dialect": "sqlite", "storage": "/x/a b:c.db", "port": 1 }), "sqlite:/x/a b:c.db"),
            (json!({ "dialect": "postgres" }), "postgres://localhost"),
            (
                json!({ "dialect": "postgres", "host": "db.example.com", "port": "5433", "database": "a/b?c",
                    "username": "m@e", "password": "p:a/s@s%", "pool": { "max": 5 }, "logging": false }),
                "postgres://m%40e:p%3Aa%2Fs%40s%25@db.example.com:5433/a%2Fb%3Fc",
            ),
            (
                json!({ "dialect": "postgres", "host": "/run/postgresql", "username": "u", "password": 123456 }),
                "postgres://u:123456@%2Frun%2Fpostgresql",
            ),
            (json!({ "dialect": "postgres", "host": "::1", "ssl": true }), "postgres://[::1]?sslmode=require"),
            (
                json!({ "dialect": "postgres", "host": null, "dialectOptions": { "ssl": { "rejectUnauthorized": false } } }),
                "postgres://localhost?sslmode=require",
            ),
        ] {
            assert_eq!(url(block.clone()).as_deref(), Ok(expected), "{block}");
        }
    }

    #[test]
    fn what_would_change_the_records_is_refused_by_its_key() {
        for (block, option) in [
            (json!({}), "dialect"),
            (json!({ "dialect": "mssql" }), "dialect"),
            (json!({ "dialect": "sqlite" }), "storage"),
            (json!({ "dialect": "sqlite", "storage": ":memory:" }), "storage"),
            (json!({ "dialect": "postgres", "port": "x" }), "port"),
            (json!({ "dialect": "postgres", "host": ["a"] }), "host"),
            (json!({ "dialect": "postgres", "schema": "s" }), "schema"),
            (json!({ "dialect": "postgres", "define": { "underscored": true } }), "define"),
            (json!({ "dialect": "postgres", "replication": {} }), "replication"),
            (json!({ "dialect": "postgres", "quoteIdentifiers": false }), "quoteIdentifiers"),
            (json!({ "dialect": "postgres", "dialectOptions": { "ssl": { "ca": "x" } } }), "dialectOptions.ssl"),
        ] {
            let error = url(block.clone()).expect_err("refused");
            assert!(error.contains(&format!("`database.production.{option}`")), "{block}: {error}");
        }
        for (given, key) in [
            (json!({ "redis": { "tls": {} } }), "redis.tls"),
            (json!({ "redis": { "sentinels": [{ "host": "a" }], "name": "m" } }), "redis.sentinels"),
            (json!({ "redis": { "keyPrefix": 5 } }), "redis.keyPrefix"),
            (json!({ "statsd": { "mock": true } }), "statsd.mock"),
            (json!({ "database": { "test": {} } }), "database.development"),
        ] {
            let error = read(given, None).expect_err("refused");
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
    }

    #[test]
    fn a_configuration_of_ours_is_left_as_it_is() {
        let ours = json!({ "host": "::1", "port": 1, "database": { "url": "data.sqlite3", "logs": true },
            "redis": { "host": "h", "key": "k", "timeout_millis": 5 }, "statsd": { "prefix": "p" }, "prot": 1 });
        let (value, notes) = read(ours.clone(), Some("production")).expect("a configuration");
        assert_eq!(value, ours);
        assert!(notes.understood.is_empty() && notes.ignored.is_empty(), "{notes:?}");
    }

    #[test]
    fn clients_options_get_our_names_and_the_rest_is_told() {
        let given = json!({
            "port": "8080", "comment": "x",
            "redis": { "host": "h", "port": "6380", "keyPrefix": "old:", "connectTimeout": 500, "family": 4,
                "retryStrategy": null, "tls": null },
            "statsd": { "host": "s", "prefix": "p.", "suffix": ".x", "cacheDns": true, "mock": false },
            "database": { "development": { "dialect": "sqlite", "storage": "d", "logging": false }, "test": {}, "logs": true },
        });
        let (mut value, notes) = read(given, None).expect("a configuration");
        let host = value.as_object_mut().and_then(|top| top.remove("host")).expect("it is put in");
        assert!(host == json!("::") || host == json!("0.0.0.0"), "{host}");
        let expected = json!({
            "port": 8080, "redis": { "host": "h", "port": 6380, "key": "old:logstash", "connect_timeout_millis": 500 },
            "statsd": { "host": "s", "prefix": "p.", "suffix": ".x" },
            "database": { "url": "sqlite:d", "logs": true },
        });
        assert_eq!(value, expected);
        let keys = |notes: &[String]| {
            notes.iter().map(|note| note.split('`').nth(1).expect("a key").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            keys(&notes.understood),
            ["redis.connectTimeout", "redis.keyPrefix", "database.development", "host"]
        );
        assert_eq!(
            keys(&notes.ignored),
            ["redis.family", "redis.retryStrategy", "statsd.cacheDns", "database.development.logging", "comment"]
        );
    }

    #[test]
    fn a_url_from_elsewhere_goes_before_the_blocks() {
        let given = json!({ "database": { "url": "x.sqlite3", "development": { "dialect": "mssql" } } });
        let (value, notes) = read(given, Some("production")).expect("a configuration");
        assert_eq!(value["database"], json!({ "url": "x.sqlite3" }));
        assert_eq!(notes.ignored.len(), 1, "{notes:?}");
    }
}
