//! TLS towards the database.

use serde_json::json;
use test_servers::{Certificates, Database as _, Postgres, eventually};

use crate::support::{full_start, new_id, serve};

#[test]
fn postgresql_must_be_who_it_says_where_that_is_asked_for() {
    let (certificates, stranger) = (Certificates::new(), Certificates::new());
    let mut postgres = Postgres::absent();
    postgres.encrypt(&certificates);
    postgres.start();
    let url = |host: &str, of: &Certificates| {
        let place = postgres.url("postgres").replace("127.0.0.1", host);
        json!({ "database": { "url": format!("{place}?sslmode=verify-full&sslrootcert={}", of.path("ca.pem").display()) } })
    };
    let report =
        |server: &test_servers::Server| server.post(&format!("/v1/deployments/{}", new_id()), &full_start()).status;
    let server = serve(url("localhost", &certificates));
    eventually("it is ready", || (server.get("/readyz").status == 200).then_some(()));
    assert_eq!(report(&server), 201);
    let ciphers = postgres.psql("postgres", "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) where application_name <> 'psql' and client_addr is not null");
    assert_eq!(ciphers.as_deref(), Ok("t"));

    for (config, says) in [
        (url("localhost", &stranger), "certificate verify failed"),
        (url("127.0.0.1", &certificates), "does not match host name"),
    ] {
        let server = serve(config);
        assert_eq!(report(&server), 503);
        let health = server.get("/healthcheck");
        let error = health.json()["tests"]["db"]["error"].as_str().expect("an error").to_owned();
        assert!(error.contains(says) && !error.contains("a-password"), "{error}");
    }
}
