//! The API as a scope of another application.
#![cfg(feature = "docs")]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use actix_web::test::{TestRequest, call_service, init_service, read_body, read_body_json};
use actix_web::{App, HttpServer, web};
use serde_json::{Value, json};
use test_servers::{JSON, Response, eventually, exchange};
use tokio::sync::Notify;
use tracker_core::{MemoryStore, Tracker};
use tracker_server::{Access, Api, Limits, Scope, Settings, TokenConfig, Tokens};

const ID: &str = "84e803f7-9562-4d95-b828-25b167aea34b";
/// The same API, mounted in different ways: in the application, in two other scopes, and without a leading slash.
const PREFIXES: [&str; 4] = ["/deployments-api", "/of/team%20a/%7Etracker", "/of/t%2Fm/~tracker", "/x"];

/// Serves an application of its own with the API at [`PREFIXES`]. The response of `/slow` waits for `released`.
fn serve(settings: Settings, released: Arc<Notify>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("the listener has an address").port();
    thread::spawn(move || {
        actix_web::rt::System::new().block_on(async {
            let tracker = Tracker::builder(MemoryStore::new()).start();
            let api = Api::new(settings, tracker);
            let on_connect = api.on_connect();
            let slow = move || {
                let released = released.clone();
                async move {
                    released.notified().await;
                    "slow"
                }
            };
            let application = move || {
                App::new()
                    .route("/", web::get().to(async || "own page"))
                    .route("/slow", web::get().to(slow.clone()))
                    .service(api.scope("/deployments-api"))
                    .service(web::scope("/of/{id}").service(api.scope("~tracker")))
                    .service(api.scope("x/"))
            };
            HttpServer::new(application).on_connect(on_connect).workers(2).listen(listener)?.run().await
        })
    });
    port
}

fn start(settings: Settings) -> u16 {
    serve(settings, Arc::default())
}

fn send(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: h:1\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    exchange(port, format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).expect("a response")
}

fn get(port: u16, path: &str) -> Response {
    send(port, "GET", path, &[], "")
}

fn post(port: u16, path: &str, body: &Value) -> Response {
    send(port, "POST", path, &[JSON], &body.to_string())
}

#[test]
fn locations_and_links_lead_to_the_api_below_its_prefix() {
    for prefix in PREFIXES {
        let port = start(Settings::default());
        for (path, location) in [("", "/docs/"), ("/", "/docs/"), ("//", "/docs/"), ("/docs", "/docs/")] {
            let redirect = get(port, &format!("{prefix}{path}"));
            assert_eq!((redirect.status, redirect.header("location")), (302, Some(&*format!("{prefix}{location}"))));
        }
        assert_eq!(get(port, &format!("{prefix}/docs/")).status, 200);
        let page = get(port, &format!("{prefix}/docs/swagger-initializer.js"));
        assert!(page.text().contains(&format!(r#""{prefix}/openapi.json""#)), "{}", page.text());
        for path in ["/openapi.json", "/swagger", "/swagger.json/"] {
            let description = get(port, &format!("{prefix}{path}")).json();
            assert_eq!(description["servers"], json!([{ "url": prefix }]));
            assert!(description["paths"]["/v1/deployments/{id}"]["post"].is_object(), "{description}");
        }

        let deployment = format!("{prefix}/v1/deployments/{ID}");
        for path in [&deployment, &format!("{deployment}/"), &format!("{prefix}//v1//deployments/{ID}//")] {
            let created = post(port, path, &json!({ "package": "shop" }));
            assert_eq!((created.status, created.header("location")), (201, Some(deployment.as_str())), "{path}");
        }
        assert_eq!(get(port, &deployment).json()["package"], "shop");
        for hostname in ["web 1", "web2", "web3"] {
            let server = json!({ "hostname": hostname });
            let created = post(port, &format!("{deployment}/servers"), &server);
            let location = created.header("location").expect("a location");
            assert_eq!(location, format!("{prefix}/v1/servers/{}", hostname.replace(' ', "%20")));
            assert_eq!(get(port, location).json()[0]["hostname"], hostname);
        }

        for first in ["?before=&limit=1", "?limit=1"] {
            let mut path = format!("{prefix}/v1/servers{first}");
            let mut hostnames = Vec::new();
            while hostnames.len() < 3 {
                let page = get(port, &path);
                hostnames.push(page.json()[0].as_str().expect("the page has a hostname").to_owned());
                let link = page.header("link").and_then(|link| link.strip_prefix("<http://h:1")?.split_once('>'));
                match link {
                    Some((next, _)) => path = next.to_owned(),
                    None => assert_eq!(hostnames.len(), 3),
                }
            }
            assert_eq!(hostnames, ["web3", "web2", "web 1"]);
        }
    }
}

#[test]
fn only_paths_of_the_scope_get_the_errors_of_the_api() {
    let port = start(Settings::default());
    assert_eq!(get(port, "/").text(), "own page");
    for path in ["/nowhere", "/v1/deployments", "/config", "/deployments-apix", "/of/team", "/docs/", "/metrics"] {
        let missing = get(port, path);
        assert_eq!((missing.status, missing.text()), (404, ""), "{path}");
    }
    for prefix in PREFIXES {
        for path in ["/nowhere", "/v1", "/docsx", "/docs/nowhere"] {
            let missing = get(port, &format!("{prefix}{path}"));
            let sentence = missing.is_error(404, None);
            assert_eq!(missing.json()["code"], "unknown_path");
            assert!(sentence.contains(&format!(" {prefix}/docs/ ")), "{sentence}");
        }
        for (path, allowed) in
            [("", "GET, HEAD"), ("/v1/deployments/x/logs/", "GET, HEAD, POST"), ("/docs", "GET, HEAD")]
        {
            let refused = send(port, "DELETE", &format!("{prefix}{path}"), &[], "");
            refused.is_error(405, None);
            assert_eq!(refused.header("allow"), Some(allowed));
        }
        assert_eq!(get(port, &format!("{prefix}/v1/servers/%ff")).json()["code"], "unreadable_path");
        assert_eq!(get(port, &format!("{prefix}/v1/x/%ff")).json()["code"], "unreadable_path");
        assert_eq!(get(port, &format!("{prefix}/x/%ff")).json()["code"], "unknown_path");
    }
}

#[test]
fn a_route_needs_the_same_scope_below_each_prefix() {
    let tokens = [("reader", Scope::Read), ("writer", Scope::Write), ("operator", Scope::Admin)]
        .map(|(name, scope)| TokenConfig::new(name, [scope]).secret(name));
    let access = Access::open();
    access.restrict(Tokens::new(&tokens).expect("the tokens are valid"));
    let port = start(Settings::default().access(access));
    let deployment = format!("/v1/deployments/{ID}");
    let server = format!("{deployment}/servers");
    let logs = format!("{deployment}/logs");
    let read = ["reader"].as_slice();
    let write = ["writer"].as_slice();
    let all = ["", "reader", "writer", "operator"].as_slice();
    for prefix in PREFIXES {
        for (method, path, admitted) in [
            ("GET", deployment.as_str(), read),
            ("HEAD", &logs, read),
            ("POST", &deployment, write),
            ("PUT", &server, write),
            ("POST", &logs, write),
            ("GET", "/v1/deployments/", read),
            ("GET", "/v1/servers", read),
            ("GET", "/v1/servers/config", read),
            ("GET", "/config", &["operator"]),
            ("HEAD", "/config/", &["operator"]),
            ("GET", "//%63onfig", &["operator"]),
            ("PATCH", "/config", &["operator"]),
            ("GET", "/healthcheck", &["reader", "operator"]),
            ("GET", "/metrics/", &["reader", "operator"]),
            ("GET", "/livez", all),
            ("GET", "/readyz/", all),
            ("GET", "", all),
            ("GET", "/", all),
            ("GET", "/docs/index.html", all),
            ("GET", "/openapi.json", all),
            ("DELETE", "/docs", all),
            ("GET", "/nowhere", read),
            ("POST", "/nowhere", write),
            ("GET", "/v1/config", read),
            ("GET", "/docs%2Findex.html", read),
        ] {
            for token in ["", "reader", "writer", "operator"] {
                let authorization = format!("Bearer {token}");
                let headers = [("Authorization", authorization.as_str()), JSON];
                let headers = if token.is_empty() { &headers[1..] } else { &headers };
                let answer = send(port, method, &format!("{prefix}{path}"), headers, "");
                let refusal = if token.is_empty() { 401 } else { 403 };
                let is_refused = [401, 403].contains(&answer.status);
                assert_eq!(is_refused, !admitted.contains(&token), "{method} {prefix}{path} {token}: {answer:?}");
                assert!(!is_refused || answer.status == refusal, "{answer:?}");
            }
        }
        // The response does not wait for the body.
        let head =
            format!("POST {prefix}{deployment} HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nConnection: close\r\n\r\n");
        exchange(port, head.as_bytes()).expect("a response").is_error(401, None);
    }
    let metrics = send(port, "GET", "/x/metrics", &[("Authorization", "Bearer reader")], "");
    for series in [
        r#"requests_total{route="/config",method="GET",status="200"} 8"#,
        r#"requests_total{route="/v1/servers/{hostname}",method="GET",status="404"} 4"#,
        r#"requests_total{route="unmatched",method="POST",status="401"}"#,
    ] {
        assert!(metrics.text().contains(series), "{series} in {}", metrics.text());
    }
    assert_eq!(get(port, "/").text(), "own page", "a token is for the API only");
}

#[test]
fn the_limits_apply_to_the_scope() {
    let limits = Limits::default().body_bytes(100).header_bytes(1_000);
    let host = "h:1".parse().expect("the host is valid");
    let port = start(Settings::default().limits(limits).allowed_hosts([host]));
    for prefix in PREFIXES {
        let deployment = format!("{prefix}/v1/deployments/{ID}");
        post(port, &deployment, &json!({ "package": "x".repeat(100) })).is_error(413, None);
        send(port, "GET", &deployment, &[("X", &"x".repeat(1_000))], "").is_error(431, None);
        for (path, status) in [(deployment.as_str(), 421), (&format!("{prefix}/livez"), 200), ("/", 200)] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n");
            assert_eq!(exchange(port, request.as_bytes()).expect("a response").status, status, "{path}");
        }
    }
}

#[test]
fn on_connect_closes_only_connections_that_are_stalled_in_the_api() {
    let released = Arc::new(Notify::new());
    let limits = Limits::default().body_seconds(1).write_seconds(1).keep_alive_seconds(1).header_seconds(1);
    let port = serve(Settings::default().limits(limits), released.clone());
    let open = |path: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the server reads the request");
        stream
    };
    for number in 10..90 {
        let path = format!("/x/v1/deployments/84e803f7-9562-4d95-b828-25b167aea3{number}");
        assert_eq!(post(port, &path, &json!({ "arguments": "x".repeat(65_536) })).status, 201);
    }
    let mut own = open("/slow");
    let stalled = open("/x/v1/deployments?limit=100");
    // proc(5) describes /proc/net/tcp. The state 01 is ESTABLISHED.
    let client = stalled.local_addr().expect("a connected socket has an address").port();
    let row = format!(":{port:04X} 0100007F:{client:04X} 01 ");
    let is_open = || fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp").contains(&row);
    assert!(is_open(), "{row}");
    eventually("the server closes the connection", || !is_open());
    released.notify_one();
    let mut answer = String::new();
    own.read_to_string(&mut answer).expect("the application answers");
    assert!(answer.ends_with("slow"), "{answer}");
}

#[actix_web::test]
async fn an_empty_prefix_mounts_the_api_at_the_root_after_the_other_routes() {
    for prefix in ["", "/"] {
        let api = Api::new(Settings::default(), Tracker::builder(MemoryStore::new()).start());
        let application = App::new().route("/config", web::get().to(async || "own page")).service(api.scope(prefix));
        let application = init_service(application).await;
        let get = async |path| call_service(&application, TestRequest::with_uri(path).to_request()).await;
        assert_eq!(get("/").await.headers().get("location").map(|value| value.as_bytes()), Some(&b"/docs/"[..]));
        assert_eq!(read_body(get("/config").await).await, "own page");
        assert_eq!(get("/livez/").await.status(), 200);
        let description: Value = read_body_json(get("/openapi.json").await).await;
        assert_eq!((&description["openapi"], &description["servers"]), (&json!("3.1.0"), &Value::Null));
        let missing: Value = read_body_json(get("/nowhere").await).await;
        assert_eq!(missing["code"], "unknown_path");
    }
}
