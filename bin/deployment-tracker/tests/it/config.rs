//! The command line, the configuration, and the messages for errors in them.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::{DEADLINE, Database as _, Postgres, Redis, eventually};

use crate::support::{command_in, new_id, serve, serve_in};

/// Runs the binary in a folder with `files` until it ends.
fn run(files: &[(&str, &str)], arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let folder = TempDir::new().expect("temporary folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("file is written");
    }
    command_in(folder.path()).args(arguments).envs(environment.iter().copied()).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The configuration that `--check-config` prints.
fn checked(files: &[(&str, &str)], arguments: &[&str], environment: &[(&str, &str)]) -> Value {
    let output = run(files, &[&["--check-config"], arguments].concat(), environment);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

#[test]
fn the_misspelled_legacy_key_is_accepted_but_not_offered() {
    let file = |name: &str| format!(r#"{{"redis":{{"{name}":{{"team":"blue"}}}}}}"#);
    let effective = checked(&[("config.json", &file("additional_fileds"))], &[], &[]);
    assert_eq!(effective["redis"]["additional_fields"], json!({ "team": "blue" }));
    let variable = ("DEPLOYMENT_TRACKER_REDIS__ADDITIONAL_FILEDS", r#"{"team":"blue"}"#);
    assert_eq!(checked(&[], &[], &[variable])["redis"]["additional_fields"], json!({ "team": "blue" }));

    let output = run(&[("config.json", &file("additional_felds"))], &["--check-config"], &[]);
    let line = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(line.contains("additional_fields") && !line.contains("fileds"), "{line}");
}

#[test]
fn a_redis_section_turns_kept_logs_off_and_the_start_says_so() {
    let redis = Redis::start();
    let section = json!({ "host": "127.0.0.1", "port": redis.port });
    for (config, is_noted) in [
        (json!({}), false),
        (json!({ "redis": section }), true),
        (json!({ "redis": section, "database": { "logs": false } }), false),
        (json!({ "redis": section, "database": { "logs": true } }), false),
    ] {
        let mut server = serve(config.clone());
        eventually("the start is logged", || server.stderr().contains("listening").then_some(()));
        server.signal("TERM");
        server.ends_within(DEADLINE);
        let log = eventually("the log ends", || Some(server.stderr()).filter(|log| log.contains("stopped")));
        let notes = log.lines().filter(|line| line.contains("`database.logs`")).count();
        assert_eq!(notes, usize::from(is_noted), "{config}: {log}");
    }
}

#[test]
fn an_invalid_configuration_is_exit_code_2_and_one_line_with_the_key_and_its_origin() {
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str]);
    let from_file: &[&str] = &["--config", "tracker.json"];
    let table: &[Case] = &[
        ("a wrong type", &[("tracker.json", r#"{"port":"abc"}"#)], from_file, &[], &["port", "tracker.json"]),
        ("out of range", &[("tracker.json", r#"{"port":70000}"#)], from_file, &[], &["port", "tracker.json"]),
        (
            "a wrong type in a section",
            &[("tracker.json", r#"{"redis":{"port":true}}"#)],
            from_file,
            &[],
            &["redis.port", "tracker.json"],
        ),
        ("an unknown key", &[("tracker.json", r#"{"prot":1}"#)], from_file, &[], &["prot", "tracker.json"]),
        (
            "an unknown key in a section",
            &[("tracker.json", r#"{"redis":{"hots":"h"}}"#)],
            from_file,
            &[],
            &["hots", "tracker.json"],
        ),
        (
            "an unknown value",
            &[("tracker.json", r#"{"redis":{"format":"xml"}}"#)],
            from_file,
            &[],
            &["redis.format", "one of logstash, original, ecs"],
        ),
        (
            "an unknown scheme",
            &[("tracker.json", r#"{"database":{"url":"oracle://h/d"}}"#)],
            from_file,
            &[],
            &["database.url"],
        ),
        (
            "a connection string with a misspelt parameter",
            &[("tracker.json", r#"{"database":{"url":"host=db dbnam=tracker"}}"#)],
            from_file,
            &[],
            &["database.url", "`dbnam` is not a parameter of libpq"],
        ),
        (
            "a parameter that libpq does not have",
            &[("tracker.json", r#"{"database":{"url":"postgres://db/tracker?schema=public"}}"#)],
            from_file,
            &[],
            &["database.url", "`schema` is not a parameter of libpq"],
        ),
        (
            "a parameter of SQLite",
            &[],
            &[],
            &[("DEPLOYMENT_TRACKER_DATABASE__URL", "file:data.sqlite3?mode=ro")],
            &["database.url", "sqlite:PATH"],
        ),
        (
            "a host and a port",
            &[],
            &[],
            &[("DEPLOYMENT_TRACKER_DATABASE__URL", "db:5432")],
            &["database.url", "postgres://"],
        ),
        ("broken JSON", &[("tracker.json", "{\"port\": 1,,}")], from_file, &[], &["tracker.json", "line 1"]),
        ("broken TOML", &[("tracker.toml", "port = ")], &["--config", "tracker.toml"], &[], &["tracker.toml"]),
        ("a missing file", &[], &["--config", "missing.json"], &[], &["missing.json"]),
        ("a missing file in the environment", &[], &[], &[("DEPLOYMENT_TRACKER_CONFIG", "gone.toml")], &["gone.toml"]),
        ("a folder", &[], &["--config", "/"], &[], &["/"]),
        ("the default file", &[("config.json", r#"{"port":-1}"#)], &[], &[], &["port", "config.json"]),
        ("the environment", &[], &[], &[("DEPLOYMENT_TRACKER_PORT", "abc")], &["port", "environment"]),
        ("an unknown variable", &[], &[], &[("DEPLOYMENT_TRACKER_REDIS__HOTS", "h")], &["hots", "environment"]),
        (
            "an age without a unit",
            &[("tracker.json", r#"{"retention":{"deployments":"400"}}"#)],
            from_file,
            &[],
            &["retention.deployments", "400d", "tracker.json"],
        ),
        (
            "an age that is a number",
            &[("tracker.toml", "[retention]\ndeployments = 400")],
            &["--config", "tracker.toml"],
            &[],
            &["retention.deployments", "must be a string", "tracker.toml"],
        ),
        (
            "too short an age",
            &[],
            &[],
            &[("DEPLOYMENT_TRACKER_RETENTION__DEPLOYMENTS", "6d")],
            &["from 7d", "environment"],
        ),
        ("too long an age", &[], &[], &[("DEPLOYMENT_TRACKER_RETENTION__DEPLOYMENTS", "5215w")], &["to 36500d"]),
        ("an age that overflows", &[], &[], &[("DEPLOYMENT_TRACKER_RETENTION__DEPLOYMENTS", "4294967295w")], &["13w"]),
        ("an empty age", &[], &[], &[("DEPLOYMENT_TRACKER_RETENTION__DEPLOYMENTS", "")], &["13w"]),
        ("a negative age", &[], &[], &[("DEPLOYMENT_TRACKER_RETENTION__DEPLOYMENTS", "-13w")], &["13w"]),
        (
            "an empty host",
            &[],
            &[],
            &[("DEPLOYMENT_TRACKER_HOST", "")],
            &["`host`", "must be a host name or an address"],
        ),
        (
            "a wildcard host",
            &[("tracker.json", r#"{"listen":["http://*:8080"]}"#)],
            from_file,
            &[],
            &["listen", "0.0.0.0", "tracker.json"],
        ),
        (
            "an address twice",
            &[("tracker.json", r#"{"listen":["http://h:1","http://h:2","http://h:1"]}"#)],
            from_file,
            &[],
            &["listen", "http://h:1 is listed twice"],
        ),
        (
            "a missing certificate file",
            &[("tracker.json", r#"{"redis":{"tls":{"ca":"gone.pem"}}}"#)],
            from_file,
            &[],
            &["redis.tls.ca", "cannot be read"],
        ),
        ("an unknown argument", &[], &["--confg"], &[], &["--confg"]),
    ];
    for (what, files, arguments, environment, names) in table {
        for arguments in [arguments.to_vec(), [&["--check-config"], *arguments].concat()] {
            let output = run(files, &arguments, environment);
            let line = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{what}: {line}");
            assert_eq!(text(&output.stdout), "", "{what}");
            assert!(
                names.iter().all(|name| line.to_lowercase().contains(&name.to_lowercase())),
                "{what}: {names:?} in {line}"
            );
            assert!(line.trim_end().lines().count() == 1 || *what == "an unknown argument", "{what}: {line}");
        }
    }
}

#[test]
fn an_error_message_does_not_reveal_nearby_secrets() {
    for (name, text) in [
        ("tracker.toml", "[redis]\npassword = hunter2\n"),
        ("tracker.toml", "[redis]\npassword = \"hunter2\n"),
        ("tracker.json", r#"{"redis":{"password":"hunter2",}}"#),
        ("tracker.json", r#"{"redis":"me:hunter2@h"}"#),
        ("tracker.json", r#""hunter2""#),
        ("tracker.json", r#"{"database":{"url":"postgres://me:100%hunter2@h/x"}}"#),
        ("tracker.json", r#"{"database":{"url":"host=h password=my hunter2=x"}}"#),
        ("tracker.json", r#"{"redis":{"host":"redis://:hunter2@h"}}"#),
    ] {
        let output = run(&[(name, text)], &["--config", name], &[]);
        let line = self::text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}: {line}");
        assert!(!line.contains("hunter2"), "{text}: {line}");
    }
}

#[test]
fn the_environment_overrides_the_file_and_the_file_overrides_the_defaults() {
    let file = r#"{"port":1234,"redis":{"host":"from-file","key":"k"}}"#;
    let files = [("tracker.json", file)];
    let environment = [
        ("DEPLOYMENT_TRACKER_REDIS__HOST", "from-environment"),
        ("DEPLOYMENT_TRACKER_REDIS__PASSWORD", "123456"),
        ("DEPLOYMENT_TRACKER_STATSD__PREFIX", "p"),
        ("DEPLOYMENT_TRACKER_LOG_LEVEL", "warn"),
    ];
    let by_argument = checked(&files, &["--config", "tracker.json"], &environment);
    let by_variable = [&environment[..], &[("DEPLOYMENT_TRACKER_CONFIG", "tracker.json")]].concat();
    assert_eq!(checked(&files, &[], &by_variable), by_argument);
    assert_eq!(checked(&[("config.json", file)], &[], &environment), by_argument);
    let toml = "port = 1234\n[redis]\nhost = \"from-file\"\nkey = \"k\"\n";
    assert_eq!(checked(&[("config.toml", toml)], &[], &environment), by_argument);

    assert_eq!(by_argument["port"], json!(1234));
    assert_eq!(
        (&by_argument["redis"]["host"], &by_argument["redis"]["key"]),
        (&json!("from-environment"), &json!("k"))
    );
    assert_eq!(by_argument["statsd"]["prefix"], json!("p"));
}

#[test]
fn a_short_form_and_single_keys_in_different_layers_are_merged() {
    type Variables<'a> = &'a [(&'a str, &'a str)];
    const REDIS: &str = "DEPLOYMENT_TRACKER_REDIS";
    const KEY: &str = "DEPLOYMENT_TRACKER_REDIS__KEY";
    let url = json!({ "redis": "redis://:pw@a:1/2" });
    let table: &[(Value, Variables, Value)] = &[
        (url.clone(), &[(KEY, "k")], json!({ "host": "a", "port": 1, "db": 2, "password": "[REDACTED]", "key": "k" })),
        (json!({ "redis": 7 }), &[(KEY, "k")], json!({ "host": "127.0.0.1", "port": 7, "key": "k" })),
        (
            json!({ "redis": { "key": "k", "host": "a" } }),
            &[(REDIS, "b:3")],
            json!({ "host": "b", "port": 3, "key": "k" }),
        ),
        (json!({ "redis": "/a" }), &[(KEY, "k")], json!({ "path": "/a", "key": "k" })),
        (json!({}), &[(KEY, "k"), (REDIS, "redis://b/3")], json!({ "host": "b", "db": 3, "key": "k" })),
        (json!({}), &[("DEPLOYMENT_TRACKER_REDIS__HOST", "c"), (REDIS, "b")], json!({ "host": "c" })),
        (url.clone(), &[("DEPLOYMENT_TRACKER_REDIS__TLS__SERVER_NAME", "s")], json!({ "host": "a", "port": 1 })),
        // The same key: the later layer replaces it.
        (url.clone(), &[(REDIS, "redis://b")], json!({ "host": "b", "port": 6379, "db": null, "password": null })),
        (json!({ "redis": false }), &[(KEY, "k")], json!({ "host": "127.0.0.1", "key": "k" })),
    ];
    for (file, variables, expected) in table {
        let effective = checked(&[("config.json", &file.to_string())], &[], variables);
        for (key, value) in expected.as_object().expect("a section") {
            assert_eq!(&effective["redis"][key], value, "`{key}` of {file} and {variables:?}");
        }
    }
    for file in [url, json!({ "redis": { "key": "k" } })] {
        let effective = checked(&[("config.json", &file.to_string())], &[], &[(REDIS, "")]);
        assert_eq!(effective["redis"], json!(null), "{file}");
    }
    let file = json!({ "statsd": "s" }).to_string();
    let statsd = &checked(&[("config.json", &file)], &[], &[("DEPLOYMENT_TRACKER_STATSD__PREFIX", "p")])["statsd"];
    assert_eq!((&statsd["host"], &statsd["prefix"]), (&json!("s"), &json!("p")));
}

#[test]
fn a_value_that_is_not_a_section_is_an_error_that_names_the_section() {
    let forms = "a URL such as `redis://:PASSWORD@HOST:6379/0`";
    for (section, value) in [
        ("server", r#"["x"]"#),
        ("database", r#"["x"]"#),
        ("limits", "[1]"),
        ("outbox", "[1, 2]"),
        ("retention", "[null]"),
        ("tls", r#"["hunter2", "k", null, false]"#),
        ("auth", "[[]]"),
        ("statsd", r#"["x"]"#),
        ("redis", r#"["x"]"#),
        ("redis.tls", r#"["x"]"#),
        ("redis.sentinels.0", r#"[["h", 1]]"#),
        ("redis.cluster.0", r#"[["h", 1]]"#),
        ("auth.tokens.1", r#"[{}, ["n", "hunter2"]]"#),
        ("database", "5"),
        ("limits", "true"),
        ("statsd", "true"),
        ("statsd", "5"),
        ("redis", "true"),
    ] {
        let key = section.trim_end_matches(".0").trim_end_matches(".1");
        let (top, below) = key.split_once('.').unwrap_or((key, ""));
        let value: Value = serde_json::from_str(value).expect("valid JSON");
        let file = if below.is_empty() { json!({ top: value }) } else { json!({ top: { below: value } }) }.to_string();
        let variable = format!("DEPLOYMENT_TRACKER_{}", key.replace('.', "__").to_uppercase());
        let below = format!("DEPLOYMENT_TRACKER_{}__KEY", key.replace('.', "__").to_uppercase());
        let text_of_value = value.to_string();
        let in_file: &[(&str, &str)] = &[("config.json", &file)];
        let mut cases = vec![(in_file, vec![]), (&[][..], vec![(variable.as_str(), text_of_value.as_str())])];
        if section == key {
            cases.push((in_file, vec![(below.as_str(), "x")]));
        }
        for (files, variables) in cases {
            let output = run(files, &["--check-config"], &variables);
            let line = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{file}, {variables:?}: {line}");
            assert!(line.contains(&format!("`{section}`: must be a section")), "{file}, {variables:?}: {line}");
            assert!(key != "redis" || line.contains(forms), "{line}");
            assert!(line.trim_end().lines().count() == 1 && !line.contains("hunter2"), "{line}");
        }
    }
    // A switch is not a section, although `redis.tls` may be true.
    let file = json!({ "redis": { "additional_fields": { "a": true } } }).to_string();
    let variable = ("DEPLOYMENT_TRACKER_REDIS__ADDITIONAL_FIELDS__A__B", "1");
    let output = run(&[("config.json", &file)], &["--check-config"], &[variable]);
    let line = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(line.contains("`redis.additional_fields.a`: must be a section"), "{line}");
    for value in ["false", "null", "0", "true", "none"] {
        let output = run(&[], &["--check-config"], &[("DEPLOYMENT_TRACKER_REDIS", value)]);
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{value}: {line}");
        assert!(line.contains("`redis`: must be a section") && line.contains(forms), "{value}: {line}");
    }
}

#[test]
fn null_counts_as_absent() {
    let file = r#"{"port":null,"host":null,"listen":["unix:x"],"redis":null,"retention":{"deployments":null},
        "database":{"url":"d","logs":null,"development":null}}"#;
    let without = r#"{"listen":["unix:x"],"database":{"url":"d"}}"#;
    assert_eq!(checked(&[("config.json", file)], &[], &[]), checked(&[("config.json", without)], &[], &[]));
}

#[test]
fn a_list_or_section_in_the_environment_is_json() {
    let fields = [
        ("DEPLOYMENT_TRACKER_REDIS", r#"{"host":"h","additional_fields":{"a":1}}"#),
        ("DEPLOYMENT_TRACKER_REDIS__ADDITIONAL_FIELDS", r#"{"b":{"c":[2]}}"#),
        ("DEPLOYMENT_TRACKER_REDIS__ADDITIONAL_FIELDS__D", "blue"),
        ("DEPLOYMENT_TRACKER_REDIS__USERNAME", "[1]"),
        ("DEPLOYMENT_TRACKER_REDIS__PASSWORD", "1"),
    ];
    let redis = &checked(&[], &[], &fields)["redis"];
    assert_eq!(redis["additional_fields"], json!({ "a": 1, "b": { "c": [2] }, "d": "blue" }));
    assert_eq!((&redis["host"], &redis["username"]), (&json!("h"), &json!("[1]")));

    let misspelt = ("DEPLOYMENT_TRACKER_REDIS__ADDITIONAL_FILEDS", r#"{"a":1}"#);
    assert_eq!(checked(&[], &[], &[misspelt])["redis"]["additional_fields"], json!({ "a": 1 }));

    for value in ["team=hunter2", r#"{"team":"hunter2""#, r#""hunter2""#] {
        let variable = "DEPLOYMENT_TRACKER_REDIS__ADDITIONAL_FIELDS";
        let output = run(&[], &["--check-config"], &[(variable, value)]);
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(line.contains("`redis.additional_fields`") && line.contains(variable), "{line}");
        assert!(!line.contains("hunter2") && line.trim_end().lines().count() == 1, "{line}");
    }
}

#[test]
fn the_sample_configuration_loads_unchanged_and_with_every_key() {
    let sample = include_str!("../../../../packaging/config.toml");
    assert_eq!(checked(&[("config.toml", sample)], &[], &[]), checked(&[], &[], &[]));

    let is_key = |line: &str| line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|first| first != ' '));
    let mut section = "";
    let keys = sample.lines().filter_map(|line| {
        section = if line.starts_with("#[") { line } else { section };
        // These keys need files that do not exist here, or exclude other keys.
        let is_excluded = ["#[tls]", "#[redis.tls]", "#[[redis.cluster]]"].contains(&section)
            || ["#secret_", "#path "].iter().any(|start| line.starts_with(start));
        if is_excluded { None } else { Some(if is_key(line) { &line[1..] } else { line }) }
    });
    let keys: Vec<_> = keys.collect();
    let all = checked(&[("config.toml", &keys.join("\n"))], &[], &[]);
    assert_eq!(
        (&all["port"], &all["redis"]["port"], &all["statsd"]["port"]),
        (&json!(8080), &json!(6379), &json!(8125))
    );
}

#[test]
fn check_config_prints_every_default_and_no_secret() {
    let defaults = checked(&[], &[], &[]);
    assert_eq!((&defaults["host"], &defaults["port"]), (&json!("127.0.0.1"), &json!(8080)));
    assert_eq!(defaults["database"], json!({ "url": "data.sqlite3", "logs": true, "replica": null }));
    assert_eq!(defaults["limits"]["body_bytes"], json!(1_048_576));
    assert_eq!(defaults["retention"], json!({ "deployments": null }));
    for (name, text) in [
        ("config.json", r#"{"retention":{"deployments":"13w"}}"#),
        ("config.toml", "[retention]\ndeployments = \"13w\""),
    ] {
        assert_eq!(checked(&[(name, text)], &[], &[])["retention"]["deployments"], json!("13w"));
    }
    let environment = [("DEPLOYMENT_TRACKER_RETENTION__DEPLOYMENTS", "7d")];
    assert_eq!(checked(&[], &[], &environment)["retention"]["deployments"], json!("7d"));
    assert!(defaults["redis"].is_null() && defaults["statsd"].is_null(), "{defaults}");

    let file = r#"{"redis":{"password":"hunter2"},"statsd":{},"database":{"url":"postgres://u:hunter2@h/d"}}"#;
    let full = checked(&[("config.json", file)], &[], &[]);
    let redis = &full["redis"];
    assert_eq!((&redis["host"], &redis["port"]), (&json!("127.0.0.1"), &json!(6379)));
    assert_eq!((&redis["key"], &redis["index"]), (&json!("logstash"), &json!("deployment-tracker")));
    assert_eq!((&redis["format"], &redis["password"]), (&json!("logstash"), &json!("[REDACTED]")));
    let statsd = &full["statsd"];
    assert_eq!(
        (&statsd["host"], &statsd["port"], &statsd["names"]),
        (&json!("127.0.0.1"), &json!(8125), &json!("clean"))
    );
    assert_eq!(full["database"]["logs"], json!(false), "off by default with Redis");
    assert!(!full.to_string().contains("hunter2"), "{full}");

    let file = r#"{"database":{"url":"host=h password='my \\'hunter2' dbname=d"}}"#;
    let url = &checked(&[("config.json", file)], &[], &[])["database"]["url"];
    assert_eq!(url, &json!("host=h password=[REDACTED] dbname=d"));
}

#[test]
fn a_connection_string_of_libpq_reaches_the_database_it_names() {
    let postgres = Postgres::shared();
    let url = postgres.new_database();
    let (authority, name) = url.rsplit_once('/').expect("the URL ends in the name");
    let port = authority.rsplit(':').next().expect("the URL has a port");
    let text = format!("host=127.0.0.1 port={port} user=postgres password='a b' dbname = {name} connect_timeout=2");
    let server = serve(json!({ "database": { "url": text } }));
    let path = format!("/v1/deployments/{}", new_id());
    eventually("PostgreSQL takes the report", || (server.post(&path, &json!({})).status == 201).then_some(()));
    assert_eq!(postgres.query(name, r#"SELECT count(*) FROM "Deployments""#), Ok("1".to_owned()));
    assert!(!server.folder.path().join(&text).exists(), "a file has the name of the connection string");
}

#[test]
fn a_password_of_digits_remains_a_string() {
    let redis = Redis::start_with(&["--requirepass", "123456"]);
    let folder = TempDir::new().expect("temporary folder");
    let environment = [("DEPLOYMENT_TRACKER_REDIS__PASSWORD", "123456")];
    let config = json!({ "redis": { "host": "127.0.0.1", "port": redis.port } });
    let server = serve_in(folder, config, &environment);
    assert_eq!(server.post(&format!("/v1/deployments/{}/logs", new_id()), &json!({ "message": "m" })).status, 201);
    assert_eq!(redis.wait_for(1).len(), 1);
    assert!(!server.get("/config").text().contains("123456"));
}

#[test]
fn one_start_up_line_has_the_addresses_the_store_and_the_outputs() {
    let redis = Redis::start();
    let server = serve(json!({ "redis": { "host": "127.0.0.1", "port": redis.port, "password": "hunter2" } }));
    let expected =
        [format!("127.0.0.1:{}", server.port), "data.sqlite3".to_owned(), format!("127.0.0.1:{}", redis.port)];
    eventually("the start-up line is logged", || {
        let log = server.stderr();
        let line = log.lines().find(|line| expected.iter().all(|part| line.contains(part)) && line.contains("statsd"));
        line.map(|line| assert!(!line.contains("hunter2"), "{line}"))
    });
}

#[test]
fn help_and_version_are_printed() {
    let version = run(&[], &["--version"], &[]);
    assert_eq!(text(&version.stdout).trim(), format!("deployment-tracker {}", env!("CARGO_PKG_VERSION")));
    let help = run(&[], &["--help"], &[]);
    assert_eq!((version.status.code(), help.status.code()), (Some(0), Some(0)));
    for word in ["--config", "--check-config", "--version", "DEPLOYMENT_TRACKER_"] {
        assert!(text(&help.stdout).contains(word), "{word}");
    }
}
