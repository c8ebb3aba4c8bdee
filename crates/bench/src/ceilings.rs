//! What the server is made of, each bare: the most that could be hoped for.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use actix_web::http::Method;
use actix_web::http::header::LOCATION;
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use anyhow::Context;
use diesel::connection::{Connection, SimpleConnection};
use diesel::sqlite::SqliteConnection;
use test_servers::{Server, eventually, free_port};

use crate::dataset;
use crate::stack::Stack;
use crate::workloads::MESSAGE;
use crate::wrk::complete;

/// An HTTP server that does nothing, in a process of its own.
#[derive(Debug)]
pub struct Empty {
    pub port: u16,
    child: Child,
}

impl Empty {
    pub fn start() -> anyhow::Result<Self> {
        let port = free_port();
        let mut command = Command::new(std::env::current_exe()?);
        let child = command.args(["empty", "--port", &port.to_string()]).stdin(Stdio::null()).spawn()?;
        eventually("the empty handler listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Ok(Self { port, child })
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves nothing on `port`, with as many workers as the server has.
pub fn serve_nothing(port: u16) -> anyhow::Result<()> {
    let server = HttpServer::new(|| App::new().default_service(web::to(nothing))).bind(("127.0.0.1", port))?;
    actix_web::rt::System::new().block_on(server.run()).context("the empty handler failed")
}

/// Reads the body whole; answers as short as it can be said.
async fn nothing(request: HttpRequest, _: Bytes) -> HttpResponse {
    match *request.method() {
        Method::POST => HttpResponse::Created().insert_header((LOCATION, request.path())).finish(),
        Method::PUT => HttpResponse::NoContent().finish(),
        _ => HttpResponse::Ok().content_type("application/json").body(r#"{"status":"ok"}"#),
    }
}

/// How long the element is that the server pushes for [`MESSAGE`].
pub fn element_size(stack: &Stack, server: &Server) -> usize {
    let path = "/v1/deployments/84e803f7-9562-4d95-b828-25b167aea34b/logs";
    server.send("POST", path, &[test_servers::JSON], MESSAGE.as_bytes());
    eventually("the element is there", || stack.redis.command(&["LINDEX", "logstash", "-1"]).as_str().map(str::len))
}

/// How many elements of `size` bytes a second Redis takes from `redis-benchmark`.
pub fn pushes_per_second(stack: &Stack, connections: usize, seconds: u64, size: usize) -> anyhow::Result<f64> {
    let mut benchmark = Command::new("redis-benchmark");
    // As many as it takes in about that time.
    benchmark.args(["-n", &(seconds * 500_000).to_string(), "-d", &size.to_string(), "-c", &connections.to_string()]);
    benchmark.args(["-p", &stack.redis.port.to_string(), "-P", "64", "-t", "rpush", "--csv"]);
    let output = complete(&mut benchmark, || stack.tidy())?;
    let figure = output.lines().find_map(|line| line.strip_prefix("\"RPUSH\",\"")?.split('"').next());
    figure.context("redis-benchmark gave no figure")?.parse().context("redis-benchmark gave no number")
}

/// How many deployments a second SQLite takes, `batch` in a transaction, as durably as the server has it.
pub fn inserts_per_second(stack: &Stack, batch: usize, seconds: u64) -> anyhow::Result<f64> {
    // It makes the tables.
    let mut server = stack.serve_on(None)?;
    server.kill();
    let mut connection = SqliteConnection::establish(&server.folder.path().join("data.sqlite3").to_string_lossy())?;
    connection.batch_execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16000;")?;
    let (begun, end) = (Instant::now(), Duration::from_secs(seconds));
    let mut inserted = 0;
    while begun.elapsed() < end {
        let insert = dataset::sqlite_deployments(inserted, batch as u64);
        connection.batch_execute(&format!("BEGIN IMMEDIATE; {insert}; COMMIT"))?;
        inserted += batch as u64;
    }
    Ok(inserted as f64 / begun.elapsed().as_secs_f64())
}
