//! Decides when this instance may declare another one dead.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long this instance must have sent heartbeats before it adopts batches. Equals the age at which a
/// heartbeat of another instance counts as lost.
const MIN_UPTIME: Duration = Duration::from_secs(15);
/// After a longer gap between two of its own heartbeats, this instance starts [`MIN_UPTIME`] over. After a shorter gap,
/// other instances still have time to send a heartbeat before their last one counts as lost.
const MAX_GAP: Duration = Duration::from_secs(10);
/// How often an instance looks for dead ones, which reads the index of all pending batches.
const ADOPTION_INTERVAL: Duration = Duration::from_secs(5);

/// The heartbeats of this instance. A gap may mean that no instance could reach the database, so old heartbeats of the
/// others prove nothing.
#[derive(Debug, Default)]
pub struct Liveness(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The first heartbeat since the last gap, and the latest.
    heartbeats: Option<(Instant, Instant)>,
    /// When this instance last looked for dead ones, by output.
    last_adoption: HashMap<String, Instant>,
}

impl Liveness {
    pub fn record_heartbeat(&self) {
        let now = Instant::now();
        let mut state = self.state();
        let first = state.heartbeats.filter(|(_, last)| now - *last < MAX_GAP).map_or(now, |(first, _)| first);
        state.heartbeats = Some((first, now));
    }

    /// Whether to look for dead instances with pending batches for `output` now.
    pub fn should_adopt(&self, output: &str) -> bool {
        let mut state = self.state();
        let is_allowed = state.heartbeats.is_some_and(|(first, _)| first.elapsed() > MIN_UPTIME);
        let is_due = state.last_adoption.get(output).is_none_or(|last| last.elapsed() > ADOPTION_INTERVAL);
        if is_allowed && is_due {
            state.last_adoption.insert(output.to_owned(), Instant::now());
        }
        is_allowed && is_due
    }

    /// Makes the next search due at once, because the last one may have left batches.
    pub fn adopt_again_soon(&self, output: &str) {
        self.state().last_adoption.remove(output);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
