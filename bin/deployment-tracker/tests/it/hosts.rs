//! The hosts that the server answers for (`server.allowed_hosts`).

use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::{Certificates, DEADLINE, JSON, Server, eventually};

use crate::raw::exchange;
use crate::support::{command_in, new_id, serve, serve_in};

fn get(server: &Server, path: &str, host: &str) -> test_servers::Response {
    server.send("GET", path, &[("Host", host)], b"")
}

#[test]
fn without_a_list_every_host_is_answered_and_an_open_loopback_server_says_so() {
    let token = json!({ "tokens": [{ "name": "one", "secret": "a-secret", "scopes": ["read"] }] });
    for (config, is_open) in [
        (json!({}), true),
        (json!({ "server": { "allowed_hosts": [] } }), true),
        (json!({ "server": { "allowed_hosts": ["127.0.0.1"] } }), false),
        (json!({ "auth": token }), false),
    ] {
        let mut server = serve(config.clone());
        let status = get(&server, "/v1/deployments", "evil.example").status;
        assert_eq!(status == 200, is_open, "{config}: {status}");
        server.signal("TERM");
        server.ends_within(DEADLINE);
        eventually("the whole log is read", || server.stderr().contains("stopped").then_some(()));
        let lines = server.stderr().lines().filter(|line| line.contains("`server.allowed_hosts`")).count();
        assert_eq!(lines, usize::from(is_open), "{config}: {}", server.stderr());
    }
}

#[test]
fn a_request_for_another_host_is_misdirected_and_changes_nothing() {
    let allowed = json!(["tracker.example", "web.example:8080", "127.0.0.1", "::1"]);
    let server = serve(json!({ "server": { "allowed_hosts": allowed } }));
    let path = format!("/v1/deployments/{}", new_id());
    for host in ["evil.example", "tracker.example.evil.example", "web.example", "localhost", "[::2]", "", "a b"] {
        for path in [path.as_str(), "/", "/docs/", "/openapi.json", "/metrics", "/healthcheck", "/config", "//nowhere"]
        {
            let refused = get(&server, path, host);
            refused.is_error(421, None);
            assert_eq!(refused.json()["code"], json!("misdirected_request"), "{path} {host}");
        }
        let refused = server.send("POST", &path, &[JSON, ("Host", host)], br#"{"engine":"e"}"#);
        refused.is_error(421, None);
        // Probes often have an address instead of a name.
        for probe in ["/livez", "/readyz/", "//livez"] {
            assert_eq!(get(&server, probe, host).status, 200, "{probe} {host}");
        }
    }
    server.get(&path).is_error(404, None);
    for host in ["tracker.example", "TRACKER.Example.:9", "web.example:8080", "127.0.0.1", "[0:0::1]:80"] {
        assert_eq!(get(&server, "/v1/deployments", host).status, 200, "{host}");
    }
    for (request, status) in [
        ("GET http://tracker.example/v1/servers HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 200),
        ("GET http://evil.example/v1/servers HTTP/1.1\r\nHost: tracker.example\r\nConnection: close\r\n\r\n", 421),
    ] {
        assert_eq!(exchange(&server, request.as_bytes()).0, [status], "{request}");
    }
    let (_, old) = exchange(&server, b"GET /v1/servers HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.0 421 "), "{old}");
    let metrics = server.get("/metrics");
    assert!(metrics.text().contains(r#"route="unmatched",method="POST",status="421"} 7"#), "{}", metrics.text());
}

#[test]
fn on_http_2_the_authority_must_be_allowed() {
    let certificates = Certificates::new();
    let tls = json!({ "certificate": certificates.path("server.pem"), "key": certificates.path("server.key") });
    let server = serve(json!({ "tls": tls, "server": { "allowed_hosts": ["localhost", "web.example:{port}"] } }));
    for (host, expected) in [("localhost", "2 200"), ("web.example", "2 200"), ("evil.example", "2 421")] {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--noproxy", "*", "--insecure", "--http2", "--output", "/dev/null"])
            .args(["--resolve", &format!("{host}:{}:127.0.0.1", server.port)])
            .args(["--write-out", "%{http_version} %{http_code}"])
            .arg(format!("https://{host}:{}/v1/deployments", server.port))
            .output()
            .expect("curl runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{host}: {output:?}");
    }
}

#[test]
fn the_hosts_may_come_from_the_environment_and_invalid_ones_are_refused() {
    const VARIABLE: &str = "DEPLOYMENT_TRACKER_SERVER__ALLOWED_HOSTS";
    let folder = TempDir::new().expect("temporary folder");
    let server = serve_in(folder, json!({}), &[(VARIABLE, r#"["tracker.example"]"#)]);
    assert_eq!(get(&server, "/v1/deployments", "tracker.example").status, 200);
    get(&server, "/v1/deployments", "evil.example").is_error(421, None);

    let folder = TempDir::new().expect("temporary folder");
    let check = |hosts: &Value| {
        let mut command = command_in(folder.path());
        command.arg("--check-config").env(VARIABLE, hosts.to_string()).output().expect("the binary runs")
    };
    let printed = check(&json!(["Tracker.Example.:80", "::1"]));
    let printed: Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    assert_eq!(printed["server"], json!({ "allowed_hosts": ["tracker.example:80", "[::1]"] }));
    for hosts in [json!(["http://tracker.example"]), json!(["*.example"]), json!([""]), json!([1]), json!("a")] {
        let refused = check(&hosts);
        let line = String::from_utf8(refused.stderr).expect("UTF-8");
        assert_eq!(refused.status.code(), Some(2), "{hosts}: {line}");
        assert!(line.contains("server.allowed_hosts") && line.trim_end().lines().count() == 1, "{hosts}: {line}");
    }
}
