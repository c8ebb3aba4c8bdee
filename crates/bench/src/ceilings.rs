//! The ceilings: the best that the parts of the service reach without it.

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

use crate::bench::Bench;
use crate::dataset;
use crate::stack::Stack;
use crate::workloads::{MESSAGE, Traffic};
use crate::wrk::complete;

/// The empty handler and the element size, which all rows share.
#[derive(Debug)]
pub struct Ceilings {
    pub empty: EmptyHandler,
    /// The size in bytes of the element that the service pushes for [`MESSAGE`].
    element: usize,
}

impl Ceilings {
    /// Starts the empty handler, and has `server` push an element.
    pub fn start(bench: &Bench, server: &Server) -> anyhow::Result<Self> {
        let path = "/v1/deployments/84e803f7-9562-4d95-b828-25b167aea34b/logs";
        server.send("POST", path, &[test_servers::JSON], MESSAGE.as_bytes());
        let redis = &bench.stack.redis;
        let element = eventually("the element is on the Redis list", || {
            redis.command(&["LINDEX", "logstash", "-1"]).as_str().map(str::len)
        });
        Ok(Self { empty: EmptyHandler::start()?, element })
    }

    /// The throughput of Redis or SQLite without the service, where one of them does most of the work.
    pub fn bare(&self, bench: &Bench, traffic: Traffic, connections: usize) -> anyhow::Result<Option<f64>> {
        let Bench { stack, seconds, .. } = bench;
        match traffic {
            Traffic::Logs(_) => pushes_per_second(stack, connections, *seconds, self.element).map(Some),
            Traffic::Starts if stack.postgres.is_none() => inserts_per_second(stack, connections, *seconds).map(Some),
            _ => Ok(None),
        }
    }
}

/// An HTTP server whose handler does nothing, in a process of its own.
#[derive(Debug)]
pub struct EmptyHandler {
    pub port: u16,
    child: Child,
}

impl EmptyHandler {
    fn start() -> anyhow::Result<Self> {
        let port = free_port();
        let mut command = Command::new(std::env::current_exe()?);
        let child = command.args(["empty", "--port", &port.to_string()]).stdin(Stdio::null()).spawn()?;
        eventually("the empty handler listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Ok(Self { port, child })
    }
}

impl Drop for EmptyHandler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the empty handler on `port`, with as many workers as the service has.
pub fn serve_nothing(port: u16) -> anyhow::Result<()> {
    let server = HttpServer::new(|| App::new().default_service(web::to(nothing))).bind(("127.0.0.1", port))?;
    actix_web::rt::System::new().block_on(server.run()).context("the empty handler failed")
}

/// Reads the whole body, and gives the shortest response that wrk's script accepts.
async fn nothing(request: HttpRequest, _: Bytes) -> HttpResponse {
    match *request.method() {
        Method::POST => HttpResponse::Created().insert_header((LOCATION, request.path())).finish(),
        Method::PUT => HttpResponse::NoContent().finish(),
        _ => HttpResponse::Ok().content_type("application/json").body(r#"{"status":"ok"}"#),
    }
}

/// Elements of `size` bytes that `redis-benchmark` pushes to Redis per second.
fn pushes_per_second(stack: &Stack, connections: usize, seconds: u64, size: usize) -> anyhow::Result<f64> {
    let mut benchmark = Command::new("redis-benchmark");
    // redis-benchmark takes a count, not a time; this count takes roughly `seconds`.
    benchmark.args(["-n", &(seconds * 500_000).to_string(), "-d", &size.to_string(), "-c", &connections.to_string()]);
    benchmark.args(["-p", &stack.redis.port.to_string(), "-P", "64", "-t", "rpush", "--csv"]);
    let output = complete(&mut benchmark, || stack.discard_output())?;
    let rate = output.lines().find_map(|line| line.strip_prefix("\"RPUSH\",\"")?.split('"').next());
    rate.context("redis-benchmark printed no rate")?.parse().context("redis-benchmark printed no number")
}

/// Deployments that SQLite inserts per second, `batch` in a transaction, as durably as the service does.
fn inserts_per_second(stack: &Stack, batch: usize, seconds: u64) -> anyhow::Result<f64> {
    // The server creates the tables.
    let mut server = stack.serve(None)?;
    server.kill();
    let mut connection = SqliteConnection::establish(&server.folder.path().join("data.sqlite3").to_string_lossy())?;
    connection.batch_execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16000;")?;
    let (start, limit) = (Instant::now(), Duration::from_secs(seconds));
    let mut inserted = 0;
    while start.elapsed() < limit {
        let insert = dataset::sqlite_deployments(inserted, batch as u64);
        connection.batch_execute(&format!("BEGIN IMMEDIATE; {insert}; COMMIT"))?;
        inserted += batch as u64;
    }
    Ok(inserted as f64 / start.elapsed().as_secs_f64())
}
