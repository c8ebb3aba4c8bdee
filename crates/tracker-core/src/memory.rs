//! A store in memory, for tests and for programs that need no durable records.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use uuid::Uuid;

use crate::deployment::{Deployment, DeploymentWithServers};
use crate::event::{Batch, EventKind};
use crate::group::{Acknowledged, Decision, Group, Outcome, Records};
use crate::id::DeploymentId;
use crate::list::{CreatedCursor, Listed, Page, Record};
use crate::log::{LogDeploymentId, LogMessage};
use crate::server::{Hostname, Server, ServerKey};
use crate::store::{
    Backlog, Deleted, DeploymentQuery, HostnameQuery, LogQuery, PENDING_BYTES, PendingBatch, ServerQuery, Store,
    StoreError,
};
use crate::time::Timestamp;

/// A store in memory. Its records are lost when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    deployments: BTreeMap<DeploymentId, Deployment>,
    servers: BTreeMap<ServerKey, Server>,
    logs: BTreeMap<LogDeploymentId, Vec<LogMessage>>,
    outbox: BTreeMap<(String, Uuid), Arc<Batch>>,
}

impl MemoryStore {
    /// Creates an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Inserts records with their times.
    #[cfg(test)]
    pub(crate) fn insert(
        &self,
        deployments: impl IntoIterator<Item = Deployment>,
        servers: impl IntoIterator<Item = Server>,
        logs: impl IntoIterator<Item = (LogDeploymentId, LogMessage)>,
    ) {
        let mut tables = self.tables();
        tables.deployments.extend(deployments.into_iter().map(|deployment| (deployment.id, deployment)));
        tables.servers.extend(servers.into_iter().map(|server| (server.key(), server)));
        for (id, message) in logs {
            tables.logs.entry(id).or_default().push(message);
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // A panic cannot leave a record half written: each is replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn with_servers(&self, deployment: &Deployment) -> DeploymentWithServers {
        let servers = self.servers_of(deployment.id).cloned().collect();
        DeploymentWithServers { deployment: deployment.clone(), servers }
    }

    fn servers_of(&self, id: DeploymentId) -> impl Iterator<Item = &Server> {
        let first = ServerKey { deployment_id: id, hostname: Hostname::stored("") };
        self.servers.range(first..).map(|(_, server)| server).take_while(move |server| server.deployment_id == id)
    }
}

/// Reads `page` from `rows`. `is_after` says whether a row comes after a cursor.
fn listed<T: Record>(
    rows: impl Iterator<Item = T>,
    page: &Page<T::Cursor>,
    is_after: impl Fn(&T, &T::Cursor) -> bool,
) -> Result<Listed<T, T::Cursor>, StoreError> {
    let rows = rows.filter(|row| page.after.as_ref().is_none_or(|cursor| is_after(row, cursor)));
    Listed::read(page, rows.skip(usize::try_from(page.offset).unwrap_or(usize::MAX)).map(|row| Ok(Some(row))))
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, _lane: usize, group: Arc<Group>) -> Result<Decision, StoreError> {
        let mut tables = self.tables();
        let mut records = Records {
            deployments: group.deployments().iter().filter_map(|id| tables.deployments.get(id).cloned()).collect(),
            servers: group.servers().iter().filter_map(|key| tables.servers.get(key).cloned()).collect(),
        };
        for id in group.deployments_with_all_servers() {
            records.servers.extend(tables.servers_of(id).cloned());
        }
        let mut decision = group.decide(records);
        let changed = decision.changed_deployments.iter().map(|changed| &changed.record);
        for deployment in decision.new_deployments.iter().chain(changed) {
            tables.deployments.insert(deployment.id, deployment.clone());
        }
        let changed = decision.changed_servers.iter().map(|changed| &changed.record);
        for server in decision.new_servers.iter().chain(changed) {
            tables.servers.insert(server.key(), server.clone());
        }
        for event in &decision.logs {
            if let EventKind::Logged(logs) = &event.kind {
                let kept = tables.logs.entry(logs.deployment_id.clone()).or_default();
                for message in &logs.messages {
                    // Messages need not commit in the order of receipt.
                    let index = kept.partition_point(|kept| kept.event_id <= message.event_id);
                    kept.insert(index, message.clone());
                }
            }
        }
        for pending in &decision.pending {
            tables.outbox.insert((pending.output.clone(), pending.batch.id), pending.batch.clone());
        }
        for Acknowledged { output, batches, outcome } in &decision.acknowledged {
            for batch in batches {
                if tables.outbox.remove(&(output.clone(), *batch)).is_none() {
                    decision.outcomes[*outcome] = Outcome::Unchanged;
                }
            }
        }
        Ok(decision)
    }

    async fn deployment(&self, id: DeploymentId) -> Result<Option<DeploymentWithServers>, StoreError> {
        let tables = self.tables();
        Ok(tables.deployments.get(&id).map(|deployment| tables.with_servers(deployment)))
    }

    async fn deployments(
        &self,
        DeploymentQuery { page }: DeploymentQuery,
    ) -> Result<Listed<DeploymentWithServers, CreatedCursor>, StoreError> {
        let tables = self.tables();
        let mut newest: Vec<_> = tables.deployments.values().collect();
        newest.sort_by_key(|deployment| std::cmp::Reverse((deployment.created_at, deployment.id)));
        let newest = newest.into_iter().map(|deployment| tables.with_servers(deployment));
        listed(newest, &page, |DeploymentWithServers { deployment, .. }, cursor| {
            (deployment.created_at, deployment.id) < (Some(cursor.created_at), cursor.deployment_id)
        })
    }

    async fn hostnames(&self, HostnameQuery { page }: HostnameQuery) -> Result<Listed<Hostname, Hostname>, StoreError> {
        let hostnames: BTreeSet<_> = self.tables().servers.keys().map(|key| key.hostname.clone()).collect();
        listed(hostnames.into_iter().rev(), &page, |hostname, cursor| hostname < cursor)
    }

    async fn servers(
        &self,
        ServerQuery { hostname, page }: ServerQuery,
    ) -> Result<Listed<Server, CreatedCursor>, StoreError> {
        let tables = self.tables();
        let mut newest: Vec<_> = tables.servers.values().filter(|server| server.hostname == hostname).collect();
        newest.sort_by_key(|server| std::cmp::Reverse((server.created_at, server.deployment_id)));
        listed(newest.into_iter().cloned(), &page, |server, cursor| {
            (server.created_at, server.deployment_id) < (Some(cursor.created_at), cursor.deployment_id)
        })
    }

    async fn logs(&self, LogQuery { deployment_id, page }: LogQuery) -> Result<Listed<LogMessage, Uuid>, StoreError> {
        let tables = self.tables();
        let messages = tables.logs.get(&deployment_id).into_iter().flatten().cloned();
        listed(messages, &page, |message, cursor| message.event_id > *cursor)
    }

    async fn pending(&self, output: &str, limit: usize) -> Result<Vec<PendingBatch>, StoreError> {
        let tables = self.tables();
        let mut bytes = 0;
        let pending = tables.outbox.iter().filter(|((name, _), _)| name == output).take_while(|(_, batch)| {
            let has_room = bytes < PENDING_BYTES;
            bytes += batch.size();
            has_room
        });
        Ok(pending.map(|(_, batch)| PendingBatch { batch: batch.clone(), is_adopted: false }).take(limit).collect())
    }

    async fn backlog(&self, output: &str) -> Result<Backlog, StoreError> {
        let tables = self.tables();
        let mut backlog = Backlog::default();
        for (_, batch) in tables.outbox.iter().filter(|((name, _), _)| name == output) {
            backlog.messages += batch.messages() as u64;
            backlog.bytes += batch.size() as u64;
            backlog.oldest = backlog.oldest.or(batch.events.first().map(|event| event.at));
        }
        Ok(backlog)
    }

    async fn logged(
        &self,
        after: Option<LogDeploymentId>,
        limit: u32,
    ) -> Result<Vec<(LogDeploymentId, Uuid)>, StoreError> {
        let tables = self.tables();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = tables.logs.range((start, Bound::Unbounded));
        let logged = rest.filter_map(|(id, messages)| Some((id.clone(), messages.first()?.event_id)));
        Ok(logged.take(limit as usize).collect())
    }

    async fn delete_older(
        &self,
        ids: Arc<[LogDeploymentId]>,
        before: Timestamp,
        limit: u32,
    ) -> Result<Deleted, StoreError> {
        let mut tables = self.tables();
        let mut deleted = Deleted::default();
        let limit = u64::from(limit);
        for name in ids.iter() {
            let id = DeploymentId::parse(name.as_str()).ok();
            let deployment = id.and_then(|id| tables.deployments.get(&id));
            let servers: Vec<_> = id.into_iter().flat_map(|id| tables.servers_of(id)).collect();
            let messages = tables.logs.get(name);
            let first_young = LogMessage::first_id(before);
            if deployment.is_some_and(|deployment| deployment.updated_at >= Some(before))
                || servers.iter().any(|server| server.updated_at >= Some(before))
                || messages.is_some_and(|messages| messages.iter().any(|message| message.event_id >= first_young))
            {
                continue;
            }
            let keys: Vec<_> = servers.into_iter().map(Server::key).collect();
            if let Some(messages) = tables.logs.get_mut(name) {
                let room = usize::try_from(limit - deleted.rows()).unwrap_or(usize::MAX);
                deleted.messages += messages.drain(..room.min(messages.len())).len() as u64;
                if messages.is_empty() {
                    tables.logs.remove(name);
                }
            }
            for key in keys {
                if deleted.rows() < limit && tables.servers.remove(&key).is_some() {
                    deleted.servers += 1;
                }
            }
            if let Some(id) = id
                && deleted.rows() < limit
                && tables.deployments.remove(&id).is_some()
            {
                deleted.deployments += 1;
            }
        }
        Ok(deleted)
    }

    async fn check(&self, _lane: usize, _bytes: usize) -> Result<(), StoreError> {
        Ok(())
    }
}
