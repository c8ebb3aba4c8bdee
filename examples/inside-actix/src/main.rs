//! An actix-web application with a page of its own, and the API of a deployment tracker below `/tracker`. Run it with
//! `ENGINE_TOKEN=a DASHBOARD_TOKEN=b cargo run -p inside-actix 127.0.0.1:8080 data.sqlite3`.

use std::error::Error;
use std::time::Duration;

use actix_web::{App, HttpServer, Responder, web};
use tracker_core::Tracker;
use tracker_server::{Access, Api, Scope, Settings, TokenConfig, Tokens};
use tracker_sql::{DatabaseUrl, SqlStore, SqlStoreOptions};

/// The grace period for requests in flight, and then for pending events.
const GRACE_PERIOD: Duration = Duration::from_secs(5);

async fn home() -> impl Responder {
    web::Html::new(r#"<a href="/tracker/docs/">The deployment tracker</a>"#)
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The crates of the tracker log failed deliveries and queries as warnings. `env_logger::init()` would hide them.
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(database)) = (arguments.next(), arguments.next()) else {
        return Err("usage: inside-actix ADDRESS DATABASE".into());
    };
    let access = Access::open();
    access.restrict(Tokens::new(&[
        TokenConfig::new("engine", [Scope::Write]).secret_env("ENGINE_TOKEN"),
        TokenConfig::new("dashboard", [Scope::Read]).secret_env("DASHBOARD_TOKEN"),
    ])?);

    let store = SqlStore::open(DatabaseUrl::parse(&format!("sqlite:{database}"))?, SqlStoreOptions::default())?;
    let tracker = Tracker::builder(store).start();
    let api = Api::new(Settings::default().access(access), tracker.clone());
    let on_connect = api.on_connect();
    let application = move || App::new().route("/", web::get().to(home)).service(api.scope("/tracker"));
    let server =
        HttpServer::new(application).on_connect(on_connect).shutdown_timeout(GRACE_PERIOD.as_secs()).bind(address)?;
    for address in server.addrs() {
        println!("listening on http://{address}");
    }
    // Returns after SIGINT or SIGTERM, when no request is in flight. Only then may the tracker stop.
    let served = server.run().await;
    if !tracker.shutdown(GRACE_PERIOD).await {
        eprintln!("the tracker did not end in time");
    }
    Ok(served?)
}
