//! What is alike on the databases that several servers share. This file is compiled once for each, as `queries.rs` is.

use diesel::connection::Connection as _;
use diesel::dsl::EqAny;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use diesel::sql_types::Text;
use tracker_core::time::Timestamp;
use tracker_core::{Backlog, Decision, Deleted, Deployment, EventKind, Group, LogDeploymentId, Records, Server, chain};
use uuid::Uuid;

use super::{
    ADOPT, CLAIM, Connection, DEAD_INSTANCE, FORGET_DEAD, HEARTBEAT, REGISTER_OWNERS, check_row_size, excluded, key,
    locked, queries,
};
use crate::error::Error;
use crate::liveness::Liveness;
use crate::rows::{DeploymentRow, LogRow, OutboxRow, ServerRow, Size};
use crate::schema::{SqlUuid, deployments, logs, outbox, servers};
use crate::values::Id;

/// How often a group is decided anew because another replica was faster.
const ATTEMPTS: usize = 5;

/// Rows in one statement: both take 65,535 values, and the widest row has 14.
const ROWS: usize = 4_000;

/// After how many bytes of rows a statement ends. MySQL takes 16 MiB or more in one, and the widest row that is no
/// message has 0.4.
const BYTES: usize = 2 << 20;

/// A server keeps everything in one place.
#[expect(clippy::unnecessary_wraps, reason = "every database has this function")]
pub fn close(_: &mut Connection) -> Result<(), Error> {
    Ok(())
}

/// A server sees to its own log.
#[expect(clippy::unnecessary_wraps, reason = "every database has this function")]
pub fn write_back(_: &mut Connection) -> Result<(), Error> {
    Ok(())
}

/// To begin one would be a round trip more.
#[expect(clippy::unnecessary_wraps, reason = "every database has this function")]
pub fn begin_snapshot(_: &mut Connection) -> Result<(), Error> {
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "every database has this function")]
pub fn end_snapshot(_: &mut Connection) -> Result<(), Error> {
    Ok(())
}

/// An id as it stands in the list of deployments.
#[expect(clippy::unnecessary_wraps, reason = "every database has this function")]
pub fn spelled_in_list(_: &mut Connection, id: Uuid) -> QueryResult<Id> {
    Ok(Id(id))
}

/// An id as it stands in the list of a host's records.
#[expect(clippy::unnecessary_wraps, reason = "every database has this function")]
pub fn spelled_on_host(_: &mut Connection, _: &str, id: Uuid) -> QueryResult<Id> {
    Ok(Id(id))
}

/// Whether `column` has one of the ids.
pub fn is_any<C>(column: C, ids: &[Uuid]) -> EqAny<C, Vec<Id>>
where
    C: ExpressionMethods + Expression<SqlType = SqlUuid>,
{
    column.eq_any(ids.iter().copied().map(Id).collect::<Vec<_>>())
}

/// The record of a deployment.
pub fn find(connection: &mut Connection, id: Uuid) -> QueryResult<Option<DeploymentRow<'static>>> {
    deployments::table.find(Id(id)).first(connection).optional()
}

/// The servers of a deployment.
pub fn servers_of(connection: &mut Connection, id: Uuid) -> QueryResult<Vec<ServerRow<'static>>> {
    servers::table.filter(servers::deployment_id.eq(Id(id))).load(connection)
}

pub fn commit(connection: &mut Connection, owner: &str, group: &Group) -> Result<Decision, Error> {
    let mut attempts = 1;
    loop {
        let mut is_decided = false;
        let committed = connection.transaction(|connection| {
            let mut decision = group.decide(read(connection, group)?);
            write(connection, owner, &mut decision)?;
            is_decided = true;
            Ok(decision)
        });
        match committed.map_err(|error: Error| error.of_transaction(is_decided)) {
            Err(error) if error.is_race() && attempts < ATTEMPTS => attempts += 1,
            committed => return committed,
        }
    }
}

pub fn delete_older(
    connection: &mut Connection,
    names: &[LogDeploymentId],
    before: Timestamp,
    limit: u32,
) -> Result<Deleted, Error> {
    connection.transaction(|connection| queries::delete_older(connection, names, before, limit))
}

/// Reads the records and locks them against other replicas, in the same order everywhere.
fn read(connection: &mut Connection, group: &Group) -> Result<Records, Error> {
    let mut records = Records::default();
    let ids: Vec<_> = group.deployments().iter().map(|id| Id(id.0)).collect();
    if !ids.is_empty() {
        let rows = deployments::table
            .filter(deployments::deployment_id.eq_any(ids))
            .order(deployments::deployment_id)
            .for_update()
            .load::<DeploymentRow>(connection)?;
        records.deployments.extend(rows.into_iter().map(Deployment::from));
    }
    let keys = group.servers();
    if !keys.is_empty() {
        records.servers.extend(locked(connection, &keys)?.into_iter().map(Server::from));
    }
    let deployments_with_all_servers: Vec<_> = group.deployments_with_all_servers().iter().map(|id| Id(id.0)).collect();
    if !deployments_with_all_servers.is_empty() {
        let rows = servers::table
            .filter(servers::deployment_id.eq_any(deployments_with_all_servers))
            .order((servers::deployment_id, servers::hostname))
            .for_update()
            .load::<ServerRow>(connection)?;
        records.servers.extend(rows.into_iter().map(Server::from));
    }
    Ok(records)
}

fn write(connection: &mut Connection, owner: &str, decision: &mut Decision) -> Result<(), Error> {
    let rows: Vec<_> = decision.new_deployments.iter().map(DeploymentRow::from).collect();
    for rows in parts(connection, &rows)? {
        diesel::insert_into(deployments::table).values(rows).execute(connection).map_err(or_race)?;
    }
    let rows: Vec<_> = decision.changed_deployments.iter().map(DeploymentRow::from).collect();
    for rows in parts(connection, &rows)? {
        use deployments::*;
        diesel::insert_into(table)
            .values(rows)
            .on_conflict(key(table))
            .do_update()
            .set((
                engine.eq(excluded(engine)),
                engine_version.eq(excluded(engine_version)),
                host.eq(excluded(host)),
                user.eq(excluded(user)),
                environment.eq(excluded(environment)),
                package.eq(excluded(package)),
                package_url.eq(excluded(package_url)),
                version.eq(excluded(version)),
                arguments.eq(excluded(arguments)),
                result.eq(excluded(result)),
                elapsed_seconds.eq(excluded(elapsed_seconds)),
                updated_at.eq(excluded(updated_at)),
            ))
            .execute(connection)?;
    }
    let rows: Vec<_> = decision.new_servers.iter().map(ServerRow::from).collect();
    for rows in parts(connection, &rows)? {
        diesel::insert_into(servers::table).values(rows).execute(connection).map_err(or_race)?;
    }
    let rows: Vec<_> = decision.changed_servers.iter().map(ServerRow::from).collect();
    for rows in parts(connection, &rows)? {
        use servers::*;
        diesel::insert_into(table)
            .values(rows)
            .on_conflict(key(table))
            .do_update()
            .set((
                ip_address.eq(excluded(ip_address)),
                result.eq(excluded(result)),
                elapsed_seconds.eq(excluded(elapsed_seconds)),
                updated_at.eq(excluded(updated_at)),
            ))
            .execute(connection)?;
    }
    let kept = decision.logs.iter().filter_map(|event| match &event.kind {
        EventKind::Logged(batch) => Some(LogRow::of(batch)),
        _ => None,
    });
    let rows: Vec<_> = kept.flatten().collect();
    for rows in parts(connection, &rows)? {
        diesel::insert_into(logs::table).values(rows).on_conflict(key(logs::table)).do_nothing().execute(connection)?;
    }
    let rows = decision.pending.iter().map(|pending| OutboxRow::new(pending, owner)).collect::<Result<Vec<_>, _>>();
    let rows = rows.map_err(Error::Content)?;
    for rows in parts(connection, &rows)? {
        diesel::insert_into(outbox::table)
            .values(rows)
            .on_conflict(key(outbox::table))
            .do_nothing()
            .execute(connection)?;
    }
    queries::acknowledge(connection, owner, decision)
}

/// Tells the other replicas that this one is there, counts, and takes over some of what one that is gone has left.
pub fn backlog(connection: &mut Connection, owner: &str, output: &str, liveness: &Liveness) -> Result<Backlog, Error> {
    diesel::sql_query(FORGET_DEAD).execute(connection)?;
    diesel::sql_query(HEARTBEAT).bind::<Text, _>(owner).execute(connection)?;
    liveness.note();
    let backlog = queries::backlog(connection, owner, output)?;
    if liveness.should_adopt(output) {
        match adopt(connection, owner, output) {
            Ok(None) => {}
            Ok(Some((gone, batches))) => {
                liveness.adopt_again_soon(output);
                log::info!(
                    "took over {batches} batches for output `{output}` from the replica `{gone}`, which is gone"
                );
            }
            Err(error) => log::warn!("cannot take over what other replicas owe: {}", chain(&error)),
        }
    }
    Ok(backlog)
}

/// Takes over the oldest of what a replica owes that is gone: from whom, and how many batches. In small steps, each of which is
/// over at once: that replica may come back, and this one must go on saying that it is there. One alone takes from it, so
/// that one alone delivers what it owes, in order.
fn adopt(connection: &mut Connection, owner: &str, output: &str) -> Result<Option<(String, usize)>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        instance: String,
    }
    diesel::sql_query(REGISTER_OWNERS).bind::<Text, _>(output).bind::<Text, _>(owner).execute(connection)?;
    let gone = connection.transaction(|connection| {
        let gone =
            diesel::sql_query(DEAD_INSTANCE).bind::<Text, _>(owner).bind::<Text, _>(owner).bind::<Text, _>(output);
        let gone = gone.get_result::<Row>(connection).optional()?;
        if let Some(Row { instance }) = &gone {
            diesel::sql_query(CLAIM).bind::<Text, _>(owner).bind::<Text, _>(instance).execute(connection)?;
        }
        Ok::<_, QueryError>(gone)
    })?;
    let Some(Row { instance }) = gone else { return Ok(None) };
    let part = diesel::sql_query(ADOPT).bind::<Text, _>(owner).bind::<Text, _>(output);
    let batches = part.bind::<Text, _>(&instance).execute(connection)?;
    Ok(Some((instance, batches)))
}

/// Parts of `rows` that each fit into a statement.
fn parts<'a, T: Size>(
    connection: &mut Connection,
    rows: &'a [T],
) -> Result<impl Iterator<Item = &'a [T]> + use<'a, T>, Error> {
    if let Some(size) = rows.iter().map(Size::size).filter(|size| *size > BYTES).max() {
        check_row_size(connection, size)?;
    }
    let (mut count, mut bytes) = (0, 0);
    Ok(rows.chunk_by(move |row, _| {
        (count, bytes) = (count + 1, bytes + row.size());
        let is_open = count < ROWS && bytes < BYTES;
        if !is_open {
            (count, bytes) = (0, 0);
        }
        is_open
    }))
}

/// A duplicate is a record that another replica has inserted since it was read.
fn or_race(error: QueryError) -> Error {
    match error {
        QueryError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => Error::Race,
        error => Error::Query(error),
    }
}
