//! TLS connections to the database.

use serde_json::json;
use test_servers::{Certificates, Database as _, Postgres, eventually};

use crate::support::{full_start, new_id, serve};

#[test]
fn sslmode_verify_full_rejects_a_postgresql_with_the_wrong_certificate_or_name() {
    let (certificates, other) = (Certificates::new(), Certificates::new());
    let mut postgres = Postgres::absent();
    postgres.encrypt(&certificates);
    postgres.start();
    let url = |host: &str, of: &Certificates| {
        let url = postgres.url("postgres").replace("127.0.0.1", host);
        let ca = of.path("ca.pem");
        json!({ "database": { "url": format!("{url}?sslmode=verify-full&sslrootcert={}", ca.display()) } })
    };
    let report =
        |server: &test_servers::Server| server.post(&format!("/v1/deployments/{}", new_id()), &full_start()).status;
    let server = serve(url("localhost", &certificates));
    eventually("/readyz answers 200", || (server.get("/readyz").status == 200).then_some(()));
    assert_eq!(report(&server), 201);
    let query = "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid)
        where application_name <> 'psql' and client_addr is not null";
    assert_eq!(postgres.psql("postgres", query).as_deref(), Ok("t"));

    for (config, expected) in [
        (url("localhost", &other), "certificate verify failed"),
        (url("127.0.0.1", &certificates), "does not match host name"),
    ] {
        let server = serve(config);
        assert_eq!(report(&server), 503);
        let health = server.get("/healthcheck");
        let error = health.json()["tests"]["db"]["error"].as_str().expect("error text").to_owned();
        assert!(error.contains(expected) && !error.contains("a-password"), "{error}");
    }
}
