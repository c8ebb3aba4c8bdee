//! How database servers find and change records. The module of each database server includes this file, as it does
//! `queries.rs`.
//!
//! Several instances may write at the same time. A transaction locks the records that it decides on, in the same order
//! on every instance, and starts over if another instance has inserted one of them.

use diesel::connection::Connection as _;
use diesel::dsl::{EqAny, sql};
use diesel::expression::{SqlLiteral, TypedExpressionType};
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use diesel::sql_types::Text;
use tracker_core::time::Timestamp;
use tracker_core::{
    Backlog, CreatedCursor, Decision, Deleted, DeploymentFields, EventKind, FieldClue, Group, LogDeploymentId, Records,
    RejectReason, Server, ServerFields, chain,
};
use uuid::Uuid;

use super::{Connection, queries};
use crate::database_server::DatabaseServer;
use crate::dialect::{Dialect, RecordAccess};
use crate::error::DbError;
use crate::fields::with_text_fields;
use crate::liveness::Liveness;
use crate::rows::{DeploymentRow, NewDeployment, NewLog, NewServer, OutboxRow, ServerRow, Size};
use crate::schema::{SqlUuid, deployments, logs, outbox, servers};
use crate::values::{Id, Time};

/// The maximum number of attempts to commit a group while other instances change the same records.
const MAX_ATTEMPTS: usize = 5;

/// Maximum rows in a statement: both databases accept 65,535 parameters, and the widest row has 14.
const MAX_ROWS: usize = 4_000;

/// A statement ends with the row that reaches this size in bytes. MySQL accepts 16 MiB or more by default. Only rows of
/// log messages and of the outbox can be larger, and [`DatabaseServer::check_row_size`] checks these.
const MAX_BYTES: usize = 2 << 20;

/// Which columns of a row change: that of each text field, and those of `result` and `elapsed_seconds`.
macro_rules! changed_columns {
    ($fields:expr => $($column:ident)*) => { [$($fields.$column.is_some()),*] };
}

/// Assigns to each column that changes its value in the row that an upsert could not insert.
macro_rules! replace {
    ($fields:expr => $($column:ident)*) => {
        ($($fields.$column.is_some().then(|| $column.eq(proposed($column))),)* updated_at.eq(proposed(updated_at)))
    };
}

impl RecordAccess for Connection {
    type HasId<C: Expression<SqlType = SqlUuid>> = EqAny<C, Vec<Id>>;
    type CursorTime = Time;
    type CursorId = Id;

    fn commit(&mut self, owner: &str, group: &Group) -> Result<Decision, DbError> {
        let mut attempts = 1;
        let mut json = Json::Utf8;
        loop {
            let mut is_decided = false;
            let committed = self.transaction(|connection| {
                let decision = apply(connection, owner, group, json)?;
                is_decided = true;
                Ok(decision)
            });
            let classify = |error: DbError| error.classified(Self::ERRORS).of_transaction(is_decided);
            match committed.map_err(classify) {
                Err(DbError::Race(_)) if attempts < MAX_ATTEMPTS => attempts += 1,
                // Each attempt has read the records again, so this key is not one of theirs: a trigger writes it.
                Err(DbError::Race(cause @ QueryError::DatabaseError(DatabaseErrorKind::UniqueViolation, _))) => {
                    return Err(DbError::Rejected {
                        reason: RejectReason::Constraint,
                        clue: FieldClue::Nothing,
                        cause,
                    });
                }
                Err(DbError::Rejected { reason: RejectReason::Encoding, .. }) if json == Json::Utf8 => {
                    json = Json::Ascii
                }
                committed => return committed,
            }
        }
    }

    fn read(&mut self, group: &Group) -> Result<Records, DbError> {
        read(self, group)
    }

    fn apply(&mut self, owner: &str, group: &Group) -> Result<Decision, DbError> {
        apply(self, owner, group, Json::Utf8)
    }

    fn delete_older(&mut self, names: &[LogDeploymentId], before: Timestamp, limit: u32) -> Result<Deleted, DbError> {
        self.transaction(|connection| queries::delete_older_rows(connection, names, before, limit))
    }

    fn backlog(&mut self, owner: &str, output: &str, liveness: &Liveness) -> Result<Backlog, DbError> {
        diesel::sql_query(Self::FORGET_DEAD).execute(self)?;
        diesel::sql_query(Self::HEARTBEAT).bind::<Text, _>(owner).execute(self)?;
        liveness.record_heartbeat();
        let backlog = queries::count_backlog(self, owner, output)?;
        if liveness.should_adopt(output) {
            match adopt(self, owner, output) {
                Ok(None) => {}
                Ok(Some((instance, batches))) => {
                    liveness.adopt_again_soon(output);
                    log::info!(
                        output = output, instance = instance.as_str(), batches = batches;
                        "adopted {batches} batches for output `{output}` from instance `{instance}`, which is gone"
                    );
                }
                Err(error) => log::warn!(
                    output = output;
                    "cannot adopt batches of other instances for output `{output}`: {}", chain(&error)
                ),
            }
        }
        Ok(backlog)
    }

    fn find_deployment(&mut self, id: Uuid) -> QueryResult<Option<DeploymentRow>> {
        deployments::table.find(Id(id)).first(self).optional()
    }

    fn find_servers(&mut self, id: Uuid) -> QueryResult<Vec<ServerRow>> {
        servers::table.filter(servers::deployment_id.eq(Id(id))).load(self)
    }

    fn has_id<C: Expression<SqlType = SqlUuid> + ExpressionMethods>(column: C, ids: &[Uuid]) -> Self::HasId<C> {
        column.eq_any(ids.iter().copied().map(Id).collect::<Vec<_>>())
    }

    fn place_in_deployments(&mut self, cursor: &CreatedCursor) -> QueryResult<(Time, Id)> {
        Ok(place(cursor))
    }

    fn place_in_servers(&mut self, _: &str, cursor: &CreatedCursor) -> QueryResult<(Time, Id)> {
        Ok(place(cursor))
    }
}

fn place(cursor: &CreatedCursor) -> (Time, Id) {
    (Time(cursor.created_at), Id(cursor.deployment_id.0))
}

/// Adopts the oldest batches of one dead instance, and returns its name and their number. Each step is a
/// short transaction, so that this instance keeps sending heartbeats, and the other can return. The claim
/// makes one instance deliver all batches of the dead one, in order.
fn adopt(connection: &mut Connection, owner: &str, output: &str) -> Result<Option<(String, usize)>, DbError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        replica: String,
    }
    diesel::sql_query(Connection::REGISTER_OWNERS)
        .bind::<Text, _>(output)
        .bind::<Text, _>(owner)
        .execute(connection)?;
    let dead = connection.transaction(|connection| {
        let query = diesel::sql_query(Connection::DEAD_INSTANCE).bind::<Text, _>(owner).bind::<Text, _>(owner);
        let dead = query.bind::<Text, _>(output).get_result::<Row>(connection).optional()?;
        if let Some(Row { replica }) = &dead {
            diesel::sql_query(Connection::CLAIM).bind::<Text, _>(owner).bind::<Text, _>(replica).execute(connection)?;
        }
        Ok::<_, QueryError>(dead)
    })?;
    let Some(Row { replica }) = dead else { return Ok(None) };
    let query = diesel::sql_query(Connection::ADOPT).bind::<Text, _>(owner).bind::<Text, _>(output);
    let batches = query.bind::<Text, _>(&replica).execute(connection)?;
    Ok(Some((replica, batches)))
}

/// How log messages and the events of the outbox are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Json {
    Utf8,
    /// The encoding of the database may lack their characters. Only a field of a record must fit as it is.
    Ascii,
}

fn apply(connection: &mut Connection, owner: &str, group: &Group, json: Json) -> Result<Decision, DbError> {
    let mut decision = group.decide(read(connection, group)?);
    write(connection, owner, &mut decision, json)?;
    Ok(decision)
}

/// Reads and locks the records that the group changes.
fn read(connection: &mut Connection, group: &Group) -> Result<Records, DbError> {
    let mut records = Records::default();
    let ids: Vec<_> = group.deployments().iter().map(|id| Id(id.0)).collect();
    if !ids.is_empty() {
        let rows = deployments::table
            .filter(deployments::deployment_id.eq_any(ids))
            .order(deployments::deployment_id)
            .for_update()
            .load::<DeploymentRow>(connection)?;
        records.deployments.extend(rows.into_iter().filter_map(DeploymentRow::record));
    }
    let keys = group.servers();
    if !keys.is_empty() {
        records.servers.extend(connection.lock_servers(&keys)?.into_iter().filter_map(ServerRow::changeable));
    }
    let ids: Vec<_> = group.deployments_with_all_servers().iter().map(|id| Id(id.0)).collect();
    if !ids.is_empty() {
        let rows = servers::table
            .filter(servers::deployment_id.eq_any(ids))
            .order((servers::deployment_id, servers::hostname))
            .for_update()
            .load::<ServerRow>(connection)?;
        records.servers.extend(rows.into_iter().filter_map(ServerRow::changeable));
    }
    connection.restore_hostnames(records.servers.iter_mut().map(|server| &mut server.hostname))?;
    Ok(records)
}

fn write(connection: &mut Connection, owner: &str, decision: &mut Decision, json: Json) -> Result<(), DbError> {
    let rows: Vec<_> = decision.new_deployments.iter().map(NewDeployment::from).collect();
    for rows in statements(connection, &rows)? {
        diesel::insert_into(deployments::table).values(rows).execute(connection)?;
    }
    // One statement changes the same columns of all its rows. Most finishes change the same ones.
    macro_rules! columns {
        ($($text:ident)*) => {
            |fields: &DeploymentFields| changed_columns!(fields => $($text)* result elapsed_seconds)
        };
    }
    let columns = with_text_fields!(columns);
    decision.changed_deployments.sort_by_key(|changed| columns(&changed.fields));
    for alike in decision.changed_deployments.chunk_by(|a, b| columns(&a.fields) == columns(&b.fields)) {
        let rows: Vec<_> = alike.iter().map(NewDeployment::from).collect();
        for rows in statements(connection, &rows)? {
            use deployments::*;
            macro_rules! changes {
                ($($text:ident)*) => { replace!(alike[0].fields => $($text)* result elapsed_seconds) };
            }
            diesel::insert_into(table)
                .values(rows)
                .on_conflict(Connection::conflict_target(table))
                .do_update()
                .set(with_text_fields!(changes))
                .execute(connection)?;
        }
    }
    connection.record_hostnames(decision.new_servers.iter().map(|server| server.hostname.as_str()))?;
    let rows: Vec<_> = decision.new_servers.iter().map(|server| server_row(server, server)).collect();
    for rows in statements(connection, &rows)? {
        diesel::insert_into(servers::table).values(rows).execute(connection)?;
    }
    let columns = |fields: &ServerFields| changed_columns!(fields => ip_address result elapsed_seconds);
    decision.changed_servers.sort_by_key(|changed| columns(&changed.fields));
    for alike in decision.changed_servers.chunk_by(|a, b| columns(&a.fields) == columns(&b.fields)) {
        let rows: Vec<_> = alike.iter().map(|changed| server_row(changed, &changed.record)).collect();
        for rows in statements(connection, &rows)? {
            use servers::*;
            diesel::insert_into(table)
                .values(rows)
                .on_conflict(Connection::conflict_target(table))
                .do_update()
                .set(replace!(alike[0].fields => ip_address result elapsed_seconds))
                .execute(connection)?;
        }
    }
    let kept = decision.logs.iter().filter_map(|event| match &event.kind {
        EventKind::Logged(batch) => Some(NewLog::of(batch)),
        _ => None,
    });
    let kept = kept.flatten();
    let rows: Vec<_> = match json {
        Json::Utf8 => kept.collect(),
        Json::Ascii => kept.map(NewLog::in_ascii).collect(),
    };
    for rows in statements(connection, &rows)? {
        diesel::insert_into(logs::table)
            .values(rows)
            .on_conflict(Connection::conflict_target(logs::table))
            .do_nothing()
            .execute(connection)?;
    }
    let rows = decision.pending.iter().map(|pending| OutboxRow::new(pending, owner)).collect::<Result<Vec<_>, _>>();
    let mut rows = rows.map_err(DbError::Content)?;
    if json == Json::Ascii {
        rows = rows.into_iter().map(OutboxRow::in_ascii).collect();
    }
    for rows in statements(connection, &rows)? {
        diesel::insert_into(outbox::table)
            .values(rows)
            .on_conflict(Connection::conflict_target(outbox::table))
            .do_nothing()
            .execute(connection)?;
    }
    queries::acknowledge(connection, owner, decision)
}

fn server_row<'a>(row: impl Into<NewServer<'a>>, server: &'a Server) -> NewServer<'a> {
    row.into().stored_as(Connection::stored_hostname(server.hostname.as_str()))
}

fn proposed<C: Column>(_: C) -> SqlLiteral<C::SqlType>
where
    C::SqlType: TypedExpressionType,
{
    sql(&Connection::proposed(C::NAME))
}

/// Splits `rows` into slices that each fit into a statement.
fn statements<'a, T: Size>(
    connection: &mut Connection,
    rows: &'a [T],
) -> Result<impl Iterator<Item = &'a [T]> + use<'a, T>, DbError> {
    if let Some(size) = rows.iter().map(Size::size).filter(|size| *size > MAX_BYTES).max() {
        connection.check_row_size(size)?;
    }
    let (mut count, mut bytes) = (0, 0);
    Ok(rows.chunk_by(move |row, _| {
        (count, bytes) = (count + 1, bytes + row.size());
        let has_room = count < MAX_ROWS && bytes < MAX_BYTES;
        if !has_room {
            (count, bytes) = (0, 0);
        }
        has_room
    }))
}
