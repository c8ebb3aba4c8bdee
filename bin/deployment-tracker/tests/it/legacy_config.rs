//! The configuration file of the old service, and its environment.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::{Database as _, Postgres, Redis, Server, Statsd, eventually};

use crate::support::{bare, fixture, full_start, new_id, serve_in};

fn legacy_config() -> Value {
    let text = fs::read_to_string(fixture("config.json")).expect("the old configuration");
    serde_json::from_str(&text).expect("JSON")
}

/// What `--check-config` prints of `config`: the configuration in force, and its remarks.
fn check(config: &Value, environment: &[(&str, &str)]) -> (Value, String) {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("config.json"), config.to_string()).expect("a file");
    let output = bare(folder.path()).arg("--check-config").envs(environment.iter().copied()).output().expect("it runs");
    let remarks = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{remarks}");
    (serde_json::from_slice(&output.stdout).expect("JSON"), remarks)
}

/// Starts the server on `config` beside the old service's SQLite file.
fn beside_the_old_file(config: Value, environment: &[(&str, &str)]) -> Server {
    let folder = TempDir::new().expect("a folder");
    fs::copy(fixture("data.sqlite3"), folder.path().join("data.sqlite3")).expect("a copy");
    serve_in(folder, config, environment)
}

#[test]
fn the_old_file_works_as_it_stands_on_the_old_database() {
    let mut config = legacy_config();
    let (redis, statsd) = (Redis::start(), Statsd::listen());
    config["redis"]["port"] = json!(redis.port);
    config["statsd"]["port"] = json!(statsd.port);
    let server = beside_the_old_file(config, &[]);
    assert_eq!(server.read("/v1/deployments?limit=1000").as_array().map(Vec::len), Some(40));

    let id = new_id();
    assert_eq!(server.post(&format!("/v1/deployments/{id}"), &full_start()).status, 201);
    assert_eq!(redis.wait_for(1)[0]["deployment_id"], json!(id));
    let started = "deployment-tracker.deployments.started:1|c";
    eventually("the metric", || statsd.lines().iter().any(|line| line == started).then_some(()));

    let mut shown = server.config.clone();
    shown["database"]["production"]["password"] = json!("[REDACTED]");
    assert_eq!(server.read("/config"), shown);
}

#[test]
fn node_env_chooses_the_block() {
    let postgres = Postgres::shared();
    let url = postgres.new_database();
    let database = url.rsplit('/').next().expect("a name");
    postgres.load(database, &fixture("postgres.sql"));
    let (_, place) = url.split_once("://").expect("a URL");
    let (credentials, place) = place.split_once('@').expect("credentials");
    let (user, password) = credentials.split_once(':').expect("a password");
    let (host, place) = place.split_once(':').expect("a host");
    let port = place.split('/').next().expect("a port");
    let mut config = json!({ "database": legacy_config()["database"] });
    let block = &mut config["database"]["production"];
    (block["host"], block["port"], block["username"]) = (json!(host), json!(port), json!(user));
    (block["password"], block["database"]) = (json!(password), json!(database));
    block["pool"] = json!({ "max": 5, "min": 0 });

    let server = beside_the_old_file(config, &[("NODE_ENV", "production")]);
    let file = "2026-11-23T07:34:40";
    let newest = server.read("/v1/deployments?limit=1")[0]["createdAt"].clone();
    assert!(newest.as_str().is_some_and(|time| time > file), "{newest} is of the dump, not of the file");
    let log = server.stderr();
    assert!(log.contains("`database.production`: selected by NODE_ENV"), "{log}");
    assert!(log.contains("WARN") && log.contains("ignored `database.production.pool`"), "{log}");
}

#[test]
fn check_config_says_what_it_understood_and_what_it_ignores() {
    let (in_force, remarks) = check(&legacy_config(), &[]);
    assert_eq!(in_force["database"]["url"], json!("sqlite:data.sqlite3"));
    assert_eq!((&in_force["port"], &in_force["statsd"]["prefix"]), (&json!(8080), &json!("deployment-tracker.")));
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
    let (in_force, remarks) = check(&config, &environment);
    let url = "postgres://tracker:[REDACTED]@127.0.0.1:5432/deployment_tracker";
    assert_eq!(in_force["database"]["url"], json!(url));
    assert_eq!(in_force["redis"]["key"], json!("old:logstash"));
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
fn a_block_that_is_not_there_is_a_mistake_that_names_those_that_are() {
    let folder = TempDir::new().expect("a folder");
    fs::copy(fixture("config.json"), folder.path().join("config.json")).expect("a copy");
    let output = bare(folder.path()).env("NODE_ENV", "staging").output().expect("it runs");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in ["`database.staging`", "NODE_ENV", "development, production"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn the_old_service_s_log_levels_are_known() {
    for level in ["fatal", "error", "warn", "info", "debug", "trace", "WARN"] {
        check(&json!({}), &[("DEPLOYMENT_TRACKER_LOG_LEVEL", level)]);
    }
}
