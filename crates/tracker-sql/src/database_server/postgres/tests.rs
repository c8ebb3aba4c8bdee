//! The language of errors, and the plans of prepared statements.

use std::sync::Arc;

use diesel::sql_types::BigInt;
use test_servers::{Database as _, Postgres};
use tracker_core::testing::{deployment_report, new_id, server_report};
use tracker_core::{Batch, Change, Group, OutboxEntry};

use super::*;
use crate::database::Database;

/// Commits the start and finish of a deployment and a server, and enqueues and acknowledges a batch.
fn run_deployment(connection: &mut Connection) {
    let (id, batch) = (new_id(), Arc::new(Batch::new(Vec::new())));
    let start = vec![
        Change::StartDeployment(deployment_report(id, "{}")),
        Change::StartServer(server_report(id, r#"{"hostname": "h"}"#)),
        Change::Enqueue(OutboxEntry { output: "o".into(), batch: batch.clone() }),
    ];
    let finish = vec![
        Change::FinishServer(server_report(id, r#"{"hostname": "h", "elapsed_seconds": 1}"#)),
        Change::FinishDeployment(deployment_report(id, r#"{"result": "success", "assert_empty_server_result": true}"#)),
        Change::Acknowledge { output: "o".into(), batches: vec![batch.id] },
    ];
    for changes in [start, finish] {
        connection.commit("r", &Group::new(changes, Arc::new([]))).expect("commit");
    }
}

/// Counts the rows that the transaction has read.
fn rows_read(connection: &mut Connection) -> i64 {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        read: i64,
    }
    let read = "SELECT sum(seq_tup_read + idx_tup_fetch)::bigint AS read FROM pg_stat_xact_user_tables";
    diesel::sql_query(read).get_result::<Row>(connection).expect("statistics").read
}

#[test]
fn errors_are_in_english_where_the_user_may_choose_the_language() {
    let mut connection = Connection::connect(&Postgres::shared().new_database()).expect("connection");
    connection.batch_execute("SET lc_messages = 'POSIX'").expect("known language");
    Dialect::configure(&mut connection).expect("settings");
    let language = diesel::select(sql::<Text>("current_setting('lc_messages')"));
    assert_eq!(language.get_result::<String>(&mut connection).expect("setting"), "C");
    // A user who may not change the language can still use the connection.
    connection.batch_execute("SET lc_messages = 'POSIX'; CREATE ROLE plain; SET ROLE plain").expect("role");
    Dialect::configure(&mut connection).expect("settings");
    connection.batch_execute("RESET ROLE; DROP ROLE plain").expect("role");
}

#[test]
fn statements_prepared_on_small_tables_do_not_scan_large_ones() {
    let mut connection = Connection::connect(&Postgres::shared().new_database()).expect("connection");
    Dialect::migrate(&mut connection).expect("migration");
    Dialect::configure(&mut connection).expect("settings");
    connection.batch_execute(r#"CREATE INDEX ON "Servers" (deployment_id)"#).expect("index");
    run_deployment(&mut connection);
    connection.batch_execute("ANALYZE").expect("statistics");
    // PostgreSQL may choose a generic plan after five executions.
    (0..10).for_each(|_| run_deployment(&mut connection));
    let grow = r#"
        INSERT INTO "Deployments" (deployment_id, "createdAt", "updatedAt")
            SELECT gen_random_uuid(), now(), now() FROM generate_series(1, 20000);
        INSERT INTO "Servers" (hostname, deployment_id, "createdAt", "updatedAt")
            SELECT 'h', deployment_id, now(), now() FROM "Deployments" ON CONFLICT DO NOTHING;
        INSERT INTO "Outbox" (output, batch_id, owner, is_taken_over, messages, bytes, "createdAt", events)
            SELECT 'o', gen_random_uuid(), 'r', false, 1, 1, now(), '[]' FROM generate_series(1, 20000)"#;
    connection.batch_execute(grow).expect("rows");
    connection.begin_test_transaction().expect("transaction");
    let before = rows_read(&mut connection);
    run_deployment(&mut connection);
    let read = rows_read(&mut connection) - before;
    assert!((1..200).contains(&read), "{read} rows were read");
}
