//! Where the server listens: several addresses, TLS, HTTP/2, Unix sockets.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::json;
use tempfile::TempDir;
use test_servers::{Certificates, Server, eventually, free_port};

use crate::support::{bare, full_start, new_id, serve, serve_in};

/// Runs curl, which knows `localhost` as the name in the certificates.
fn curl(arguments: &[&str]) -> Output {
    Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*"])
        .args(arguments)
        .output()
        .expect("curl runs")
}

/// The version of HTTP and the status that curl gets for a GET.
#[track_caller]
fn got(arguments: &[&str]) -> String {
    let output = curl(&[&["--output", "/dev/null", "--write-out", "%{http_version} %{http_code}"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A report over `arguments`, an address included, is recorded.
#[track_caller]
fn reports(server: &Server, arguments: &[&str]) {
    let (address, options) = arguments.split_last().expect("an address");
    let path = format!("/v1/deployments/{}", new_id());
    let body = full_start().to_string();
    let address = format!("{address}{path}");
    let post = ["--header", "Content-Type: application/json", "--data", &body, &address];
    let status = got(&[options, &post].concat());
    assert!(status.ends_with(" 201"), "{status}");
    let others = got(&[options, &[address.as_str()]].concat());
    assert!(others.ends_with(" 200"), "{others}: {}", server.stderr());
}

fn path(file: impl AsRef<Path>) -> String {
    file.as_ref().display().to_string()
}

#[test]
fn every_address_in_the_list_is_listened_on() {
    let other = free_port();
    let folder = TempDir::new().expect("a folder");
    let socket = path(folder.path().join("http.sock"));
    let listen = ["http://127.0.0.1:{port}".to_owned(), format!("http://[::1]:{other}"), format!("unix:{socket}")];
    let mut server = serve_in(folder, json!({ "listen": listen }), &[]);
    let (first, second) = (format!("http://127.0.0.1:{}", server.port), format!("http://[::1]:{other}"));
    reports(&server, &[&first]);
    reports(&server, &[&second]);
    reports(&server, &["--unix-socket", &socket, "http://any"]);
    let mode = fs::metadata(&socket).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let line = server.stderr();
    assert!([&first, &second, &socket].iter().all(|place| line.contains(place.as_str())), "{line}");

    // A socket that was left behind is no obstacle, one that is in use is.
    server.kill();
    assert!(Path::new(&socket).exists());
    server.restart();
    reports(&server, &["--unix-socket", &socket, "http://any"]);
    let config = json!({ "listen": [format!("unix:{socket}")] }).to_string();
    let elsewhere = TempDir::new().expect("a folder");
    fs::write(elsewhere.path().join("config.json"), config).expect("a file");
    let output = bare(elsewhere.path()).output().expect("the binary runs");
    let line = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert!(line.contains(&socket) && line.contains("`listen`"), "{line}");
    reports(&server, &["--unix-socket", &socket, "http://any"]);
    server.signal("TERM");
    server.ends_within(test_servers::PATIENCE);
    assert!(!Path::new(&socket).exists(), "it tidies up");
}

#[test]
fn https_is_http_2_or_1_1_as_the_client_likes() {
    let certificates = Certificates::new();
    let tls = json!({ "certificate": certificates.path("server.pem"), "key": certificates.path("server.key") });
    let server = serve(json!({ "tls": tls }));
    let (ca, address) = (path(certificates.path("ca.pem")), format!("https://localhost:{}", server.port));
    for (version, options) in
        [("2", &["--http2"][..]), ("1.1", &["--http1.1"]), ("1.1", &["--http1.1", "--tls-max", "1.2"])]
    {
        let list = format!("{address}/v1/deployments");
        assert_eq!(got(&[options, &["--cacert", &ca, &list]].concat()), format!("{version} 200"));
        reports(&server, &[options, &["--cacert", &ca, &address]].concat());
    }
    let output = curl(&["--cacert", &ca, "--include", &format!("{address}/v1/deployments")]);
    let answer = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(answer.contains(&format!("<{address}/v1/deployments?offset=25")), "links lead back the same way: {answer}");
    let stranger = Certificates::new();
    let refused = curl(&["--cacert", &path(stranger.path("ca.pem")), &address]);
    assert!(!refused.status.success(), "curl trusts a stranger");
    // What is no TLS does no harm.
    let plain = curl(&[&format!("http://localhost:{}", server.port)]);
    assert!(plain.stdout.is_empty());
    reports(&server, &["--cacert", &ca, &address]);
}

#[test]
fn what_is_refused_before_its_body_is_read_is_answered() {
    let certificates = Certificates::new();
    let tls = json!({ "certificate": certificates.path("server.pem"), "key": certificates.path("server.key") });
    let tokens = json!([{ "name": "jenkins", "secret": "right", "scopes": ["write"] }]);
    let server = serve(json!({ "tls": tls, "auth": { "tokens": tokens } }));
    let large = server.folder.path().join("large.json");
    fs::write(&large, vec![b' '; (1 << 20) + 1]).expect("a file");
    let (ca, large) = (path(certificates.path("ca.pem")), format!("@{}", path(large)));
    let report = format!("/v1/deployments/{}", new_id());
    for (secret, place, kind, body, status) in [
        ("wrong", report.as_str(), "application/json", "{}", 401),
        ("wrong", &report, "application/json", &large, 401),
        ("right", "/v1/nowhere", "application/json", "{}", 404),
        ("right", &report, "application/json", &large, 413),
        ("right", &report, "text/plain", &large, 415),
    ] {
        let address = format!("https://localhost:{}{place}", server.port);
        let (token, kind) = (format!("Authorization: Bearer {secret}"), format!("Content-Type: {kind}"));
        let options =
            ["--http2", "--cacert", &ca, "--header", &token, "--header", &kind, "--data-binary", body, &address];
        for _ in 0..5 {
            assert_eq!(got(&options), format!("2 {status}"), "{place} {secret}");
        }
    }
}

#[test]
fn a_client_needs_a_certificate_where_one_is_asked_for() {
    let (certificates, stranger) = (Certificates::new(), Certificates::new());
    let tls = |optional: bool| {
        json!({ "certificate": certificates.path("server.pem"), "key": certificates.path("server.key"),
            "client_ca": certificates.path("ca.pem"), "client_optional": optional })
    };
    let ca = path(certificates.path("ca.pem"));
    let identity = |of: &Certificates| [path(of.path("client.pem")), path(of.path("client.key"))];
    let (mine, other) = (identity(&certificates), identity(&stranger));
    let as_client = |[certificate, key]: &[String; 2], address: &str| {
        let options = ["--cacert", &ca, "--cert", certificate, "--key", key, "--output", "/dev/null", address];
        curl(&options).status.success()
    };
    for optional in [false, true] {
        let server = serve(json!({ "tls": tls(optional) }));
        let address = format!("https://localhost:{}/livez", server.port);
        assert!(as_client(&mine, &address), "{}", server.stderr());
        assert!(!as_client(&other, &address), "somebody else's certificate is let in");
        assert_eq!(curl(&["--cacert", &ca, &address]).status.success(), optional);
    }
}

#[test]
fn a_hangup_takes_new_certificates() {
    let (old, new) = (Certificates::new(), Certificates::new());
    let folder = TempDir::new().expect("a folder");
    let copy = |from: &Certificates| {
        for name in ["server.pem", "server.key"] {
            fs::copy(from.path(name), folder.path().join(name)).expect("a copy");
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
    eventually("it has the new one", || trusts(&new).then_some(()));
    assert!(!trusts(&old));
    // A key that does not belong to it changes nothing.
    fs::copy(old.path("server.key"), folder.path().join("server.key")).expect("a copy");
    server.signal("HUP");
    eventually("it says so", || server.stderr().contains("`tls.key`").then_some(()));
    assert!(trusts(&new), "{}", server.stderr());
}

#[test]
fn a_session_of_before_does_not_pass_by_the_certificate_that_is_asked_for_now() {
    let certificates = Certificates::new();
    let mut tls = json!({ "certificate": certificates.path("server.pem"), "key": certificates.path("server.key") });
    let server = serve(json!({ "tls": tls }));
    let session = path(server.folder.path().join("session"));
    let place = format!("localhost:{}", server.port);
    let answer = |option: &str, version: &str| {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-connect", &place, version, "-ign_eof", option, &session]);
        let mut client =
            client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("openssl runs");
        let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        // It may be closed already.
        let _ = client.stdin.take().expect("a pipe").write_all(request);
        String::from_utf8_lossy(&client.wait_with_output().expect("its end").stdout).into_owned()
    };
    for version in ["-tls1_3", "-tls1_2"] {
        fs::write(server.folder.path().join("tracker.json"), server.config.to_string())
            .expect("the configuration file");
        let before = server.stderr().matches("reloaded").count();
        server.signal("HUP");
        eventually("it needs no certificate", || (server.stderr().matches("reloaded").count() > before).then_some(()));
        assert!(answer("-sess_out", version).contains("\"ok\""));
        tls["client_ca"] = json!(certificates.path("ca.pem"));
        let mut config = server.config.clone();
        config["tls"] = tls.clone();
        fs::write(server.folder.path().join("tracker.json"), config.to_string()).expect("the configuration file");
        server.signal("HUP");
        eventually("it needs one", || (server.stderr().matches("reloaded").count() > before + 1).then_some(()));
        assert!(!answer("-sess_in", version).contains("\"ok\""), "{version}");
    }
    // In between it was taken back once.
    assert_eq!(server.stderr().matches("clients no longer need a certificate").count(), 1, "{}", server.stderr());
}

#[test]
fn a_mistake_about_listening_is_told_with_its_key() {
    let certificates = Certificates::new();
    let (certificate, key) = (certificates.path("server.pem"), certificates.path("client.key"));
    for (config, says) in [
        (json!({ "listen": ["ftp://h:1"] }), "listen"),
        (json!({ "listen": ["http://127.0.0.1"] }), "http://HOST:PORT"),
        (json!({ "listen": ["http://127.0.0.1:70000"] }), "http://HOST:PORT"),
        (json!({ "listen": ["unix:"] }), "unix:PATH"),
        (json!({ "listen": ["https://127.0.0.1:1"] }), "tls"),
        (json!({ "listen": ["http://127.0.0.1:1"], "port": 1 }), "cannot be combined with `host` or `port`"),
        (json!({ "tls": { "certificate": "gone.pem", "key": "gone.key" } }), "gone.pem"),
        (json!({ "tls": { "certificate": key, "key": key } }), "no certificate"),
        (json!({ "tls": { "certificate": certificate, "key": certificate } }), "tls.key"),
        (json!({ "tls": { "certificate": certificate, "key": key } }), "tls.key"),
        (json!({ "tls": { "certificate": certificate } }), "key"),
        (
            json!({ "tls": { "certificate": certificate, "key": "-----BEGIN PRIVATE KEY-----\nhunter2" } }),
            "`tls.key` holds PEM",
        ),
        (json!({ "listen": ["https://u:hunter2@h:x"] }), "https://HOST:PORT"),
    ] {
        let folder = TempDir::new().expect("a folder");
        fs::write(folder.path().join("config.json"), config.to_string()).expect("a file");
        let output = bare(folder.path()).arg("--check-config").output().expect("the binary runs");
        let line = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{config}: {line}");
        assert!(line.contains(says) && line.trim_end().lines().count() == 1, "{config}: {line}");
        assert!(!line.contains("hunter2"), "{line}");
    }
}
