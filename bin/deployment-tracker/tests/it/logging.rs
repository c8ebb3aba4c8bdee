//! The log on standard error: a reader that pauses does not stop the service, and failures do not flood it.

use std::io::{PipeReader, Read, pipe};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use test_servers::{DEADLINE, Database as _, Postgres, eventually, exchange, free_port, signal, within};

use crate::support::{command_in, new_id, serve};

/// A service whose standard error is a pipe that is read by the test only.
struct Unread {
    port: u16,
    child: Child,
    log: PipeReader,
    _folder: TempDir,
}

impl Unread {
    /// Starts the service, and makes it log more than the pipe and the queue of lines hold.
    fn start_and_fill() -> Self {
        let (folder, port) = (TempDir::new().expect("temporary folder"), free_port());
        let (log, stderr) = pipe().expect("the system has a pipe");
        let mut command = command_in(folder.path());
        command.env("DEPLOYMENT_TRACKER_PORT", port.to_string()).env("DEPLOYMENT_TRACKER_LOG_LEVEL", "debug");
        let child = command.stderr(stderr).spawn().expect("the binary is built");
        let service = Self { port, child, log, _folder: folder };
        eventually("the service answers", || service.get("/livez").ok());
        let path = format!("/{}", "a".repeat(8_000));
        eventually("the service drops log lines", || {
            assert_eq!(service.get(&path).expect("the service answers"), 404);
            (service.dropped_lines() > 0).then_some(())
        });
        service
    }

    fn get(&self, path: &str) -> std::io::Result<u16> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        exchange(self.port, request.as_bytes()).map(|response| response.status)
    }

    fn post(&self, path: &str, body: &str) -> u16 {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        exchange(self.port, request.as_bytes()).expect("the service answers").status
    }

    /// The counter in `/metrics`.
    fn dropped_lines(&self) -> u64 {
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let response = exchange(self.port, request.as_bytes()).expect("the service answers");
        let mut lines = response.text().lines();
        let value = lines.find_map(|line| line.strip_prefix("deployment_tracker_log_lines_dropped_total "));
        value.expect("the counter exists").parse().expect("the counter is a number")
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_service_whose_log_is_not_read_serves_and_reports_the_lines_it_dropped() {
    let mut service = Unread::start_and_fill();
    assert_eq!(service.get("/livez").expect("the service answers"), 200);
    assert_eq!(service.post(&format!("/v1/deployments/{}", new_id()), &json!({ "engine": "e" }).to_string()), 201);

    let text = Arc::new(Mutex::new(String::new()));
    let (read, mut log) = (text.clone(), service.log.try_clone().expect("the pipe is open"));
    let reader = thread::spawn(move || {
        let mut bytes = [0; 65_536];
        while let Ok(size @ 1..) = log.read(&mut bytes) {
            read.lock().expect("no thread panicked").push_str(&String::from_utf8_lossy(&bytes[..size]));
        }
    });
    eventually("the log mentions the dropped lines", || {
        let text = text.lock().expect("no thread panicked");
        text.contains("WARN  the log lacks lines here").then_some(())
    });
    service.child.kill().expect("the service runs");
    reader.join().expect("the reader does not panic");
}

#[test]
fn sigterm_ends_a_service_whose_log_is_not_read() {
    let mut service = Unread::start_and_fill();
    signal(service.child.id(), "TERM");
    let status =
        within(Duration::from_secs(15), "the service ends", || service.child.try_wait().expect("it is our child"));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn each_kind_of_failing_query_logs_one_line() {
    let postgres = Postgres::absent();
    let mut server = serve(json!({ "database": { "url": postgres.url(postgres.default_database()) } }));
    let id = new_id();
    let paths = ["/v1/deployments", &format!("/v1/deployments/{id}"), &format!("/v1/deployments/{id}/logs")];
    for _ in 0..10 {
        for path in paths {
            server.get(path).is_error(503, None);
        }
    }
    server.signal("TERM");
    server.ends_within(DEADLINE);
    let log = eventually("the log ends", || Some(server.stderr()).filter(|log| log.contains("stopped")));
    let lines = log.lines().filter(|line| line.contains("a query failed")).count();
    assert_eq!(lines, paths.len(), "{log}");
}
