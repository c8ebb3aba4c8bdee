//! The metrics that StatsD receives.

use serde_json::{Value, json};
use test_servers::{StatsdDaemon, eventually};

use crate::support::{Stack, full_start, new_id, on_each_store, serve, with};

/// Sends `reports` (method, path below the deployment, body) and returns the metrics.
fn metrics(stack: &Stack, id: &str, reports: &[(&str, &str, Value)]) -> Vec<String> {
    for (method, below, body) in reports {
        let path = format!("/v1/deployments/{id}{below}");
        let answer = if *method == "POST" { stack.server.post(&path, body) } else { stack.server.put(&path, body) };
        let expected = if *method == "POST" { 201 } else { 204 };
        assert_eq!(answer.status, expected, "{method} {path} {body}: {}", answer.text());
    }
    stack.forwarded(id).1
}

#[test]
fn every_report_is_counted_under_clean_names() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        let id = new_id();
        let rows: [(&str, &str, Value, &[&str]); 9] = [
            (
                "POST",
                "",
                full_start(),
                &[
                    "dt.deployments.engine.vagrant_orchestrate:1|c",
                    "dt.deployments.environments.dev.packages.test.started:1|c",
                    "dt.deployments.started:1|c",
                ],
            ),
            ("POST", "", full_start(), &[]),
            (
                "POST",
                "/logs",
                json!([{ "message": "a" }, { "message": "b" }, { "message": "c" }]),
                &["dt.logs.message:3|c"],
            ),
            ("POST", "/logs", json!([]), &[]),
            (
                "POST",
                "/servers",
                json!({ "hostname": "web01.example.com" }),
                &["dt.servers.hostname.web01_example_com.started:1|c"],
            ),
            (
                "PUT",
                "/servers",
                json!({ "hostname": "web01.example.com", "result": "failure", "elapsed_seconds": 7 }),
                &[
                    "dt.servers.hostname.web01_example_com.elapsed:7|ms",
                    "dt.servers.hostname.web01_example_com.failure:1|c",
                ],
            ),
            (
                "PUT",
                "",
                json!({ "result": "success" }),
                &["dt.deployments.environments.dev.packages.test.success:1|c", "dt.deployments.success:1|c"],
            ),
            (
                "PUT",
                "",
                json!({ "elapsed_seconds": 0 }),
                &[
                    "dt.deployments.elapsed:0|ms",
                    "dt.deployments.environments.dev.packages.test.elapsed:0|ms",
                    "dt.deployments.environments.dev.packages.test.success:1|c",
                    "dt.deployments.success:1|c",
                ],
            ),
            ("PUT", "", json!({ "elapsed_seconds": 0 }), &[]),
        ];
        for (method, below, body, expected) in rows {
            assert_eq!(metrics(&stack, &id, &[(method, below, body.clone())]), expected, "{method} {below} {body}");
        }
    });
}

#[test]
fn a_metric_without_a_complete_name_or_a_value_is_not_sent() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        for (start, name) in [
            (json!({ "environment": "dev" }), None),
            (json!({ "package": "p" }), None),
            (json!({ "environment": "e", "package": "p" }), Some("dt.deployments.environments.e.packages.p")),
        ] {
            let started = name.map(|name| format!("{name}.started:1|c"));
            let mut expected: Vec<_> = started.into_iter().chain(["dt.deployments.started:1|c".to_owned()]).collect();
            expected.sort();
            assert_eq!(metrics(&stack, &new_id(), &[("POST", "", start.clone())]), expected, "{start}");
        }
        let id = new_id();
        let reports = [("PUT", "/servers", json!({ "hostname": "h", "ip_address": "::1" }))];
        assert_eq!(metrics(&stack, &id, &reports), [] as [String; 0], "no result, no time");
        let reports = [("POST", "", json!({})), ("PUT", "", json!({ "elapsed_seconds": 12 }))];
        assert_eq!(metrics(&stack, &id, &reports), ["dt.deployments.elapsed:12|ms", "dt.deployments.started:1|c"]);
    });
}

#[test]
fn hostile_names_inject_no_metric() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        let hostile = "a.b:1|c\nd@e f/g\t\u{0001}\r|#x:2|g";
        let clean = "a_b_1_c_d_e_f_g____#x_2_g";
        let members = json!({ "engine": hostile, "environment": hostile, "package": hostile });
        let finish = json!({ "result": "success", "elapsed_seconds": 1 });
        let reports = [
            ("POST", "", members),
            ("POST", "/servers", json!({ "hostname": hostile })),
            ("PUT", "/servers", with(&json!({ "hostname": hostile }), finish.clone())),
            ("PUT", "", finish),
        ];
        let package = format!("dt.deployments.environments.{clean}.packages.{clean}");
        let server = format!("dt.servers.hostname.{clean}");
        let mut expected = vec![
            "dt.deployments.started:1|c".to_owned(),
            format!("dt.deployments.engine.{clean}:1|c"),
            format!("{package}.started:1|c"),
            "dt.deployments.success:1|c".to_owned(),
            "dt.deployments.elapsed:1|ms".to_owned(),
            format!("{package}.success:1|c"),
            format!("{package}.elapsed:1|ms"),
            format!("{server}.started:1|c"),
            format!("{server}.success:1|c"),
            format!("{server}.elapsed:1|ms"),
        ];
        expected.sort();
        assert_eq!(metrics(&stack, &new_id(), &reports), expected);
    });
}

#[test]
fn the_statsd_daemon_accepts_every_metric_with_both_naming_schemes() {
    for (names, hostname, after_package) in
        [("clean", "web01_example_com", "."), ("original", "web01_example.com", "..")]
    {
        let statsd = StatsdDaemon::start();
        let section = json!({ "host": "127.0.0.1", "port": statsd.port, "prefix": "dt.", "names": names });
        let server = serve(json!({ "statsd": section }));
        let path = format!("/v1/deployments/{}", new_id());
        let (servers, logs) = (format!("{path}/servers"), format!("{path}/logs"));
        let end = json!({ "result": "success", "elapsed_seconds": 234 });
        assert_eq!(server.post(&path, &full_start()).status, 201);
        assert_eq!(server.post(&servers, &json!({ "hostname": "web01.example.com" })).status, 201);
        assert_eq!(server.post(&logs, &json!([{ "message": "a" }, { "message": "b" }])).status, 201);
        let end_on_server = with(&json!({ "hostname": "web01.example.com" }), end.clone());
        assert_eq!(server.put(&servers, &end_on_server).status, 204);
        assert_eq!(server.put(&path, &end).status, 204);
        assert_eq!(server.get("/healthcheck").status, 200);

        let package = "dt.deployments.environments.dev.packages.test";
        let host = format!("dt.servers.hostname.{hostname}");
        let mut expected = json!({
            "dt.deployments.started": 1, "dt.deployments.engine.vagrant_orchestrate": 1, "dt.deployments.success": 1,
            "dt.logs.message": 2, "dt.healthcheck": 1, "statsd.bad_lines_seen": 0,
        });
        for counter in [
            format!("{package}{after_package}started"),
            format!("{package}.success"),
            format!("{host}.started"),
            format!("{host}.success"),
        ] {
            expected[counter] = json!(1);
        }
        let mut counters = json!(null);
        eventually("every counter has arrived", || {
            counters = statsd.metrics("counters");
            let members = counters.as_object_mut().expect("JSON object");
            members.retain(|name, _| !["statsd.packets_received", "statsd.metrics_received"].contains(&name.as_str()));
            (members.len() >= expected.as_object().map_or(0, |expected| expected.len())).then_some(())
        });
        assert_eq!(counters, expected, "{names}");
        let mut timers = json!({ "dt.deployments.elapsed": [234] });
        timers[format!("{package}{after_package}elapsed")] = json!([234]);
        timers[format!("{host}.elapsed")] = json!([234]);
        assert_eq!(statsd.metrics("timers"), timers, "{names}");
    }
}
