//! The configuration file and the environment of the legacy service.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::{Database as _, Postgres, Redis, Server, Statsd, eventually};

use crate::support::{command_in, fixture, full_start, new_id, serve_in};

fn legacy_config() -> Value {
    let text = fs::read_to_string(fixture("config.json")).expect("fixture");
    serde_json::from_str(&text).expect("JSON")
}

/// The effective configuration that `--check-config` prints for `config`, and its remarks.
fn check(config: &Value, environment: &[(&str, &str)]) -> (Value, String) {
    let folder = TempDir::new().expect("temporary folder");
    fs::write(folder.path().join("config.json"), config.to_string()).expect("file is written");
    let output = command_in(folder.path())
        .arg("--check-config")
        .envs(environment.iter().copied())
        .output()
        .expect("the binary runs");
    let remarks = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{remarks}");
    (serde_json::from_slice(&output.stdout).expect("JSON"), remarks)
}

/// Starts the server with `config` in a folder with the SQLite file of the legacy service.
fn serve_with_legacy_file(config: Value, environment: &[(&str, &str)]) -> Server {
    let folder = TempDir::new().expect("temporary folder");
    fs::copy(fixture("data.sqlite3"), folder.path().join("data.sqlite3")).expect("file is copied");
    serve_in(folder, config, environment)
}

#[test]
fn the_legacy_configuration_works_unchanged_on_the_legacy_database() {
    let mut config = legacy_config();
    let (redis, statsd) = (Redis::start(), Statsd::listen());
    config["redis"]["port"] = json!(redis.port);
    config["statsd"]["port"] = json!(statsd.port);
    let server = serve_with_legacy_file(config, &[]);
    assert_eq!(server.read("/v1/deployments?limit=1000").as_array().map(Vec::len), Some(40));

    let id = new_id();
    assert_eq!(server.post(&format!("/v1/deployments/{id}"), &full_start()).status, 201);
    assert_eq!(redis.wait_for(1)[0]["deployment_id"], json!(id));
    let started = "deployment-tracker.deployments.started:1|c";
    eventually("the metric arrives", || statsd.lines().iter().any(|line| line == started).then_some(()));

    let mut shown = server.config.clone();
    shown["database"]["production"]["password"] = json!("[REDACTED]");
    assert_eq!(server.read("/config"), shown);
}

#[test]
fn node_env_selects_the_block() {
    let postgres = Postgres::shared();
    let url = postgres.new_database();
    let database = url.rsplit('/').next().expect("database name");
    postgres.load(database, &fixture("postgres.sql"));
    let (_, rest) = url.split_once("://").expect("URL");
    let (credentials, rest) = rest.split_once('@').expect("user and password");
    let (user, password) = credentials.split_once(':').expect("password");
    let (host, rest) = rest.split_once(':').expect("host and port");
    let port = rest.split('/').next().expect("port");
    let mut config = json!({ "database": legacy_config()["database"] });
    let block = &mut config["database"]["production"];
    (block["host"], block["port"], block["username"]) = (json!(host), json!(port), json!(user));
    (block["password"], block["database"]) = (json!(password), json!(database));
    block["pool"] = json!({ "max": 5, "min": 0 });

    let server = serve_with_legacy_file(config, &[("NODE_ENV", "production")]);
    let newest_in_file = "2026-11-23T07:34:40";
    let newest = server.read("/v1/deployments?limit=1")[0]["createdAt"].clone();
    assert!(
        newest.as_str().is_some_and(|time| time > newest_in_file),
        "{newest} is from the PostgreSQL dump, not from the SQLite file"
    );
    let log = server.stderr();
    assert!(log.contains("`database.production`: selected by NODE_ENV"), "{log}");
    assert!(log.contains("WARN") && log.contains("ignored `database.production.pool`"), "{log}");
}

#[test]
fn check_config_lists_translated_and_ignored_options() {
    let (effective, remarks) = check(&legacy_config(), &[]);
    assert_eq!(effective["database"]["url"], json!("sqlite:data.sqlite3"));
    assert_eq!((&effective["port"], &effective["statsd"]["prefix"]), (&json!(8080), &json!("deployment-tracker.")));
    assert!(
        remarks.contains("understood: `database.development`: the default, because NODE_ENV is not set"),
        "{remarks}"
    );
    assert!(remarks.contains("understood: no `host`"), "{remarks}");
    assert!(!remarks.contains("ignored"), "{remarks}");

    let mut config = legacy_config();
    config["redis"] = json!({ "host": "h", "keyPrefix": "old:", "family": 4, "enableOfflineQueue": false });
    config["statsd"]["globalize"] = json!(true);
    config["comment"] = json!("ours");
    let environment = [("NODE_ENV", "production"), ("DEPLOYMENT_TRACKER_MOCK_REDIS", "true")];
    let (effective, remarks) = check(&config, &environment);
    let url = "postgres://tracker:[REDACTED]@127.0.0.1:5432/deployment_tracker";
    assert_eq!(effective["database"]["url"], json!(url));
    assert_eq!(effective["redis"]["key"], json!("old:logstash"));
    for ignored in [
        "redis.family",
        "redis.enableOfflineQueue",
        "statsd.globalize",
        "comment",
        "database.production.logging",
        "DEPLOYMENT_TRACKER_MOCK_REDIS",
    ] {
        assert!(remarks.contains(&format!("ignored: `{ignored}`")), "{ignored}: {remarks}");
    }
    assert!(!remarks.contains("your password here"), "{remarks}");
}

#[test]
fn an_unknown_block_is_an_error_that_names_the_existing_blocks() {
    let folder = TempDir::new().expect("temporary folder");
    fs::copy(fixture("config.json"), folder.path().join("config.json")).expect("file is copied");
    let output = command_in(folder.path()).env("NODE_ENV", "staging").output().expect("the binary runs");
    let message = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{message}");
    for part in ["`database.staging`", "NODE_ENV", "development, production"] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn the_log_levels_of_the_legacy_service_are_accepted() {
    for level in ["fatal", "error", "warn", "info", "debug", "trace", "WARN"] {
        check(&json!({}), &[("DEPLOYMENT_TRACKER_LOG_LEVEL", level)]);
    }
}

#[test]
fn variables_that_do_not_configure_this_service_are_ignored_with_a_warning() {
    let variables = [
        ("DEPLOYMENT_TRACKER_LOG_PATH", "/var/log/deployment-tracker/"),
        ("DEPLOYMENT_TRACKER_MOCK_REDIS", "true"),
        ("DEPLOYMENT_TRACKER_SERVICE_HOST", "10.0.0.1"),
        ("DEPLOYMENT_TRACKER_SERVICE_PORT", "8080"),
        ("DEPLOYMENT_TRACKER_PORT", "tcp://10.0.0.1:8080"),
        ("DEPLOYMENT_TRACKER_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("DEPLOYMENT_TRACKER_REDIS_PORT", "tcp://10.0.0.2:6379"),
    ];
    let (effective, remarks) = check(&json!({}), &variables);
    assert_eq!((&effective["port"], &effective["redis"]), (&json!(8080), &Value::Null));
    for (name, _) in variables {
        assert!(remarks.contains(&format!("ignored: `{name}`")), "{name}: {remarks}");
    }

    let server = serve_in(TempDir::new().expect("temporary folder"), json!({}), &variables);
    assert_eq!(server.get("/v1/deployments").status, 200);
    let warning = eventually("the server warns", || {
        server.stderr().lines().find(|line| line.contains("DEPLOYMENT_TRACKER_LOG_PATH")).map(str::to_owned)
    });
    assert!(warning.contains("WARN"), "{warning}");

    // The variables of the server that the legacy service and its libraries read are no keys either.
    let others = [
        ("PORT", "1"),
        ("HOST", "unknown"),
        ("NODE_CONFIG", "{"),
        ("NODE_DEBUG", "http"),
        ("DEBUG", "*"),
        ("swagger_mockMode", "true"),
        ("DEPLOYMENT_TRACKER_LOG_LEVEL", ""),
        ("DEPLOYMENT_TRACKER_LOG_FORMAT", ""),
    ];
    let (effective, remarks) = check(&json!({}), &others);
    assert_eq!((&effective["port"], &effective["host"]), (&json!(8080), &json!("127.0.0.1")), "{remarks}");
}
