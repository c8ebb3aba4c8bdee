//! The last failures of the store, from which the health check chooses its probes.
//!
//! A store that fails a report or a query may still pass a small probe: a full disk has room for a small row, and a
//! damaged page is not part of every query. After a failed commit, the probe of its lane therefore writes as much as
//! the group had. After a failed query, with no success since, the probe repeats that query.
//!
//! A success of the probe clears the failure, because reports and queries may stop once a load balancer has taken the
//! instance out. A report that the lane records clears the failure of the lane, and any query that succeeds clears that
//! of the queries.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, try_join_all};

use crate::panics::catch_panic;
use crate::store::{Store, StoreError};

/// The size of a probe after a failure, in bytes. Even the minimum takes new pages.
const PROBE_BYTES: RangeInclusive<usize> = 64 << 10..=4 << 20;

/// Repeats a query.
pub(crate) type Repeat = Arc<dyn Fn(Arc<dyn Store>) -> BoxFuture<'static, Result<(), StoreError>> + Send + Sync>;

/// The last failure of each lane, and that of the queries.
#[derive(Debug)]
pub(crate) struct StoreFailures {
    lanes: Vec<Failure<usize>>,
    queries: Failure<QueryRepeat>,
}

#[derive(Clone)]
struct QueryRepeat(Repeat);

impl std::fmt::Debug for QueryRepeat {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("QueryRepeat")
    }
}

/// When something failed that has not succeeded since, and how to probe it.
#[derive(Debug)]
struct Failure<T> {
    last: Mutex<Option<(Instant, T)>>,
    /// Whether `last` has a failure, to be read without the lock.
    is_some: AtomicBool,
}

impl<T> Default for Failure<T> {
    fn default() -> Self {
        Self { last: Mutex::default(), is_some: AtomicBool::default() }
    }
}

impl<T: Clone> Failure<T> {
    fn set(&self, probe: T) {
        let mut last = self.lock();
        *last = Some((Instant::now(), probe));
        self.is_some.store(true, Ordering::Release);
    }

    fn get(&self) -> Option<(Instant, T)> {
        self.lock().clone()
    }

    /// Clears a failure from before `begun`, when what has succeeded began.
    fn clear(&self, begun: Instant) {
        if !self.is_some.load(Ordering::Acquire) {
            return;
        }
        let mut last = self.lock();
        if last.as_ref().is_some_and(|(at, _)| *at <= begun) {
            *last = None;
            self.is_some.store(false, Ordering::Release);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Instant, T)>> {
        // A panic cannot leave the value half written.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoreFailures {
    pub(crate) fn new(lanes: usize) -> Self {
        Self { lanes: (0..lanes).map(|_| Failure::default()).collect(), queries: Failure::default() }
    }

    /// Records that a group of `bytes` bytes could not be committed, or may not have been.
    pub(crate) fn commit_failed(&self, lane: usize, bytes: usize) {
        self.lanes[lane].set(bytes.clamp(*PROBE_BYTES.start(), *PROBE_BYTES.end()));
    }

    /// Records that a report was committed by a commit that began at `begun`.
    pub(crate) fn report_committed(&self, lane: usize, begun: Instant) {
        self.lanes[lane].clear(begun);
    }

    /// Records that a query has failed. `repeat` runs it again.
    pub(crate) fn query_failed(&self, repeat: Repeat) {
        self.queries.set(QueryRepeat(repeat));
    }

    /// Records that a query that began at `begun` has succeeded.
    pub(crate) fn query_succeeded(&self, begun: Instant) {
        self.queries.clear(begun);
    }

    /// The age of the last failure, if there is one.
    pub(crate) fn age(&self) -> Option<Duration> {
        let lanes = self.lanes.iter().filter_map(|lane| lane.get().map(|(at, _)| at));
        let last = lanes.chain(self.queries.get().map(|(at, _)| at)).max();
        last.map(|at| at.elapsed())
    }

    /// Checks every lane, and repeats the query that has failed.
    pub(crate) async fn probe(&self, store: &Arc<dyn Store>) -> Result<(), StoreError> {
        let lanes = try_join_all(self.lanes.iter().enumerate().map(async |(number, lane)| {
            let begun = Instant::now();
            let bytes = lane.get().map_or(0, |(_, bytes)| bytes);
            catch_panic(|| store.check(number, bytes)).await?;
            lane.clear(begun);
            Ok(())
        }));
        let query = async {
            let begun = Instant::now();
            if let Some((_, QueryRepeat(repeat))) = self.queries.get() {
                catch_panic(|| repeat(store.clone())).await?;
                self.queries.clear(begun);
            }
            Ok(())
        };
        tokio::try_join!(lanes, query).map(drop)
    }
}
