//! Deleting what is old, piece by piece, so that no report waits long for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta};
use uuid::Uuid;

use crate::failure_log::FailureLog;
use crate::fields::DeploymentId;
use crate::log::{LogDeploymentId, LogMessage};
use crate::panics::catch_panic;
use crate::store::{CreatedCursor, Deleted, Page, Store, StoreError};
use crate::time::{self, Timestamp};

/// How long after one search the next begins.
const EVERY: Duration = Duration::from_hours(1);
/// How long after a failure the next attempt begins.
const RETRY_BACKOFF: Duration = Duration::from_secs(5);
/// How many records are looked at together.
const PAGE: u32 = 250;
/// How long a piece should take: whoever reports meanwhile may have to wait for it.
const PIECE: Duration = Duration::from_millis(10);
/// How many times as long as a piece took is the pause after it.
const PAUSE: u32 = 3;
/// How many ids a piece is about, at the least; at the most it is a page.
const LEAST: u32 = 5;
/// How many rows there are for an id, as a rule. What has more takes several pieces.
const ROWS: u32 = 4;

/// What was deleted since the start.
pub(crate) type Total = Arc<Mutex<Deleted>>;

/// What `total` has come to.
pub(crate) fn read(total: &Total) -> Deleted {
    // It is replaced as a whole.
    *total.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Deletes what was recorded under an id once nothing under it is younger than an age.
#[derive(Debug)]
pub(crate) struct Retention {
    store: Arc<dyn Store>,
    age: Duration,
    /// How many ids the next piece is about.
    ids: u32,
    total: Total,
}

impl Retention {
    pub(crate) fn new(store: Arc<dyn Store>, age: Duration, total: Total) -> Self {
        Self { store, age, ids: LEAST, total }
    }

    /// Searches again and again, without end.
    pub(crate) async fn run(mut self) {
        let mut failure_log = FailureLog::new("deleting what is old");
        loop {
            let before = read(&self.total);
            let pause = match catch_panic(|| self.search()).await {
                Ok(()) => {
                    failure_log.succeeded();
                    EVERY
                }
                Err(error) => {
                    failure_log.failed(&error);
                    RETRY_BACKOFF
                }
            };
            let Deleted { deployments, servers, messages } = read(&self.total).since(before);
            if deployments + servers + messages > 0 {
                log::info!("deleted {deployments} deployments, {servers} servers and {messages} log messages");
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Deletes all that is old now. What was never recorded as a deployment is found by its servers and log messages.
    async fn search(&mut self) -> Result<(), StoreError> {
        let age = TimeDelta::from_std(self.age).unwrap_or(TimeDelta::MAX);
        let before = time::now().checked_sub_signed(age).unwrap_or_default().max(DateTime::UNIX_EPOCH);
        self.search_deployments(before).await?;
        self.search_servers(before).await?;
        self.search_logs(before).await
    }

    async fn search_deployments(&mut self, before: Timestamp) -> Result<(), StoreError> {
        let mut place = end_of(before);
        loop {
            let found = self.store.deployments(Page { limit: PAGE, after: Some(place), offset: 0 }).await?;
            let Some(last) = found.last() else { return Ok(()) };
            place = CreatedCursor { created_at: last.deployment.created_at, deployment_id: last.deployment.id };
            self.delete(found.iter().map(|found| found.deployment.id.into()).collect(), before).await?;
        }
    }

    async fn search_servers(&mut self, before: Timestamp) -> Result<(), StoreError> {
        let mut hosts = Page::first(PAGE);
        loop {
            let found = self.store.hostnames(hosts.clone()).await?;
            let Some(last) = found.last() else { return Ok(()) };
            hosts.after = Some(last.clone());
            for host in found {
                let mut place = end_of(before);
                loop {
                    let page = Page { limit: PAGE, after: Some(place), offset: 0 };
                    let servers = self.store.servers(host.clone(), page).await?;
                    let Some(last) = servers.last() else { break };
                    place = CreatedCursor { created_at: last.created_at, deployment_id: last.deployment_id };
                    self.delete(servers.iter().map(|server| server.deployment_id.into()).collect(), before).await?;
                }
            }
        }
    }

    async fn search_logs(&mut self, before: Timestamp) -> Result<(), StoreError> {
        let young = LogMessage::first_id(before);
        let mut after = None;
        loop {
            let found = self.store.logged(after, PAGE).await?;
            let Some((last, _)) = found.last() else { return Ok(()) };
            after = Some(last.clone());
            let old = found.into_iter().filter(|(_, oldest)| *oldest < young);
            self.delete(old.map(|(id, _)| id).collect(), before).await?;
        }
    }

    /// Deletes what is old of `ids`, in pieces whose size follows the time that they take, with a longer pause after each.
    async fn delete(&mut self, mut ids: Vec<LogDeploymentId>, before: Timestamp) -> Result<(), StoreError> {
        while !ids.is_empty() {
            let part: Arc<[_]> = ids.split_off(ids.len().saturating_sub(self.ids as usize)).into();
            let mut is_all = false;
            while !is_all {
                let limit = self.ids * ROWS;
                let begun = Instant::now();
                let deleted = self.store.delete_older(part.clone(), before, limit).await?;
                let took = begun.elapsed();
                is_all = deleted.rows() < u64::from(limit);
                self.total.lock().unwrap_or_else(PoisonError::into_inner).add(deleted);
                if took > PIECE {
                    self.ids = (self.ids / 2).max(LEAST);
                } else if took < PIECE / 2 {
                    self.ids = (self.ids * 2).min(PAGE);
                }
                tokio::time::sleep(took * PAUSE).await;
            }
        }
        Ok(())
    }
}

/// Where in a list that is newest first the records begin that are older than `before`.
fn end_of(before: Timestamp) -> CreatedCursor {
    CreatedCursor { created_at: before, deployment_id: DeploymentId(Uuid::nil()) }
}
