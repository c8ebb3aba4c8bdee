//! The section of an output of one's own is treated like the sections of the built-in outputs.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::{Server, command, eventually};

const BINARY: &str = env!("CARGO_BIN_EXE_custom-server");
const ID: &str = "84e803f7-9562-4d95-b828-25b167aea34b";

/// Runs the program to its end, with `config` in its working directory.
fn run(arguments: &[&str], config: Option<Value>, variables: &[(&str, &str)]) -> (Output, String, String) {
    let folder = TempDir::new().expect("temporary folder");
    if let Some(config) = config {
        fs::write(folder.path().join("config.json"), config.to_string()).expect("the folder is writable");
    }
    let mut command = command(BINARY.as_ref(), folder.path());
    let output = command.args(arguments).envs(variables.iter().copied()).output().expect("the program runs");
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (output, stdout, stderr)
}

#[test]
fn the_output_receives_reports_and_is_in_the_health_check_the_metrics_and_the_configuration() {
    let folder = TempDir::new().expect("temporary folder");
    let file = folder.path().join("events.jsonl");
    let server = Server::start(BINARY, json!({ "jsonl": { "path": file } }));
    assert_eq!(server.post(&format!("/v1/deployments/{ID}"), &json!({ "package": "shop" })).status, 201);
    let text = eventually("the file has the start", || fs::read_to_string(&file).ok().filter(|text| text.contains(ID)));
    assert!(text.contains(r#""package":"shop""#), "{text}");

    assert!(server.get("/healthcheck").text().contains("jsonl"), "{}", server.get("/healthcheck").text());
    assert!(server.get("/metrics").text().contains(r#"output="jsonl""#), "{}", server.get("/metrics").text());
    assert_eq!(server.get("/config").json()["jsonl"]["path"], json!(file));
    // Only the section `redis` changes the default of `database.logs`.
    let log = json!([{ "message": "m" }]);
    assert_eq!(server.post(&format!("/v1/deployments/{ID}/logs"), &log).status, 201);
    assert_eq!(server.get(&format!("/v1/deployments/{ID}/logs")).json()[0]["message"], "m");
    let log = server.stderr();
    assert!(log.contains(&format!("jsonl {}", file.display())) && log.contains("redis off"), "{log}");
}

#[test]
fn an_error_in_the_section_names_the_key_and_its_origin() {
    const VARIABLE: &str = "DEPLOYMENT_TRACKER_JSONL__PATH";
    let none: &[(&str, &str)] = &[];
    for (config, variables, expected) in [
        (None, &[(VARIABLE, "relative")][..], "`jsonl.path`: must be an absolute path"),
        (Some(json!({ "jsonl": {} })), none, "`jsonl`: missing field `path` (in config.json)"),
        (
            Some(json!({ "jsonl": { "path": 5 } })),
            none,
            "`jsonl.path`: must be a string, not this number (in config.json)",
        ),
        (
            Some(json!({ "jsonl": { "path": "/a", "x": 1 } })),
            none,
            "`jsonl.x`: unknown key; the keys here are path (in config.json)",
        ),
        (Some(json!({ "jsonl": "/a" })), none, "`jsonl`: must be a section, not this string (in config.json)"),
        (Some(json!({ "jsonl": ["/a"] })), none, "`jsonl`: must be a section, not a list (in config.json)"),
        (Some(json!({ "jsnl": {} })), none, ", jsonl (in config.json)"),
    ] {
        let (output, _, stderr) = run(&["--check-config"], config, variables);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(
            stderr.starts_with("custom-server: ") && stderr.contains(expected),
            "expected {expected}, got {stderr}"
        );
    }
}

#[test]
fn the_program_describes_itself() {
    let (_, version, _) = run(&["--version"], None, &[]);
    assert_eq!(version.trim(), concat!("custom-server ", env!("CARGO_PKG_VERSION")));
    let (_, page, _) = run(&["--config-reference"], None, &[]);
    for text in
        ["## `jsonl`", "### `jsonl.path`", "`DEPLOYMENT_TRACKER_JSONL__PATH`", "## `redis`", "custom-server --check"]
    {
        assert!(page.contains(text), "{text} in {page}");
    }
    // A file of the packaged server only.
    assert!(!page.contains("packaging/config.toml"), "{page}");
    let (output, effective, stderr) = run(&["--check-config"], None, &[]);
    assert!(output.status.success(), "{stderr}");
    let effective: Value = serde_json::from_str(&effective).expect("JSON");
    assert_eq!((&effective["jsonl"], &effective["database"]["logs"]), (&Value::Null, &json!(true)));
}

#[test]
fn a_configuration_of_the_legacy_service_keeps_the_section() {
    let config = json!({
        "database": { "development": { "dialect": "sqlite", "storage": "data.sqlite3" } },
        "jsonl": { "path": "/a" },
        "other": {},
    });
    let (output, effective, stderr) = run(&["--check-config"], Some(config), &[]);
    assert!(output.status.success() && stderr.contains("ignored: `other`: unknown key"), "{stderr}");
    let effective: Value = serde_json::from_str(&effective).expect("JSON");
    assert_eq!(effective["jsonl"]["path"], "/a");
}

#[test]
fn the_scheme_of_the_database_url_chooses_the_store() {
    let server = Server::start(BINARY, json!({ "database": { "url": "memory:" } }));
    assert_eq!(server.post(&format!("/v1/deployments/{ID}"), &json!({ "package": "shop" })).status, 201);
    assert_eq!(server.get(&format!("/v1/deployments/{ID}")).json()["package"], "shop");
    assert!(server.stderr().contains(r#"store="memory""#), "{}", server.stderr());

    for (url, expected) in [
        ("memory:x", "`database.url`: must be `memory:`, without a name"),
        ("oracle:x", "the schemes of this build are sqlite, postgres, postgresql,"),
        ("oracle:x", ", memory"),
    ] {
        let (output, _, stderr) = run(&["--check-config"], Some(json!({ "database": { "url": url } })), &[]);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(expected), "expected {expected}, got {stderr}");
    }
    let (_, page, _) = run(&["--config-reference"], None, &[]);
    assert!(page.contains("This build also has stores for URLs that begin with `memory:`."), "{page}");
}
