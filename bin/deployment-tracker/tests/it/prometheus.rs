//! The metrics page for Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_servers::{Database, JSON, Postgres, Redis, Server, Statsd, eventually};

use crate::support::{Stack, full_start, new_id, on_each_store, serve, with};

/// The value of each series.
type Samples = BTreeMap<String, f64>;

/// The metrics page, which must arrive without delay.
fn text(server: &Server) -> String {
    let begun = Instant::now();
    let answer = server.get("/metrics");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    answer.text().to_owned()
}

fn scrape(server: &Server) -> Samples {
    let text = text(server);
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let sample = |line: &&str| {
        let (series, value) = line.rsplit_once(' ').expect("a series and a value");
        (series.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
    };
    let samples: Samples = lines.iter().map(sample).collect();
    assert_eq!(samples.len(), lines.len(), "each series occurs once");
    samples
}

/// The value of the series `deployment_tracker_{series}`.
fn value(samples: &Samples, series: &str) -> f64 {
    let series = format!("deployment_tracker_{series}");
    *samples.get(&series).unwrap_or_else(|| panic!("no {series} in {samples:#?}"))
}

/// Waits until every series has its expected value.
#[track_caller]
fn wait_for(server: &Server, expected: &[(&str, f64)]) {
    for (series, expected) in expected {
        let is_reached = || (value(&scrape(server), series) == *expected).then_some(());
        eventually(&format!("{series} is {expected}"), is_reached);
    }
}

#[test]
fn every_report_increments_its_counters() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        let server = &stack.server;
        let path = format!("/v1/deployments/{}", new_id());
        let (servers, logs) = (format!("{path}/servers"), format!("{path}/logs/"));
        let end = json!({ "result": "success" });
        let end_on_server = json!({ "hostname": "web", "result": "success" });
        let messages = json!([{ "message": "a" }, { "message": "b" }, { "message": "c" }]);
        let rows: [(&str, &str, Value, u16, &str); 14] = [
            ("POST", &path, full_start(), 201, r#"kind="deployment_start",result="recorded""#),
            ("POST", &path, full_start(), 201, r#"kind="deployment_start",result="unchanged""#),
            ("POST", &path, json!({ "engine": "x" }), 409, r#"kind="deployment_start",result="conflict""#),
            ("POST", &path, json!({ "engine": 1 }), 400, r#"kind="deployment_start",result="invalid""#),
            ("PUT", &path, end.clone(), 204, r#"kind="deployment_finish",result="recorded""#),
            (
                "PUT",
                "/v1/deployments/0a0b0c0d-1111-4000-8000-000000000000",
                end,
                404,
                r#"kind="deployment_finish",result="unknown""#,
            ),
            ("PUT", "/v1/deployments/no-uuid", json!({}), 400, r#"kind="deployment_finish",result="invalid""#),
            ("POST", &servers, json!({ "hostname": "web" }), 201, r#"kind="server_start",result="recorded""#),
            ("POST", &servers, json!({}), 400, r#"kind="server_start",result="invalid""#),
            ("PUT", &servers, end_on_server.clone(), 204, r#"kind="server_finish",result="recorded""#),
            ("PUT", &servers, end_on_server, 204, r#"kind="server_finish",result="unchanged""#),
            ("POST", &logs, messages, 201, r#"kind="log_batch",result="recorded""#),
            ("POST", &logs, json!([]), 201, r#"kind="log_batch",result="unchanged""#),
            ("POST", &logs, json!(["m"]), 400, r#"kind="log_batch",result="invalid""#),
        ];
        let reports = |samples: Samples| -> Samples {
            samples.into_iter().filter(|(series, _)| series.starts_with("deployment_tracker_reports_total")).collect()
        };
        let mut expected = reports(scrape(server));
        assert!(expected.len() > rows.len() && expected.values().all(|count| *count == 0.0), "{expected:?}");
        for (method, path, body, status, labels) in rows {
            let answer = server.send(method, path, &[JSON], body.to_string().as_bytes());
            assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.text());
            *expected.get_mut(&format!("deployment_tracker_reports_total{{{labels}}}")).expect(labels) += 1.0;
            assert_eq!(reports(scrape(server)), expected, "{method} {path} {body}");
        }
        assert_eq!(server.send("POST", &path, &[("Content-Type", "text/plain")], b"x").status, 415);

        wait_for(
            server,
            &[
                (r#"log_messages_total{result="recorded"}"#, 3.0),
                (r#"reports_total{kind="deployment_start",result="invalid"}"#, 2.0),
                (r#"http_requests_total{route="/v1/deployments/{id}",method="POST",status="201"}"#, 2.0),
                (r#"http_requests_total{route="/v1/deployments/{id}",method="POST",status="409"}"#, 1.0),
                (r#"http_requests_total{route="/v1/deployments/{id}",method="POST",status="415"}"#, 1.0),
                (r#"http_requests_total{route="/v1/deployments/{id}/logs",method="POST",status="201"}"#, 2.0),
                (r#"http_request_duration_seconds_count{route="/v1/deployments/{id}",method="POST"}"#, 5.0),
                (r#"http_request_duration_seconds_bucket{route="/v1/deployments/{id}",method="POST",le="+Inf"}"#, 5.0),
                ("http_requests_in_flight", 1.0),
                // Redis receives no server events.
                (r#"output_delivered_messages_total{output="redis"}"#, 5.0),
                (r#"output_batch_messages_sum{output="redis"}"#, 5.0),
                (r#"output_delivered_messages_total{output="statsd"}"#, 7.0),
                (r#"output_dropped_messages_total{output="statsd"}"#, 0.0),
                (r#"output_failures_total{output="redis"}"#, 0.0),
                (r#"output_failing{output="redis"}"#, 0.0),
                (r#"output_backlog_messages{output="redis"}"#, 0.0),
                (r#"output_backlog_age_seconds{output="redis"}"#, 0.0),
                ("commit_waiting_changes", 0.0),
                ("commit_failures_total", 0.0),
                (r#"database_jobs_waiting{role="reader"}"#, 0.0),
                (r#"database_jobs_refused_total{role="writer"}"#, 0.0),
            ],
        );
        let samples = scrape(server);
        let [commits, changes] =
            ["duration_seconds_count", "changes_sum"].map(|it| value(&samples, &format!("commit_{it}")));
        // Eight of the reports were committed, one after the other.
        assert!(commits >= 8.0 && changes >= commits, "{commits} {changes}");
        assert!(value(&samples, "commit_duration_seconds_sum") > 0.0);
        assert!(value(&samples, r#"database_threads{role="writer"}"#) >= 1.0);
        let started = samples["process_start_time_seconds"];
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("time").as_secs_f64();
        assert!(started <= now && started > now - 600.0, "{started} {now}");
    });
}

#[test]
fn the_metrics_of_an_unavailable_output_show_its_failures_and_backlog() {
    on_each_store(|config| {
        let mut redis = Redis::absent();
        let server = serve(with(&config, json!({ "redis": { "host": "127.0.0.1", "port": redis.port } })));
        for _ in 0..3 {
            assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &full_start()).status, 201);
        }
        let backlog = r#"output_backlog_messages{output="redis"}"#;
        wait_for(&server, &[(r#"output_failing{output="redis"}"#, 1.0), (backlog, 3.0)]);
        let failures = r#"output_failures_total{output="redis"}"#;
        let before = value(&scrape(&server), failures);
        let age = r#"output_backlog_age_seconds{output="redis"}"#;
        let samples = eventually("another attempt fails and the backlog has an age", || {
            let samples = scrape(&server);
            (value(&samples, failures) > before && value(&samples, age) > 0.0).then_some(samples)
        });
        assert!(value(&samples, r#"output_backlog_bytes{output="redis"}"#) > 300.0);
        assert_eq!(value(&samples, r#"output_delivered_messages_total{output="redis"}"#), 0.0);
        redis.restart();
        let delivered = r#"output_delivered_messages_total{output="redis"}"#;
        wait_for(&server, &[(r#"output_failing{output="redis"}"#, 0.0), (backlog, 0.0), (delivered, 3.0)]);
    });
}

#[test]
fn messages_dropped_by_a_best_effort_output_are_counted() {
    // A name that does not resolve.
    let server = serve(json!({ "statsd": { "host": "statsd.invalid" } }));
    assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &full_start()).status, 201);
    wait_for(
        &server,
        &[
            (r#"output_dropped_messages_total{output="statsd"}"#, 1.0),
            (r#"output_failing{output="statsd"}"#, 1.0),
            (r#"output_delivered_messages_total{output="statsd"}"#, 0.0),
        ],
    );
}

#[test]
fn metrics_are_served_while_the_database_or_redis_is_unavailable_or_frozen() {
    let mut postgres = Postgres::absent();
    let redis = Redis::start();
    let server = serve(json!({
        "database": { "url": postgres.url(postgres.default_database()) },
        "redis": { "host": "127.0.0.1", "port": redis.port },
    }));
    let path = format!("/v1/deployments/{}", new_id());
    server.post(&path, &full_start()).is_error(503, None);
    let samples = scrape(&server);
    assert_eq!(value(&samples, r#"reports_total{kind="deployment_start",result="unavailable"}"#), 1.0);
    assert!(value(&samples, "commit_failures_total") >= 1.0);
    postgres.start();
    eventually("a start is recorded", || (server.post(&path, &full_start()).status == 201).then_some(()));
    postgres.freeze();
    redis.freeze();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| server.put(&path, &json!({ "result": "success" })));
        eventually("the report waits for the database", || {
            let samples = scrape(&server);
            let is_in_flight = value(&samples, "http_requests_in_flight") == 2.0;
            (is_in_flight && value(&samples, r#"database_threads_busy{role="writer"}"#) >= 1.0).then_some(())
        });
        postgres.thaw();
        redis.thaw();
        assert_eq!(answer.join().expect("response").status, 204);
    });
    wait_for(&server, &[("http_requests_in_flight", 1.0), (r#"database_threads_busy{role="writer"}"#, 0.0)]);
}

/// Sends requests with all sorts of methods, paths and bodies that contain the numbers `names`.
fn send_hostile_requests(server: &Server, names: std::ops::Range<usize>) {
    for name in names {
        let (id, text) = (new_id(), format!("n{name}"));
        let methods =
            ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", &format!("X-{text}")].map(str::to_owned);
        let paths = [
            format!("/{text}"),
            format!("/%ff/{text}"),
            format!("/v1/deployments/{text}"),
            format!("/v1/deployments/{id}"),
            format!("/v1/deployments/{id}/{text}"),
            format!("/v1/deployments/{id}/servers?{text}"),
            format!("/v1/servers/{text}"),
            format!("/v1/deployments?{text}={text}"),
            format!("/docs/{text}"),
            format!("/metrics/{text}"),
            format!("/v1/deployments/{{id}}/{text}"),
        ];
        let body = json!({ "hostname": text, "environment": text, "engine": text }).to_string();
        let (method, path) = (&methods[name % methods.len()], &paths[name % paths.len()]);
        server.send(method, path, &[JSON], body.as_bytes());
    }
}

#[test]
fn requests_cannot_create_new_series() {
    let server = serve(json!({}));
    // 88 requests combine each method with each path. The metrics page then also has its own series.
    send_hostile_requests(&server, 0..88);
    scrape(&server);
    let series = |samples: Samples| -> BTreeSet<String> { samples.into_keys().collect() };
    let before = series(scrape(&server));
    send_hostile_requests(&server, 88..1_088);
    let after = series(scrape(&server));
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty() && after.len() == before.len(), "{new:?}");
    for expected in [
        r#"route="unmatched",method="other",status="404""#,
        r#"route="/v1/servers/{hostname}",method="other",status="405""#,
    ] {
        assert!(before.contains(&format!("deployment_tracker_http_requests_total{{{expected}}}")), "{expected}");
    }
    let allowed = |series: &String| !series.contains("n1") && !series.contains("X-") && !series.contains("0a0b0c0d");
    assert!(before.iter().all(allowed), "{before:?}");
    assert!(before.len() < 2_000, "{}", before.len());
}

#[test]
fn the_metrics_route_follows_the_rules_of_the_other_routes() {
    let server = serve(json!({}));
    let (plain, slash, head) =
        (server.get("/metrics"), server.get("/metrics/"), server.send("HEAD", "/metrics", &[], b""));
    assert_eq!((plain.status, slash.status, head.status, head.body.len()), (200, 200, 200, 0));
    assert_eq!(head.header("content-type"), plain.header("content-type"));
    let refused = server.post("/metrics", &json!({}));
    refused.is_error(405, None);
    assert_eq!(refused.header("allow"), Some("GET, HEAD"));
    assert!(server.read("/openapi.json")["paths"]["/metrics"]["get"].is_object());
}

#[test]
fn a_request_for_metrics_without_a_token_is_rejected_and_counted() {
    let token = json!({ "name": "prometheus", "secret": "a-secret", "scopes": ["read"] });
    let server = serve(json!({ "auth": { "tokens": [token] } }));
    server.get("/metrics").is_error(401, None);
    let answer = server.send("GET", "/metrics", &[("Authorization", "Bearer a-secret")], b"");
    assert_eq!(answer.status, 200);
    let series = r#"deployment_tracker_http_requests_total{route="unmatched",method="GET",status="401"}"#;
    assert!(answer.text().contains(&format!("{series} 1\n")), "{}", answer.text());
    assert!(answer.text().contains("deployment_tracker_http_requests_in_flight 1\n"), "{}", answer.text());
}

#[test]
fn docs_metrics_md_lists_every_metric_with_its_type_labels_and_help() {
    let statsd = Statsd::listen();
    let redis = Redis::start();
    let server = serve(json!({
        "redis": { "host": "127.0.0.1", "port": redis.port },
        "statsd": { "host": "127.0.0.1", "port": statsd.port },
    }));
    let path = format!("/v1/deployments/{}", new_id());
    assert_eq!(server.post(&path, &full_start()).status, 201);
    let text = text(&server);
    let mut kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let helps = text.lines().filter_map(|line| line.strip_prefix("# HELP "));
    let served: BTreeSet<Vec<String>> = helps
        .map(|line| {
            let (name, help) = line.split_once(' ').expect("name and help text");
            let kind = kinds.next().and_then(|line| line.strip_prefix(name)).expect("each metric has a type").trim();
            let is_sample =
                |line: &&str| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name}_count{{"));
            let labels = text.lines().find(is_sample).map_or_else(Vec::new, |line| {
                let labels = line.split(['{', ',']).skip(1).filter_map(|label| label.split_once('='));
                labels.map(|(label, _)| format!("`{label}`")).collect()
            });
            vec![format!("`{name}`"), kind.to_owned(), labels.join(", "), help.to_owned()]
        })
        .collect();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(page).expect("docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let documented: BTreeSet<Vec<String>> =
        rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect();
    assert_eq!(served, documented);
}
