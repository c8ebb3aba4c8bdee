//! Tokens: what each one may do, and where its name is recorded.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::{JSON, Response, Server, eventually};

use crate::support::{Stack, command_in, new_id, on_each_store, serve, serve_in};

const READ: &str = "read-secret";
const WRITE: &str = "write-secret";
const ADMIN: &str = "admin-secret";
const DEV: &str = "dev-secret";

fn tokens() -> Value {
    json!([
        { "name": "dashboard", "secret": READ, "scopes": ["read"] },
        { "name": "jenkins", "secret": WRITE, "scopes": ["write"] },
        { "name": "operator", "secret": ADMIN, "scopes": ["admin"] },
        { "name": "dev-only", "secret": DEV, "scopes": ["write", "read"], "environments": ["dev", "test"] },
    ])
}

fn send(server: &Server, secret: &str, method: &str, path: &str, body: &Value) -> Response {
    let authorization = format!("Bearer {secret}");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    server.send(method, path, &[JSON, ("Authorization", &authorization)], body.as_bytes())
}

fn get(server: &Server, secret: &str, path: &str) -> Response {
    send(server, secret, "GET", path, &Value::Null)
}

/// Replaces the tokens of a running server, and waits until it has reloaded them or refused to.
fn reload(server: &Server, tokens: &Value) {
    let mut config = server.config.clone();
    config["auth"]["tokens"] = tokens.clone();
    fs::write(server.folder.path().join("tracker.json"), config.to_string()).expect("configuration file is written");
    let reloads = || server.stderr().lines().filter(|line| line.contains("reload")).count();
    let before = reloads();
    server.signal("HUP");
    eventually("the result of the reload is logged", || (reloads() > before).then_some(()));
}

#[test]
fn without_a_token_only_the_probes_and_the_documentation_answer() {
    let server = serve(json!({ "auth": { "tokens": tokens() } }));
    let id = new_id();
    let deployment = format!("/v1/deployments/{id}");
    for (method, path) in [
        ("POST", deployment.as_str()),
        ("PUT", &deployment),
        ("GET", &deployment),
        ("HEAD", &deployment),
        ("DELETE", &deployment),
        ("POST", &format!("{deployment}/logs")),
        ("POST", &format!("{deployment}/servers/")),
        ("GET", "/v1/deployments"),
        ("GET", "/v1/servers"),
        ("GET", "/docsx"),
        ("GET", "/docs%2Findex.html"),
        ("GET", "/openapi.json/x"),
        ("GET", "/config"),
        ("GET", "/healthcheck"),
        ("GET", "/metrics"),
        ("GET", "/nowhere"),
        ("OPTIONS", "*"),
    ] {
        for authorization in [
            None,
            Some("Basic dXNlcjpwYXNz"),
            Some("Bearer"),
            Some("Bearer  "),
            Some("Bearer read-secre"),
            Some("read-secret"),
        ] {
            let headers: Vec<_> = authorization.iter().map(|value| ("Authorization", *value)).chain([JSON]).collect();
            let refused = server.send(method, path, &headers, br#"{"engine":"e"}"#);
            assert_eq!(refused.status, 401, "{method} {path} {authorization:?}: {refused:?}");
            let challenge = refused.header("www-authenticate").expect("WWW-Authenticate header");
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
            assert_eq!(challenge.contains("invalid_token"), authorization.is_some(), "{challenge}");
            if method != "HEAD" {
                refused.is_error(401, None);
            }
        }
    }
    let twice = [("Authorization", "Bearer read-secret"), ("Authorization", "Bearer other")];
    server.send("GET", "/v1/deployments", &twice, b"").is_error(401, None);
    assert_eq!(get(&server, READ, &deployment).status, 404, "nothing was recorded");
    for path in ["/livez", "/readyz", "/livez/", "/readyz/"] {
        assert_eq!(server.read(path), json!({ "status": "ok" }));
    }
    for (path, status) in [
        ("/", 302),
        ("/docs", 302),
        ("/docs/", 200),
        ("//docs//", 200),
        ("/docs/swagger-ui.css", 200),
        ("/docs/../config", 404),
        ("/docs/..%2fconfig", 404),
        ("/docs/%2e%2e/config", 404),
        ("/openapi.json", 200),
        ("/swagger.json/", 200),
        ("/swagger", 200),
    ] {
        for authorization in [&[][..], &[("Authorization", "Bearer unknown")]] {
            let answer = server.send("GET", path, authorization, b"");
            assert_eq!(answer.status, status, "{path}: {}", answer.text());
        }
        server.send("POST", path, &[JSON], b"{}").is_error(405, None);
    }
    let long = format!("/docs/?{}", "x".repeat(40_000));
    server.get(&long).is_error(431, None);
}

#[test]
fn the_api_description_says_which_requests_need_a_token() {
    let server = serve(json!({ "auth": { "tokens": tokens() } }));
    let description = server.read("/openapi.json");
    let scheme = &description["components"]["securitySchemes"]["token"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&json!("http"), &json!("bearer")));
    let one_of = |scopes: &[&str]| {
        let scopes = scopes.iter().map(|scope| json!({ "token": [scope] }));
        Value::Array([json!({})].into_iter().chain(scopes).collect())
    };
    for (method, path, security) in [
        ("post", "/v1/deployments/{id}", one_of(&["write"])),
        ("put", "/v1/deployments/{id}/servers", one_of(&["write"])),
        ("get", "/v1/deployments", one_of(&["read"])),
        ("get", "/config", one_of(&["admin"])),
        ("get", "/metrics", one_of(&["read", "admin"])),
        ("get", "/", Value::Null),
        ("get", "/openapi.json", Value::Null),
        ("get", "/swagger", Value::Null),
        ("get", "/livez", Value::Null),
    ] {
        let operation = &description["paths"][path][method];
        assert_eq!(operation["security"], security, "{method} {path}");
        assert_eq!(operation["responses"]["401"].is_object(), !security.is_null(), "{method} {path}");
        assert_eq!(operation["responses"]["431"].is_object(), path != "/livez", "{method} {path}");
    }
}

#[test]
fn a_token_may_do_only_what_its_scopes_allow() {
    let server = serve(json!({ "auth": { "tokens": tokens() } }));
    let deployment = format!("/v1/deployments/{}", new_id());
    let start = json!({ "engine": "e" });
    for (secret, scope, method, path, body, status) in [
        (READ, "write", "POST", deployment.as_str(), &start, 403),
        (ADMIN, "write", "POST", &deployment, &start, 403),
        (WRITE, "", "POST", &deployment, &start, 201),
        (WRITE, "read", "GET", &deployment, &Value::Null, 403),
        (ADMIN, "read", "GET", &deployment, &Value::Null, 403),
        (READ, "", "GET", &deployment, &Value::Null, 200),
        (READ, "", "GET", "/docs/", &Value::Null, 200),
        (READ, "admin", "GET", "/config", &Value::Null, 403),
        (READ, "admin", "GET", "/config/", &Value::Null, 403),
        // Percent-encoded, so that only the router recognizes the path.
        (READ, "admin", "GET", "/%63onfig", &Value::Null, 403),
        (READ, "admin", "GET", "//config", &Value::Null, 403),
        (READ, "admin", "GET", "//%63onfig//", &Value::Null, 403),
        (ADMIN, "", "GET", "//config//", &Value::Null, 200),
        (ADMIN, "read", "GET", "//v1//deployments", &Value::Null, 403),
        (WRITE, "admin", "GET", "/config", &Value::Null, 403),
        (ADMIN, "", "GET", "/config", &Value::Null, 200),
        (ADMIN, "", "GET", "/healthcheck", &Value::Null, 200),
        (READ, "", "GET", "/healthcheck", &Value::Null, 200),
        (WRITE, "read", "GET", "/healthcheck", &Value::Null, 403),
        (READ, "write", "DELETE", &deployment, &Value::Null, 403),
        (WRITE, "", "DELETE", &deployment, &Value::Null, 405),
        (READ, "", "GET", "/nowhere", &Value::Null, 404),
    ] {
        let answer = send(&server, secret, method, path, body);
        assert_eq!(answer.status, status, "{secret} {method} {path}: {answer:?}");
        if status == 403 {
            let sentence = answer.is_error(403, None);
            assert!(sentence.contains(scope), "{sentence}");
            let challenge = answer.header("www-authenticate").expect("WWW-Authenticate header");
            assert!(challenge.contains("insufficient_scope") && challenge.contains(scope), "{challenge}");
        }
    }
    let config = get(&server, ADMIN, "/config").text().to_owned();
    assert!(!config.contains("secret\""), "{config}");
    assert!([READ, WRITE, ADMIN, DEV].iter().all(|secret| !config.contains(secret)), "{config}");
}

#[test]
fn a_token_with_environments_may_report_only_deployments_in_them() {
    let server = serve(json!({ "auth": { "tokens": tokens() } }));
    let dev = |method: &str, path: &str, body: Value| send(&server, DEV, method, path, &body);
    let path = || format!("/v1/deployments/{}", new_id());
    let (mine, other, unnamed, unknown) = (path(), path(), path(), path());
    assert_eq!(dev("POST", &mine, json!({ "environment": "dev" })).status, 201);
    for body in [json!({ "environment": "prod" }), json!({ "engine": "e" }), json!({ "environment": "DEV" })] {
        dev("POST", &other, body).is_error(403, None);
    }
    assert_eq!(send(&server, WRITE, "POST", &other, &json!({ "environment": "prod" })).status, 201);
    assert_eq!(send(&server, WRITE, "POST", &unnamed, &json!({ "engine": "e" })).status, 201);
    for path in [&other, &unnamed, &unknown] {
        for (method, below, body) in [
            ("PUT", "", json!({ "result": "failure" })),
            ("PUT", "", json!({ "environment": "dev" })),
            ("POST", "", json!({ "message": "a log message" })),
            ("POST", "/logs", json!([{ "message": "m" }])),
            ("POST", "/servers", json!({ "hostname": "h" })),
            ("PUT", "/servers", json!({ "hostname": "h", "result": "failure" })),
        ] {
            dev(method, &format!("{path}{below}"), body).is_error(403, None);
        }
        assert_eq!(get(&server, DEV, &format!("{path}/logs")).json(), json!([]));
    }
    dev("POST", "/v1/deployments/nightly/logs", json!({ "message": "m" })).is_error(403, None);
    dev("PUT", &mine, json!({ "environment": "prod" })).is_error(403, None);
    let recorded = get(&server, DEV, &other).json();
    assert_eq!((&recorded["environment"], &recorded["result"]), (&json!("prod"), &Value::Null));
    assert_eq!(get(&server, DEV, &mine).json()["environment"], "dev");

    assert_eq!(dev("POST", &format!("{mine}/servers"), json!({ "hostname": "h" })).status, 201);
    assert_eq!(dev("PUT", &format!("{mine}/servers"), json!({ "hostname": "h", "result": "success" })).status, 204);
    assert_eq!(dev("POST", &format!("{mine}/logs"), json!({ "message": "m" })).status, 201);
    assert_eq!(dev("PUT", &mine, json!({ "result": "success", "environment": "test" })).status, 204);
}

#[test]
fn a_token_with_environments_cannot_claim_servers_that_were_reported_before_the_start() {
    on_each_store(|mut config| {
        let mut tokens = tokens();
        let prod = json!({ "name": "prod-only", "secret": "p", "scopes": ["write"], "environments": ["prod"] });
        tokens.as_array_mut().expect("list").push(prod);
        config["auth"] = json!({ "tokens": tokens });
        let server = serve(config);
        let path = format!("/v1/deployments/{}", new_id());
        let servers = format!("{path}/servers");
        let finish = json!({ "hostname": "h", "result": "success" });
        eventually("the store takes the report", || {
            (send(&server, WRITE, "PUT", &servers, &finish).status == 204).then_some(())
        });
        assert_eq!(send(&server, WRITE, "POST", &format!("{path}/logs"), &json!({ "message": "m" })).status, 201);

        for (secret, environment) in [(DEV, "dev"), ("p", "prod")] {
            let start = json!({ "environment": environment });
            let sentence = send(&server, secret, "POST", &path, &start).is_error(403, None);
            assert!(sentence.contains("servers of this deployment were reported before its start"), "{sentence}");
        }
        let overwrite = json!({ "hostname": "h", "result": "failure" });
        send(&server, DEV, "PUT", &servers, &overwrite).is_error(403, None);
        send(&server, DEV, "PUT", &path, &json!({ "result": "failure" })).is_error(403, None);

        assert_eq!(send(&server, WRITE, "POST", &path, &json!({ "environment": "prod" })).status, 201);
        let record = get(&server, DEV, &path).json();
        assert_eq!((&record["environment"], &record["servers"][0]["result"]), (&json!("prod"), &json!("success")));
        send(&server, DEV, "PUT", &servers, &overwrite).is_error(403, None);
        assert_eq!(send(&server, "p", "PUT", &servers, &overwrite).status, 204);
        assert_eq!(send(&server, "p", "POST", &path, &json!({ "environment": "prod" })).status, 201, "a retry");

        let later = format!("/v1/deployments/{}", new_id());
        assert_eq!(send(&server, WRITE, "POST", &format!("{later}/logs"), &json!({ "message": "m" })).status, 201);
        assert_eq!(send(&server, DEV, "POST", &later, &json!({ "environment": "dev" })).status, 201);
    });
}

#[test]
fn secrets_come_from_the_configuration_a_file_or_the_environment() {
    let folder = TempDir::new().expect("temporary folder");
    fs::write(folder.path().join("secret"), "from-a-file\n").expect("file is written");
    let config = json!({ "auth": { "tokens": [
        { "name": "a", "secret_file": "secret", "scopes": ["read"] },
        { "name": "b", "secret_env": "B_TOKEN", "scopes": ["read"] },
        // printf from-its-digest | sha256sum
        { "name": "c", "secret": "sha256:d914f7e295e09920f26b26c2196f31055e957634a52b621cf4384ccfc69d2548",
            "scopes": ["read"], "expires_at": "2999-01-01T00:00:00+01:00" },
        { "name": "d", "secret": "expired", "scopes": ["read"], "expires_at": "2015-07-07T00:00:00Z" },
    ] } });
    let server = serve_in(folder, config, &[("B_TOKEN", "from-the-environment")]);
    for secret in ["from-a-file", "from-the-environment", "from-its-digest"] {
        assert_eq!(get(&server, secret, "/v1/deployments").status, 200, "{secret}");
    }
    let sentence = get(&server, "expired", "/v1/deployments").is_error(401, None);
    assert!(sentence.contains("expired"), "{sentence}");
    get(&server, "d914f7e295e09920f26b26c2196f31055e957634a52b621cf4384ccfc69d2548", "/v1/deployments")
        .is_error(401, None);
}

#[test]
fn all_tokens_can_be_configured_in_the_environment() {
    let tokens = json!([{ "name": "a", "secret": "one", "scopes": ["read"] }]).to_string();
    let environment = [("DEPLOYMENT_TRACKER_AUTH__TOKENS", tokens.as_str())];
    let server = serve_in(TempDir::new().expect("temporary folder"), json!({}), &environment);
    server.get("/v1/deployments").is_error(401, None);
    assert_eq!(get(&server, "one", "/v1/deployments").status, 200);
}

#[test]
fn an_invalid_token_is_an_error_that_does_not_reveal_its_secret() {
    let good = json!({ "name": "a", "secret": "hunter2", "scopes": ["read"] });
    for (what, tokens, expected) in [
        ("none", json!([]), "no token"),
        ("no scope", json!([{ "name": "a", "secret": "hunter2", "scopes": [] }]), "scopes"),
        ("an unknown scope", json!([{ "name": "a", "secret": "hunter2", "scopes": ["all"] }]), "scopes"),
        ("no secret", json!([{ "name": "a", "scopes": ["read"] }]), "secret"),
        ("an empty secret", json!([{ "name": "a", "secret": " ", "scopes": ["read"] }]), "token new"),
        (
            "two secrets",
            json!([{ "name": "a", "secret": "hunter2", "secret_file": "f", "scopes": ["read"] }]),
            "exactly one",
        ),
        ("a missing file", json!([{ "name": "a", "secret_file": "gone", "scopes": ["read"] }]), "secret_file"),
        ("a missing variable", json!([{ "name": "a", "secret_env": "GONE", "scopes": ["read"] }]), "secret_env"),
        (
            "no time",
            json!([{ "name": "a", "secret": "hunter2", "scopes": ["read"], "expires_at": "tomorrow" }]),
            "RFC 3339",
        ),
        (
            "half a digest",
            json!([{ "name": "a", "secret": "sha256:abc", "scopes": ["read"] }]),
            "64 hexadecimal digits",
        ),
        (
            "no environment",
            json!([{ "name": "a", "secret": "hunter2", "scopes": ["read"], "environments": [] }]),
            "environments",
        ),
        ("an odd name", json!([{ "name": "a\"b", "secret": "hunter2", "scopes": ["read"] }]), "name"),
        ("a secret twice", json!([good, { "name": "b", "secret": "hunter2", "scopes": ["write"] }]), "another token"),
        ("an unknown key", json!([{ "name": "a", "secret": "hunter2", "scopes": ["read"], "scope": 1 }]), "scope"),
    ] {
        let folder = TempDir::new().expect("temporary folder");
        fs::write(folder.path().join("config.json"), json!({ "auth": { "tokens": tokens } }).to_string())
            .expect("file is written");
        let output = command_in(folder.path()).arg("--check-config").output().expect("the binary runs");
        let line = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{what}: {line}");
        assert!(line.contains("auth.tokens") && line.contains(expected), "{what}: {line}");
        assert!(line.trim_end().lines().count() == 1 && !line.contains("hunter2"), "{what}: {line}");
    }
}

#[test]
fn the_name_of_the_token_is_in_the_access_log_and_in_the_events() {
    let mut stack = Stack::start(json!({ "auth": { "tokens": tokens() } }));
    let path = format!("/v1/deployments/{}", new_id());
    let folder = std::mem::replace(&mut stack.server.folder, TempDir::new().expect("temporary folder"));
    let config = stack.server.config.clone();
    stack.server.kill();
    let server = serve_in(
        folder,
        config,
        &[("DEPLOYMENT_TRACKER_LOG_LEVEL", "debug"), ("DEPLOYMENT_TRACKER_LOG_FORMAT", "json")],
    );
    let jenkins = |method: &str, path: &str, body: Value| send(&server, WRITE, method, path, &body).status;
    assert_eq!(jenkins("POST", &path, json!({ "engine": "e" })), 201);
    assert_eq!(jenkins("POST", &format!("{path}/logs"), json!({ "message": "m", "reporter": "an impostor" })), 201);
    assert_eq!(jenkins("PUT", &path, json!({ "result": "success" })), 204);
    assert!(stack.redis.wait_for(3).iter().all(|element| element["reporter"] == "jenkins"));
    send(&server, "wrong-secret", "GET", &path, &Value::Null).is_error(401, None);
    let lines = eventually("four requests are logged", || {
        let log = server.stderr();
        let requests: Vec<Value> = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|line: &Value| line.get("status").is_some())
            .collect();
        (requests.len() == 4).then_some(requests)
    });
    let logged: Vec<_> = lines.iter().map(|line| (line["token"].as_str(), line["status"].as_u64())).collect();
    assert_eq!(
        logged,
        [
            (Some("jenkins"), Some(201)),
            (Some("jenkins"), Some(201)),
            (Some("jenkins"), Some(204)),
            (Some(""), Some(401))
        ]
    );
    assert!(!server.stderr().contains("secret\""), "{}", server.stderr());
    assert!([WRITE, "wrong-secret"].iter().all(|secret| !server.stderr().contains(secret)), "{}", server.stderr());
}

#[test]
fn sighup_reloads_tokens_without_closing_a_connection() {
    let server = serve(json!({ "auth": { "tokens": tokens() } }));
    let mut connection = TcpStream::connect(("127.0.0.1", server.port)).expect("the server listens");
    let mut status = |secret: &str| {
        write!(connection, "GET /v1/deployments HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {secret}\r\n\r\n")
            .expect("request is sent");
        let mut reader = BufReader::new(&connection);
        let mut line = String::new();
        reader.read_line(&mut line).expect("a status line");
        let status = line.split(' ').nth(1).expect("status code").to_owned();
        let mut length = 0;
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).expect("a header");
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        reader.read_exact(&mut vec![0; length]).expect("the body");
        status
    };
    assert_eq!((status(READ), status("new")), ("200".to_owned(), "401".to_owned()));
    let renewed = json!([
        { "name": "dashboard", "secret": READ, "scopes": ["read"] },
        { "name": "dashboard", "secret": "new", "scopes": ["read"] },
    ]);
    reload(&server, &renewed);
    assert_eq!(
        (status(READ), status("new")),
        ("200".to_owned(), "200".to_owned()),
        "both are valid while one replaces the other"
    );
    reload(&server, &json!([renewed[1]]));
    assert_eq!((status(READ), status("new")), ("401".to_owned(), "200".to_owned()));
    // An invalid token, or a configuration without tokens, changes nothing.
    reload(&server, &json!([{ "name": "dashboard" }]));
    assert_eq!((status(READ), status("new")), ("401".to_owned(), "200".to_owned()));
    let mut open = server.config.clone();
    open.as_object_mut().expect("JSON object").remove("auth");
    fs::write(server.folder.path().join("tracker.json"), open.to_string()).expect("configuration file is written");
    server.signal("HUP");
    eventually("the refusal is logged", || {
        server.stderr().contains("restart the server to turn authentication off").then_some(())
    });
    assert_eq!((status(READ), status("new")), ("401".to_owned(), "200".to_owned()));
}

#[test]
fn token_new_creates_a_working_token() {
    let folder = TempDir::new().expect("temporary folder");
    let arguments = [
        "token",
        "new",
        "ansible",
        "--scope",
        "read",
        "--scope",
        "write",
        "--environment",
        "dev",
        "--expires-at",
        "2999-01-01T00:00:00Z",
    ];
    let output = command_in(folder.path()).args(arguments).output().expect("the binary runs");
    let (secret, instructions) =
        (String::from_utf8(output.stdout).expect("UTF-8"), String::from_utf8(output.stderr).expect("UTF-8"));
    assert_eq!(output.status.code(), Some(0), "{instructions}");
    let secret = secret.trim();
    assert!(secret.len() >= 64 && !instructions.contains(secret), "{instructions}");
    let entry: Value = serde_json::from_str(instructions.lines().last().expect("entry in JSON")).expect("JSON");
    assert_eq!((&entry["name"], &entry["environments"]), (&json!("ansible"), &json!(["dev"])));
    let (_, toml) = instructions.split_once("In TOML:").expect("entry in TOML");
    let (toml, _) = toml.split_once("In JSON").expect("entry in JSON");
    fs::write(folder.path().join("config.toml"), toml).expect("file is written");
    let output = command_in(folder.path()).arg("--check-config").output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let server = serve(json!({ "auth": { "tokens": [entry] } }));
    let path = format!("/v1/deployments/{}", new_id());
    assert_eq!(send(&server, secret, "POST", &path, &json!({ "environment": "dev" })).status, 201);
    assert_eq!(get(&server, secret, &path).status, 200);
    for invalid in [
        &["token", "new", "a b", "--scope", "read"][..],
        &["token", "new", "a"],
        &["token", "new", "a", "--scope", "all"],
    ] {
        let output = command_in(folder.path()).args(invalid).output().expect("the binary runs");
        assert!(!output.status.success() && output.stdout.is_empty(), "{invalid:?}");
    }
}

#[test]
fn a_server_open_to_other_machines_without_tokens_logs_one_warning() {
    for (config, is_warned) in [
        (json!({}), false),
        (json!({ "host": "0.0.0.0" }), true),
        (json!({ "host": "0.0.0.0", "auth": { "tokens": tokens() } }), false),
    ] {
        let server = serve(config.clone());
        eventually("/readyz answers 200", || (server.get("/readyz").status == 200).then_some(()));
        assert_eq!(
            server.stderr().matches("auth.tokens").count(),
            usize::from(is_warned),
            "{config}: {}",
            server.stderr()
        );
    }
}
