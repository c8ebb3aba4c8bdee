//! Clients that request a lot and read nothing: the memory of the server stays within its budget, other clients are
//! served, and the server returns the memory afterwards.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use test_servers::{Server, eventually};

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
