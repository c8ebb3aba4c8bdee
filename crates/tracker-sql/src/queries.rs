//! Queries that read the same on every database. This file is compiled once for each, with `Connection` of its own:
//! diesel checks every query against the database that it is for.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use diesel::connection::Connection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use tracker_core::{
    Acknowledged, Backlog, Batch, CreatedCursor, Decision, Deleted, Deployment, DeploymentId, DeploymentWithServers,
    Hostname, LogDeploymentId, LogMessage, MAX_TEXT, OutboxEntry, Outcome, PENDING_BYTES, Page, PendingBatch, Server,
    time::Timestamp,
};
use uuid::Uuid;

use super::{
    BACKLOG, Connection, DELETE_DEPLOYMENTS, DELETE_LOGS, DELETE_SERVERS, HOSTNAMES, LOGGED_DEPLOYMENTS, RECENT_LOGS,
    find, is_any, is_hostname, is_log_of, servers_of, spelled_in_list, spelled_on_host,
};
use crate::error::Error;
use crate::rows::{DeploymentRow, LogRow, OutboxRow, ServerRow};
use crate::schema::{SqlTime, SqlUuid, deployments, logs, outbox, servers};
use crate::values::{Id, Time};

type Backend = <Connection as diesel::Connection>::Backend;

fn offset<K>(page: &Page<K>) -> i64 {
    i64::try_from(page.offset).unwrap_or(i64::MAX)
}

/// Reads, and writes as reports are written: a row that is gone before anybody sees it, but has been on the disk.
pub fn check(connection: &mut Connection, owner: &str) -> Result<(), Error> {
    deployments::table.select(deployments::deployment_id).limit(1).load::<Id>(connection)?;
    let probe = OutboxEntry { output: String::new(), batch: Arc::new(Batch::new(Vec::new())) };
    let row = OutboxRow::new(&probe, owner).map_err(Error::Content)?;
    connection.transaction(|connection| {
        diesel::insert_into(outbox::table).values(row).execute(connection)?;
        diesel::delete(outbox::table.find(("", Id(probe.batch.id)))).execute(connection)?;
        Ok(())
    })
}

pub fn deployment(connection: &mut Connection, id: DeploymentId) -> Result<Option<DeploymentWithServers>, Error> {
    let Some(row) = find(connection, id.0)? else { return Ok(None) };
    let servers = servers_of(connection, id.0)?;
    Ok(Some(with_servers(row.into(), servers.into_iter().map(Server::from).collect())))
}

pub fn deployments(
    connection: &mut Connection,
    page: &Page<CreatedCursor>,
) -> Result<Vec<DeploymentWithServers>, Error> {
    let mut query = deployments::table
        .order((deployments::created_at.desc(), deployments::deployment_id.desc()))
        .limit(page.limit.into())
        .offset(offset(page))
        .into_boxed::<Backend>();
    if let Some(CreatedCursor { created_at, deployment_id }) = page.after {
        let id = spelled_in_list(connection, deployment_id.0)?;
        // Written so that every database begins in the index at this place.
        let is_older = deployments::created_at.lt(Time(created_at));
        let is_as_old = deployments::created_at.le(Time(created_at));
        query = query.filter(is_as_old.and(is_older.or(deployments::deployment_id.lt(id))));
    }
    let rows = query.load::<DeploymentRow>(connection)?;
    let ids: Vec<_> = rows.iter().map(|row| row.deployment_id.0).collect();
    let mut deployments_with_all_servers: HashMap<DeploymentId, Vec<Server>> = HashMap::with_capacity(rows.len());
    for row in servers::table.filter(is_any(servers::deployment_id, &ids)).load::<ServerRow>(connection)? {
        let server = Server::from(row);
        deployments_with_all_servers.entry(server.deployment_id).or_default().push(server);
    }
    let spelled_in_list = rows.into_iter().map(|row| {
        let deployment = Deployment::from(row);
        let servers = deployments_with_all_servers.remove(&deployment.id).unwrap_or_default();
        with_servers(deployment, servers)
    });
    Ok(spelled_in_list.collect())
}

fn with_servers(deployment: Deployment, mut servers: Vec<Server>) -> DeploymentWithServers {
    servers.sort_unstable_by(|a, b| a.hostname.cmp(&b.hostname));
    DeploymentWithServers { deployment, servers }
}

pub fn hostnames(connection: &mut Connection, page: &Page<Hostname>) -> Result<Vec<Hostname>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        hostname: String,
    }
    /// Behind the last hostname that can be.
    static END: LazyLock<String> = LazyLock::new(|| "\u{10FFFF}".repeat(MAX_TEXT + 1));
    let rows = diesel::sql_query(HOSTNAMES)
        .bind::<Text, _>(page.after.as_ref().map_or(END.as_str(), Hostname::as_str))
        .bind::<BigInt, _>(i64::from(page.limit))
        .bind::<BigInt, _>(offset(page))
        .load::<Row>(connection)?;
    Ok(rows.into_iter().map(|row| Hostname::stored(row.hostname)).collect())
}

pub fn servers(
    connection: &mut Connection,
    hostname: &Hostname,
    page: &Page<CreatedCursor>,
) -> Result<Vec<Server>, Error> {
    let mut query = servers::table
        .filter(is_hostname(hostname.as_str()))
        .order((servers::created_at.desc(), servers::deployment_id.desc()))
        .limit(page.limit.into())
        .offset(offset(page))
        .into_boxed::<Backend>();
    if let Some(CreatedCursor { created_at, deployment_id }) = page.after {
        let id = spelled_on_host(connection, hostname.as_str(), deployment_id.0)?;
        let is_older = servers::created_at.lt(Time(created_at));
        let is_as_old = servers::created_at.le(Time(created_at));
        query = query.filter(is_as_old.and(is_older.or(servers::deployment_id.lt(id))));
    }
    let rows = query.load::<ServerRow>(connection)?;
    Ok(rows.into_iter().map(Server::from).collect())
}

pub fn logs(connection: &mut Connection, id: &LogDeploymentId, page: &Page<Uuid>) -> Result<Vec<LogMessage>, Error> {
    let mut query = logs::table
        .filter(is_log_of(id.as_str()))
        .order(logs::event_id)
        .limit(page.limit.into())
        .offset(offset(page))
        .into_boxed::<Backend>();
    if let Some(event_id) = page.after {
        query = query.filter(logs::event_id.gt(Id(event_id)));
    }
    let rows = query.load::<LogRow>(connection)?;
    rows.into_iter().map(|row| row.try_into().map_err(Error::Content)).collect()
}

/// Deployments with log messages, each with its oldest. A row may be one of many: what is read is bounded all the same,
/// since the next reading begins behind all of them.
pub fn logged(
    connection: &mut Connection,
    after: Option<&LogDeploymentId>,
    limit: u32,
) -> Result<Vec<(LogDeploymentId, Uuid)>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        name: String,
        #[diesel(sql_type = SqlUuid)]
        event_id: Id,
    }
    let mut rows = diesel::sql_query(LOGGED_DEPLOYMENTS)
        .bind::<Text, _>(after.map_or("", LogDeploymentId::as_str))
        .bind::<BigInt, _>(i64::from(limit))
        .load::<Row>(connection)?;
    rows.dedup_by(|row, first| row.name == first.name);
    Ok(rows.into_iter().map(|row| (LogDeploymentId::stored(row.name), row.event_id.0)).collect())
}

/// Deletes what is recorded under those of `names` that have nothing from `before` or later, in a transaction that the
/// caller has begun.
pub fn delete_older(
    connection: &mut Connection,
    names: &[LogDeploymentId],
    before: Timestamp,
    limit: u32,
) -> Result<Deleted, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let first = Id(LogMessage::first_id(before));
    let id_of = |name: &LogDeploymentId| DeploymentId::parse(name.as_str()).ok().map(|id| id.0);
    let as_json = |texts: &[&str]| serde_json::to_string(texts).map_err(Error::Content);

    let ids: Vec<_> = names.iter().filter_map(id_of).collect();
    let mut young: HashSet<String> = deployments::table
        .filter(is_any(deployments::deployment_id, &ids).and(deployments::updated_at.ge(Time(before))))
        .select(deployments::deployment_id)
        .load::<Id>(connection)?
        .into_iter()
        .chain(
            servers::table
                .filter(is_any(servers::deployment_id, &ids).and(servers::updated_at.ge(Time(before))))
                .select(servers::deployment_id)
                .load::<Id>(connection)?,
        )
        .map(|id| id.0.to_string())
        .collect();
    let texts: Vec<_> = names.iter().map(LogDeploymentId::as_str).collect();
    let logged = diesel::sql_query(RECENT_LOGS).bind::<Text, _>(as_json(&texts)?).bind::<SqlUuid, _>(first);
    young.extend(logged.load::<Row>(connection)?.into_iter().map(|row| row.name));

    let old: Vec<_> = names.iter().filter(|name| !young.contains(name.as_str())).collect();
    let texts: Vec<_> = old.iter().map(|name| name.as_str()).collect();
    let ids: Vec<_> = old.iter().filter(|name| id_of(name).is_some()).map(|name| name.as_str()).collect();
    let (texts, ids) = (as_json(&texts)?, as_json(&ids)?);
    let mut room = i64::from(limit);
    let mut count = |rows: usize| {
        room -= i64::try_from(rows).unwrap_or(i64::MAX);
        (rows as u64, room)
    };
    let query = diesel::sql_query(DELETE_LOGS).bind::<Text, _>(texts).bind::<SqlUuid, _>(first);
    let (messages, room) = count(query.bind::<BigInt, _>(i64::from(limit)).execute(connection)?);
    let query = diesel::sql_query(DELETE_SERVERS).bind::<Text, _>(&ids).bind::<SqlTime, _>(Time(before));
    let (servers, room) = count(query.bind::<BigInt, _>(room).execute(connection)?);
    let query = diesel::sql_query(DELETE_DEPLOYMENTS).bind::<Text, _>(&ids).bind::<SqlTime, _>(Time(before));
    let (deployments, _) = count(query.bind::<BigInt, _>(room).execute(connection)?);
    Ok(Deleted { deployments, servers, messages })
}

pub fn pending(
    connection: &mut Connection,
    owner: &str,
    output: &str,
    limit: usize,
) -> Result<Vec<PendingBatch>, Error> {
    let sizes = outbox::table
        .filter(outbox::output.eq(output).and(outbox::owner.eq(owner)))
        .order(outbox::batch_id)
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select((outbox::batch_id, outbox::bytes))
        .load::<(Id, i64)>(connection)?;
    let mut bytes = 0;
    let few = sizes.into_iter().take_while(|(_, size)| {
        let is_enough = bytes >= PENDING_BYTES;
        bytes += usize::try_from(*size).unwrap_or(0);
        !is_enough
    });
    let ids: Vec<_> = few.map(|(id, _)| id).collect();
    let rows = outbox::table
        .filter(outbox::output.eq(output).and(outbox::batch_id.eq_any(ids)))
        .order(outbox::batch_id)
        .select((outbox::batch_id, outbox::is_taken_over, outbox::events))
        .load::<(Id, bool, String)>(connection)?;
    let pending = rows.into_iter().map(|(id, is_adopted, events)| {
        let events = serde_json::from_str(&events).map_err(Error::Content)?;
        Ok(PendingBatch { batch: Arc::new(Batch { id: id.0, events }), is_adopted })
    });
    pending.collect()
}

pub fn backlog(connection: &mut Connection, owner: &str, output: &str) -> Result<Backlog, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        messages: i64,
        #[diesel(sql_type = BigInt)]
        bytes: i64,
        #[diesel(sql_type = Nullable<SqlTime>)]
        oldest: Option<Time>,
    }
    let row =
        diesel::sql_query(BACKLOG).bind::<Text, _>(output).bind::<Text, _>(owner).get_result::<Row>(connection)?;
    Ok(Backlog {
        messages: u64::try_from(row.messages).unwrap_or(0),
        bytes: u64::try_from(row.bytes).unwrap_or(0),
        oldest: row.oldest.map(|time| time.0),
    })
}

/// Removes what is owed no more from the outbox. Where a batch was not there, or not one's own, the change is unchanged.
pub fn acknowledge(connection: &mut Connection, owner: &str, decision: &mut Decision) -> Result<(), Error> {
    for Acknowledged { output, batches, outcome } in &decision.acknowledged {
        let (Some(first), Some(last)) = (batches.iter().min(), batches.iter().max()) else { continue };
        let ids: Vec<_> = batches.iter().copied().map(Id).collect();
        let mine = outbox::output.eq(output).and(outbox::owner.eq(owner));
        // A database that takes the outbox for empty, as it mostly is, would read all of it for a list of ids; but not for a
        // range.
        let among = outbox::batch_id.between(Id(*first), Id(*last)).and(outbox::batch_id.eq_any(ids));
        if diesel::delete(outbox::table).filter(mine.and(among)).execute(connection)? < batches.len() {
            decision.outcomes[*outcome] = Outcome::Unchanged;
        }
    }
    Ok(())
}
