//! Decides whether the clock is right enough to delete by.
//!
//! A clock that is far ahead makes every record old. Records from before the start of this process are the evidence
//! against that: a clock that was already more than the age limit ahead of all of them when the process started may be
//! wrong, and nothing is deleted. Records since the start prove nothing, because they have their times from this clock.

use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;

use super::{PAGE_SIZE, older_than};
use crate::list::Page;
use crate::log::LogMessage;
use crate::store::{DeploymentQuery, HostnameQuery, LogQuery, ServerQuery, Store, StoreError};
use crate::time::{self, Timestamp};

/// The clock, compared with the records from before the start.
#[derive(Debug)]
pub(super) struct Clock {
    begun: Instant,
    age: TimeDelta,
    /// The time of a record from before the start, as recent as is known.
    evidence: Option<Timestamp>,
}

impl Clock {
    pub(super) fn new(age: Duration) -> Self {
        let age = TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
        Self { begun: Instant::now(), age, evidence: None }
    }

    /// Whether the clock may be right: it was not more than the age limit ahead of every record when the process
    /// started, or there was no record.
    pub(super) async fn is_credible(&mut self, store: &dyn Store) -> Result<bool, StoreError> {
        // In terms of the clock as it is now: it may have been set since. The uptime does not depend on it.
        let uptime = TimeDelta::from_std(self.begun.elapsed()).unwrap_or(TimeDelta::MAX);
        let started = earlier(time::now(), uptime);
        let is_near = |record: Timestamp| record >= earlier(started, self.age);
        if !self.evidence.is_some_and(is_near) {
            self.evidence = newest_record(store, started, self.age).await?;
        }
        Ok(self.evidence.is_none_or(is_near))
    }
}

fn earlier(time: Timestamp, by: TimeDelta) -> Timestamp {
    time.checked_sub_signed(by).unwrap_or(Timestamp::MIN_UTC)
}

/// The newest record from before `started`. If no record of a kind is from within `age` before that, an older one of
/// the kind may stand for it. Returns the first record that is near enough, because that decides.
async fn newest_record(store: &dyn Store, started: Timestamp, age: TimeDelta) -> Result<Option<Timestamp>, StoreError> {
    let near = earlier(started, age);
    let before_start = Page { limit: 1, ..older_than(started) };
    let deployments = store.deployments(DeploymentQuery::new(before_start.clone())).await?;
    let mut newest = deployments.records.first().and_then(|found| found.deployment.created_at);

    let mut rest = Some(Page::first(PAGE_SIZE));
    while let Some(page) = rest.take().filter(|_| newest.is_none_or(|at| at < near)) {
        let hostnames = store.hostnames(HostnameQuery::new(page)).await?;
        for hostname in hostnames.records {
            let servers = store.servers(ServerQuery::new(hostname, before_start.clone())).await?;
            newest = newest.max(servers.records.first().and_then(|server| server.created_at));
        }
        rest = hostnames.next;
    }

    let mut after = None;
    while newest.is_none_or(|at| at < near) {
        let logged = store.logged(after, PAGE_SIZE).await?;
        let Some((last, _)) = logged.last() else { break };
        after = Some(last.clone());
        for (id, _) in logged {
            // The list is in ascending order: the oldest message, and the oldest that would be recent enough.
            for after in [None, Some(LogMessage::first_id(near))] {
                let found = store.logs(LogQuery::new(id.clone(), Page { after, ..Page::first(1) })).await?;
                let received = found.records.first().map(|message| message.received_at);
                newest = newest.max(received.filter(|at| *at < started));
            }
        }
    }
    Ok(newest)
}
