//! Limits on open files that are too low, at start and later.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;
use test_servers::{command, eventually};

use crate::support::{new_id, serve};

#[test]
fn a_limit_that_is_too_low_is_one_error_that_names_it() {
    for limit in ["8", "16", "64", "129"] {
        let folder = TempDir::new().expect("temporary folder");
        std::fs::write(folder.path().join("config.json"), r#"{"port":0}"#).expect("file");
        let mut limited = command("sh".as_ref(), folder.path());
        let script = format!("ulimit -n {limit}; exec \"$0\"");
        let output = limited.args(["-c", &script, env!("CARGO_BIN_EXE_deployment-tracker")]).output().expect("sh runs");
        let line = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{limit}: {line}");
        assert_eq!(line.trim_end().lines().count(), 1, "{limit}: {line}");
        assert!(line.contains(&format!("the limit of {limit} open files is too low; raise it")), "{line}");
        assert!(!folder.path().join("data.sqlite3").exists(), "the database is opened after the check");
    }
}

#[test]
fn a_server_without_descriptors_serves_its_connections_and_takes_new_ones_later() {
    let server = serve(json!({}));
    let limit = |soft: &str| {
        let arguments = ["--pid", &server.id().to_string(), &format!("--nofile={soft}:")];
        assert!(Command::new("prlimit").args(arguments).status().expect("prlimit runs").success());
    };
    let connect = || TcpStream::connect(("127.0.0.1", server.port)).expect("the kernel accepts connections");
    let report = |stream: &mut TcpStream| {
        let id = new_id();
        let head = format!("POST /v1/deployments/{id} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n");
        write!(stream, "{head}Content-Length: 2\r\n\r\n{{}}").expect("the report is sent");
    };
    let answer = |stream: &mut TcpStream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the report is answered");
            head.extend(byte);
        }
        assert!(head.starts_with(b"HTTP/1.1 201"), "{}", String::from_utf8_lossy(&head));
    };
    let mut open = connect();
    report(&mut open);
    answer(&mut open);
    limit("3");
    report(&mut open);
    answer(&mut open);
    let mut waiting = connect();
    report(&mut waiting);
    eventually("the server runs out of descriptors", || server.stderr().contains("Too many open files").then_some(()));
    limit("1024");
    answer(&mut waiting);
    assert!(!server.stderr().contains("panicked"), "{}", server.stderr());
}
