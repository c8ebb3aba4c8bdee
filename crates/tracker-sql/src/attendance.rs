//! Who may say that others are gone.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For how long others must have been able to say that they are there: as long as it takes to be gone.
const LONG: Duration = Duration::from_secs(15);
/// A gap between two signs of life.
const GAP: Duration = Duration::from_secs(5);

/// When this replica has said that it is there: since when without a gap, and last. After a gap the database may have been away
/// for all, and nobody has been seen for long.
#[derive(Debug, Default)]
pub struct Attendance(Mutex<Option<(Instant, Instant)>>);

impl Attendance {
    /// Whether it has been there for so long that who was not seen meanwhile is gone.
    pub fn is_long(&self) -> bool {
        let said = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.is_some_and(|(since, last)| last.elapsed() < GAP && since.elapsed() > LONG)
    }

    /// It has said so just now.
    pub fn note(&self) {
        let now = Instant::now();
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = said.filter(|(_, last)| now - *last < GAP).map_or(now, |(since, _)| since);
        *said = Some((since, now));
    }
}
