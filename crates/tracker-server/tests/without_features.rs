//! The server without its cargo features.
#![cfg(not(any(feature = "compression", feature = "docs", feature = "http2", feature = "tls")))]

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracker_core::{MemoryStore, Tracker};
use tracker_server::{Address, Listener, Settings, run};

#[tokio::test]
async fn compressed_bodies_get_415_and_the_documentation_is_the_description() {
    let listener = Listener::bind(&"http://127.0.0.1:0".parse().expect("the address is valid")).expect("a free port");
    let Ok(Address::Http(address)) = listener.address() else { unreachable!() };
    let tracker = Tracker::builder(Arc::new(MemoryStore::new())).start();
    tokio::spawn(run(vec![listener], Settings::default(), tracker, std::future::pending()));
    let report = "POST /v1/deployments/84e803f7-9562-4d95-b828-25b167aea34b HTTP/1.1\r\n\
                  Content-Type: application/json\r\nContent-Encoding: gzip";
    for (head, status, text) in [
        (report, "415", "the content encoding is not supported; send the body uncompressed"),
        ("GET /docs/ HTTP/1.1", "404", "see /openapi.json for the paths"),
        ("GET / HTTP/1.1", "302", "/openapi.json"),
    ] {
        let mut stream = TcpStream::connect(&address).await.expect("the server listens");
        let request = format!("{head}\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}");
        stream.write_all(request.as_bytes()).await.expect("the server reads the request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("the server answers");
        assert_eq!(answer.get(9..12), Some(status), "{head}: {answer}");
        assert!(answer.contains(text), "{head}: {answer}");
    }
}

#[tokio::test]
async fn an_https_listener_is_an_error_that_names_the_feature() {
    let listener = Listener::bind(&"https://127.0.0.1:0".parse().expect("the address is valid")).expect("a free port");
    let tracker = Tracker::builder(MemoryStore::new()).start();
    let error = run(vec![listener], Settings::default(), tracker, std::future::pending()).await.expect_err("no TLS");
    assert_eq!(error.to_string(), "an HTTPS listener needs the cargo feature `tls` of `tracker-server`");
}
