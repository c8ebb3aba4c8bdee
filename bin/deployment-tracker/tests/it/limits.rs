//! Hostile clients: each is refused or closed, takes little memory, and everybody else is served.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use diesel::sqlite::SqliteConnection;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tempfile::TempDir;
use test_servers::{Database as _, JSON, Postgres, Server, eventually, exchange, free_port};

use crate::support::{full_start, new_id, serve};

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream
}

/// Connections that have sent `start` and nothing more.
fn hold(server: &Server, count: usize, start: &[u8]) -> Vec<TcpStream> {
    let begun = (0..count).map(|_| {
        let mut stream = connect(server);
        // The server may have refused it before it was all sent.
        let _ = stream.write_all(start);
        stream
    });
    begun.collect()
}

/// Waits until the server has closed the connection; what it said before.
#[track_caller]
fn closed(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// Megabytes that the process has in memory.
fn megabytes(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1_024
}

fn is_served(server: &Server) {
    let path = format!("/v1/deployments/{}", new_id());
    assert_eq!(server.post(&path, &full_start()).status, 201);
    assert_eq!(server.get(&path).status, 200);
}

/// Another program that keeps every report waiting until it lets the database go.
fn lock(server: &Server) -> SqliteConnection {
    is_served(server);
    let file = server.folder.path().join("data.sqlite3");
    let mut other = SqliteConnection::establish(file.to_str().expect("a path")).expect("the database");
    other.batch_execute("PRAGMA busy_timeout = 20000; BEGIN IMMEDIATE").expect("a lock");
    other
}

#[test]
fn whoever_sends_a_head_byte_by_byte_is_closed_and_keeps_nobody_out() {
    let server = serve(json!({ "limits": { "connections": 8, "header_seconds": 1 } }));
    let mut silent = hold(&server, 20, b"");
    let mut slow = hold(&server, 20, b"GET /v1/deployments HTTP/1.1\r\nHost: h\r\nX-Slow: ");
    is_served(&server);
    for stream in silent.iter_mut().chain(&mut slow) {
        let said = closed(stream);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    }
}

#[test]
fn where_few_files_may_be_open_connections_leave_some_for_the_database() {
    let folder = TempDir::new().expect("a folder");
    let port = free_port();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 160; exec \"$0\"", env!("CARGO_BIN_EXE_deployment-tracker")]);
    limited
        .env_clear()
        .env("DEPLOYMENT_TRACKER_PORT", port.to_string())
        .env("DEPLOYMENT_TRACKER_LIMITS__HEADER_SECONDS", "1")
        .current_dir(folder.path());
    let log = fs::File::create(folder.path().join("log")).expect("a file");
    let mut server = limited.stderr(log).spawn().expect("the binary runs");
    let connect = || TcpStream::connect(("127.0.0.1", port)).ok();
    eventually("it listens", connect);
    // As many as it lets in, and as many again as the system takes in for it.
    let held: Vec<_> = (0..40).filter_map(|_| connect()).collect();
    let body = full_start().to_string();
    let request = format!(
        "POST /v1/deployments/{} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        new_id(),
        body.len()
    );
    let answer = exchange(port, request.as_bytes()).expect("an answer");
    assert_eq!(answer.status, 201, "{answer:?} with {} others", held.len());
    let log = fs::read_to_string(folder.path().join("log")).expect("the log");
    assert!(log.contains("the limit of 160 open files allows only 16 connections"), "{log}");
    server.kill().and_then(|()| server.wait()).expect("it ends");
}

#[test]
fn a_connection_is_closed_when_it_is_idle_or_its_next_head_does_not_come() {
    let server = serve(json!({ "limits": { "keep_alive_seconds": 1, "header_seconds": 1, "write_seconds": 1 } }));
    let first = b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n";
    for next in [&b""[..], b"G", b"GET /livez HTTP/1.1\r\nHost:"] {
        let mut stream = connect(&server);
        stream.write_all(first).expect("a request");
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        stream.write_all(next).expect("the next one");
        assert!(closed(&mut stream).contains("\"ok\""));
    }
}

#[test]
fn a_head_over_the_limit_is_431() {
    let server = serve(json!({ "limits": { "header_bytes": 1_024 } }));
    let value = "x".repeat(1_100);
    server.send("GET", "/v1/deployments", &[("X-Large", &value)], b"").is_error(431, None);
    server.send("GET", &format!("/v1/deployments?{value}"), &[], b"").is_error(431, None);
    // What no limit allows is not even read to its end.
    for head in [
        format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(200_000)),
        format!("GET / HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(2_000)),
    ] {
        let mut stream = hold(&server, 1, head.as_bytes()).remove(0);
        let said = closed(&mut stream);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 431"), "{said}");
    }
    is_served(&server);
}

#[test]
fn a_body_that_does_not_come_is_408() {
    let server = serve(json!({ "limits": { "body_seconds": 1, "keep_alive_seconds": 1, "write_seconds": 1 } }));
    let head = format!("POST /v1/deployments/{} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n", new_id());
    for rest in
        ["Content-Length: 100\r\n\r\n{", "Content-Length: 100\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"]
    {
        let mut stream = connect(&server);
        stream.write_all((head.clone() + rest).as_bytes()).expect("half a request");
        let said = closed(&mut stream);
        assert!(said.starts_with("HTTP/1.1 408") && said.contains("\"body_too_slow\""), "{said}");
    }
    is_served(&server);
}

#[test]
fn bodies_that_do_not_end_take_no_more_memory_than_they_may() {
    let server = serve(json!({ "limits": { "buffered_bytes": 4 << 20, "body_seconds": 2 } }));
    let before = megabytes(&server);
    let head = format!(
        "POST /v1/deployments/{}/logs HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n",
        new_id()
    );
    let mut begun = hold(&server, 100, &[head.as_bytes(), &vec![b'['; 900_000]].concat());
    let taken = megabytes(&server).saturating_sub(before);
    // 4 MB of bodies, and what lies between the sockets and them.
    assert!(taken < 40, "{taken} MB");
    let said: Vec<_> = begun.iter_mut().map(closed).collect();
    assert!(said.iter().any(|said| said.contains("\"overloaded\"")), "{said:?}");
    assert!(said.iter().any(|said| said.contains("\"body_too_slow\"")), "{said:?}");
    is_served(&server);
}

#[test]
fn a_small_body_that_inflates_to_a_large_one_is_inflated_to_the_limit_only() {
    let server = serve(json!({}));
    let before = megabytes(&server);
    let mut bomb = Vec::new();
    let mut encoder = GzEncoder::new(&mut bomb, Compression::best());
    let zeros = vec![b'0'; 1 << 20];
    for _ in 0..256 {
        encoder.write_all(&zeros).expect("memory takes it");
    }
    encoder.finish().expect("memory takes it");
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    let path = format!("/v1/deployments/{}/logs", new_id());
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let answer = server.send("POST", &path, &[JSON, ("Content-Encoding", "gzip")], &bomb);
                answer.is_error(413, None);
            });
        }
    });
    let taken = megabytes(&server).saturating_sub(before);
    assert!(taken < 64, "{taken} MB for 16 times 256 MB");
    is_served(&server);
}

#[test]
fn more_requests_than_may_be_worked_on_are_503_and_the_probes_answer() {
    let server = serve(json!({ "limits": { "in_flight_requests": 4 } }));
    let mut other = lock(&server);
    let report = || server.post(&format!("/v1/deployments/{}", new_id()), &full_start());
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..4).map(|_| scope.spawn(report)).collect();
        // With the one that asks.
        let full = "\ndeployment_tracker_http_requests_in_flight 5\n";
        eventually("it is full", || server.get("/metrics").text().contains(full).then_some(()));
        let refused = report();
        assert!(refused.is_error(503, None).contains("too many requests"), "{refused:?}");
        assert!(refused.header("retry-after").is_some());
        for probe in ["/livez", "/metrics", "/metrics/"] {
            assert_eq!(server.get(probe).status, 200, "{probe}");
        }
        other.batch_execute("ROLLBACK").expect("the lock is gone");
        assert!(waiting.into_iter().all(|answer| answer.join().expect("an answer").status == 201));
    });
    is_served(&server);
}

#[test]
fn more_reports_than_may_wait_are_503() {
    let server = serve(json!({ "limits": { "queued_reports": 1 } }));
    let mut other = lock(&server);
    let report = || server.post(&format!("/v1/deployments/{}", new_id()), &full_start());
    thread::scope(|scope| {
        // One is being committed, one waits.
        let answers: Vec<_> = (0..8).map(|_| scope.spawn(report)).collect();
        eventually("most are refused", || {
            (answers.iter().filter(|answer| answer.is_finished()).count() >= 4).then_some(())
        });
        other.batch_execute("ROLLBACK").expect("the lock is gone");
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.join().expect("an answer")).collect();
        let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 201).collect();
        assert!(refused.len() < answers.len(), "nothing was recorded");
        for answer in refused {
            assert!(answer.is_error(503, None).contains("too many reports wait"), "{answer:?}");
            assert!(answer.header("retry-after").is_some());
        }
    });
}

#[test]
fn more_queries_than_may_wait_are_503() {
    let mut postgres = Postgres::absent();
    postgres.start();
    let config = json!({ "database": { "url": postgres.url("postgres") }, "limits": { "queued_queries": 1 } });
    let server = serve(config);
    eventually("it is ready", || (server.get("/readyz").status == 200).then_some(()));
    postgres.freeze();
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| server.get("/v1/servers").is_error(503, None));
        }
        let refused = "deployment_tracker_database_jobs_refused_total{role=\"reader\"}";
        eventually("some are refused", || {
            let metrics = server.get("/metrics");
            let line = metrics.text().lines().find_map(|line| line.strip_prefix(refused)).map(str::trim);
            line.filter(|count| *count != "0").map(drop)
        });
    });
    postgres.thaw();
    let report = || server.post(&format!("/v1/deployments/{}", new_id()), &full_start());
    eventually("it is served again", || (report().status == 201).then_some(()));
}

#[test]
fn whoever_takes_an_answer_slowly_gets_it_whole() {
    let server = serve(json!({ "limits": { "write_seconds": 2, "body_seconds": 1 } }));
    for _ in 0..200 {
        let start = json!({ "arguments": "x".repeat(65_536) });
        assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &start).status, 201);
    }
    let mut reader =
        hold(&server, 1, b"GET /v1/deployments?limit=200 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").remove(0);
    let (mut read, mut bytes, begun) = (0, vec![0; 64 << 10], Instant::now());
    // 13 MB at 2 MB/s: longer than anything may stand still.
    while let Ok(size @ 1..) = reader.read(&mut bytes) {
        read += size;
        let due = Duration::from_secs_f64(read as f64 / 2e6);
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    assert!(read > 200 * 65_536, "{read} bytes in {:?}", begun.elapsed());
}

#[test]
fn brotli_takes_its_window_for_few_bodies_at_a_time() {
    let server = serve(json!({}));
    let mut body = Vec::new();
    brotli::CompressorWriter::new(&mut body, 4096, 9, 24)
        .write_all(&full_start().to_string().into_bytes())
        .expect("memory takes it");
    let before = megabytes(&server);
    thread::scope(|scope| {
        for _ in 0..60 {
            let body = &body;
            let server = &server;
            scope.spawn(move || {
                let path = format!("/v1/deployments/{}", new_id());
                assert_eq!(server.send("POST", &path, &[JSON, ("Content-Encoding", "br")], body).status, 201);
            });
        }
    });
    let taken = megabytes(&server).saturating_sub(before);
    assert!(taken < 64, "{taken} MB");
}

#[test]
fn a_long_list_takes_no_more_memory_than_a_piece_of_it() {
    let server = serve(json!({}));
    for _ in 0..900 {
        let start = json!({ "arguments": "x".repeat(65_536) });
        assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &start).status, 201);
    }
    let before = megabytes(&server);
    let mut reader =
        hold(&server, 1, b"GET /v1/deployments?limit=900 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").remove(0);
    let (mut most, mut read, mut bytes) = (0, 0, vec![0; 1 << 20]);
    while let Ok(size @ 1..) = reader.read(&mut bytes) {
        read += size;
        most = most.max(megabytes(&server));
    }
    assert!(read > 900 * 65_536, "{read} bytes");
    assert!(most.saturating_sub(before) < 50, "{} MB for a list of {} MB", most - before, read >> 20);
}

#[test]
fn whoever_takes_nothing_of_an_answer_is_closed() {
    let server = serve(
        json!({ "limits": { "write_seconds": 1, "body_seconds": 1, "keep_alive_seconds": 1, "header_seconds": 1 } }),
    );
    for _ in 0..100 {
        let start = json!({ "arguments": "x".repeat(65_536) });
        assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &start).status, 201);
    }
    // Connections of the server's side that are established: proc(5), /proc/net/tcp.
    let port = format!(":{:04X} ", server.port);
    let open = || {
        let table = fs::read_to_string("/proc/net/tcp").expect("the connections");
        let is_open = |line: &&str| line.find(&port).is_some_and(|at| line[at..].split(' ').nth(2) == Some("01"));
        table.lines().filter(is_open).count()
    };
    let deaf = hold(&server, 5, b"GET /v1/deployments?limit=100 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(open() >= deaf.len(), "{}", fs::read_to_string("/proc/net/tcp").expect("the connections"));
    is_served(&server);
    eventually("all of them are closed", || (open() == 0).then_some(()));
}
