//! MariaDB and MySQL: locks, limits and TLS.

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, MysqlConnection};
use test_servers::{Database as _, Mariadb};
use tracker_core::testing::{logged, new_id, server_report};
use tracker_core::{Change, Outcome, Store as _, StoreError};
use tracker_sql::DatabaseUrl;

use super::{commit, open, try_commit};

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_was_killed_before_its_version_was_recorded_runs_again() {
    let server = Mariadb::shared();
    let url = server.new_database();
    open(&url, "first").check(0, 0).await.expect("the tables exist");
    let mut connection = MysqlConnection::establish(&url).expect("MariaDB is running");
    connection.batch_execute("DELETE FROM __diesel_schema_migrations").expect("the table exists");
    open(&url, "second").check(0, 0).await.expect("every migration runs again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_waits_only_for_locks_on_its_own_record() {
    let url = Mariadb::shared().new_database();
    let store = open(&url, "only");
    let id = new_id();
    let report = async |body: &str| {
        try_commit(&store, vec![Change::StartServer(server_report(id, body))]).await.map(|decision| decision.outcomes)
    };
    assert_eq!(report(r#"{"hostname":"a"}"#).await.expect("commit"), [Outcome::Recorded]);
    assert_eq!(report(r#"{"hostname":"c"}"#).await.expect("commit"), [Outcome::Recorded]);
    let mut other = MysqlConnection::establish(&url).expect("connection");
    let hold = "BEGIN; SELECT * FROM Servers WHERE hostname IN ('a', 'c') FOR UPDATE";
    other.batch_execute(&format!("SET TRANSACTION ISOLATION LEVEL READ COMMITTED; {hold}")).expect("locks");
    assert_eq!(report(r#"{"hostname":"b"}"#).await.expect("not locked"), [Outcome::Recorded]);
    assert_eq!(report(r#"{"hostname":"b"}"#).await.expect("not locked"), [Outcome::Unchanged]);
    assert!(matches!(report(r#"{"hostname":"a"}"#).await, Err(StoreError::Unavailable(_))), "the record is locked");
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_record_different_servers_of_one_deployment_do_not_deadlock() {
    let mut mariadb = Mariadb::absent();
    mariadb.start();
    let url = mariadb.new_database();
    let ids: Vec<_> = (0..50).map(|_| new_id()).collect();
    let instance = async |name: &str| {
        let store = open(&url, name);
        for round in 0..20 {
            let body = format!(r#"{{"hostname":"{name} {round}"}}"#);
            commit(&store, ids.iter().map(|&id| Change::StartServer(server_report(id, &body))).collect()).await;
        }
    };
    tokio::join!(instance("a"), instance("b"), instance("c"), instance("d"));
    let deadlocks = mariadb.query("test", "SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'").expect("query");
    assert_eq!(deadlocks, "Innodb_deadlocks\t0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_above_max_allowed_packet_is_rejected_and_the_next_is_recorded() {
    let store = open(&Mariadb::shared().new_database(), "only");
    let keep = async |size: usize| {
        let event = logged(&format!(r#"{{"message":"{}"}}"#, "x".repeat(size)));
        try_commit(&store, vec![Change::KeepLogs(vec![event])]).await.map(|decision| decision.outcomes)
    };
    let error = keep(16 << 20).await.expect_err("larger than `max_allowed_packet`");
    assert!(matches!(error, StoreError::Rejected { .. }), "{error:?}");
    assert!(matches!(keep(200 << 20).await, Err(StoreError::Rejected { .. })));
    assert_eq!(keep(10 << 20).await.expect("smaller than `max_allowed_packet`"), [Outcome::Recorded]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_requires_tls_never_connects_without_it() {
    let url = Mariadb::shared().new_database();
    let error = DatabaseUrl::parse(&format!("{url}?ssl_mode=required")).expect_err("would be ignored");
    assert!(error.to_string().contains("ssl_ca"), "{error}");
    let store = open(&format!("{url}?ssl_ca=/etc/ssl/certs/ca-certificates.crt"), "only");
    let error = store.check(0, 0).await.expect_err("the database server has no certificate");
    assert!(format!("{error:?}").contains("TLS"), "{error:?}");
}

#[test]
fn a_url_must_name_a_database_and_hides_its_password() {
    let url = DatabaseUrl::parse("mariadb://me:secret@db:3307/name?unix_socket=/s").expect("valid URL");
    assert_eq!(url.to_string(), "mysql://db:3307/name");
    for url in ["mysql://me@db", "mysql://me@db/", "mysql://me@db/?unix_socket=/s", "mysql:name"] {
        assert!(DatabaseUrl::parse(url).is_err(), "{url}");
    }
}
