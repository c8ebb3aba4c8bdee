//! Exponential backoff with jitter.

use std::time::Duration;

/// The pauses between tries: each is twice as long as the one before, up to a maximum.
///
/// Each pause is shortened at random by up to a quarter (jitter), so that instances that failed together do not retry
/// together.
///
/// ```
/// use std::time::Duration;
/// use tracker_core::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(150));
/// assert!((75..=100).contains(&backoff.next_pause().as_millis()));
/// assert!((112..=150).contains(&backoff.next_pause().as_millis()));
/// backoff.reset();
/// assert!(backoff.next_pause().as_millis() <= 100);
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// A backoff whose first pause is `first` and whose longest is `max`.
    #[must_use]
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, next: first }
    }

    /// A backoff whose pauses are all `pause`, apart from jitter.
    #[must_use]
    pub const fn constant(pause: Duration) -> Self {
        Self::new(pause, pause)
    }

    /// The pause before the next try.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = self.max.min(pause * 2);
        pause.mul_f64(1.0 - fastrand::f64() / 4.0)
    }

    /// Starts again with the first pause. Call this after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}
