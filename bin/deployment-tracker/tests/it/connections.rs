//! HTTP/1 connections: upgrades, and the spelling of header names.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::json;
use test_servers::DEADLINE;

use crate::raw::exchange;
use crate::support::{new_id, serve};

#[test]
fn a_request_to_upgrade_is_answered_and_its_connection_is_closed_as_announced() {
    let server = serve(json!({}));
    let websocket = "Upgrade: websocket\r\n";
    for (case, upgrade, body) in [
        ("a websocket", format!("Connection: Upgrade\r\n{websocket}Content-Length: 14\r\n"), r#"{"engine":"e"}"#),
        (
            "many options",
            format!("Connection: keep-alive, UPGRADE\r\n{websocket}Content-Length: 14\r\n"),
            r#"{"engine":"e"}"#,
        ),
        ("no option", "Upgrade: WebSocket\r\nContent-Length: 14\r\n".to_owned(), r#"{"engine":"e"}"#),
        ("no protocol", "Connection: upgrade\r\nContent-Length: 14\r\n".to_owned(), r#"{"engine":"e"}"#),
        (
            "HTTP/2 by upgrade",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\
             Content-Length: 14\r\n"
                .to_owned(),
            r#"{"engine":"e"}"#,
        ),
        (
            "chunks",
            format!("Connection: Upgrade\r\n{websocket}Transfer-Encoding: chunked\r\n"),
            "e\r\n{\"engine\":\"e\"}\r\n0\r\n\r\n",
        ),
        (
            "an announced body",
            format!("Connection: Upgrade\r\n{websocket}Expect: 100-continue\r\nContent-Length: 14\r\n"),
            r#"{"engine":"e"}"#,
        ),
    ] {
        let (id, hidden) = (new_id(), new_id());
        let post = |id: &str, headers: &str, body: &str| {
            format!(
                "POST /v1/deployments/{id} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n{headers}\r\n{body}"
            )
        };
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("the server listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("the timeout is not zero");
        // The client keeps the connection open: only the length ends the body, and only the server ends the connection.
        stream.write_all(post(&id, &upgrade, body).as_bytes()).expect("the server reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("the server closes the connection");
        let text = text.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n");
        assert!(text.starts_with("HTTP/1.1 201 Created\r\n"), "{case}: {text}");
        assert!(text.to_lowercase().contains("\r\nconnection: close\r\n"), "{case}: {text}");
        assert_eq!(server.read(&format!("/v1/deployments/{id}"))["engine"], json!("e"), "{case}");
        // A second request on the connection is not part of the body, and is not executed.
        let second = post(&hidden, "Content-Length: 2\r\n", "{}");
        let (statuses, text) = exchange(&server, format!("{}{second}", post(&id, &upgrade, body)).as_bytes());
        assert_eq!(statuses.last(), Some(&201), "{case}: {text}");
        let hidden = server.get(&format!("/v1/deployments/{hidden}")).status;
        let is_executed = statuses.iter().filter(|status| **status == 201).count() == 2;
        assert_eq!(hidden == 200, is_executed, "{case}: {text}");
    }
}

#[test]
fn a_request_to_upgrade_with_a_truncated_body_records_nothing() {
    let server = serve(json!({}));
    let path = format!("/v1/deployments/{}", new_id());
    for headers in ["Upgrade: websocket\r\nConnection: Upgrade", "Upgrade: websocket", "Connection: upgrade"] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 15");
        let (statuses, text) = exchange(&server, format!("{head}\r\n{headers}\r\n\r\n{{\"engine\":\"e\"}}").as_bytes());
        assert_eq!(statuses, [400], "{headers}: {text}");
        let (statuses, text) =
            exchange(&server, format!("GET /livez HTTP/1.1\r\nHost: h\r\n{headers}\r\n\r\n").as_bytes());
        assert_eq!(statuses, [200]);
        assert!(text.to_lowercase().contains("\r\nconnection: close\r\n"), "{headers}: {text}");
    }
    assert_eq!(server.get(&path).status, 404);
}

#[test]
fn header_names_begin_each_word_with_a_capital_letter() {
    let token = |name: &str, scope: &str| json!({ "name": name, "secret": name, "scopes": [scope] });
    let server = serve(json!({ "auth": { "tokens": [token("reader", "read"), token("writer", "write")] } }));
    let id = new_id();
    let path = format!("/v1/deployments/{id}");
    let report = |method: &str, path: &str, body: &str| {
        let headers = "Authorization: Bearer writer\r\nContent-Type: application/json\r\nConnection: close";
        let length = body.len();
        format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{headers}\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let read = |method: &str, path: &str, version: &str| {
        format!(
            "{method} {path} HTTP/{version}\r\nHost: h\r\nAuthorization: Bearer reader\r\nConnection: close\r\n\r\n"
        )
    };
    let hosts = (0..60).map(|i| report("POST", &format!("{path}/servers"), &format!(r#"{{"hostname":"h{i}"}}"#)));
    hosts.for_each(|request| assert_eq!(exchange(&server, request.as_bytes()).0, [201]));
    for (request, status, names) in [
        (report("POST", &path, r#"{"engine":"e"}"#), 201, "Content-Length Connection Location Date"),
        (report("PUT", &path, "{}"), 204, "Connection Date"),
        (report("POST", &path, "{"), 400, "Content-Length Connection Content-Type Date"),
        (report("POST", &path, r#"{"engine":"f"}"#), 409, "Content-Length Connection Content-Type Date"),
        (report("GET", &path, ""), 403, "Content-Length Connection Www-Authenticate Content-Type Date"),
        (report("DELETE", &path, ""), 405, "Content-Length Connection Allow Content-Type Date"),
        (read("GET", &path, "1.1"), 200, "Content-Length Connection Content-Type Date"),
        (read("HEAD", &path, "1.1"), 200, "Content-Length Connection Content-Type Date"),
        (read("GET", "/v1/servers", "1.1"), 200, "Content-Length Connection Link Content-Type Date"),
        (read("GET", "/v1/servers?limit=60", "1.1"), 200, "Transfer-Encoding Connection Link Content-Type Date"),
        (read("GET", "/", "1.1"), 302, "Content-Length Connection Location Date"),
        (read("GET", "/nowhere", "1.1"), 404, "Content-Length Connection Content-Type Date"),
        (read("GET", &format!("/?{}", "x".repeat(40_000)), "1.1"), 431, "Content-Length Connection Content-Type Date"),
        (
            read("GET", "/swagger.json", "1.1"),
            200,
            "Content-Length Connection Access-Control-Allow-Origin Access-Control-Allow-Headers Content-Type Date",
        ),
        (
            "GET /v1/servers HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_owned(),
            401,
            "Content-Length Connection Www-Authenticate Content-Type Date",
        ),
    ] {
        let (statuses, text) = exchange(&server, request.as_bytes());
        assert_eq!(statuses, [status], "{text}");
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        let mut sent: Vec<_> = head.lines().skip(1).filter_map(|line| line.split(':').next()).collect();
        let mut names: Vec<_> = names.split(' ').collect();
        sent.sort_unstable();
        names.sort_unstable();
        assert_eq!(sent, names, "{text}");
    }
    // The names are the same on a connection that stays open, and for HTTP/1.0.
    let request = read("GET", &path, "1.1").replace("Connection: close", "Connection: keep-alive");
    let (_, text) = exchange(&server, request.repeat(2).as_bytes());
    assert_eq!(text.matches("\r\nContent-Length: ").count(), 2, "{text}");
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("the server listens");
    let request = read("GET", &path, "1.0").replace("Connection: close", "Connection: keep-alive");
    stream.write_all(request.as_bytes()).and_then(|()| stream.shutdown(Shutdown::Write)).expect("the server reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("the server closes the connection");
    assert!(text.contains("\r\nConnection: keep-alive\r\n") && text.contains("\r\nDate: "), "{text}");
}

#[test]
fn the_http_library_answers_some_requests_on_its_own() {
    let server = serve(json!({ "limits": { "body_bytes": 100 } }));
    let (_, text) = exchange(&server, b"GET /livez HTTP/1.1\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    assert!(text.contains("content-length: 0\r\n") && text.contains("connection: close\r\n"), "{text}");
    // It invites a body before a handler can refuse it.
    for (path, headers, status) in [
        ("/nowhere".to_owned(), "Content-Type: application/json\r\nContent-Length: 2", 404),
        (format!("/v1/deployments/{}", new_id()), "Content-Type: application/json\r\nContent-Length: 101", 413),
        (format!("/v1/deployments/{}", new_id()), "Content-Type: text/plain\r\nContent-Length: 2", 415),
    ] {
        let request = format!("POST {path} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n{headers}\r\n\r\n");
        let (statuses, text) = exchange(&server, request.as_bytes());
        assert_eq!(statuses, [100, status], "{text}");
        assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
    }
}
