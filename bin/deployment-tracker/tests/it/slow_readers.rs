//! Clients that request a lot and read nothing: the memory of the server stays within its budget, other clients are
//! served, and the server returns the memory afterwards.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use test_servers::{Certificates, Server, eventually, free_port};

use crate::limits::megabytes;
use crate::support::{full_start, new_id, serve};

/// `limits.response_bytes` of these tests, in MiB.
const BUDGET: u64 = 16;
/// What connections and everything else may take in addition, in MiB.
const SLACK: u64 = 64;

fn config() -> Value {
    json!({ "limits": { "response_bytes": BUDGET << 20 } })
}

/// Records 100 deployments, of which the first has 20 log messages of 1 MB. Returns the lists.
fn fill(server: &Server) -> [String; 2] {
    let id = new_id();
    for _ in 0..20 {
        let message = json!({ "message": "x".repeat(1_000_000) });
        assert_eq!(server.post(&format!("/v1/deployments/{id}/logs"), &message).status, 201);
    }
    for _ in 0..100 {
        assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &full_start()).status, 201);
    }
    [format!("/v1/deployments/{id}/logs?limit=1000"), "/v1/deployments?limit=1000".to_owned()]
}

/// Sends `request`, and reads only the status line.
fn slow_client(server: &Server, request: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("the timeout is not zero");
    stream.write_all(request.as_bytes()).expect("request is sent");
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("status line");
    (stream, String::from_utf8_lossy(&status[9..]).into_owned())
}

/// Reports and reads while other clients hold responses. Returns the greatest amount of memory.
fn use_normally(server: &Server) -> u64 {
    let peaks = (0..20).map(|_| {
        let path = format!("/v1/deployments/{}", new_id());
        assert_eq!(server.post(&path, &full_start()).status, 201);
        assert_eq!(server.get(&path).status, 200);
        let list = server.read("/v1/deployments?limit=100");
        assert_eq!(list.as_array().map(Vec::len), Some(100), "an ordinary reader gets the whole list");
        megabytes(server)
    });
    peaks.max().unwrap_or(0)
}

fn is_bounded(before: u64, peak: u64, who: &str) {
    assert!(peak < before + BUDGET + SLACK, "{who}: {before} MB grow to {peak} MB");
}

fn memory_returns(server: &Server, before: u64, who: &str) {
    eventually(&format!("the memory returns to near {before} MB after {who}"), || {
        (megabytes(server) < before + SLACK / 2).then_some(())
    });
}

#[test]
fn hundreds_of_clients_that_do_not_read_take_only_the_memory_for_responses() {
    let server = serve(config());
    let [logs, deployments] = fill(&server);
    let before = megabytes(&server);
    for version in ["1.0", "1.1"] {
        for (list, count) in [(&logs, 300), (&deployments, 300)] {
            let who = format!("{count} clients of {list} with HTTP/{version}");
            let request = format!("GET {list} HTTP/{version}\r\nHost: h\r\n\r\n");
            let clients: Vec<_> = (0..count).map(|_| slow_client(&server, &request)).collect();
            let served = clients.iter().filter(|(_, status)| status == "200").count();
            let refused = clients.iter().filter(|(_, status)| status == "503").count();
            assert_eq!(served + refused, count, "{who}");
            assert!(served >= 10, "{who}: {served} fit into the budget");
            assert_eq!(refused > 0, list == &logs, "{who}: only large responses exceed the budget");
            is_bounded(before, use_normally(&server), &who);
            drop(clients);
            memory_returns(&server, before, &who);
        }
    }
    // The budget is free again.
    assert_eq!(server.read(&logs).as_array().map(Vec::len), Some(20));
}

#[test]
fn clients_that_do_not_read_give_way_when_the_memory_for_responses_is_short() {
    let server = serve(config());
    let [logs, _] = fill(&server);
    let request = format!("GET {logs} HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut clients: Vec<_> = (0..40).map(|_| slow_client(&server, &request)).collect();
    let refused = server.get(&logs);
    refused.is_error(503, None);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let request = format!("GET {logs} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let (mut refused, status) = slow_client(&server, &request);
    assert_eq!(status, "503");
    let mut rest = String::new();
    refused.read_to_string(&mut rest).expect("the response ends");
    for line in ["Content-Type: application/json", "Retry-After: 1", "Content-Length: ", "Connection: close", "Date: "]
    {
        assert!(rest.contains(&format!("\r\n{line}")), "{line} in {rest}");
    }
    let whole =
        eventually("another client gets the whole list", || Some(server.get(&logs)).filter(|a| a.status == 200));
    assert_eq!(whole.json().as_array().map(Vec::len), Some(20));
    let mut rest = Vec::new();
    let (stream, status) = &mut clients[0];
    assert_eq!(status, "200");
    // The server closes the connection in the middle of the response.
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < 10_000_000, "{} bytes", rest.len());
}

/// Opens an HTTP/2 connection with `streams` requests for `list` and an unlimited window, and reads nothing.
fn slow_http2_client(port: u16, list: &str, streams: u8) -> Child {
    let mut child = Command::new("openssl")
        .args(["s_client", "-quiet", "-alpn", "h2", "-connect", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed");
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).expect("short frames");
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE and WINDOW_UPDATE of the connection: as large as they can be.
    bytes.extend(frame(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]));
    bytes.extend(frame(8, 0, 0, &[0x7f, 0xfe, 0xff, 0xff]));
    // HPACK: `:method: GET`, `:scheme: https`, and literals for `:authority` and `:path`.
    let length = u8::try_from(list.len()).expect("short path");
    let head = [&[0x82, 0x87, 0x01, 1, b'h', 0x04, length], list.as_bytes()].concat();
    for stream in 0..streams {
        bytes.extend(frame(1, 5, 2 * stream + 1, &head));
    }
    child.stdin.as_mut().expect("a pipe").write_all(&bytes).expect("requests are sent");
    child
}

#[test]
fn http2_clients_that_do_not_read_take_only_the_memory_for_responses() {
    let certificates = Certificates::new();
    let https_port = free_port();
    let mut config = config();
    config["tls"] = json!({ "certificate": certificates.path("server.pem"), "key": certificates.path("server.key") });
    config["listen"] = json!(["http://127.0.0.1:{port}", format!("https://127.0.0.1:{https_port}")]);
    let server = serve(config);
    let [logs, deployments] = fill(&server);
    let before = megabytes(&server);
    for list in [&logs, &deployments] {
        let who = format!("HTTP/2 clients of {list}");
        let mut clients: Vec<_> = (0..10).map(|_| slow_http2_client(https_port, list, 24)).collect();
        for client in &mut clients {
            let mut first = [0];
            client.stdout.as_mut().expect("a pipe").read_exact(&mut first).expect("the server answers");
        }
        is_bounded(before, use_normally(&server), &who);
        for client in &mut clients {
            client.kill().and_then(|()| client.wait()).expect("openssl ends");
        }
        memory_returns(&server, before, &who);
    }
}
