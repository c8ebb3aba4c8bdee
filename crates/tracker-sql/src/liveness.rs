//! Who may say that others are gone.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For how long others must have been able to say that they are there: as long as it takes to be gone.
const LONG: Duration = Duration::from_secs(15);
/// A gap between two signs of life. One that is shorter leaves the others time to say that they are there.
const GAP: Duration = Duration::from_secs(10);
/// How often one looks for others that are gone, which reads all that is owed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// When this replica has said that it is there. After a gap the database may have been away for all, and nobody has been seen
/// for long.
#[derive(Debug, Default)]
pub struct Liveness(Mutex<Signs>);

#[derive(Debug, Default)]
struct Signs {
    /// Since when without a gap, and last.
    said: Option<(Instant, Instant)>,
    /// When it has looked last for what is owed to an output.
    looked: HashMap<String, Instant>,
}

impl Liveness {
    /// It has said that it is there just now.
    pub fn note(&self) {
        let now = Instant::now();
        let mut signs = self.signs();
        let since = signs.said.filter(|(_, last)| now - *last < GAP).map_or(now, |(since, _)| since);
        signs.said = Some((since, now));
    }

    /// Whether who was not seen for long is gone, and it is time to look for what such a one owes to `output`.
    pub fn should_adopt(&self, output: &str) -> bool {
        let mut signs = self.signs();
        let is_long = signs.said.is_some_and(|(since, _)| since.elapsed() > LONG);
        let is_time = is_long && signs.looked.get(output).is_none_or(|looked| looked.elapsed() > LOOK_EVERY);
        if is_time {
            signs.looked.insert(output.to_owned(), Instant::now());
        }
        is_time
    }

    /// There was one, and there is more to be had.
    pub fn adopt_again_soon(&self, output: &str) {
        self.signs().looked.remove(output);
    }

    fn signs(&self) -> MutexGuard<'_, Signs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
