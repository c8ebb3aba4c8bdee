//! Deletes old records, in small pieces so that no report waits long.
//!
//! Each piece is one transaction, and on some stores reports wait until it ends. The number of ids in a piece therefore
//! adapts: it halves when a piece takes longer than [`TARGET_PIECE_TIME`], and doubles when a piece takes less than
//! half of that. After each piece, deletion pauses for [`PAUSE_FACTOR`] times as long as the piece took, so that it
//! uses at most a quarter of the store's time.
//!
//! Deletion is final, and a clock that is ahead makes every record old. Nothing is therefore deleted for some time
//! after the start, in which the system may still set its clock, nor while the clock contradicts the records
//! ([`clock`]).

mod clock;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta};
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::failure_log::FailureLog;
use crate::id::DeploymentId;
use crate::list::{CreatedCursor, Page};
use crate::log::{LogDeploymentId, LogMessage};
use crate::panics::catch_panic;
use crate::store::{Deleted, DeploymentQuery, HostnameQuery, ServerQuery, Store, StoreError};
use crate::time::{self, Timestamp};

use clock::Clock;

/// The default time from the start to the first search.
pub(crate) const FIRST_SEARCH: Duration = Duration::from_hours(1);
/// The time between the end of a search and the start of the next one.
const SEARCH_INTERVAL: Duration = Duration::from_hours(1);
/// The time between a failed search and the next one.
const RETRY_BACKOFF: Backoff = Backoff::constant(Duration::from_secs(5));
/// The number of records read at once, and the maximum number of ids in a piece.
const PAGE_SIZE: u32 = 250;
/// The time that a piece should take.
const TARGET_PIECE_TIME: Duration = Duration::from_millis(10);
/// The pause after a piece, as a multiple of the time that the piece took.
const PAUSE_FACTOR: u32 = 3;
/// The minimum number of ids in a piece.
const MIN_PIECE_IDS: u32 = 5;
/// The rows that a piece may delete for each of its ids. Ids with more rows take several pieces.
const ROWS_PER_ID: u32 = 4;

/// Everything that was deleted since the start.
pub(crate) type Total = Arc<Mutex<Deleted>>;

/// Reads the current total.
pub(crate) fn read(total: &Total) -> Deleted {
    // A panic cannot leave the value half written.
    *total.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Deletes everything recorded under an id as soon as all of it is older than `age`.
#[derive(Debug)]
pub(crate) struct Retention {
    store: Arc<dyn Store>,
    age: Duration,
    first_search: Duration,
    clock: Clock,
    /// The number of ids in the next piece.
    piece_ids: u32,
    total: Total,
}

impl Retention {
    /// Retention that searches for the first time after `first_search`.
    pub(crate) fn new(store: Arc<dyn Store>, age: Duration, first_search: Duration, total: Total) -> Self {
        Self { store, age, first_search, clock: Clock::new(age), piece_ids: MIN_PIECE_IDS, total }
    }

    /// Searches periodically. Never returns.
    pub(crate) async fn run(&mut self) {
        tokio::time::sleep(self.first_search).await;
        let mut backoff = RETRY_BACKOFF;
        let mut failure_log = FailureLog::new("deleting old records");
        loop {
            let before = read(&self.total);
            let pause = match catch_panic(|| self.search()).await {
                Ok(()) => {
                    failure_log.succeeded();
                    SEARCH_INTERVAL
                }
                Err(error) => {
                    failure_log.failed(&error);
                    backoff.next_pause()
                }
            };
            let Deleted { deployments, servers, messages } = read(&self.total).since(before);
            if deployments + servers + messages > 0 {
                log::info!("deleted {deployments} deployments, {servers} servers and {messages} log messages");
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Deletes everything that is old now. Servers and log messages are searched as well, because their deployment may
    /// never have been recorded.
    async fn search(&mut self) -> Result<(), StoreError> {
        if !self.clock.is_credible(self.store.as_ref()).await? {
            log::warn!(
                "no old record is deleted: when the service started, every record was already older than the limit, so \
                 the clock may be wrong; if it is right, restart the service once it has recorded new reports"
            );
            return Ok(());
        }
        let age = TimeDelta::from_std(self.age).unwrap_or(TimeDelta::MAX);
        let before = time::now().checked_sub_signed(age).unwrap_or_default().max(DateTime::UNIX_EPOCH);
        self.search_deployments(before).await?;
        self.search_servers(before).await?;
        self.search_logs(before).await
    }

    async fn search_deployments(&mut self, before: Timestamp) -> Result<(), StoreError> {
        let mut next = Some(older_than(before));
        while let Some(page) = next {
            let found = self.store.deployments(DeploymentQuery::new(page)).await?;
            next = found.next;
            self.delete(found.records.iter().map(|found| found.deployment.id.into()).collect(), before).await?;
        }
        Ok(())
    }

    async fn search_servers(&mut self, before: Timestamp) -> Result<(), StoreError> {
        let mut next_hostnames = Some(Page::first(PAGE_SIZE));
        while let Some(page) = next_hostnames {
            let hostnames = self.store.hostnames(HostnameQuery::new(page)).await?;
            next_hostnames = hostnames.next;
            for hostname in hostnames.records {
                let mut next = Some(older_than(before));
                while let Some(page) = next {
                    let servers = self.store.servers(ServerQuery::new(hostname.clone(), page)).await?;
                    next = servers.next;
                    let ids = servers.records.iter().map(|server| server.deployment_id.into());
                    self.delete(ids.collect(), before).await?;
                }
            }
        }
        Ok(())
    }

    async fn search_logs(&mut self, before: Timestamp) -> Result<(), StoreError> {
        let first_young = LogMessage::first_id(before);
        let mut after = None;
        loop {
            let found = self.store.logged(after, PAGE_SIZE).await?;
            let Some((last, _)) = found.last() else { return Ok(()) };
            after = Some(last.clone());
            let old = found.into_iter().filter(|(_, oldest)| *oldest < first_young);
            self.delete(old.map(|(id, _)| id).collect(), before).await?;
        }
    }

    /// Deletes the records of those `ids` that are old, piece by piece.
    async fn delete(&mut self, mut ids: Vec<LogDeploymentId>, before: Timestamp) -> Result<(), StoreError> {
        while !ids.is_empty() {
            let piece: Arc<[_]> = ids.split_off(ids.len().saturating_sub(self.piece_ids as usize)).into();
            let mut is_done = false;
            while !is_done {
                let limit = self.piece_ids * ROWS_PER_ID;
                let begun = Instant::now();
                let deleted = self.store.delete_older(piece.clone(), before, limit).await?;
                let took = begun.elapsed();
                is_done = deleted.rows() < u64::from(limit);
                self.total.lock().unwrap_or_else(PoisonError::into_inner).add(deleted);
                if took > TARGET_PIECE_TIME {
                    self.piece_ids = (self.piece_ids / 2).max(MIN_PIECE_IDS);
                } else if took < TARGET_PIECE_TIME / 2 {
                    self.piece_ids = (self.piece_ids * 2).min(PAGE_SIZE);
                }
                tokio::time::sleep(took * PAUSE_FACTOR).await;
            }
        }
        Ok(())
    }
}

/// The first records older than `before` of a list, newest first.
fn older_than(before: Timestamp) -> Page<CreatedCursor> {
    let cursor = CreatedCursor { created_at: before, deployment_id: DeploymentId(Uuid::nil()) };
    Page { after: Some(cursor), ..Page::first(PAGE_SIZE) }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::memory::MemoryStore;
    use crate::testing::new_id;
    use crate::tracker::Tracker;
    use crate::{Deployment, DeploymentFields, Hostname, Server, ServerFields};

    const DAY: TimeDelta = TimeDelta::days(1);

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Kind {
        Deployment,
        Server,
        Log,
    }

    const KINDS: [Kind; 3] = [Kind::Deployment, Kind::Server, Kind::Log];

    /// Inserts a record that is `age` old.
    fn insert(store: &MemoryStore, kind: Kind, age: TimeDelta) {
        let (id, at) = (new_id(), time::now() - age);
        match kind {
            Kind::Deployment => {
                let fields = DeploymentFields::default();
                store.insert([Deployment { id, fields, created_at: Some(at), updated_at: Some(at) }], [], []);
            }
            Kind::Server => {
                let (hostname, fields) = (Hostname::stored(id.to_string()), ServerFields::default());
                let server = Server { hostname, deployment_id: id, fields, created_at: Some(at), updated_at: Some(at) };
                store.insert([], [server], []);
            }
            Kind::Log => {
                let object = RawValue::from_string(r#"{"message":"m"}"#.into()).expect("valid JSON");
                let message = LogMessage::stored(LogMessage::first_id(at), at, object).expect("an object");
                // One name for all: its oldest message must not hide the others.
                store.insert([], [], [(LogDeploymentId::new("name").expect("a valid id"), message)]);
            }
        }
    }

    /// How many records are deleted within an hour less a minute, and within a day.
    async fn deleted(store: MemoryStore) -> [u64; 2] {
        let tracker = Tracker::builder(store).delete_after(Some(Duration::from_hours(30 * 24))).start();
        tokio::time::sleep(Duration::from_mins(59)).await;
        let first = tracker.deleted().rows();
        tokio::time::sleep(Duration::from_hours(23)).await;
        [first, tracker.deleted().rows()]
    }

    #[tokio::test(start_paused = true)]
    async fn old_records_are_deleted_an_hour_after_the_start() {
        for recent in KINDS {
            let store = MemoryStore::new();
            KINDS.into_iter().filter(|old| *old != recent).for_each(|old| insert(&store, old, DAY * 31));
            insert(&store, recent, DAY * 29);
            assert_eq!(deleted(store).await, [0, 2], "the clock agrees with a recent {recent:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_deleted_while_the_clock_is_ahead_of_every_earlier_record() {
        for kind in KINDS {
            let store = MemoryStore::new();
            // The clock is 31 days ahead of the records, and new records have their times from it.
            insert(&store, kind, DAY * 40);
            insert(&store, kind, DAY * 31);
            KINDS.into_iter().for_each(|kind| insert(&store, kind, TimeDelta::zero()));
            assert_eq!(deleted(store).await, [0, 0], "{kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn deletion_begins_once_the_clock_agrees_with_a_record() {
        let mut clock = Clock::new(Duration::from_hours(30 * 24));
        let store = MemoryStore::new();
        insert(&store, Kind::Deployment, DAY * 31);
        assert!(!clock.is_credible(&store).await.expect("memory answers"));
        // As if the clock had been set back by two days.
        insert(&store, Kind::Deployment, DAY * 29);
        assert!(clock.is_credible(&store).await.expect("memory answers"));
    }
}
