//! Markers that Redis no longer needs.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// The maximum number of ids kept. Beyond it the oldest are dropped; Redis expires their markers after a week.
const MAX_IDS: usize = 100_000;
/// The maximum number of ids that one push takes; more than one delivery forgets.
const TAKEN_IDS: usize = 1_000;

/// The ids of batches that are never delivered again. The next push deletes their markers.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    /// Ordered by age, because the ids are UUIDv7.
    ids: Mutex<BTreeSet<Uuid>>,
}

impl Forgotten {
    pub(crate) fn add(&self, batches: &[Uuid]) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.extend(batches);
        while ids.len() > MAX_IDS {
            ids.pop_first();
        }
    }

    /// Takes the oldest ids, as many as one push deletes. If the push is canceled, they are lost, and Redis expires
    /// their markers.
    pub(crate) fn take(&self) -> Vec<Uuid> {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| ids.pop_first()).take(TAKEN_IDS).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_ids_are_dropped_at_the_limit() {
        let ids: Vec<_> = (0..MAX_IDS as u128 + 2).map(Uuid::from_u128).collect();
        let forgotten = Forgotten::default();
        forgotten.add(&ids[2..]);
        forgotten.add(&ids[..3]);
        let taken: Vec<_> = std::iter::repeat_with(|| forgotten.take()).take_while(|taken| !taken.is_empty()).collect();
        assert_eq!(taken.concat(), ids[2..]);
        assert!(taken.iter().all(|taken| taken.len() <= TAKEN_IDS));
    }
}
