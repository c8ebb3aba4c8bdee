//! Shutdown: it takes a bounded time, and no acknowledged report is lost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::{DEADLINE, JSON, Redis, eventually};

use crate::support::{full_start, new_id, on_each_store, serve, serve_in};

/// The maximum duration of a shutdown.
const BOUND: Duration = Duration::from_secs(15);

#[test]
fn sigterm_under_load_exits_with_0_and_loses_no_acknowledged_report() {
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
                            Ok(answer) if answer.status == 201 => {
                                started.lock().expect("no thread panicked").push(id.clone())
                            }
                            _ => break,
                        }
                        match server.try_send("POST", &format!("{path}/logs"), &[JSON], log.as_bytes()) {
                            Ok(answer) if answer.status == 201 => logged.lock().expect("no thread panicked").push(id),
                            _ => break,
                        }
                    }
                });
            }
            eventually("200 starts are acknowledged", || {
                (started.lock().expect("no thread panicked").len() > 200).then_some(())
            });
            server.signal("TERM");
        });
        let status = server.ends_within(BOUND);
        assert_eq!(status.code(), Some(0), "{}", server.stderr());

        server.restart();
        let (started, logged) =
            (started.into_inner().expect("no thread panicked"), logged.into_inner().expect("no thread panicked"));
        for id in &started {
            assert_eq!(server.get(&format!("/v1/deployments/{id}")).status, 200, "{id} was acknowledged");
        }
        let start = |id: &str| format!("Deployment Tracker recording deployment start for deployment {id}");
        let mut expected: Vec<_> = started.iter().map(|id| start(id)).chain(logged).collect();
        eventually("every acknowledged report is in Redis", || {
            let elements = redis.elements();
            let messages: Vec<_> = elements.iter().filter_map(|element| element["message"].as_str()).collect();
            let sorted = sorted(messages.iter().map(|message| (*message).to_owned()).collect());
            expected.sort();
            assert_eq!(sorted.windows(2).find(|pair| pair[0] == pair[1]), None, "each element arrives once");
            expected.iter().all(|message| sorted.binary_search(message).is_ok()).then_some(())
        });
    });
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}

#[test]
fn sigint_shuts_down_and_a_request_in_flight_is_answered() {
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
    // The server accepts connections in order: once it answers this one, it has accepted the first one.
    assert_eq!(server.get("/v1/deployments").status, 200);
    server.signal("INT");
    eventually("the server stops accepting connections", || {
        server.try_send("GET", "/config", &[], b"").is_err().then_some(())
    });
    stream.write_all(rest.as_bytes()).expect("the server still reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("response");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(server.ends_within(BOUND).code(), Some(0), "{}", server.stderr());
    server.restart();
    assert_eq!(server.get(&path).status, 200);
}

#[test]
fn shutdown_is_bounded_with_a_frozen_redis_and_immediate_on_a_second_signal() {
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
    eventually("the server stops accepting connections", || {
        server.try_send("GET", "/config", &[], b"").is_err().then_some(())
    });
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
fn systemd_is_notified_when_the_server_listens_and_when_it_stops() {
    let folder = TempDir::new().expect("temporary folder");
    let path = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&path).expect("socket is bound");
    systemd.set_read_timeout(Some(DEADLINE)).expect("the timeout is not zero");
    let receive = || {
        let mut bytes = [0; 256];
        let size = systemd.recv(&mut bytes).expect("message");
        String::from_utf8_lossy(&bytes[..size]).trim_end().to_owned()
    };
    let mut server = serve_in(folder, json!({}), &[("NOTIFY_SOCKET", path.to_str().expect("UTF-8"))]);
    assert_eq!(receive(), "READY=1");
    assert_eq!(server.get("/livez").status, 200);
    server.signal("TERM");
    assert_eq!(receive(), "STOPPING=1");
    assert!(server.ends_within(BOUND).success());
}
