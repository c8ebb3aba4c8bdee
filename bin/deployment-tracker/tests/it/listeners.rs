//! Listening: several addresses, TLS, HTTP/2 and Unix sockets.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::json;
use tempfile::TempDir;
use test_servers::{Certificates, DEADLINE, Server, eventually, free_port};

use crate::support::{command_in, full_start, new_id, serve, serve_in};

/// Runs curl. Use `localhost` with TLS, because the certificates are for that name.
fn curl(arguments: &[&str]) -> Output {
    Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*"])
        .args(arguments)
        .output()
        .expect("curl runs")
}

/// The HTTP version and the status that curl reports.
#[track_caller]
fn version_and_status(arguments: &[&str]) -> String {
    let output = curl(&[&["--output", "/dev/null", "--write-out", "%{http_version} %{http_code}"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Asserts that a report through curl is recorded. The last of `arguments` is the address.
#[track_caller]
fn assert_records(server: &Server, arguments: &[&str]) {
    let (address, options) = arguments.split_last().expect("the last argument is the address");
    let path = format!("/v1/deployments/{}", new_id());
    let body = full_start().to_string();
    let address = format!("{address}{path}");
    let post = ["--header", "Content-Type: application/json", "--data", &body, &address];
    let status = version_and_status(&[options, &post].concat());
    assert!(status.ends_with(" 201"), "{status}");
    let read = version_and_status(&[options, &[address.as_str()]].concat());
    assert!(read.ends_with(" 200"), "{read}: {}", server.stderr());
}

fn path(file: impl AsRef<Path>) -> String {
    file.as_ref().display().to_string()
}

#[test]
fn the_server_listens_on_every_address_in_the_list() {
    let other = free_port();
    let folder = TempDir::new().expect("temporary folder");
    let socket = path(folder.path().join("http.sock"));
    let listen = ["http://127.0.0.1:{port}".to_owned(), format!("http://[::1]:{other}"), format!("unix:{socket}")];
    let mut server = serve_in(folder, json!({ "listen": listen }), &[]);
    let (first, second) = (format!("http://127.0.0.1:{}", server.port), format!("http://[::1]:{other}"));
    assert_records(&server, &[&first]);
    assert_records(&server, &[&second]);
    assert_records(&server, &["--unix-socket", &socket, "http://any"]);
    let mode = fs::metadata(&socket).expect("the socket exists").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let log = server.stderr();
    assert!([&first, &second, &socket].iter().all(|address| log.contains(address.as_str())), "{log}");

    // The server replaces a stale socket, but refuses one that is in use.
    server.kill();
    assert!(Path::new(&socket).exists());
    server.restart();
    assert_records(&server, &["--unix-socket", &socket, "http://any"]);
    let config = json!({ "listen": [format!("unix:{socket}")] }).to_string();
    let elsewhere = TempDir::new().expect("temporary folder");
    fs::write(elsewhere.path().join("config.json"), config).expect("file is written");
    let output = command_in(elsewhere.path()).output().expect("the binary runs");
    let line = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert!(line.contains(&socket) && line.contains("`listen`"), "{line}");
    assert_records(&server, &["--unix-socket", &socket, "http://any"]);
    server.signal("TERM");
    server.ends_within(test_servers::DEADLINE);
    assert!(!Path::new(&socket).exists(), "the socket is removed at shutdown");
}

#[test]
fn https_offers_http_2_and_http_1_1() {
    let certificates = Certificates::new();
    let tls = json!({ "certificate": certificates.path("server.pem"), "key": certificates.path("server.key") });
    let server = serve(json!({ "tls": tls }));
    let (ca, address) = (path(certificates.path("ca.pem")), format!("https://localhost:{}", server.port));
    for (version, options) in
        [("2", &["--http2"][..]), ("1.1", &["--http1.1"]), ("1.1", &["--http1.1", "--tls-max", "1.2"])]
    {
        let list = format!("{address}/v1/deployments");
        assert_eq!(version_and_status(&[options, &["--cacert", &ca, &list]].concat()), format!("{version} 200"));
        assert_records(&server, &[options, &["--cacert", &ca, &address]].concat());
    }
    let output = curl(&["--cacert", &ca, "--include", &format!("{address}/v1/deployments")]);
    let answer = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        answer.contains(&format!("<{address}/v1/deployments?offset=25")),
        "links use the same scheme and host: {answer}"
    );
    let other_authority = Certificates::new();
    let refused = curl(&["--cacert", &path(other_authority.path("ca.pem")), &address]);
    assert!(!refused.status.success(), "curl rejects a server certificate of another authority");
    // Plain HTTP on the TLS port does no harm.
    let plain = curl(&[&format!("http://localhost:{}", server.port)]);
    assert!(plain.stdout.is_empty());
    assert_records(&server, &["--cacert", &ca, &address]);
}

#[test]
fn a_request_rejected_before_its_body_is_read_gets_a_response() {
    let certificates = Certificates::new();
    let tls = json!({ "certificate": certificates.path("server.pem"), "key": certificates.path("server.key") });
    let tokens = json!([{ "name": "jenkins", "secret": "right", "scopes": ["write"] }]);
    let server = serve(json!({ "tls": tls, "auth": { "tokens": tokens } }));
    let large = server.folder.path().join("large.json");
    fs::write(&large, vec![b' '; (1 << 20) + 1]).expect("file is written");
    let (ca, large) = (path(certificates.path("ca.pem")), format!("@{}", path(large)));
    let report = format!("/v1/deployments/{}", new_id());
    for (secret, target, kind, body, status) in [
        ("wrong", report.as_str(), "application/json", "{}", 401),
        ("wrong", &report, "application/json", &large, 401),
        ("right", "/v1/nowhere", "application/json", "{}", 404),
        ("right", &report, "application/json", &large, 413),
        ("right", &report, "text/plain", &large, 415),
    ] {
        let address = format!("https://localhost:{}{target}", server.port);
        let (token, kind) = (format!("Authorization: Bearer {secret}"), format!("Content-Type: {kind}"));
        let options =
            ["--http2", "--cacert", &ca, "--header", &token, "--header", &kind, "--data-binary", body, &address];
        for _ in 0..5 {
            assert_eq!(version_and_status(&options), format!("2 {status}"), "{target} {secret}");
        }
    }
}

#[test]
fn client_ca_requires_a_client_certificate_unless_it_is_optional() {
    let (certificates, other_authority) = (Certificates::new(), Certificates::new());
    let tls = |optional: bool| {
        json!({ "certificate": certificates.path("server.pem"), "key": certificates.path("server.key"),
            "client_ca": certificates.path("ca.pem"), "client_optional": optional })
    };
    let ca = path(certificates.path("ca.pem"));
    let identity = |of: &Certificates| [path(of.path("client.pem")), path(of.path("client.key"))];
    let (trusted, untrusted) = (identity(&certificates), identity(&other_authority));
    let as_client = |[certificate, key]: &[String; 2], address: &str| {
        let options = ["--cacert", &ca, "--cert", certificate, "--key", key, "--output", "/dev/null", address];
        curl(&options).status.success()
    };
    for optional in [false, true] {
        let server = serve(json!({ "tls": tls(optional) }));
        let address = format!("https://localhost:{}/livez", server.port);
        assert!(as_client(&trusted, &address), "{}", server.stderr());
        assert!(!as_client(&untrusted, &address), "a certificate of another authority is rejected");
        assert_eq!(curl(&["--cacert", &ca, &address]).status.success(), optional);
    }
}

#[test]
fn sighup_reloads_certificates() {
    let (old, new) = (Certificates::new(), Certificates::new());
    let folder = TempDir::new().expect("temporary folder");
    let copy = |from: &Certificates| {
        for name in ["server.pem", "server.key"] {
            fs::copy(from.path(name), folder.path().join(name)).expect("file is copied");
        }
    };
    copy(&old);
    let tls = json!({ "certificate": folder.path().join("server.pem"), "key": folder.path().join("server.key") });
    let server = serve(json!({ "tls": tls }));
    let address = format!("https://localhost:{}/livez", server.port);
    let trusts = |of: &Certificates| {
        curl(&["--cacert", &path(of.path("ca.pem")), "--output", "/dev/null", &address]).status.success()
    };
    assert!(trusts(&old) && !trusts(&new));
    copy(&new);
    server.signal("HUP");
    eventually("the server uses the new certificate", || trusts(&new).then_some(()));
    assert!(!trusts(&old));
    // A key that does not match the certificate changes nothing.
    fs::copy(old.path("server.key"), folder.path().join("server.key")).expect("file is copied");
    server.signal("HUP");
    eventually("the mismatch is logged", || server.stderr().contains("`tls.key`").then_some(()));
    assert!(trusts(&new), "{}", server.stderr());
}

#[test]
fn resuming_an_old_tls_session_does_not_bypass_a_new_client_certificate_requirement() {
    let certificates = Certificates::new();
    let mut tls = json!({ "certificate": certificates.path("server.pem"), "key": certificates.path("server.key") });
    let server = serve(json!({ "tls": tls }));
    let session = path(server.folder.path().join("session"));
    let address = format!("localhost:{}", server.port);
    let answer = |option: &str, version: &str| {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-connect", &address, version, "-ign_eof", option, &session]);
        let mut client =
            client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("openssl runs");
        let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        // The server may have closed the connection already.
        let _ = client.stdin.take().expect("stdin is piped").write_all(request);
        String::from_utf8_lossy(&client.wait_with_output().expect("openssl ends").stdout).into_owned()
    };
    for version in ["-tls1_3", "-tls1_2"] {
        fs::write(server.folder.path().join("tracker.json"), server.config.to_string())
            .expect("configuration file is written");
        let before = server.stderr().matches("reloaded").count();
        server.signal("HUP");
        eventually("the server reloads the configuration without `client_ca`", || {
            (server.stderr().matches("reloaded").count() > before).then_some(())
        });
        assert!(answer("-sess_out", version).contains("\"ok\""));
        tls["client_ca"] = json!(certificates.path("ca.pem"));
        let mut config = server.config.clone();
        config["tls"] = tls.clone();
        fs::write(server.folder.path().join("tracker.json"), config.to_string())
            .expect("configuration file is written");
        server.signal("HUP");
        eventually("the server reloads the configuration with `client_ca`", || {
            (server.stderr().matches("reloaded").count() > before + 1).then_some(())
        });
        assert!(!answer("-sess_in", version).contains("\"ok\""), "{version}");
    }
    // The second round removed the requirement of the first one.
    assert_eq!(server.stderr().matches("clients no longer need a certificate").count(), 1, "{}", server.stderr());
}

#[test]
fn a_client_that_asks_for_a_renegotiation_is_refused_without_a_log_line() {
    let certificates = Certificates::new();
    let tls = json!({ "certificate": certificates.path("server.pem"), "key": certificates.path("server.key") });
    let mut server = serve(json!({ "tls": tls }));
    let mut client = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-connect", &format!("127.0.0.1:{}", server.port)])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let mut stdin = client.stdin.take().expect("standard input is a pipe");
    stdin.write_all(b"R\n").expect("openssl reads its input");
    let mut text = String::new();
    let mut stderr = client.stderr.take().expect("standard error is a pipe");
    stderr.read_to_string(&mut text).expect("openssl ends");
    client.wait().expect("openssl ends");
    assert!(text.contains("no renegotiation"), "{text}");
    server.signal("TERM");
    server.ends_within(DEADLINE);
    let log = eventually("the log ends", || Some(server.stderr()).filter(|log| log.contains("stopped")));
    assert!(!log.to_lowercase().contains("renegotiation"), "{log}");
}

#[test]
fn an_invalid_listening_configuration_is_an_error_that_names_its_key() {
    let certificates = Certificates::new();
    let (certificate, key) = (certificates.path("server.pem"), certificates.path("client.key"));
    let invalid = certificates.path("invalid.pem");
    fs::write(&invalid, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("file is written");
    for (config, expected) in [
        (json!({ "listen": ["ftp://h:1"] }), &["listen"][..]),
        (json!({ "listen": ["http://127.0.0.1"] }), &["http://HOST:PORT"]),
        (json!({ "listen": ["http://127.0.0.1:70000"] }), &["http://HOST:PORT"]),
        (json!({ "listen": ["unix:"] }), &["unix:PATH"]),
        (json!({ "listen": ["https://127.0.0.1:1"] }), &["listen", "`tls`"]),
        (json!({ "listen": ["http://127.0.0.1:1"], "port": 1 }), &["cannot be combined with `host` or `port`"]),
        (json!({ "tls": { "certificate": "gone.pem", "key": "gone.key" } }), &["gone.pem"]),
        (json!({ "tls": { "certificate": key, "key": key } }), &["tls.certificate", "no certificate"]),
        (json!({ "tls": { "certificate": certificate, "key": certificate } }), &["tls.key", "no private key"]),
        (json!({ "tls": { "certificate": invalid, "key": key } }), &["tls.certificate", "invalid certificate"]),
        (json!({ "tls": { "certificate": certificate, "key": key } }), &["tls.key"]),
        (json!({ "tls": { "certificate": certificate } }), &["key"]),
        (
            json!({ "tls": { "certificate": certificate, "key": "-----BEGIN PRIVATE KEY-----\nhunter2" } }),
            &["tls.key", "PEM"],
        ),
        (json!({ "listen": ["https://u:hunter2@h:x"] }), &["https://HOST:PORT"]),
    ] {
        let folder = TempDir::new().expect("temporary folder");
        fs::write(folder.path().join("config.json"), config.to_string()).expect("file is written");
        let output = command_in(folder.path()).arg("--check-config").output().expect("the binary runs");
        let line = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{config}: {line}");
        assert!(expected.iter().all(|part| line.contains(part)), "{config}: {line}");
        assert_eq!(line.trim_end().lines().count(), 1, "{config}: {line}");
        assert!(!line.contains("hunter2"), "{line}");
    }
}
