//! `promtool` checks the metrics page, and the alert rules and the dashboard in `docs`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Stack, full_start, new_id};

/// The copy that `scripts/test` installs if Debian's package is missing.
const PROMTOOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/prometheus/usr/bin/promtool");

/// A file in `docs`.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

fn promtool() -> Command {
    Command::new(if Path::new(PROMTOOL).exists() { PROMTOOL } else { "promtool" })
}

/// Runs `promtool`, which must succeed, and returns what it prints.
#[track_caller]
fn succeeds(promtool: &mut Command) -> String {
    let output =
        promtool.output().expect("promtool is needed: install Debian's package prometheus, or run scripts/test");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// The queries of the dashboard, with values instead of Grafana's variables.
fn queries() -> Vec<String> {
    let text = fs::read_to_string(file("grafana/dashboard.json")).expect("the dashboard exists");
    let dashboard: Value = serde_json::from_str(&text).expect("the dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("the dashboard has panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let query = |target: &Value| target["expr"].as_str().expect("a target has a query").to_owned();
    let variables = [("$__rate_interval", "5m"), ("$__range", "1h"), ("$instance", ".*")];
    let replaced = |query: String| variables.iter().fold(query, |query, (name, value)| query.replace(name, value));
    targets.map(query).map(replaced).collect()
}

#[test]
fn promtool_accepts_the_metrics_page() {
    let stack = Stack::start(json!({}));
    let path = format!("/v1/deployments/{}", new_id());
    assert_eq!(stack.server.post(&path, &full_start()).status, 201);
    assert_eq!(stack.server.get("/nope").status, 404);
    let page = stack.server.folder.path().join("metrics");
    fs::write(&page, stack.server.get("/metrics").body).expect("the folder is writable");
    let problems = succeeds(promtool().args(["check", "metrics"]).stdin(File::open(page).expect("the page exists")));
    assert_eq!(problems, "");
}

#[test]
fn the_alert_rules_pass_their_tests() {
    succeeds(promtool().args(["check", "rules"]).arg(file("prometheus/alerts.yml")));
    succeeds(promtool().args(["test", "rules"]).arg(file("prometheus/alerts.test.yml")));
}

#[test]
fn prometheus_accepts_every_query_of_the_dashboard() {
    let rules: Vec<_> = queries().iter().map(|query| json!({ "record": "query", "expr": query })).collect();
    assert!(rules.len() > 20, "{rules:?}");
    let folder = TempDir::new().expect("temporary folder");
    let path = folder.path().join("rules.json");
    // JSON is valid YAML.
    let file = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    fs::write(&path, file.to_string()).expect("the folder is writable");
    succeeds(promtool().args(["check", "rules", "--lint=none"]).arg(&path));
}

#[test]
fn the_alerts_and_the_dashboard_name_metrics_that_exist() {
    let stack = Stack::start(json!({}));
    assert_eq!(stack.server.post(&format!("/v1/deployments/{}", new_id()), &full_start()).status, 201);
    let page = stack.server.get("/metrics");
    let exists = |name: &str| {
        ["", "_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .any(|family| page.text().lines().any(|line| line.starts_with(&format!("# TYPE {family} "))))
    };
    let alerts = fs::read_to_string(file("prometheus/alerts.yml")).expect("the rules exist");
    let rules = alerts.lines().filter(|line| !line.trim_start().starts_with('#'));
    let text = rules.map(str::to_owned).chain(queries()).collect::<Vec<_>>().join("\n");
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names: BTreeSet<_> = words.filter(|word| word.starts_with("deployment_tracker_")).collect();
    assert!(names.len() > 15, "{names:?}");
    let unknown: Vec<_> = names.into_iter().filter(|name| !exists(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
