//! Query plans of SQLite.

use std::sync::{Arc, Mutex};

use diesel::connection::InstrumentationEvent;
use diesel::sql_types::Text;
use tracker_core::{CreatedCursor, DeploymentId, Hostname, Page, time};

use super::*;
use crate::database::Database;

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

/// The steps of SQLite's plans for the statements that `job` executes.
fn plans(job: impl FnOnce(&mut Connection)) -> Vec<String> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("db");
    let mut connection = Connection::connect(path.to_str().expect("UTF-8")).expect("new file");
    Dialect::migrate(&mut connection).expect("migration");
    let statements = Arc::new(Mutex::new(Vec::new()));
    let sent = statements.clone();
    connection.set_instrumentation(move |event: InstrumentationEvent<'_>| {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            sent.lock().expect("no panic").push(query.to_string());
        }
    });
    job(&mut connection);
    let statements: Vec<_> = statements.lock().expect("no panic").drain(..).collect();
    let steps = statements.into_iter().flat_map(|statement| {
        let plan = diesel::sql_query(format!("EXPLAIN QUERY PLAN {statement}"));
        plan.load::<Step>(&mut connection).expect("plan")
    });
    steps.map(|step| step.detail).collect()
}

#[test]
fn servers_are_looked_up_by_their_deployments() {
    let ids = [Uuid::nil()];
    let plans = plans(|connection| {
        let has_id = Connection::has_id(servers::deployment_id, &ids);
        servers::table.filter(has_id).load::<ServerRow>(connection).expect("list");
        connection.find_servers(ids[0]).expect("list");
    });
    let searches = plans.iter().filter(|step| step.contains("SEARCH Servers USING INDEX Servers_of_deployment"));
    assert_eq!(searches.count(), 3, "{plans:?}");
    assert!(!plans.iter().any(|step| step.starts_with("SCAN Servers")), "{plans:?}");
}

#[test]
fn lists_are_read_in_index_order() {
    let cursor = CreatedCursor { created_at: time::now(), deployment_id: DeploymentId(Uuid::nil()) };
    let hostname = Hostname::stored("h");
    for page in [Page { offset: 9, ..Page::first(5) }, Page { after: Some(cursor), ..Page::first(5) }] {
        let plans = plans(|connection| {
            connection.deployments(&page).expect("list");
            connection.servers(&hostname, &page).expect("list");
        });
        for index in ["Deployments_newest", "Servers_newest"] {
            assert!(plans.iter().any(|step| step.contains(index)), "{index}: {plans:?}");
        }
        assert!(!plans.iter().any(|step| step.contains("TEMP B-TREE")), "rows are sorted: {plans:?}");
    }
}

#[test]
fn bounds_in_the_index_leave_out_rows_whose_time_is_not_text() {
    let mut connection = Connection::connect(":memory:").expect("database");
    Dialect::migrate(&mut connection).expect("migration");
    let times = ["'2026-01-02 03:04:05.678 +00:00'", "0", "-1.5", "9e300", "'2025'", "x''", "x'32303236'"];
    for (number, time) in times.iter().enumerate() {
        let id = Uuid::from_u128(number as u128);
        let rows = format!(
            r#"INSERT INTO "Deployments" (deployment_id, "createdAt", "updatedAt") VALUES ('{id}', {time}, '');
            INSERT INTO "Servers" (hostname, deployment_id, "createdAt", "updatedAt") VALUES ('h', '{id}', {time}, '')"#
        );
        connection.batch_execute(&rows).expect("rows");
    }
    let later = CreatedCursor { created_at: time::now(), deployment_id: DeploymentId(Uuid::max()) };
    let hostname = Hostname::stored("h");
    for after in [None, Some(later)] {
        // One more row would be the wrong one.
        let page = Page { after, ..Page::first(1) };
        let deployments = connection.deployments(&page).expect("list").records;
        let servers = connection.servers(&hostname, &page).expect("list").records;
        assert_eq!(deployments.iter().map(|found| found.deployment.id.0).collect::<Vec<_>>(), [Uuid::nil()]);
        assert_eq!(servers.iter().map(|found| found.deployment_id.0).collect::<Vec<_>>(), [Uuid::nil()]);
        let plans = plans(|connection| {
            connection.deployments(&page).expect("list");
            connection.servers(&hostname, &page).expect("list");
        });
        for bounds in ["Deployments_newest (createdAt>? AND", "Servers_newest (hostname=? AND createdAt>? AND"] {
            assert!(plans.iter().any(|step| step.contains(bounds)), "{bounds}: {plans:?}");
        }
    }
}
