//! The operations of the store, on every database. Each database's module includes this file with a
//! `Connection` of its own, because diesel checks a query against one database.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use diesel::connection::Connection as _;
use diesel::prelude::*;
use diesel::result::Error as QueryError;
use diesel::sql_types::{BigInt, Nullable, Text};
use tracker_core::{
    Acknowledged, Backlog, Batch, CreatedCursor, Decision, Deleted, Deployment, DeploymentId, DeploymentWithServers,
    FieldClue, Group, Hostname, Listed, LogDeploymentId, LogMessage, OutboxEntry, Outcome, PENDING_BYTES, Page,
    PendingBatch, Record, RejectReason, Server, time::Timestamp,
};
use uuid::Uuid;

use super::{Connection, Loading, trial};
use crate::database::{Database, IsStoreOpen};
use crate::dialect::{Dialect, RecordAccess};
use crate::error::DbError;
use crate::liveness::Liveness;
use crate::rows::{DeploymentRow, LogRow, OutboxRow, ServerRow};
use crate::schema::{SqlTime, SqlUuid, deployments, logs, outbox, servers};
use crate::unreadable;
use crate::values::{Id, Name, Stored, Time};

type Backend = <Connection as diesel::Connection>::Backend;

impl Database for Connection {
    fn migrate(&mut self, url: &str, is_store_open: IsStoreOpen) -> Result<(), DbError> {
        Dialect::migrate(self)?;
        self.migrate_online(url, is_store_open)
    }

    fn configure(&mut self) -> Result<(), DbError> {
        Dialect::configure(self)
    }

    fn close(&mut self) -> Result<(), DbError> {
        Dialect::close(self)
    }

    fn check(&mut self, owner: &str, bytes: usize) -> Result<(), DbError> {
        deployments::table.select(deployments::deployment_id).limit(1).load::<Stored<Id>>(self)?;
        let probe = OutboxEntry { output: String::new(), batch: Arc::new(Batch::new(Vec::new())) };
        let row = OutboxRow::new(&probe, owner).map_err(DbError::Content)?;
        if bytes == 0 {
            return self.transaction(|connection| {
                diesel::insert_into(outbox::table).values(row).execute(connection)?;
                diesel::delete(outbox::table.find(("", Id(probe.batch.id)))).execute(connection)?;
                Ok(())
            });
        }
        // SQLite does not write a page that a transaction both fills and frees, so these are two transactions. The
        // deletion includes rows that an interrupted check has left.
        diesel::insert_into(outbox::table).values(row.padded(bytes)).execute(self)?;
        let probes = outbox::table.filter(outbox::output.eq("").and(outbox::owner.eq(owner)));
        diesel::delete(probes).execute(self)?;
        Ok(())
    }

    fn commit(&mut self, owner: &str, group: &Group) -> Result<Decision, DbError> {
        let mut committed = RecordAccess::commit(self, owner, group);
        let is_refused = matches!(committed, Err(DbError::Query(QueryError::DatabaseError(..))))
            && group.is_single()
            && trial::passes(self, owner, group);
        if is_refused {
            // A rule refuses the report each time. Another error may have been transient.
            committed = RecordAccess::commit(self, owner, group);
        }
        committed.map_err(|error| match error {
            DbError::Query(cause @ QueryError::DatabaseError(..)) if is_refused => {
                DbError::Rejected { reason: RejectReason::Rule, clue: FieldClue::Nothing, cause }
            }
            // The caller commits each change alone. If the connection is broken, the first of them finds out.
            DbError::Query(cause @ QueryError::DatabaseError(..)) if !group.is_single() => DbError::Unexpected(cause),
            DbError::Narrow { limit, cause } if !self.is_widening() => {
                DbError::Rejected { reason: RejectReason::TooLong, clue: FieldClue::LongerThan(limit), cause }
            }
            error => error,
        })
    }

    fn classify(&self, error: DbError) -> DbError {
        error.classified(Self::ERRORS)
    }

    fn begin_snapshot(&mut self) -> Result<(), DbError> {
        Dialect::begin_snapshot(self)
    }

    fn end_snapshot(&mut self) -> Result<(), DbError> {
        Dialect::end_snapshot(self)
    }

    fn deployment(&mut self, id: DeploymentId) -> Result<Option<DeploymentWithServers>, DbError> {
        let Some(row) = self.find_deployment(id.0)? else { return Ok(None) };
        let Some(deployment) = row.record() else { return Ok(None) };
        let mut servers: Vec<_> = self.find_servers(id.0)?.into_iter().filter_map(ServerRow::record).collect();
        self.restore_hostnames(servers.iter_mut().map(|server| &mut server.hostname))?;
        Ok(Some(with_servers(deployment, servers)))
    }

    fn deployments(
        &mut self,
        page: &Page<CreatedCursor>,
    ) -> Result<Listed<DeploymentWithServers, CreatedCursor>, DbError> {
        let place = page.after.as_ref().map(|cursor| self.place_in_deployments(cursor)).transpose()?;
        let mut query = deployments::table
            .order((deployments::created_at.desc(), deployments::deployment_id.desc()))
            .limit(page.limit.into())
            .offset(offset(page))
            .into_boxed::<Backend>();
        query = if let Some((time, id)) = &place {
            // In this form, every database seeks to the cursor in the index.
            let is_older = deployments::created_at.lt(time);
            let is_not_newer = deployments::created_at.le(time);
            let is_after = is_not_newer.and(is_older.or(deployments::deployment_id.lt(id)));
            query.filter(Self::IS_CREATED_BEFORE).filter(is_after)
        } else {
            query.filter(Self::IS_CREATED)
        };
        let rows = query.load_iter::<DeploymentRow, Loading>(self)?;
        let listed = Listed::read(page, rows.map(|row| Ok::<_, DbError>(row?.listed())))?;
        let Some(mut servers) = servers_of(self, &listed.records, page.max_bytes)? else {
            // Half of these deployments have fewer servers.
            let limit = u32::try_from(listed.records.len() / 2).unwrap_or(page.limit);
            return Ok(self.deployments(&Page { limit, ..page.clone() })?.in_page(page.limit));
        };
        Ok(listed.map(|deployment| {
            let servers = servers.remove(&deployment.id).unwrap_or_default();
            with_servers(deployment, servers)
        }))
    }

    fn hostnames(&mut self, page: &Page<Hostname>) -> Result<Listed<Hostname, Hostname>, DbError> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Text)]
            hostname: Stored<Name>,
        }
        let after = match page.after.as_ref().map(Hostname::as_str) {
            // Old records may have an empty hostname, which is the last of the list.
            Some("") => return Ok(Listed { records: Vec::new(), next: None, unread: 0 }),
            Some(hostname) => hostname,
            None => Self::before_all_hostnames(),
        };
        let rows = diesel::sql_query(Self::HOSTNAMES)
            .bind::<Text, _>(after)
            .bind::<BigInt, _>(i64::from(page.limit))
            .bind::<BigInt, _>(offset(page))
            .load_iter::<Row, Loading>(self)?;
        Listed::read(page, rows.map(|row| Ok::<_, DbError>(row?.hostname.0.and_then(Name::listed))))
    }

    fn servers(
        &mut self,
        hostname: &Hostname,
        page: &Page<CreatedCursor>,
    ) -> Result<Listed<Server, CreatedCursor>, DbError> {
        let place = page.after.as_ref().map(|cursor| self.place_in_servers(hostname.as_str(), cursor)).transpose()?;
        let mut query = servers::table
            .filter(Self::has_hostname(hostname.as_str()))
            .order((servers::created_at.desc(), servers::deployment_id.desc()))
            .limit(page.limit.into())
            .offset(offset(page))
            .into_boxed::<Backend>();
        query = if let Some((time, id)) = &place {
            let is_older = servers::created_at.lt(time);
            let is_not_newer = servers::created_at.le(time);
            let is_after = is_not_newer.and(is_older.or(servers::deployment_id.lt(id)));
            query.filter(Self::IS_CREATED_BEFORE).filter(is_after)
        } else {
            query.filter(Self::IS_CREATED)
        };
        let rows = query.load_iter::<ServerRow, Loading>(self)?;
        // The row may have a key in place of the hostname.
        let named = |server: Server| Server { hostname: hostname.clone(), ..server };
        Listed::read(page, rows.map(|row| Ok::<_, DbError>(row?.listed().map(named))))
    }

    fn logs(&mut self, id: &LogDeploymentId, page: &Page<Uuid>) -> Result<Listed<LogMessage, Uuid>, DbError> {
        let mut query = logs::table
            .filter(Self::is_log_of(id.as_str()))
            .order(logs::event_id)
            .limit(page.limit.into())
            .offset(offset(page))
            .into_boxed::<Backend>();
        if let Some(event_id) = page.after {
            query = query.filter(logs::event_id.gt(Id(event_id)));
        }
        let rows = query.load_iter::<LogRow, Loading>(self)?;
        Listed::read(page, rows.map(|row| Ok::<_, DbError>(row?.listed())))
    }

    fn logged(&mut self, after: Option<&LogDeploymentId>, limit: u32) -> Result<Vec<(LogDeploymentId, Uuid)>, DbError> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Text)]
            name: Stored<Name>,
            #[diesel(sql_type = SqlUuid)]
            event_id: Stored<Id>,
        }
        let mut offset = 0;
        loop {
            let rows = diesel::sql_query(Self::LOGGED_DEPLOYMENTS)
                .bind::<Text, _>(after.map_or("", LogDeploymentId::as_str))
                .bind::<BigInt, _>(i64::from(limit))
                .bind::<BigInt, _>(offset)
                .load::<Row>(self)?;
            offset += i64::from(limit);
            let is_end = rows.len() < limit as usize;
            let exact = rows.into_iter().filter_map(|Row { name, event_id }| {
                let name = name.0.filter(|name| name.is_exact)?;
                Some((LogDeploymentId::stored(name.text.into()), event_id.0?.0))
            });
            let mut logged: Vec<_> = exact.collect();
            logged.dedup_by(|(name, _), (first, _)| name == first);
            // An empty result would mean the end of the list.
            if is_end || !logged.is_empty() {
                return Ok(logged);
            }
        }
    }

    fn delete_older(&mut self, names: &[LogDeploymentId], before: Timestamp, limit: u32) -> Result<Deleted, DbError> {
        RecordAccess::delete_older(self, names, before, limit)
    }

    fn write_back(&mut self) -> Result<(), DbError> {
        Dialect::write_back(self)
    }

    fn pending(&mut self, owner: &str, output: &str, limit: usize) -> Result<Vec<PendingBatch>, DbError> {
        let mut offset = 0;
        loop {
            let sizes = outbox::table
                .filter(outbox::output.eq(output).and(outbox::owner.eq(owner)))
                .order(outbox::batch_id)
                .limit(i64::try_from(limit).unwrap_or(i64::MAX))
                .offset(offset)
                .select((outbox::batch_id, outbox::bytes))
                .load::<(Stored<Id>, i64)>(self)?;
            let mut bytes = 0;
            let within_limit = sizes.into_iter().take_while(|(_, size)| {
                let is_full = bytes >= PENDING_BYTES;
                bytes += usize::try_from(*size).unwrap_or(0);
                !is_full
            });
            let ids: Vec<_> = within_limit.map(|(id, _)| id.0).collect();
            let is_end = ids.is_empty();
            offset += i64::try_from(ids.len()).unwrap_or(i64::MAX);
            let rows = outbox::table
                .filter(outbox::output.eq(output).and(outbox::batch_id.eq_any(ids.into_iter().flatten())))
                .order(outbox::batch_id)
                .select((outbox::batch_id, outbox::is_taken_over, outbox::events))
                .load::<(Id, bool, Stored<String>)>(self)?;
            let pending = rows.into_iter().filter_map(|(id, is_adopted, events)| {
                let events = events.0.and_then(|events| serde_json::from_str(&events).ok());
                if events.is_none() {
                    unreadable::log_once("Outbox", Some(&id.0), "events");
                }
                Some(PendingBatch { batch: Arc::new(Batch { id: id.0, events: events? }), is_adopted })
            });
            let pending: Vec<_> = pending.collect();
            // An empty result would mean the end of the outbox.
            if is_end || !pending.is_empty() {
                return Ok(pending);
            }
        }
    }

    fn backlog(&mut self, owner: &str, output: &str, liveness: &Liveness) -> Result<Backlog, DbError> {
        RecordAccess::backlog(self, owner, output, liveness)
    }
}

fn offset<K>(page: &Page<K>) -> i64 {
    i64::try_from(page.offset).unwrap_or(i64::MAX)
}

/// The servers of `deployments`, or `None` if several deployments have servers of more than `max_bytes`.
fn servers_of(
    connection: &mut Connection,
    deployments: &[Deployment],
    max_bytes: usize,
) -> Result<Option<HashMap<DeploymentId, Vec<Server>>>, DbError> {
    let ids: Vec<_> = deployments.iter().map(|deployment| deployment.id.0).collect();
    let query = servers::table.filter(Connection::has_id(servers::deployment_id, &ids));
    let mut servers: HashMap<DeploymentId, Vec<Server>> = HashMap::with_capacity(deployments.len());
    let mut bytes = 0;
    for row in query.load_iter::<ServerRow, Loading>(connection)? {
        let Some(server) = row?.record() else { continue };
        bytes += server.size();
        if bytes > max_bytes && deployments.len() > 1 {
            return Ok(None);
        }
        servers.entry(server.deployment_id).or_default().push(server);
    }
    connection.restore_hostnames(servers.values_mut().flatten().map(|server| &mut server.hostname))?;
    // A hostname may be longer than the key in its place.
    let bytes: usize = servers.values().flatten().map(Server::size).sum();
    Ok((bytes <= max_bytes || deployments.len() == 1).then_some(servers))
}

fn with_servers(deployment: Deployment, mut servers: Vec<Server>) -> DeploymentWithServers {
    servers.sort_unstable_by(|a, b| a.hostname.cmp(&b.hostname));
    DeploymentWithServers { deployment, servers }
}

/// [`Database::delete_older`] without its transaction.
pub fn delete_older_rows(
    connection: &mut Connection,
    names: &[LogDeploymentId],
    before: Timestamp,
    limit: u32,
) -> Result<Deleted, DbError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let first = Id(LogMessage::first_id(before));
    let id_of = |name: &LogDeploymentId| DeploymentId::parse(name.as_str()).ok().map(|id| id.0);
    let as_json = |texts: &[&str]| serde_json::to_string(texts).map_err(DbError::Content);

    let ids: Vec<_> = names.iter().filter_map(id_of).collect();
    let mut recent: HashSet<String> = deployments::table
        .filter(Connection::has_id(deployments::deployment_id, &ids))
        .filter(deployments::updated_at.ge(Time(before)).or(Connection::HAS_NO_AGE))
        .select(deployments::deployment_id)
        .load::<Id>(connection)?
        .into_iter()
        .chain(
            servers::table
                .filter(Connection::has_id(servers::deployment_id, &ids))
                .filter(servers::updated_at.ge(Time(before)).or(Connection::HAS_NO_AGE))
                .select(servers::deployment_id)
                .load::<Id>(connection)?,
        )
        .map(|id| id.0.to_string())
        .collect();
    let texts: Vec<_> = names.iter().map(LogDeploymentId::as_str).collect();
    let logged = diesel::sql_query(Connection::RECENT_LOGS).bind::<Text, _>(as_json(&texts)?).bind::<SqlUuid, _>(first);
    recent.extend(logged.load::<Row>(connection)?.into_iter().map(|row| row.name));

    let old: Vec<_> = names.iter().filter(|name| !recent.contains(name.as_str())).collect();
    let texts: Vec<_> = old.iter().map(|name| name.as_str()).collect();
    let ids: Vec<_> = old.iter().filter(|name| id_of(name).is_some()).map(|name| name.as_str()).collect();
    let (texts, ids) = (as_json(&texts)?, as_json(&ids)?);
    let mut remaining = i64::from(limit);
    let mut count = |rows: usize| {
        remaining -= i64::try_from(rows).unwrap_or(i64::MAX);
        (rows as u64, remaining)
    };
    let query = diesel::sql_query(Connection::DELETE_LOGS).bind::<Text, _>(texts).bind::<SqlUuid, _>(first);
    let (messages, remaining) = count(query.bind::<BigInt, _>(i64::from(limit)).execute(connection)?);
    let query = diesel::sql_query(Connection::DELETE_SERVERS).bind::<Text, _>(&ids).bind::<SqlTime, _>(Time(before));
    let (servers, remaining) = count(query.bind::<BigInt, _>(remaining).execute(connection)?);
    let query =
        diesel::sql_query(Connection::DELETE_DEPLOYMENTS).bind::<Text, _>(&ids).bind::<SqlTime, _>(Time(before));
    let (deployments, _) = count(query.bind::<BigInt, _>(remaining).execute(connection)?);
    Ok(Deleted { deployments, servers, messages })
}

pub fn count_backlog(connection: &mut Connection, owner: &str, output: &str) -> Result<Backlog, DbError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        messages: i64,
        #[diesel(sql_type = BigInt)]
        bytes: i64,
        #[diesel(sql_type = Nullable<SqlTime>)]
        oldest: Stored<Time>,
    }
    let query = diesel::sql_query(Connection::BACKLOG).bind::<Text, _>(output).bind::<Text, _>(owner);
    let Row { messages, bytes, oldest } = query.get_result(connection)?;
    Ok(Backlog {
        messages: u64::try_from(messages).unwrap_or(0),
        bytes: u64::try_from(bytes).unwrap_or(0),
        oldest: oldest.0.map(|time| time.0),
    })
}

/// Deletes acknowledged batches from the outbox. The outcome is `Unchanged` if one is missing or has another
/// owner.
pub fn acknowledge(connection: &mut Connection, owner: &str, decision: &mut Decision) -> Result<(), DbError> {
    for Acknowledged { output, batches, outcome } in &decision.acknowledged {
        let (Some(first), Some(last)) = (batches.iter().min(), batches.iter().max()) else { continue };
        let ids: Vec<_> = batches.iter().copied().map(Id).collect();
        let is_own = outbox::output.eq(output).and(outbox::owner.eq(owner));
        // The range makes PostgreSQL use the index. It would read the whole table for the list of ids alone,
        // because the outbox was empty when it was analyzed.
        let is_acknowledged = outbox::batch_id.between(Id(*first), Id(*last)).and(outbox::batch_id.eq_any(ids));
        if diesel::delete(outbox::table).filter(is_own.and(is_acknowledged)).execute(connection)? < batches.len() {
            decision.outcomes[*outcome] = Outcome::Unchanged;
        }
    }
    Ok(())
}
