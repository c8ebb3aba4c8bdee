//! Queries that read the same on every database. This file is compiled once for each, with `Connection` of its own:
//! diesel checks every query against the database that it is for.

use std::collections::HashMap;
use std::sync::Arc;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use tracker_core::{
    Batch, Deployment, DeploymentId, DeploymentWithServers, Hostname, LogDeploymentId, LogMessage, Page, Server,
};
use uuid::Uuid;

use super::{Connection, HOSTNAMES};
use crate::error::Error;
use crate::rows::{DeploymentRow, LogRow, OutboxRow, ServerRow};
use crate::schema::{deployments, logs, outbox, servers};
use crate::values::Id;

fn offset(page: Page) -> i64 {
    i64::try_from(page.offset).unwrap_or(i64::MAX)
}

pub fn check(connection: &mut Connection) -> Result<(), Error> {
    deployments::table.select(deployments::deployment_id).limit(1).load::<Id>(connection)?;
    Ok(())
}

pub fn deployment(connection: &mut Connection, id: DeploymentId) -> Result<Option<DeploymentWithServers>, Error> {
    let row = deployments::table.find(Id(id.0)).first::<DeploymentRow>(connection).optional()?;
    let Some(row) = row else { return Ok(None) };
    let servers = servers::table.filter(servers::deployment_id.eq(Id(id.0))).load::<ServerRow>(connection)?;
    Ok(Some(with_servers(row.into(), servers.into_iter().map(Server::from).collect())))
}

pub fn deployments(connection: &mut Connection, page: Page) -> Result<Vec<DeploymentWithServers>, Error> {
    let rows = deployments::table
        .order((deployments::created_at.desc(), deployments::deployment_id.desc()))
        .limit(page.limit.into())
        .offset(offset(page))
        .load::<DeploymentRow>(connection)?;
    let ids: Vec<_> = rows.iter().map(|row| row.deployment_id).collect();
    let mut fleets: HashMap<DeploymentId, Vec<Server>> = HashMap::with_capacity(rows.len());
    for row in servers::table.filter(servers::deployment_id.eq_any(ids)).load::<ServerRow>(connection)? {
        let server = Server::from(row);
        fleets.entry(server.deployment_id).or_default().push(server);
    }
    let listed = rows.into_iter().map(|row| {
        let deployment = Deployment::from(row);
        let servers = fleets.remove(&deployment.id).unwrap_or_default();
        with_servers(deployment, servers)
    });
    Ok(listed.collect())
}

fn with_servers(deployment: Deployment, mut servers: Vec<Server>) -> DeploymentWithServers {
    servers.sort_unstable_by(|a, b| a.hostname.cmp(&b.hostname));
    DeploymentWithServers { deployment, servers }
}

pub fn hostnames(connection: &mut Connection, page: Page) -> Result<Vec<Hostname>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        hostname: String,
    }
    let rows = diesel::sql_query(HOSTNAMES)
        .bind::<BigInt, _>(i64::from(page.limit))
        .bind::<BigInt, _>(offset(page))
        .load::<Row>(connection)?;
    Ok(rows.into_iter().map(|row| Hostname::stored(row.hostname)).collect())
}

pub fn servers(connection: &mut Connection, hostname: &Hostname, page: Page) -> Result<Vec<Server>, Error> {
    let rows = servers::table
        .filter(servers::hostname.eq(hostname.as_str()))
        .order((servers::created_at.desc(), servers::deployment_id.desc()))
        .limit(page.limit.into())
        .offset(offset(page))
        .load::<ServerRow>(connection)?;
    Ok(rows.into_iter().map(Server::from).collect())
}

pub fn logs(connection: &mut Connection, id: &LogDeploymentId, page: Page) -> Result<Vec<LogMessage>, Error> {
    let rows = logs::table
        .filter(logs::deployment_id.eq(id.as_str()))
        .order(logs::event_id)
        .limit(page.limit.into())
        .offset(offset(page))
        .load::<LogRow>(connection)?;
    rows.into_iter().map(|row| row.try_into().map_err(Error::Content)).collect()
}

pub fn owed(connection: &mut Connection, output: &str, limit: usize) -> Result<Vec<Arc<Batch>>, Error> {
    let rows = outbox::table
        .filter(outbox::output.eq(output))
        .order(outbox::batch_id)
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .load::<OutboxRow>(connection)?;
    rows.into_iter().map(|row| row.try_into().map_err(Error::Content)).collect()
}

pub fn settle(connection: &mut Connection, output: &str, batches: &[Uuid]) -> Result<(), Error> {
    let ids = batches.iter().copied().map(Id);
    diesel::delete(outbox::table)
        .filter(outbox::output.eq(output).and(outbox::batch_id.eq_any(ids.collect::<Vec<_>>())))
        .execute(connection)?;
    Ok(())
}
