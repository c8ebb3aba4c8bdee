//! What only PostgreSQL has: the language of errors, and generic plans.

use std::sync::Arc;

use diesel::sql_types::BigInt;
use test_servers::{Database as _, Postgres};
use tracker_core::testing::{deployment_report, new_id, server_report};
use tracker_core::{Batch, Change, Group, OutboxEntry};

use super::*;
use crate::database::Database;

/// Commits all that is reported of a deployment, and what that owes.
fn live(connection: &mut Connection) {
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

/// How many rows the transaction has read.
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
fn errors_come_in_a_language_that_is_known() {
    let mut connection = Connection::connect(&Postgres::shared().new_database()).expect("connection");
    connection.batch_execute("SET lc_messages = 'POSIX'").expect("a language");
    Dialect::configure(&mut connection).expect("settings");
    let language = diesel::select(sql::<Text>("current_setting('lc_messages')"));
    assert_eq!(language.get_result::<String>(&mut connection).expect("a setting"), "C");
    // Who may not choose it works nevertheless.
    connection.batch_execute("SET lc_messages = 'POSIX'; CREATE ROLE plain; SET ROLE plain").expect("a role");
    Dialect::configure(&mut connection).expect("settings");
    connection.batch_execute("RESET ROLE; DROP ROLE plain").expect("no role");
}

#[test]
fn what_was_prepared_on_small_tables_does_not_read_all_of_large_ones() {
    let mut connection = Connection::connect(&Postgres::shared().new_database()).expect("connection");
    Dialect::migrate(&mut connection).expect("migration");
    Dialect::configure(&mut connection).expect("settings");
    connection.batch_execute(r#"CREATE INDEX ON "Servers" (deployment_id)"#).expect("an index");
    live(&mut connection);
    connection.batch_execute("ANALYZE").expect("an analysis");
    // PostgreSQL thinks of a plan to keep when it has carried out a statement five times.
    (0..10).for_each(|_| live(&mut connection));
    let grow = r#"
        INSERT INTO "Deployments" (deployment_id, "createdAt", "updatedAt")
            SELECT gen_random_uuid(), now(), now() FROM generate_series(1, 20000);
        INSERT INTO "Servers" (hostname, deployment_id, "createdAt", "updatedAt")
            SELECT 'h', deployment_id, now(), now() FROM "Deployments" ON CONFLICT DO NOTHING;
        INSERT INTO "Outbox" (output, batch_id, owner, is_taken_over, messages, bytes, "createdAt", events)
            SELECT 'o', gen_random_uuid(), 'r', false, 1, 1, now(), '[]' FROM generate_series(1, 20000)"#;
    connection.batch_execute(grow).expect("rows");
    connection.begin_test_transaction().expect("a transaction");
    let before = rows_read(&mut connection);
    live(&mut connection);
    let read = rows_read(&mut connection) - before;
    assert!((1..200).contains(&read), "{read} rows were read");
}
