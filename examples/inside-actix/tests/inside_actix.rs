//! The application has its own pages, and the whole API below `/tracker`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::json;
use tempfile::TempDir;
use test_servers::{JSON, Response, command, eventually, exchange, signal};

const DEPLOYMENT: &str = "/tracker/v1/deployments/84e803f7-9562-4d95-b828-25b167aea34b";

/// The running program.
struct Program {
    child: Child,
    port: u16,
}

impl Program {
    fn start(folder: &Path) -> Self {
        let mut child = command(env!("CARGO_BIN_EXE_inside-actix").as_ref(), folder)
            .args(["127.0.0.1:0", "data.sqlite3"])
            .envs([("ENGINE_TOKEN", "engine-secret"), ("DASHBOARD_TOKEN", "dashboard-secret")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("standard output is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("the program prints its address");
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        Self { child, port: port.unwrap_or_else(|| panic!("no port in {line:?}")) }
    }

    fn send(&self, token: &str, method: &str, path: &str, body: &str) -> Response {
        let (kind, value) = JSON;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}-secret\r\n{kind}: {value}\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        exchange(self.port, request.as_bytes()).expect("a response")
    }

    fn get(&self, path: &str) -> Response {
        self.send("dashboard", "GET", path, "")
    }

    fn stop(mut self) {
        signal(self.child.id(), "TERM");
        let status = eventually("the program ends", || self.child.try_wait().expect("the program is our child"));
        assert!(status.success(), "{status}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // This fails if the program has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_application_has_its_own_pages_and_the_api_below_a_prefix() {
    let folder = TempDir::new().expect("temporary folder");
    let program = Program::start(folder.path());
    let home = program.get("/");
    assert!(home.status == 200 && home.text().contains("/tracker/docs/"), "{home:?}");
    assert_eq!(program.get("/v1/deployments").text(), "", "the application answers paths outside the prefix");
    assert_eq!(program.get("/tracker").header("location"), Some("/tracker/docs/"));
    program.get("/tracker/nowhere").is_error(404, None);

    for hostname in ["web1", "web2", "web3"] {
        let server = json!({ "hostname": hostname }).to_string();
        assert_eq!(program.send("engine", "POST", &format!("{DEPLOYMENT}/servers/"), &server).status, 201);
    }
    let created = program.send("engine", "POST", DEPLOYMENT, r#"{"package":"shop"}"#);
    assert_eq!((created.status, created.header("location")), (201, Some(DEPLOYMENT)));
    program.send("dashboard", "POST", DEPLOYMENT, "{}").is_error(403, None);
    program.get("/tracker/config").is_error(403, None);

    let mut path = "/tracker/v1/servers?before=&limit=2".to_owned();
    let mut pages = Vec::new();
    loop {
        let page = program.get(&path);
        pages.push(page.json());
        let Some(link) = page.header("link") else { break };
        path = link.strip_prefix("<http://h").and_then(|link| link.split_once('>')).expect("a link").0.to_owned();
    }
    assert_eq!(pages, [json!(["web3", "web2"]), json!(["web1"])]);

    let metrics = program.get("/tracker/metrics");
    let series = r#"http_requests_total{route="/v1/deployments/{id}/servers",method="POST",status="201"} 3"#;
    assert!(metrics.text().contains(series), "{}", metrics.text());
    program.stop();

    let program = Program::start(folder.path());
    assert_eq!(program.get(DEPLOYMENT).json()["package"], "shop", "the next run has the record");
    program.stop();
}
