//! Compares the API description with the actual routes and responses.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracker_core::{MemoryStore, Tracker};
use tracker_server::{Address, Listener, Settings, run};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

async fn request(port: u16, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.expect("the server reads the request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("the server answers");
    answer
}

async fn serve() -> u16 {
    let listener = Listener::bind(&"http://127.0.0.1:0".parse().expect("the address is valid")).expect("a free port");
    let Ok(Address::Http(address)) = listener.address() else { unreachable!() };
    let port = address.rsplit_once(':').expect("the address has a port").1.parse().expect("the port is a number");
    let tracker = Tracker::builder(MemoryStore::new()).start();
    tokio::spawn(run(vec![listener], Settings::default(), tracker, std::future::pending()));
    port
}

fn json_in(answer: &str) -> Value {
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).expect("the response has a body")).expect("the body is JSON")
}

#[tokio::test]
async fn exactly_the_described_methods_are_routed() {
    let port = serve().await;
    let description = json_in(&request(port, "GET", "/openapi.json", "").await);
    let paths = description["paths"].as_object().expect("the description has paths");
    let routed: BTreeSet<_> = paths.keys().map(String::as_str).collect();
    let expected = [
        "/",
        "/config",
        "/healthcheck",
        "/livez",
        "/metrics",
        "/readyz",
        "/openapi.json",
        "/swagger",
        "/swagger.json",
        "/v1/deployments",
        "/v1/deployments/{id}",
        "/v1/deployments/{id}/logs",
        "/v1/deployments/{id}/servers",
        "/v1/servers",
        "/v1/servers/{hostname}",
    ];
    assert_eq!(routed, BTreeSet::from(expected));

    let mut operations = BTreeSet::new();
    for (path, methods) in paths {
        let id = "84e803f7-9562-4d95-b828-25b167aea34b";
        let address = path.replace("{id}", id).replace("{hostname}", "web01");
        for method in METHODS {
            let described =
                methods.get(method.to_lowercase()).or_else(|| methods.get("get").filter(|_| method == "HEAD"));
            let answer = request(port, method, &address, "").await;
            let refused = answer.starts_with("HTTP/1.1 405");
            assert_eq!(refused, described.is_none(), "{method} {path}: {answer}");
            if refused {
                let allow =
                    answer.lines().find_map(|line| line.strip_prefix("Allow: ")).expect("405 has an Allow header");
                assert!(!allow.split(", ").any(|allowed| allowed == method), "{method} {path}: {allow}");
            } else if let (Some(operation), false) = (described, method == "HEAD") {
                let status = &answer[9..12];
                assert!(operation["responses"].get(status).is_some(), "{method} {path} answers {status}");
                assert!(
                    operations.insert(operation["operationId"].to_string()),
                    "{method} {path}: the operation id is not unique"
                );
            }
        }
    }
}

#[tokio::test]
async fn responses_have_exactly_the_described_fields() {
    let port = serve().await;
    let path = "/v1/deployments/84e803f7-9562-4d95-b828-25b167aea34b";
    let full = r#"{"engine":"e","engine_version":"1","host":"h","user":"u","environment":"dev","package":"p",
        "package_url":"http://p","version":"1","arguments":"a","result":"success","elapsed_seconds":1}"#;
    let server = r#"{"hostname":"web01","ip_address":"::1","result":"success","elapsed_seconds":1}"#;
    request(port, "POST", path, full).await;
    request(port, "POST", &format!("{path}/servers"), server).await;
    request(port, "POST", &format!("{path}/logs"), r#"{"message":"m"}"#).await;

    let schemas = json_in(&request(port, "GET", "/openapi.json", "").await)["components"]["schemas"].take();
    let described = |schema: &str| -> BTreeSet<String> {
        let schema = &schemas[schema];
        let parts = schema["allOf"].as_array().map_or(vec![schema], |parts| parts.iter().collect());
        parts
            .iter()
            .filter_map(|part| part["properties"].as_object())
            .flat_map(|fields| fields.keys().cloned())
            .collect()
    };
    let fields = |value: &Value| -> BTreeSet<String> {
        value.as_object().expect("the value is an object").keys().cloned().collect()
    };
    let deployment = json_in(&request(port, "GET", path, "").await);
    assert_eq!(fields(&deployment), described("Deployment"));
    assert_eq!(fields(&deployment["servers"][0]), described("Server"));
    let logs = json_in(&request(port, "GET", &format!("{path}/logs"), "").await);
    assert_eq!(fields(&logs[0]), described("KeptLogMessage"));
    let error = json_in(&request(port, "POST", path, r#"{"engine":1}"#).await);
    assert_eq!(fields(&error), described("Error"));
    let health = json_in(&request(port, "GET", "/healthcheck", "").await);
    assert_eq!(fields(&health), described("Health"));
    let test = fields(&health["tests"]["db"]);
    assert!(test.is_subset(&described("HealthTest")) && test.len() == 4, "{test:?}");
}

#[tokio::test]
async fn every_header_of_a_response_is_described() {
    const OF_HTTP: [&str; 5] = ["connection", "content-length", "content-type", "date", "transfer-encoding"];
    let port = serve().await;
    let description = json_in(&request(port, "GET", "/openapi.json", "").await);
    let id = "/v1/deployments/84e803f7-9562-4d95-b828-25b167aea34b";
    let full = r#"{"engine":"e","environment":"dev","package":"p","user":"u","verison":"1"}"#;
    let server = r#"{"hostname":"web01","reuslt":"success"}"#;
    let (of_id, of_servers) = ("/v1/deployments/{id}", "/v1/deployments/{id}/servers");
    for (method, path, address, body, expected) in [
        ("POST", of_id, id, full, &["location", "warning"][..]),
        ("PUT", of_id, id, r#"{"reuslt":"success"}"#, &["warning"]),
        ("POST", of_id, id, r#"{"engine":"other"}"#, &[]),
        ("POST", of_servers, &format!("{id}/servers"), server, &["location", "warning"]),
        ("PUT", of_servers, &format!("{id}/servers"), server, &["warning"]),
        ("POST", "/v1/deployments/{id}/logs", &format!("{id}/logs"), r#"{"message":"m"}"#, &[]),
        ("GET", of_id, id, "", &[]),
        ("GET", "/v1/deployments", "/v1/deployments", "", &["link"]),
        ("GET", "/v1/deployments/{id}/logs", &format!("{id}/logs"), "", &["link"]),
        ("GET", "/v1/servers", "/v1/servers", "", &["link"]),
        ("GET", "/v1/servers/{hostname}", "/v1/servers/web01", "", &["link"]),
        ("GET", "/v1/servers/{hostname}", "/v1/servers/web02", "", &[]),
        ("GET", "/", "/", "", &["location"]),
        ("GET", "/config", "/config", "", &[]),
        ("GET", "/healthcheck", "/healthcheck", "", &[]),
        ("GET", "/livez", "/livez", "", &[]),
        ("GET", "/readyz", "/readyz", "", &[]),
        ("GET", "/metrics", "/metrics", "", &[]),
        ("GET", "/openapi.json", "/openapi.json", "", &["access-control-allow-headers", "access-control-allow-origin"]),
        ("GET", "/swagger", "/swagger", "", &["access-control-allow-headers", "access-control-allow-origin"]),
        ("GET", "/swagger.json", "/swagger.json", "", &["access-control-allow-headers", "access-control-allow-origin"]),
    ] {
        let answer = request(port, method, address, body).await;
        let head = answer.split("\r\n\r\n").next().expect("the response has a head");
        let names = head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0.to_lowercase()));
        let sent: BTreeSet<_> = names.filter(|name| !OF_HTTP.contains(&name.as_str())).collect();
        let response = &description["paths"][path][method.to_lowercase()]["responses"][&answer[9..12]];
        let described = response["headers"].as_object().into_iter().flatten();
        let described: BTreeSet<_> = described.map(|(name, _)| name.to_lowercase()).collect();
        assert_eq!(sent, expected.iter().map(|&name| name.to_owned()).collect(), "{method} {path}: {answer}");
        assert!(sent.is_subset(&described), "{method} {path} describes {described:?}: {head}");
    }
}
