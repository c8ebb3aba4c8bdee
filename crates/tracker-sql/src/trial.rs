//! Finds out whether a report or the database is at fault for an unexpected error. Each database's module includes this
//! file, as it does `queries.rs`.

use std::sync::Arc;

use diesel::connection::Connection as _;
use diesel::prelude::*;
use serde_json::value::RawValue;
use tracker_core::{
    Batch, Change, DeploymentId, DeploymentReport, Event, EventKind, Group, LogBatch, LogDeploymentId, OutboxEntry,
    ServerReport, chain, time,
};

use super::Connection;
use crate::dialect::{Dialect, RecordAccess};
use crate::error::DbError;
use crate::rows::OutboxRow;
use crate::schema::{deployments, logs, outbox, servers};
use crate::values::Id;

/// Bodies of reports without and with optional fields. A trigger may require fields, and another may forbid values.
const BODIES: [&str; 2] = [
    r#"{"hostname":"deployment-tracker-trial","message":"trial"}"#,
    r#"{"hostname":"deployment-tracker-trial","message":"trial","engine":"trial","engine_version":"trial",
        "host":"trial","user":"trial","environment":"trial","package":"trial","package_url":"trial","version":"trial",
        "arguments":"trial","ip_address":"127.0.0.1"}"#,
];

/// The minimum size of the row in the outbox, in bytes. Smaller rows may fit on a full disk.
const MIN_BYTES: usize = 64 << 10;

/// Whether the database can read the records of `group`, and accepts another report on this connection, of every kind
/// and of at least the size of the group. Removes the trial records in the same transaction, so that no other connection
/// sees them.
pub fn passes(connection: &mut Connection, owner: &str, group: &Group) -> bool {
    let succeeds = |tried: Result<(), DbError>| {
        tried.inspect_err(|error| log::debug!("a trial report failed: {}", chain(error))).is_ok()
    };
    // No rule of a database applies to reading, so a record that cannot be read is damaged.
    let is_readable = succeeds(connection.transaction(|connection| connection.read(group).map(drop)));
    let bytes = group.size().max(MIN_BYTES);
    is_readable
        && BODIES.iter().any(|body| {
            let body: &RawValue = serde_json::from_str(body).expect("the bodies above are JSON");
            succeeds(connection.transaction(|connection| try_report(connection, owner, body, bytes)))
        })
}

fn try_report(connection: &mut Connection, owner: &str, body: &RawValue, bytes: usize) -> Result<(), DbError> {
    // `Uuid::now_v7` panics if the clock is before 1970.
    let batch = Batch::new(Vec::new());
    let id = batch.id;
    let read = |error| format!("the bodies above are valid reports: {error:?}");
    let deployment = DeploymentReport::read(DeploymentId(id), body).map_err(read).expect("valid");
    let server = ServerReport::read(DeploymentId(id), body).map_err(read).expect("valid");
    let name = LogDeploymentId::from(DeploymentId(id));
    let messages = LogBatch::read(name.clone(), body).map_err(read).expect("valid");
    let message = messages.messages[0].event_id;
    let event = Event { id, at: time::now(), reporter: None, kind: EventKind::Logged(messages) };
    let pending = OutboxEntry { output: String::new(), batch: Arc::new(batch) };
    let mut finish = deployment.clone();
    finish.fields.elapsed_seconds = Some(1);
    let mut server_finish = server.clone();
    server_finish.fields.elapsed_seconds = Some(1);
    let reports = [
        vec![Change::StartDeployment(deployment), Change::StartServer(server), Change::KeepLogs(vec![Arc::new(event)])],
        vec![Change::FinishDeployment(finish), Change::FinishServer(server_finish)],
    ];
    for changes in reports {
        connection.apply(owner, &Group::new(changes, Arc::new([])))?;
    }
    let row = OutboxRow::new(&pending, owner).map_err(DbError::Content)?.padded(bytes);
    diesel::insert_into(outbox::table).values(row).execute(connection)?;
    diesel::delete(deployments::table.filter(deployments::deployment_id.eq(Id(id)))).execute(connection)?;
    diesel::delete(servers::table.filter(servers::deployment_id.eq(Id(id)))).execute(connection)?;
    let is_own = Connection::is_log_of(name.as_str());
    diesel::delete(logs::table.filter(logs::event_id.eq(Id(message))).filter(is_own)).execute(connection)?;
    diesel::delete(outbox::table.find(("", Id(pending.batch.id)))).execute(connection)?;
    Ok(())
}
