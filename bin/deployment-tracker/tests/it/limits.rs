//! Hostile clients: the server rejects or closes each one, spends little memory on it, and serves everyone else.

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
    let stream = TcpStream::connect(("127.0.0.1", server.port)).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("the timeout is not zero");
    stream
}

/// Opens connections that send `start` and then nothing.
fn open_connections(server: &Server, count: usize, start: &[u8]) -> Vec<TcpStream> {
    let connections = (0..count).map(|_| {
        let mut stream = connect(server);
        // The server may respond and close the connection before it has read everything.
        let _ = stream.write_all(start);
        stream
    });
    connections.collect()
}

/// Reads until the server closes the connection. Returns the text that it sent.
#[track_caller]
fn read_until_closed(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    if let Err(error) = stream.read_to_end(&mut text) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The resident memory of the process, in megabytes, without the pages of its program file: the system loads more or
/// fewer of them at once.
pub fn megabytes(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).expect("/proc is readable");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("the status has RssAnon");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("RssAnon is a number") / 1_024
}

fn assert_serves(server: &Server) {
    let path = format!("/v1/deployments/{}", new_id());
    assert_eq!(server.post(&path, &full_start()).status, 201);
    assert_eq!(server.get(&path).status, 200);
}

/// Locks the database as another program would: every report waits until it releases the lock.
fn lock(server: &Server) -> SqliteConnection {
    assert_serves(server);
    let file = server.folder.path().join("data.sqlite3");
    let mut other = SqliteConnection::establish(file.to_str().expect("UTF-8 path")).expect("database opens");
    other.batch_execute("PRAGMA busy_timeout = 20000; BEGIN IMMEDIATE").expect("lock is taken");
    other
}

#[test]
fn slow_request_heads_time_out_and_block_no_other_clients() {
    let server = serve(json!({ "limits": { "connections": 8, "header_seconds": 1 } }));
    let mut silent = open_connections(&server, 20, b"");
    let mut slow = open_connections(&server, 20, b"GET /v1/deployments HTTP/1.1\r\nHost: h\r\nX-Slow: ");
    assert_serves(&server);
    for stream in silent.iter_mut().chain(&mut slow) {
        let text = read_until_closed(stream);
        assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    }
}

#[test]
fn a_low_limit_on_open_files_leaves_some_for_the_database() {
    let folder = TempDir::new().expect("temporary folder");
    let port = free_port();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 160; exec \"$0\"", env!("CARGO_BIN_EXE_deployment-tracker")]);
    limited
        .env_clear()
        .env("DEPLOYMENT_TRACKER_PORT", port.to_string())
        .env("DEPLOYMENT_TRACKER_LIMITS__HEADER_SECONDS", "1")
        .current_dir(folder.path());
    let log = fs::File::create(folder.path().join("log")).expect("file is written");
    let mut server = limited.stderr(log).spawn().expect("the binary runs");
    let connect = || TcpStream::connect(("127.0.0.1", port)).ok();
    eventually("the server listens", connect);
    // These are more connections than the server accepts. The kernel queues the rest.
    let held: Vec<_> = (0..40).filter_map(|_| connect()).collect();
    let body = full_start().to_string();
    let request = format!(
        "POST /v1/deployments/{} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        new_id(),
        body.len()
    );
    let answer = exchange(port, request.as_bytes()).expect("response");
    assert_eq!(answer.status, 201, "{answer:?} with {} other connections", held.len());
    let log = fs::read_to_string(folder.path().join("log")).expect("log file");
    assert!(log.contains("the limit of 160 open files allows only 16 connections"), "{log}");
    server.kill().and_then(|()| server.wait()).expect("the server ends");
}

#[test]
fn a_connection_is_closed_if_it_is_idle_or_its_next_head_is_incomplete() {
    let server = serve(json!({ "limits": { "keep_alive_seconds": 1, "header_seconds": 1, "write_seconds": 1 } }));
    let first = b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n";
    for next in [&b""[..], b"G", b"GET /livez HTTP/1.1\r\nHost:"] {
        let mut stream = connect(&server);
        stream.write_all(first).expect("request is sent");
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("response");
        stream.write_all(next).expect("the next head is sent");
        assert!(read_until_closed(&mut stream).contains("\"ok\""));
    }
}

#[test]
fn a_head_over_the_limit_is_431() {
    let server = serve(json!({ "limits": { "header_bytes": 1_024 } }));
    let value = "x".repeat(1_100);
    server.send("GET", "/v1/deployments", &[("X-Large", &value)], b"").is_error(431, None);
    server.send("GET", &format!("/v1/deployments?{value}"), &[], b"").is_error(431, None);
    // The server closes the connection before it has read such heads completely.
    for head in [
        format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(200_000)),
        format!("GET / HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(2_000)),
    ] {
        let mut stream = open_connections(&server, 1, head.as_bytes()).remove(0);
        let text = read_until_closed(&mut stream);
        assert!(text.starts_with("HTTP/1.1 431"), "{text}");
    }
    assert_serves(&server);
}

#[test]
fn an_incomplete_body_is_408() {
    let server = serve(json!({ "limits": { "body_seconds": 1, "keep_alive_seconds": 1, "write_seconds": 1 } }));
    let head = format!("POST /v1/deployments/{} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n", new_id());
    for rest in
        ["Content-Length: 100\r\n\r\n{", "Content-Length: 100\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"]
    {
        let mut stream = connect(&server);
        stream.write_all((head.clone() + rest).as_bytes()).expect("an incomplete request is sent");
        let text = read_until_closed(&mut stream);
        assert!(text.starts_with("HTTP/1.1 408") && text.contains("\"body_too_slow\""), "{text}");
    }
    assert_serves(&server);
}

#[test]
fn incomplete_bodies_stay_within_the_memory_limit() {
    let server = serve(json!({ "limits": { "buffered_bytes": 4 << 20, "body_seconds": 2 } }));
    let before = megabytes(&server);
    let head = format!(
        "POST /v1/deployments/{}/logs HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
         Content-Length: 1000000\r\n\r\n",
        new_id()
    );
    let mut connections = open_connections(&server, 100, &[head.as_bytes(), &vec![b'['; 900_000]].concat());
    let taken = megabytes(&server).saturating_sub(before);
    // 4 MB of bodies, plus the buffers of the connections.
    assert!(taken < 40, "{taken} MB");
    let responses: Vec<_> = connections.iter_mut().map(read_until_closed).collect();
    assert!(responses.iter().any(|text| text.contains("\"overloaded\"")), "{responses:?}");
    assert!(responses.iter().any(|text| text.contains("\"body_too_slow\"")), "{responses:?}");
    assert_serves(&server);
}

#[test]
fn a_compression_bomb_is_decompressed_up_to_the_limit_only() {
    let server = serve(json!({}));
    let before = megabytes(&server);
    let mut bomb = Vec::new();
    let mut encoder = GzEncoder::new(&mut bomb, Compression::best());
    let zeros = vec![b'0'; 1 << 20];
    for _ in 0..256 {
        encoder.write_all(&zeros).expect("writing to memory cannot fail");
    }
    encoder.finish().expect("writing to memory cannot fail");
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
    assert_serves(&server);
}

#[test]
fn requests_beyond_the_concurrency_limit_are_503_and_probes_are_answered() {
    let server = serve(json!({ "limits": { "in_flight_requests": 4 } }));
    let mut other = lock(&server);
    let report = || server.post(&format!("/v1/deployments/{}", new_id()), &full_start());
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..4).map(|_| scope.spawn(report)).collect();
        // The four reports, and the request for the metrics itself.
        let in_flight = "\ndeployment_tracker_http_requests_in_flight 5\n";
        eventually("four reports are in flight", || server.get("/metrics").text().contains(in_flight).then_some(()));
        let refused = report();
        refused.is_error(503, None);
        assert_eq!(refused.json()["code"], json!("overloaded"));
        assert!(refused.header("retry-after").is_some());
        for probe in ["/livez", "/metrics", "/metrics/"] {
            assert_eq!(server.get(probe).status, 200, "{probe}");
        }
        other.batch_execute("ROLLBACK").expect("lock is released");
        assert!(waiting.into_iter().all(|answer| answer.join().expect("response").status == 201));
    });
    assert_serves(&server);
}

#[test]
fn reports_beyond_the_queue_limit_are_503() {
    let server = serve(json!({ "limits": { "queued_reports": 1 } }));
    let mut other = lock(&server);
    let report = || server.post(&format!("/v1/deployments/{}", new_id()), &full_start());
    thread::scope(|scope| {
        // One report is being committed, and one is queued.
        let answers: Vec<_> = (0..8).map(|_| scope.spawn(report)).collect();
        eventually("at least four reports are rejected", || {
            (answers.iter().filter(|answer| answer.is_finished()).count() >= 4).then_some(())
        });
        other.batch_execute("ROLLBACK").expect("lock is released");
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.join().expect("response")).collect();
        let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 201).collect();
        assert!(refused.len() < answers.len(), "at least one report is recorded");
        for answer in refused {
            assert!(answer.is_error(503, None).contains("too many reports"), "{answer:?}");
            assert_eq!(answer.json()["code"], json!("unavailable"));
            assert!(answer.header("retry-after").is_some());
        }
    });
}

#[test]
fn queries_beyond_the_queue_limit_are_503() {
    let mut postgres = Postgres::absent();
    postgres.start();
    let config = json!({ "database": { "url": postgres.url("postgres") }, "limits": { "queued_queries": 1 } });
    let server = serve(config);
    eventually("/readyz answers 200", || (server.get("/readyz").status == 200).then_some(()));
    postgres.freeze();
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| server.get("/v1/servers").is_error(503, None));
        }
        let refused = "deployment_tracker_database_jobs_refused_total{role=\"reader\"}";
        eventually("the database rejects jobs", || {
            let metrics = server.get("/metrics");
            let line = metrics.text().lines().find_map(|line| line.strip_prefix(refused)).map(str::trim);
            line.filter(|count| *count != "0").map(drop)
        });
    });
    postgres.thaw();
    let report = || server.post(&format!("/v1/deployments/{}", new_id()), &full_start());
    eventually("a report is recorded again", || (report().status == 201).then_some(()));
}

#[test]
fn a_slow_reader_receives_the_whole_response() {
    let server = serve(json!({ "limits": { "write_seconds": 2, "body_seconds": 1 } }));
    for _ in 0..200 {
        let start = json!({ "arguments": "x".repeat(65_536) });
        assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &start).status, 201);
    }
    let mut reader =
        open_connections(&server, 1, b"GET /v1/deployments?limit=200 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            .remove(0);
    let (mut read, mut bytes, begun) = (0, vec![0; 64 << 10], Instant::now());
    // 13 MB at 2 MB/s takes longer than `write_seconds` and `body_seconds`. The pauses simulate the slow reader.
    while let Ok(size @ 1..) = reader.read(&mut bytes) {
        read += size;
        let due = Duration::from_secs_f64(read as f64 / 2e6);
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    assert!(read > 200 * 65_536, "{read} bytes in {:?}", begun.elapsed());
}

#[test]
fn brotli_windows_are_allocated_for_few_bodies_at_a_time() {
    let server = serve(json!({}));
    let mut body = Vec::new();
    brotli::CompressorWriter::new(&mut body, 4096, 9, 24)
        .write_all(&full_start().to_string().into_bytes())
        .expect("writing to memory cannot fail");
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
fn a_long_list_is_streamed_in_bounded_memory() {
    let server = serve(json!({}));
    for _ in 0..900 {
        let start = json!({ "arguments": "x".repeat(65_536) });
        assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &start).status, 201);
    }
    let before = megabytes(&server);
    let mut reader =
        open_connections(&server, 1, b"GET /v1/deployments?limit=900 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            .remove(0);
    let (mut peak, mut read, mut bytes) = (0, 0, vec![0; 1 << 20]);
    while let Ok(size @ 1..) = reader.read(&mut bytes) {
        read += size;
        peak = peak.max(megabytes(&server));
    }
    assert!(read > 900 * 65_536, "{read} bytes");
    assert!(peak.saturating_sub(before) < 50, "{} MB for a list of {} MB", peak - before, read >> 20);
}

#[test]
fn a_client_that_reads_nothing_is_closed() {
    // The default `header_seconds` leaves time for a new request while the server prepares the lists.
    let server = serve(json!({ "limits": { "write_seconds": 1, "body_seconds": 1, "keep_alive_seconds": 1 } }));
    for _ in 0..100 {
        let start = json!({ "arguments": "x".repeat(65_536) });
        assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &start).status, 201);
    }
    // Counts the established connections of the server; proc(5) describes /proc/net/tcp.
    let port = format!(":{:04X} ", server.port);
    let open = || {
        let table = fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
        let is_open = |line: &&str| line.find(&port).is_some_and(|at| line[at..].split(' ').nth(2) == Some("01"));
        table.lines().filter(is_open).count()
    };
    let stalled = open_connections(&server, 5, b"GET /v1/deployments?limit=100 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(open() >= stalled.len(), "{}", fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp"));
    assert_serves(&server);
    eventually("all connections are closed", || (open() == 0).then_some(()));
}
