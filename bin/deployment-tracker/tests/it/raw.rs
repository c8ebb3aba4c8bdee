//! What no HTTP client sends: each is refused or closed, nothing is smuggled past, and the next connection is served.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::json;
use test_servers::{PATIENCE, Server};

use crate::support::{new_id, serve};

/// Sends `bytes` and the end of the stream; the statuses of all answers, and the whole of them.
#[track_caller]
fn say(server: &Server, bytes: &[u8]) -> (Vec<u16>, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // The server may have refused it before it was all sent.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut said = Vec::new();
    if let Err(error) = stream.read_to_end(&mut said) {
        let head = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error} after {head:?}");
    }
    let said = String::from_utf8_lossy(&said).into_owned();
    let statuses = said.split("HTTP/1.1 ").skip(1).map(|rest| rest[..3].parse().expect("a status"));
    (statuses.collect(), said)
}

/// Each of `table` is answered with one of its statuses, or by closing where it has a 0; never with a second answer.
#[track_caller]
fn holds(server: &Server, table: &[(&[u16], Vec<u8>)]) {
    for (expected, bytes) in table {
        let (statuses, said) = say(server, bytes);
        let head = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        let is_expected = match statuses[..] {
            [] => expected.contains(&0),
            [status] => expected.contains(&status),
            _ => false,
        };
        assert!(is_expected, "{statuses:?}, not {expected:?}, to {head:?}: {said}");
        assert!(!said.to_lowercase().contains("\nx-injected"), "{head:?}: {said}");
        assert_eq!(server.get("/livez").status, 200, "after {head:?}");
    }
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").into_bytes()
}

fn with_header(header: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n", header.as_ref(), b"\r\n\r\n"].concat()
}

#[test]
fn no_request_line_brings_a_500_or_holds_a_connection() {
    let server = serve(json!({}));
    let line = |line: &str| format!("{line}\r\nHost: h\r\nConnection: close\r\n\r\n").into_bytes();
    holds(
        &server,
        &[
            (&[0], b"".to_vec()),
            (&[0, 400], b"\r\n\r\n".to_vec()),
            (&[0, 400], b"\0".to_vec()),
            (&[400], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no TLS here\r\n\r\n".to_vec()),
            (&[0, 400], b"HELO h\r\n\r\n".to_vec()),
            (&[0, 400], b"GET /livez\r\n\r\n".to_vec()),
            (&[400, 405], line("get /livez HTTP/1.1")),
            (&[405], line("BREW /livez HTTP/1.1")),
            (&[405], line("TRACE /livez HTTP/1.1")),
            (&[400], line("GE T /livez HTTP/1.1")),
            (&[400], line("G\0T /livez HTTP/1.1")),
            (&[400], line(" GET /livez HTTP/1.1")),
            (&[400], line("GET  /livez HTTP/1.1")),
            (&[400, 404, 405, 413, 431], line(&format!("{} /livez HTTP/1.1", "X".repeat(10_000)))),
            (&[400, 404, 405], line("CONNECT h:80 HTTP/1.1")),
            (&[400, 404, 405], line("OPTIONS * HTTP/1.1")),
            (&[0, 400], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
            (&[400], line("GET /livez HTTP/0.9")),
            (&[400], line("GET /livez HTTP/1.2")),
            (&[400], line("GET /livez HTTP/2.0")),
            (&[400], line("GET /livez HTTP/1.1x")),
            (&[400], line("GET /livez http/1.1")),
            (&[400], line("GET /livez FTP/1.1")),
            (&[400], line("GET /livez HTTP/1.1 HTTP/1.1")),
        ],
    );
    let (_, said) = say(&server, b"GET /livez HTTP/1.0\r\n\r\n");
    assert!(said.starts_with("HTTP/1.0 200"), "{said}");
}

#[test]
fn no_target_brings_a_500_or_leads_out_of_its_place() {
    let server = serve(json!({}));
    let id = new_id();
    assert_eq!(server.post(&format!("/v1/deployments/{id}"), &json!({ "engine": "e" })).status, 201);
    let odd = &[400, 404][..];
    let mut table: Vec<(&[u16], Vec<u8>)> = vec![
        (&[200], get(&format!("http://evil.example/v1/deployments/{id}"))),
        (&[200], get(&format!("/v1/deployments/{}", id.replace('0', "%30")))),
        (&[400], get("/v1/deployments/%fe/logs")),
        (&[400], get("/v1/deployments/%%66e/logs")),
        (&[404], get("/v1/servers/a%0d%0aX-Injected:%20y")),
        (&[200], get("/v1/servers?x=%0d%0aX-Injected:%20y")),
        (&[200], get("/v1/deployments?%00=%00&%ff=%c0%af")),
        (&[400], get("/v1/deployments?limit=%00")),
        (&[400], get("/v1/deployments?before=%00")),
        (&[200, 400, 414, 431], get(&format!("/livez?{}", "x".repeat(20_000)))),
        (&[400, 404, 414, 431], get(&format!("/{}", "x".repeat(60_000)))),
        (&[0, 400, 413, 414, 431], get(&format!("/{}", "x".repeat(1_000_000)))),
        (&[400], b"GET /v1/servers/\0 HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        (&[400, 404], b"GET /v1/servers/\xff\xfe HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_vec()),
        (&[400, 404], b"GET /v1/servers/\xc0\xaf HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_vec()),
    ];
    for target in [
        "/v1/servers/%00",
        "/v1/servers/%2f",
        "/v1/servers/..%2f..%2fconfig",
        "/v1/servers/%c0%af",
        "/v1/servers/%ff",
        "/v1/servers/%",
        "/v1/servers/%zz",
        "/v1/servers/%e0%80%80",
        "/v1/servers/%ed%a0%80",
        "//livez",
        "/./livez",
        "/v1/../config",
        "/docs/../config",
        "/docs/%2e%2e/config",
        "/docs/..%2fconfig",
        "/docs//etc/passwd",
        "/docs/%2fetc%2fpasswd",
        "/\\config",
        "/config%00",
        "/config%2f",
        "/%63onfig/x",
        "/config/;x",
        "/LIVEZ",
        "*",
        "livez",
        "",
        "http://",
        "http://h",
        "h:80",
        "/v1/deployments/%00",
        "/v1/deployments/%00/logs/x",
        "/livez HTTP/1.1\r\nX-Injected: y",
    ] {
        let statuses: &[u16] = match target {
            "http://h" => &[302],
            "/livez HTTP/1.1\r\nX-Injected: y" => &[200, 400],
            _ => odd,
        };
        table.push((statuses, get(target)));
    }
    holds(&server, &table);
    for target in ["/v1/servers/a%0d%0ab", "/v1/deployments/a%0ab", "/v1/deployments?before=a%0ab"] {
        let sentence = server.get(target).is_error(if target.starts_with("/v1/s") { 404 } else { 400 }, None);
        assert!(!sentence.contains(char::is_control), "{sentence:?}");
    }
}

#[test]
fn no_header_brings_a_500_or_holds_a_connection() {
    let server = serve(json!({}));
    let many = |count: usize| (0..count).map(|i| format!("X-{i}: y")).collect::<Vec<_>>().join("\r\n");
    holds(
        &server,
        &[
            (&[400], with_header("X-Folded: a\r\n b")),
            (&[400], with_header("X-Folded: a\r\n\tb")),
            (&[400], with_header("no colon")),
            (&[400], with_header(": no name")),
            (&[400], with_header("X Y: a space in the name")),
            (&[400], with_header("X-Y : a space behind the name")),
            (&[400], with_header(b"X\0Y: z")),
            (&[400], with_header(b"X: \0")),
            (&[400], with_header(b"X: a\rX-Injected: y")),
            (&[200, 400], with_header(b"X: \xff\xfe")),
            (&[200, 400], with_header("X: a\nX-Injected: y")),
            (&[200, 400], b"GET /livez HTTP/1.1\nHost: h\nConnection: close\n\n".to_vec()),
            (&[200], with_header(many(50))),
            (&[0, 400, 431], with_header(many(200))),
            (&[0, 400, 431], with_header(many(100_000))),
            (&[0, 400, 413, 431], with_header(format!("X: {}", "y".repeat(1_000_000)))),
            (&[0, 400, 413, 431], with_header(format!("{}: y", "X".repeat(70_000)))),
            (&[200, 400], with_header("Host: evil.example")),
            (&[200], with_header("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__")),
            (&[200], with_header("Upgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13")),
            (&[400], with_header("Authorization: Bearer \t\r\nAuthorization: \x01")),
            (&[200, 417], with_header("Expect: nonsense")),
            (&[200, 400], b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec()),
            (&[200, 400], b"GET /v1/deployments HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n".to_vec()),
            (
                &[200, 400],
                b"GET /v1/deployments HTTP/1.1\r\nHost: h>; rel=\"next\", <evil\r\nConnection: close\r\n\r\n".to_vec(),
            ),
        ],
    );
}

/// actix-http panics at a name of 64 KiB; that must end no more than the connection.
#[test]
fn a_name_that_is_too_long_for_the_http_parser_ends_one_connection_only() {
    let server = serve(json!({ "limits": { "connections": 4, "header_bytes": 131_072 } }));
    for _ in 0..20 {
        holds(&server, &[(&[0, 400, 431], with_header(format!("{}: y", "X".repeat(65_536))))]);
    }
}

#[test]
fn nothing_is_smuggled_in_the_body_of_another_request() {
    let server = serve(json!({}));
    let post = |id: &str, headers: &str, body: &str| {
        let head = "Host: h\r\nContent-Type: application/json\r\n";
        format!("POST /v1/deployments/{id} HTTP/1.1\r\n{head}{headers}\r\n\r\n{body}").into_bytes()
    };
    let hidden = new_id();
    let inner = String::from_utf8(post(&hidden, "Content-Length: 2\r\nConnection: close", "{}")).expect("UTF-8");
    let behind_the_end = format!("0\r\n\r\n{inner}");
    let outer = new_id();
    let refused = &[0, 400, 408, 413, 501][..];
    for (headers, body) in [
        ("Content-Length: 6\r\nTransfer-Encoding: chunked", behind_the_end.as_str()),
        ("Transfer-Encoding: chunked\r\nContent-Length: 6", &behind_the_end),
        ("Content-Length: 0\r\nContent-Length: 5", &inner),
        ("Content-Length: 0, 5", &inner),
        ("Content-Length: +0", &inner),
        ("Content-Length: -1", &inner),
        ("Content-Length: 0x0", &inner),
        ("Content-Length: 99999999999999999999", &inner),
        ("Content-Length : 0", &inner),
        ("Content-Length:\r\n 0", &inner),
        ("Transfer-Encoding: xchunked", &behind_the_end),
        ("Transfer-Encoding: chunked, identity", &behind_the_end),
        ("Transfer-Encoding: identity, chunked, chunked", &behind_the_end),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", &behind_the_end),
        ("Transfer-Encoding : chunked", &behind_the_end),
        ("Transfer-Encoding:\x0bchunked", &behind_the_end),
        ("Transfer-Encoding: chunked", &format!("FFFFFFFFFFFFFFFFF\r\n{inner}")),
        ("Transfer-Encoding: chunked", &format!("-1\r\n{inner}")),
        ("Transfer-Encoding: chunked", &format!("0x0\r\n\r\n{inner}")),
        ("Transfer-Encoding: chunked", &format!("2\r\n{{}}{inner}")),
        ("Transfer-Encoding: chunked", "2\r\n{"),
        ("Content-Length: 10", "{"),
    ] {
        holds(&server, &[(refused, post(&outer, headers, body))]);
        for id in [&outer, &hidden] {
            assert_eq!(server.get(&format!("/v1/deployments/{id}")).status, 404, "{headers:?} {body:?}");
        }
    }
}
