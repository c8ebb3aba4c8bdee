use super::*;
use crate::sections;

fn read(legacy: Value, environment: Option<&str>) -> Result<(Value, Notes), String> {
    let mut value = legacy;
    let notes = translate(&mut value, &sections::built_in(), environment).map_err(|error| error.to_string())?;
    Ok((value, notes))
}

fn url(block: Value) -> Result<String, String> {
    let (value, _) = read(json!({ "database": { "production": block } }), Some("production"))?;
    Ok(value["database"]["url"].as_str().expect("translated URL").to_owned())
}

#[test]
fn a_block_becomes_a_url() {
    for (block, expected) in [
        (json!({ "dialect": "sqlite", "storage": "data.sqlite3" }), "sqlite:data.sqlite3"),
        (json!({ "dialect": "sqlite", "storage": "/x/a b:c.db", "port": 1 }), "sqlite:/x/a b:c.db"),
        (json!({ "dialect": "sqlite", "storage": "//x?mode=memory#" }), "sqlite:////x%3Fmode=memory#"),
        (json!({ "dialect": "sqlite", "storage": "file:x?mode=memory" }), "sqlite:./file:x%3Fmode=memory"),
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
        (json!({ "dialect": "postgres", "host": "::1", "ssl": true }), "postgres://%3A%3A1?sslmode=require"),
        (json!({ "dialect": "postgres", "host": "[::1]", "password": "p" }), "postgres://:p@%3A%3A1"),
        (
            json!({ "dialect": "postgres", "host": null,
                "dialectOptions": { "ssl": { "rejectUnauthorized": false } } }),
            "postgres://localhost?sslmode=require",
        ),
    ] {
        assert_eq!(url(block.clone()).as_deref(), Ok(expected), "{block}");
    }
}

#[test]
fn an_option_that_would_change_the_records_is_rejected_by_its_key() {
    for (block, option) in [
        (json!({ "dialect": 5 }), "dialect"),
        (json!({ "dialect": "mssql" }), "dialect"),
        (json!({ "dialect": "sqlite" }), "storage"),
        (json!({ "dialect": "sqlite", "storage": ":memory:" }), "storage"),
        (json!({ "dialect": "postgres", "port": "x" }), "port"),
        (json!({ "dialect": "postgres", "host": ["a"] }), "host"),
        (json!({ "dialect": "postgres", "schema": "s" }), "schema"),
        (json!({ "dialect": "postgres", "use_env_variable": "DATABASE_URL" }), "use_env_variable"),
        (json!({ "dialect": "postgres", "ssl": { "require": false } }), "ssl"),
        (json!({ "dialect": "postgres", "define": { "underscored": true } }), "define"),
        (json!({ "dialect": "postgres", "replication": {} }), "replication"),
        (json!({ "dialect": "postgres", "quoteIdentifiers": false }), "quoteIdentifiers"),
        (json!({ "dialect": "postgres", "dialectOptions": { "ssl": { "ca": "x" } } }), "dialectOptions.ssl"),
    ] {
        let error = url(block.clone()).expect_err("rejected");
        assert!(error.contains(&format!("`database.production.{option}`")), "{block}: {error}");
    }
    for (legacy, key) in [
        (json!({ "redis": { "tls": { "rejectUnauthorized": false } } }), "redis.tls.rejectUnauthorized"),
        (json!({ "redis": { "tls": { "ca": ["-----BEGIN CERTIFICATE-----"] } } }), "redis.tls.ca"),
        (json!({ "redis": { "tls": { "key": "-----BEGIN PRIVATE KEY-----" } } }), "redis.tls.key"),
        (json!({ "redis": { "tls": { "cert": "x" } } }), "redis.tls.cert"),
        (json!({ "redis": { "sentinels": [{ "host": "a" }], "name": "m", "tls": {} } }), "redis.sentinelTLS"),
        (json!({ "redis": { "sentinels": [{ "host": "a" }], "name": "m", "sentinelTLS": {} } }), "redis.sentinelTLS"),
        (json!({ "redis": { "sentinels": [{ "host": "a" }], "name": "m", "role": "slave" } }), "redis.role"),
        (json!({ "redis": { "natMap": {} } }), "redis.natMap"),
        (json!({ "redis": { "keyPrefix": 5 } }), "redis.keyPrefix"),
        (json!({ "redis": { "connectTimeout": "soon" } }), "redis.connectTimeout"),
        (json!({ "statsd": { "mock": 1 } }), "statsd.mock"),
        (json!({ "database": { "test": { "dialect": "sqlite" } } }), "database.development"),
    ] {
        let error = read(legacy, None).expect_err("rejected");
        assert!(error.contains(&format!("`{key}`")), "{error}");
    }
}

#[test]
fn a_current_configuration_is_unchanged() {
    let current = json!({ "host": "::1", "port": 1, "database": { "url": "data.sqlite3", "logs": true },
        "redis": { "host": "h", "key": "k", "timeout_millis": 5 }, "statsd": { "prefix": "p" }, "prot": 1 });
    let (value, notes) = read(current.clone(), Some("production")).expect("translated");
    assert_eq!(value, current);
    assert!(notes.understood.is_empty() && notes.ignored.is_empty(), "{notes:?}");
}

#[test]
fn client_options_are_renamed_and_the_rest_is_noted() {
    let legacy = json!({
        "port": "8080", "comment": "x", "shutdown_seconds": null,
        "redis": { "host": "h", "port": "6380", "keyPrefix": "old:", "connectTimeout": "500", "family": 4,
            "retryStrategy": null, "tls": null },
        "statsd": { "host": "s", "prefix": "p.", "suffix": ".x", "cacheDns": true, "mock": false, "port": 8125.0 },
        "database": { "development": { "dialect": "sqlite", "storage": "d", "logging": false },
            "test": null, "staging": 5, "logs": true },
    });
    let (mut value, notes) = read(legacy, None).expect("translated");
    let host = value.as_object_mut().and_then(|top| top.remove("host")).expect("default host");
    assert!(host == json!("::") || host == json!("0.0.0.0"), "{host}");
    let expected = json!({
        "port": 8080, "redis": { "host": "h", "port": 6380, "key": "old:logstash", "connect_timeout_millis": 500 },
        "statsd": { "host": "s", "prefix": "p.", "suffix": ".x", "port": 8125 },
        "database": { "url": "sqlite:d", "logs": true },
    });
    assert_eq!(value, expected);
    let keys = |notes: &[String]| {
        notes.iter().map(|note| note.split('`').nth(1).expect("the note names a key").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&notes.understood), ["redis.connectTimeout", "redis.keyPrefix", "database.development", "host"]);
    assert_eq!(
        keys(&notes.ignored),
        ["redis.family", "statsd.cacheDns", "database.staging", "database.development.logging", "comment"]
    );
}

#[test]
fn ioredis_sentinel_and_tls_options_are_translated() {
    for (legacy, expected) in [
        (
            json!({ "sentinels": [{ "host": "a", "port": "26380" }, { "host": "b" }], "name": "m", "role": "master",
                "sentinelUsername": "u", "sentinelPassword": 5, "sentinelRetryStrategy": null, "preferredSlaves": [] }),
            json!({ "sentinels": [{ "host": "a", "port": 26380 }, { "host": "b" }], "master_name": "m",
                "sentinel_username": "u", "sentinel_password": 5 }),
        ),
        (
            json!({ "sentinels": [{ "host": "a" }], "name": "m", "tls": { "servername": "s" },
                "sentinelTLS": { "servername": "s" }, "enableTLSForSentinelMode": true }),
            json!({ "sentinels": [{ "host": "a" }], "master_name": "m", "tls": { "server_name": "s" } }),
        ),
        (json!({ "name": "m", "role": "master", "sentinels": null, "sentinelPassword": "p" }), json!({})),
        (json!({ "tls": true }), json!({ "tls": {} })),
        (json!({ "tls": false }), json!({})),
        (json!({ "tls": { "rejectUnauthorized": true, "ca": "/ca.pem" } }), json!({ "tls": { "ca": "/ca.pem" } })),
    ] {
        let (value, _) = read(json!({ "redis": legacy }), None).expect("translated");
        assert_eq!(value["redis"], expected);
    }
}

#[test]
fn redis_may_be_a_url_a_path_an_address_or_a_port() {
    for (short, expected) in [
        (json!("redis://:pass@host:6379/2"), json!({ "password": "pass", "host": "host", "port": 6379, "db": 2 })),
        (json!("redis://user:p%40ss:w@host"), json!({ "username": "user", "password": "p@ss:w", "host": "host" })),
        (json!("rediss://:a/b@c@host/"), json!({ "tls": {}, "password": "a/b@c", "host": "host" })),
        (json!("REDIS://[::1]:6380/0"), json!({ "host": "::1", "port": 6380, "db": 0 })),
        (json!("redis://:@host"), json!({ "host": "host" })),
        (json!("redis://host"), json!({ "host": "host" })),
        (json!("/tmp/redis.sock"), json!({ "path": "/tmp/redis.sock" })),
        (json!("unix:///run/redis.sock"), json!({ "path": "/run/redis.sock" })),
        (json!("127.0.0.1:6380"), json!({ "host": "127.0.0.1", "port": 6380 })),
        (json!("redis.example.com"), json!({ "host": "redis.example.com" })),
        (json!("6380"), json!({ "port": 6380 })),
        (json!(6380), json!({ "port": 6380 })),
    ] {
        let (value, _) = read(json!({ "redis": short }), None).expect("translated");
        assert_eq!(value["redis"], expected, "{short}");
    }
    for (short, problem) in [
        ("redis://", "must be a section, a URL"),
        ("false", "must be a section, a URL"),
        ("Null", "must be a section, a URL"),
        ("off", "must be a section, a URL"),
        ("0", "must be a section, a URL"),
        ("70000", "must be a section, a URL"),
        ("-1", "must be a section, a URL"),
        (r#"["secret"]"#, "must be a section, a URL"),
        ("[6379]", "must be a section, a URL"),
        (r#""secret""#, "must be a section, a URL"),
        ("http://:secret@host", "must be a section, a URL"),
        ("redis://:secret@host:70000", "must have a port from 1 to 65535"),
        ("redis://:secret@host:6379/many", "must end with `/` and a number up to 255"),
        ("redis://secret@host", "must have a password after the user"),
        ("redis://:secret@host?db=1", "must have no `?`, `#` or space"),
        ("redis://:sec secret@host", "must have no `?`, `#` or space"),
        ("user:secret@host", "must be a section, a URL"),
        ("/run/redis.sock?password=secret", "must have only a path"),
        ("unix:///run/redis.sock?password=secret", "must have only a path"),
        ("unix://:secret@/run/redis.sock", "must have only a path"),
        ("unix:secret", "must have only a path"),
        ("redis://:secret%ff@host", "must have a user and a password in UTF-8"),
    ] {
        let error = read(json!({ "redis": short }), None).expect_err("rejected");
        assert!(error.contains("`redis`") && error.contains(problem) && !error.contains("secret"), "{error}");
    }
}

#[test]
fn an_empty_node_env_counts_as_unset() {
    let block = json!({ "dialect": "sqlite", "storage": "d" });
    let (value, _) = read(json!({ "database": { "development": block } }), Some("")).expect("translated");
    assert_eq!(value["database"]["url"], json!("sqlite:d"));
}

#[test]
fn database_url_overrides_the_blocks() {
    let legacy = json!({ "database": { "url": "x.sqlite3", "development": { "dialect": "mssql" } } });
    let (value, notes) = read(legacy, Some("production")).expect("translated");
    assert_eq!(value["database"], json!({ "url": "x.sqlite3" }));
    assert_eq!(notes.ignored.len(), 1, "{notes:?}");
}

#[test]
fn a_section_may_have_the_forms_that_the_legacy_clients_accept() {
    for value in [json!(null), json!(false), json!(0), json!("")] {
        let (translated, _) = read(json!({ "redis": value, "statsd": value }), None).expect("translated");
        assert_eq!(translated, json!({}), "{value}");
    }
    let (translated, notes) = read(json!({ "statsd": "stats.example.com" }), None).expect("translated");
    assert_eq!(translated, json!({ "statsd": { "host": "stats.example.com" } }));
    assert_eq!(notes.understood, ["`statsd`: used as `statsd.host`"]);
    // A documented form needs no remark.
    let (_, notes) = read(json!({ "redis": "redis://h" }), None).expect("translated");
    assert_eq!((notes.understood, notes.ignored), (vec![], vec![]));
}
