//! Malformed requests that no HTTP client sends: the server rejects each one or closes the connection, lets no hidden
//! request through, and serves the next connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::json;
use test_servers::{DEADLINE, Server};

use crate::support::{new_id, serve};

/// The only outcome that a test accepts for a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    /// Exactly one response, with this status.
    Status(u16),
    /// The server closes the connection without a response.
    Closed,
}

use Outcome::{Closed, Status};

/// Sends `bytes`, then the end of the stream. Returns the statuses of all responses, and their text.
#[track_caller]
pub fn exchange(server: &Server, bytes: &[u8]) -> (Vec<u16>, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("the timeout is not zero");
    // The server may respond and close the connection before it has read everything.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut text = Vec::new();
    if let Err(error) = stream.read_to_end(&mut text) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error} after {:?}", start_of(bytes));
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    let statuses = text.split("HTTP/1.1 ").skip(1).map(|rest| rest[..3].parse().expect("a status has three digits"));
    (statuses.collect(), text)
}

/// The first bytes of a request, for messages.
fn start_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

/// Sends each request on a new connection. Asserts its outcome, that it injects no header into the response, and that
/// the server still answers other requests.
#[track_caller]
fn assert_outcomes(server: &Server, requests: &[(Outcome, Vec<u8>)]) {
    for (expected, bytes) in requests {
        let (statuses, text) = exchange(server, bytes);
        let start = start_of(bytes);
        let is_expected = match *expected {
            Status(status) => statuses == [status],
            Closed => statuses.is_empty(),
        };
        assert!(is_expected, "{statuses:?} instead of {expected:?} for {start:?}: {text}");
        assert!(!text.to_lowercase().contains("\nx-injected"), "{start:?}: {text}");
        assert_eq!(server.get("/livez").status, 200, "after {start:?}");
    }
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").into_bytes()
}

fn with_header(header: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n", header.as_ref(), b"\r\n\r\n"].concat()
}

#[test]
fn malformed_request_lines_are_rejected_and_leave_no_connection_open() {
    let server = serve(json!({}));
    let line = |line: &str| format!("{line}\r\nHost: h\r\nConnection: close\r\n\r\n").into_bytes();
    assert_outcomes(
        &server,
        &[
            (Closed, b"".to_vec()),
            (Closed, b"\r\n\r\n".to_vec()),
            (Status(400), b"\0".to_vec()),
            (Status(400), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no TLS here\r\n\r\n".to_vec()),
            (Status(400), b"HELO h\r\n\r\n".to_vec()),
            (Status(400), b"GET /livez\r\n\r\n".to_vec()),
            (Status(405), line("get /livez HTTP/1.1")),
            (Status(405), line("BREW /livez HTTP/1.1")),
            (Status(405), line("TRACE /livez HTTP/1.1")),
            (Status(400), line("GE T /livez HTTP/1.1")),
            (Status(400), line("G\0T /livez HTTP/1.1")),
            (Status(400), line(" GET /livez HTTP/1.1")),
            (Status(400), line("GET  /livez HTTP/1.1")),
            (Status(405), line(&format!("{} /livez HTTP/1.1", "X".repeat(10_000)))),
            (Status(404), line("CONNECT h:80 HTTP/1.1")),
            (Status(404), line("OPTIONS * HTTP/1.1")),
            (Status(400), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
            (Status(400), line("GET /livez HTTP/0.9")),
            (Status(400), line("GET /livez HTTP/1.2")),
            (Status(400), line("GET /livez HTTP/2.0")),
            (Status(400), line("GET /livez HTTP/1.1x")),
            (Status(400), line("GET /livez http/1.1")),
            (Status(400), line("GET /livez FTP/1.1")),
            (Status(400), line("GET /livez HTTP/1.1 HTTP/1.1")),
        ],
    );
    let (_, text) = exchange(&server, b"GET /livez HTTP/1.0\r\n\r\n");
    assert!(text.starts_with("HTTP/1.0 200"), "{text}");
}

#[test]
fn hostile_request_targets_escape_no_route_and_inject_no_header() {
    let server = serve(json!({}));
    let id = new_id();
    assert_eq!(server.post(&format!("/v1/deployments/{id}"), &json!({ "engine": "e" })).status, 201);
    let mut table: Vec<(Outcome, Vec<u8>)> = vec![
        (Status(200), get(&format!("http://evil.example/v1/deployments/{id}"))),
        (Status(200), get(&format!("/v1/deployments/{}", id.replace('0', "%30")))),
        (Status(400), get("/v1/deployments/%fe/logs")),
        (Status(400), get("/v1/deployments/%%66e/logs")),
        (Status(404), get("/v1/servers/a%0d%0aX-Injected:%20y")),
        (Status(200), get("/v1/servers?x=%0d%0aX-Injected:%20y")),
        (Status(200), get("/v1/deployments?%00=%00&%ff=%c0%af")),
        (Status(400), get("/v1/deployments?limit=%00")),
        (Status(400), get("/v1/deployments?before=%00")),
        (Status(200), get(&format!("/livez?{}", "x".repeat(20_000)))),
        (Status(431), get(&format!("/{}", "x".repeat(60_000)))),
        (Status(431), get(&format!("/{}", "x".repeat(1_000_000)))),
        (Status(400), b"GET /v1/servers/\0 HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        (Status(400), b"GET /v1/servers/\xff\xfe HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_vec()),
        (Status(400), b"GET /v1/servers/\xc0\xaf HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_vec()),
    ];
    for (status, target) in [
        (404, "/v1/servers/%00"),
        (404, "/v1/servers/%2f"),
        (404, "/v1/servers/..%2f..%2fconfig"),
        (400, "/v1/servers/%c0%af"),
        (400, "/v1/servers/%ff"),
        (404, "/v1/servers/%"),
        (404, "/v1/servers/%zz"),
        (400, "/v1/servers/%e0%80%80"),
        (400, "/v1/servers/%ed%a0%80"),
        (200, "//livez"),
        (200, "http://evil.example//livez"),
        (404, "/%2flivez"),
        (404, "/./livez"),
        (404, "/v1/../config"),
        (404, "/docs/../config"),
        (404, "/docs/%2e%2e/config"),
        (404, "/docs/..%2fconfig"),
        (404, "/docs//etc/passwd"),
        (404, "/docs/%2fetc%2fpasswd"),
        (404, "/\\config"),
        (404, "/config%00"),
        (404, "/config%2f"),
        (404, "/%63onfig/x"),
        (404, "/config/;x"),
        (404, "/LIVEZ"),
        (404, "*"),
        (404, "livez"),
        (400, ""),
        (400, "http://"),
        (302, "http://h"),
        (404, "h:80"),
        (400, "/v1/deployments/%00"),
        (404, "/v1/deployments/%00/logs/x"),
        (200, "/livez HTTP/1.1\r\nX-Injected: y"),
    ] {
        table.push((Status(status), get(target)));
    }
    assert_outcomes(&server, &table);
    for target in ["/v1/servers/a%0d%0ab", "/v1/deployments/a%0ab", "/v1/deployments?before=a%0ab"] {
        let sentence = server.get(target).is_error(if target.starts_with("/v1/s") { 404 } else { 400 }, None);
        assert!(!sentence.contains(char::is_control), "{sentence:?}");
    }
}

#[test]
fn malformed_headers_are_rejected_and_leave_no_connection_open() {
    let server = serve(json!({}));
    let many = |count: usize| (0..count).map(|i| format!("X-{i}: y")).collect::<Vec<_>>().join("\r\n");
    assert_outcomes(
        &server,
        &[
            (Status(400), with_header("X-Folded: a\r\n b")),
            (Status(400), with_header("X-Folded: a\r\n\tb")),
            (Status(400), with_header("no colon")),
            (Status(400), with_header(": no name")),
            (Status(400), with_header("X Y: a space in the name")),
            (Status(400), with_header("X-Y : a space after the name")),
            (Status(400), with_header(b"X\0Y: z")),
            (Status(400), with_header(b"X: \0")),
            (Status(400), with_header(b"X: a\rX-Injected: y")),
            (Status(200), with_header(b"X: \xff\xfe")),
            (Status(200), with_header("X: a\nX-Injected: y")),
            (Status(200), b"GET /livez HTTP/1.1\nHost: h\nConnection: close\n\n".to_vec()),
            (Status(200), with_header(many(50))),
            (Status(431), with_header(many(200))),
            (Status(431), with_header(many(100_000))),
            (Status(431), with_header(format!("X: {}", "y".repeat(1_000_000)))),
            // actix-http panics on a header name of 64 KiB or more.
            (Closed, with_header(format!("{}: y", "X".repeat(70_000)))),
            (Status(400), with_header("Host: evil.example")),
            (Status(200), with_header("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__")),
            (Status(200), with_header("Upgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13")),
            (Status(400), with_header("Authorization: Bearer \t\r\nAuthorization: \x01")),
            (Status(200), with_header("Expect: nonsense")),
            (Status(400), b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec()),
            (Status(200), b"GET /v1/deployments HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n".to_vec()),
            (
                Status(200),
                b"GET /v1/deployments HTTP/1.1\r\nHost: h>; rel=\"next\", <evil\r\nConnection: close\r\n\r\n".to_vec(),
            ),
        ],
    );
}

/// actix-http panics on a header name of 64 KiB; the panic must end only that connection.
#[test]
fn a_header_name_too_long_for_the_http_parser_ends_only_its_connection() {
    let server = serve(json!({ "limits": { "connections": 4, "header_bytes": 131_072 } }));
    for _ in 0..20 {
        assert_outcomes(&server, &[(Closed, with_header(format!("{}: y", "X".repeat(65_536))))]);
    }
}

#[test]
fn no_request_is_smuggled_in_the_body_of_another() {
    let server = serve(json!({}));
    let post = |id: &str, headers: &str, body: &str| {
        let head = "Host: h\r\nContent-Type: application/json\r\n";
        format!("POST /v1/deployments/{id} HTTP/1.1\r\n{head}{headers}\r\n\r\n{body}").into_bytes()
    };
    let hidden = new_id();
    let inner = String::from_utf8(post(&hidden, "Content-Length: 2\r\nConnection: close", "{}")).expect("UTF-8");
    let after_last_chunk = format!("0\r\n\r\n{inner}");
    let outer = new_id();
    for (headers, body) in [
        ("Content-Length: 6\r\nTransfer-Encoding: chunked", after_last_chunk.as_str()),
        ("Transfer-Encoding: chunked\r\nContent-Length: 6", &after_last_chunk),
        ("Content-Length: 0\r\nContent-Length: 5", &inner),
        ("Content-Length: 0, 5", &inner),
        ("Content-Length: +0", &inner),
        ("Content-Length: -1", &inner),
        ("Content-Length: 0x0", &inner),
        ("Content-Length: 99999999999999999999", &inner),
        ("Content-Length : 0", &inner),
        ("Content-Length:\r\n 0", &inner),
        ("Transfer-Encoding: xchunked", &after_last_chunk),
        ("Transfer-Encoding: chunked, identity", &after_last_chunk),
        ("Transfer-Encoding: identity, chunked, chunked", &after_last_chunk),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", &after_last_chunk),
        ("Transfer-Encoding : chunked", &after_last_chunk),
        ("Transfer-Encoding:\x0bchunked", &after_last_chunk),
        ("Transfer-Encoding: chunked", &format!("FFFFFFFFFFFFFFFFF\r\n{inner}")),
        ("Transfer-Encoding: chunked", &format!("-1\r\n{inner}")),
        ("Transfer-Encoding: chunked", &format!("0x0\r\n\r\n{inner}")),
        ("Transfer-Encoding: chunked", &format!("2\r\n{{}}{inner}")),
        ("Transfer-Encoding: chunked", "2\r\n{"),
        ("Content-Length: 10", "{"),
    ] {
        assert_outcomes(&server, &[(Status(400), post(&outer, headers, body))]);
        for id in [&outer, &hidden] {
            assert_eq!(server.get(&format!("/v1/deployments/{id}")).status, 404, "{headers:?} {body:?}");
        }
    }
}
