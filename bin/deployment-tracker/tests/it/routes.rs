//! The rules that all routes share, and the routes that are not about reports.

use serde_json::{Value, json};
use test_servers::{JSON, Redis, Server, Statsd, within};

use crate::support::{Stack, full_start, is_timestamp, new_id, on_each_store, serve, serve_in, with};
use std::time::{Duration, Instant};

const DESCRIPTIONS: [&str; 3] = ["/swagger", "/swagger.json", "/openapi.json"];

/// Every path that answers GET, for the deployment `id` with the server `web`.
fn readable(id: &str) -> Vec<String> {
    let mut paths = vec![
        format!("/v1/deployments/{id}"),
        "/v1/deployments".to_owned(),
        format!("/v1/deployments/{id}/logs"),
        "/v1/servers".to_owned(),
        "/v1/servers/web".to_owned(),
        "/config".to_owned(),
        "/healthcheck".to_owned(),
    ];
    paths.extend(DESCRIPTIONS.map(str::to_owned));
    paths
}

fn filled(config: Value) -> (Server, String) {
    let (server, id) = (serve(config), new_id());
    assert_eq!(server.post(&format!("/v1/deployments/{id}/"), &full_start()).status, 201);
    assert_eq!(server.post(&format!("/v1/deployments/{id}/servers/"), &json!({ "hostname": "web" })).status, 201);
    assert_eq!(server.post(&format!("/v1/deployments/{id}/logs/"), &json!([{ "message": "m" }])).status, 201);
    let finish = json!({ "hostname": "web", "result": "success" });
    assert_eq!(server.put(&format!("/v1/deployments/{id}/servers/"), &finish).status, 204);
    assert_eq!(server.put(&format!("/v1/deployments/{id}/"), &json!({ "result": "success" })).status, 204);
    (server, id)
}

#[test]
fn every_route_accepts_a_trailing_slash_and_head_wherever_get_is_allowed() {
    on_each_store(|config| {
        let (server, id) = filled(config);
        for path in readable(&id) {
            let plain = server.get(&path);
            let slash = server.get(&format!("{path}/"));
            assert_eq!((plain.status, slash.status), (200, 200), "{path}");
            let volatile = path == "/healthcheck";
            assert!(volatile || plain.body == slash.body, "{path}: {} {}", plain.text(), slash.text());
            let head = server.send("HEAD", &path, &[], b"");
            assert_eq!((head.status, head.body.len()), (200, 0), "HEAD {path}: {head:?}");
            for header in ["content-type", "link"] {
                assert_eq!(head.header(header), plain.header(header), "HEAD {path}: {header}");
            }
        }
        assert_eq!(server.send("HEAD", &format!("/v1/deployments/{}", new_id()), &[], b"").status, 404);
    });
}

#[test]
fn duplicate_slashes_in_a_path_are_merged_everywhere() {
    on_each_store(|config| {
        let (server, id) = (serve(config), new_id());
        let path = format!("/v1/deployments/{id}");
        for (method, target, body, status, location) in [
            ("POST", format!("/{path}"), full_start(), 201, Some(path.as_str())),
            ("POST", format!("//v1///deployments//{id}//servers//"), json!({ "hostname": "web" }), 201, None),
            ("POST", format!("/{path}/logs"), json!([{ "message": "m" }]), 201, None),
            ("PUT", format!("{path}//servers"), json!({ "hostname": "web", "result": "success" }), 204, None),
            ("PUT", format!("/{path}//"), json!({ "result": "success" }), 204, None),
        ] {
            let answer = server.send(method, &target, &[JSON], body.to_string().as_bytes());
            assert_eq!(answer.status, status, "{method} {target}: {}", answer.text());
            assert!(location.is_none() || answer.header("location") == location, "{answer:?}");
        }
        for path in readable(&id) {
            for (target, merged) in [
                (format!("/{path}"), path.clone()),
                (path.replace('/', "///"), path.clone()),
                (format!("{path}//"), format!("{path}/")),
            ] {
                let (plain, merged) = (server.get(&merged), server.get(&target));
                assert_eq!((merged.status, merged.header("link")), (200, plain.header("link")), "{target}");
                assert!(path == "/healthcheck" || merged.body == plain.body, "{target}: {}", merged.text());
            }
        }
        let link = server.get("//v1//servers?x=http://y//z&limit=1");
        let base = format!("<http://127.0.0.1:{}/v1/servers?", server.port);
        let expected = format!("{base}offset=1&limit=1&x=http://y//z>; rel=\"next\"");
        assert_eq!(link.header("link"), Some(expected.as_str()), "a query keeps its slashes");
        // An encoded slash is part of a hostname.
        let host = json!({ "hostname": "a//b" });
        let location = server.post(&format!("{path}/servers"), &host);
        assert_eq!(location.header("location"), Some("/v1/servers/a%2F%2Fb"));
        assert_eq!(server.read("//v1/servers/a%2F%2Fb")[0]["hostname"], json!("a//b"));
        server.get("/v1/servers/a//b").is_error(404, None);
        let metrics = server.get("//metrics");
        let started =
            r#"deployment_tracker_http_requests_total{route="/v1/deployments/{id}",method="POST",status="201"} 1"#;
        assert!(metrics.text().contains(&format!("{started}\n")), "{}", metrics.text());
    });
}

#[test]
fn another_method_is_405_and_lists_the_allowed_methods() {
    on_each_store(|config| {
        let (server, id) = filled(config);
        let mut table = vec![
            (format!("/v1/deployments/{id}"), vec!["GET", "POST", "PUT"]),
            ("/v1/deployments".to_owned(), vec!["GET"]),
            (format!("/v1/deployments/{id}/logs"), vec!["GET", "POST"]),
            (format!("/v1/deployments/{id}/servers"), vec!["POST", "PUT"]),
            ("/v1/servers".to_owned(), vec!["GET"]),
            ("/v1/servers/web".to_owned(), vec!["GET"]),
            ("/".to_owned(), vec!["GET"]),
            ("/config".to_owned(), vec!["GET"]),
            ("/healthcheck".to_owned(), vec!["GET"]),
        ];
        table.extend(DESCRIPTIONS.map(|path| (path.to_owned(), vec!["GET"])));
        for (path, methods) in table {
            let slashed = format!("{}/", path.trim_end_matches('/'));
            for path in [&path, &slashed] {
                for method in
                    ["GET", "POST", "PUT", "DELETE", "PATCH"].iter().filter(|method| !methods.contains(method))
                {
                    let answer = server.send(method, path, &[], b"");
                    answer.is_error(405, None);
                    let allow = answer.header("allow").unwrap_or_default();
                    let mut allowed: Vec<_> = allow.split(',').map(str::trim).filter(|name| *name != "HEAD").collect();
                    allowed.sort_unstable();
                    assert_eq!(allowed, methods, "{method} {path}");
                }
            }
        }
    });
}

#[test]
fn an_unknown_path_is_404_in_json() {
    on_each_store(|config| {
        let (server, id) = filled(config);
        let below = format!("/v1/deployments/{id}/nope");
        for path in [
            "/nope",
            "/v1",
            "/v1/",
            "/v2/deployments",
            "/v1/servers/a/b",
            &below,
            "/%ff",
            "/v1/nope%00",
            "/favicon.ico",
        ] {
            for method in ["GET", "POST", "PUT", "DELETE"] {
                server.send(method, path, &[], b"").is_error(404, None);
            }
        }
        for (path, status) in
            [("/v1/servers/%ff", 400), ("/v1/deployments/%ff", 400), ("/v1/servers/%00", 404), ("/v1/servers/%zz", 404)]
        {
            server.get(path).is_error(status, None);
        }
    });
}

#[test]
fn only_the_api_description_allows_other_origins() {
    on_each_store(|config| {
        let (server, id) = filled(config);
        let origin = [("Origin", "http://elsewhere.example")];
        for path in readable(&id).into_iter().chain(["/".to_owned(), "/docs/".to_owned(), "/nope".to_owned()]) {
            let answer = server.send("GET", &path, &origin, b"");
            let cors: Vec<_> = answer.headers.iter().filter(|(name, _)| name.starts_with("access-control-")).collect();
            if DESCRIPTIONS.contains(&path.as_str()) {
                assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
                let headers = Some("Origin, X-Requested-With, Content-Type, Accept");
                assert_eq!(answer.header("access-control-allow-headers"), headers, "{path}");
                let description = answer.json();
                assert!(description["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{path}");
            } else {
                assert!(cors.is_empty(), "{path}: {cors:?}");
            }
        }
    });
}

#[test]
fn the_root_redirects_to_the_documentation() {
    let server = serve(json!({}));
    let answer = server.get("/");
    assert_eq!((answer.status, answer.header("location")), (302, Some("/docs/")));
    let docs = server.get("/docs/");
    assert_eq!(docs.status, 200);
    assert!(docs.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{docs:?}");
    assert!(docs.text().contains("swagger-ui"), "{}", docs.text());
}

#[test]
fn the_documentation_runs_only_its_own_scripts_and_in_no_frame() {
    let server = serve(json!({}));
    for path in ["/docs/", "/docs/index.html", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"] {
        let file = server.get(path);
        assert_eq!(file.status, 200, "{path}");
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(file.header("x-frame-options"), Some("DENY"), "{path}");
        let policy = file.header("content-security-policy").unwrap_or_default();
        let directives: Vec<_> = policy.split("; ").collect();
        for directive in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
            assert!(directives.contains(&directive), "{path}: {directive} in {policy}");
        }
    }
    // The page has no inline script, which the policy would forbid, and asks no validator on the Internet.
    let page = server.get("/docs/");
    assert!(!page.text().replace("<script src=", "").contains("<script"), "{}", page.text());
    let start = server.get("/docs/swagger-initializer.js");
    assert!(start.text().contains(r#""validatorUrl": "none""#), "{}", start.text());
}

#[test]
fn the_api_description_has_every_route() {
    let server = serve(json!({}));
    let paths = &server.read("/openapi.json")["paths"];
    for (path, methods) in [
        ("/v1/deployments", vec!["get"]),
        ("/v1/deployments/{id}", vec!["get", "post", "put"]),
        ("/v1/deployments/{id}/logs", vec!["get", "post"]),
        ("/v1/deployments/{id}/servers", vec!["post", "put"]),
        ("/v1/servers", vec!["get"]),
        ("/v1/servers/{hostname}", vec!["get"]),
        ("/healthcheck", vec!["get"]),
        ("/config", vec!["get"]),
    ] {
        for method in methods {
            let route = &paths[path][method];
            assert!(
                route["responses"].as_object().is_some_and(|answers| !answers.is_empty()),
                "{method} {path}: {route}"
            );
        }
    }
}

#[test]
fn the_config_route_returns_the_raw_configuration_without_secrets() {
    let url = "postgres://tracker:hunter2@127.0.0.1:1/tracker";
    let config = json!({
        "database": { "url": url },
        "redis": { "host": "127.0.0.1", "port": 1, "password": "hunter2", "additional_fields": { "team": "blue" } },
    });
    let folder = tempfile::tempdir().expect("temporary folder");
    let environment = [("DEPLOYMENT_TRACKER_REDIS__KEY", "from-the-environment")];
    let server = serve_in(folder, config, &environment);
    let answer = server.get("/config");
    assert!(!answer.text().contains("hunter2"), "{}", answer.text());
    let raw = answer.json();
    let mut expected = with(&server.config, json!({ "database": { "url": raw["database"]["url"] } }));
    expected["redis"]["password"] = json!("[REDACTED]");
    expected["redis"]["key"] = json!("from-the-environment");
    assert_eq!(raw, expected, "without defaults");
    let url = raw["database"]["url"].as_str().unwrap_or_default();
    assert!(url.contains("[REDACTED]"), "{url}");
}

#[test]
fn the_health_check_tests_the_store_and_each_configured_output() {
    on_each_store(|config| {
        let stack = Stack::start(config.clone());
        let health = stack.server.read("/healthcheck");
        assert!(is_timestamp(&health["generated_at"]) && health["duration_millis"].is_number(), "{health}");
        let tests = health["tests"].as_object().expect("tests");
        let mut names: Vec<_> = tests.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["db", "redis", "statsd"]);
        for (name, test) in tests {
            assert!(is_timestamp(&test["tested_at"]) && test["duration_millis"].is_number(), "{test}");
            let fixed = json!({ "tested_at": test["tested_at"], "duration_millis": test["duration_millis"] });
            assert_eq!(*test, with(&fixed, json!({ "test_name": name, "result": "passed" })));
        }
        within(Duration::from_secs(5), "the metric of the health check arrives", || {
            stack.statsd.lines().contains(&"dt.healthcheck:1|c".to_owned()).then_some(())
        });
        let bare = serve(config).read("/healthcheck");
        assert_eq!(
            bare["tests"].as_object().map(|tests| tests.keys().collect::<Vec<_>>()),
            Some(vec![&"db".to_owned()])
        );
    });
}

#[test]
fn a_health_check_reports_a_failure_within_two_seconds() {
    let mut redis = Redis::start();
    let statsd = Statsd::listen();
    let server = serve(json!({
        "redis": { "host": "127.0.0.1", "port": redis.port },
        "statsd": { "host": "127.0.0.1", "port": statsd.port },
    }));
    assert_eq!(server.get("/healthcheck").status, 200);
    let assert_redis_fails = |what: &str| {
        let begun = Instant::now();
        let answer = server.get("/healthcheck");
        assert!(begun.elapsed() < Duration::from_millis(2_500), "{what}: {:?}", begun.elapsed());
        assert_eq!(answer.status, 503, "{what}: {}", answer.text());
        let tests = &answer.json()["tests"];
        assert_eq!(tests["redis"]["result"], json!("failed"), "{what}: {tests}");
        assert!(tests["redis"]["error"].as_str().is_some_and(|error| !error.is_empty()), "{what}: {tests}");
        assert_eq!((&tests["db"]["result"], &tests["statsd"]["result"]), (&json!("passed"), &json!("passed")));
    };
    redis.freeze();
    assert_redis_fails("a frozen Redis");
    redis.thaw();
    within(Duration::from_secs(10), "the health check passes again", || {
        (server.get("/healthcheck").status == 200).then_some(())
    });
    redis.kill();
    assert_redis_fails("a dead Redis");
    redis.restart();
    within(Duration::from_secs(10), "the health check passes again", || {
        (server.get("/healthcheck").status == 200).then_some(())
    });
}
