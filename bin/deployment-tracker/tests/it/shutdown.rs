//! The end of the server: bounded, and nothing acknowledged is lost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::{JSON, PATIENCE, Redis, eventually};

use crate::support::{full_start, new_id, on_each_store, serve, serve_in};

/// The longest that a shutdown may take.
const BOUND: Duration = Duration::from_secs(15);

#[test]
fn sigterm_under_load_ends_with_0_and_loses_nothing_acknowledged() {
    on_each_store(|mut config| {
        let redis = Redis::start();
        config["redis"] = json!({ "host": "127.0.0.1", "port": redis.port });
        let mut server = serve(config);
        let (started, logged) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    loop {
                        let id = new_id();
                        let path = format!("/v1/deployments/{id}");
                        let start = full_start().to_string();
                        let log = json!({ "message": id }).to_string();
                        match server.try_send("POST", &path, &[JSON], start.as_bytes()) {
                            Ok(answer) if answer.status == 201 => started.lock().expect("no panic").push(id.clone()),
                            _ => break,
                        }
                        match server.try_send("POST", &format!("{path}/logs"), &[JSON], log.as_bytes()) {
                            Ok(answer) if answer.status == 201 => logged.lock().expect("no panic").push(id),
                            _ => break,
                        }
                    }
                });
            }
            eventually("some load", || (started.lock().expect("no panic").len() > 200).then_some(()));
            server.signal("TERM");
        });
        let status = server.ends_within(BOUND);
        assert_eq!(status.code(), Some(0), "{}", server.stderr());

        server.restart();
        let (started, logged) = (started.into_inner().expect("no panic"), logged.into_inner().expect("no panic"));
        for id in &started {
            assert_eq!(server.get(&format!("/v1/deployments/{id}")).status, 200, "{id} was acknowledged");
        }
        let start = |id: &str| format!("Deployment Tracker recording deployment start for deployment {id}");
        let mut expected: Vec<_> = started.iter().map(|id| start(id)).chain(logged).collect();
        eventually("every element", || {
            let elements = redis.elements();
            let messages: Vec<_> = elements.iter().filter_map(|element| element["message"].as_str()).collect();
            let sorted = sorted(messages.iter().map(|message| (*message).to_owned()).collect());
            expected.sort();
            assert_eq!(sorted.windows(2).find(|pair| pair[0] == pair[1]), None, "once");
            expected.iter().all(|message| sorted.binary_search(message).is_ok()).then_some(())
        });
    });
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}

#[test]
fn sigint_ends_it_too_and_a_request_in_flight_is_answered() {
    let mut server = serve(json!({}));
    let path = format!("/v1/deployments/{}", new_id());
    let body = full_start().to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("the server listens");
    let (first, rest) = body.split_at(10);
    stream.write_all(format!("{head}{first}").as_bytes()).expect("the server reads");
    // A whole request on another connection: the server has come to the first one before.
    assert_eq!(server.get("/v1/deployments").status, 200);
    server.signal("INT");
    eventually("it stops accepting", || server.try_send("GET", "/config", &[], b"").is_err().then_some(()));
    stream.write_all(rest.as_bytes()).expect("the server still reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(server.ends_within(BOUND).code(), Some(0), "{}", server.stderr());
    server.restart();
    assert_eq!(server.get(&path).status, 200);
}

#[test]
fn the_end_is_bounded_with_a_frozen_redis_and_at_once_on_a_second_signal() {
    let redis = Redis::start();
    let mut server = serve(json!({ "redis": { "host": "127.0.0.1", "port": redis.port } }));
    let id = new_id();
    assert_eq!(server.post(&format!("/v1/deployments/{id}/logs"), &json!({ "message": "connected" })).status, 201);
    redis.freeze();
    assert_eq!(server.post(&format!("/v1/deployments/{id}"), &full_start()).status, 201);
    server.signal("TERM");
    assert_eq!(server.ends_within(BOUND).code(), Some(0), "{}", server.stderr());

    server.restart();
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("the server listens");
    stream.write_all(b"POST /v1/deployments/x/logs HTTP/1.1\r\nContent-Length: 9\r\n\r\n").expect("the server reads");
    assert_eq!(server.get("/v1/deployments").status, 200);
    server.signal("TERM");
    eventually("it stops accepting", || server.try_send("GET", "/config", &[], b"").is_err().then_some(()));
    server.signal("TERM");
    server.ends_within(Duration::from_secs(1));

    redis.thaw();
    server.restart();
    let elements = redis.wait_for(2);
    assert_eq!(elements.len(), 2, "{elements:?}");
    let element: &Value = &elements[1];
    assert_eq!(element["deployment_id"], json!(id), "{element}");
}

#[test]
fn systemd_is_told_when_the_server_listens_and_when_it_stops() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&path).expect("a socket");
    systemd.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let hear = || {
        let mut bytes = [0; 256];
        let size = systemd.recv(&mut bytes).expect("a message");
        String::from_utf8_lossy(&bytes[..size]).trim_end().to_owned()
    };
    let mut server = serve_in(folder, json!({}), &[("NOTIFY_SOCKET", path.to_str().expect("UTF-8"))]);
    assert_eq!(hear(), "READY=1");
    assert_eq!(server.get("/livez").status, 200);
    server.signal("TERM");
    assert_eq!(hear(), "STOPPING=1");
    assert!(server.ends_within(BOUND).success());
}
