//! Waiting for a condition, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// The deadline of [`eventually`]: far longer than any condition needs.
pub const DEADLINE: Duration = Duration::from_secs(20);

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The result of polling a condition: `true`, or `Some` with the value that the test wants.
pub trait Condition {
    /// The value that [`eventually`] returns once the condition holds.
    type Value;

    /// The value, if the condition holds.
    fn met(self) -> Option<Self::Value>;
}

impl Condition for bool {
    type Value = ();

    fn met(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Condition for Option<T> {
    type Value = T;

    fn met(self) -> Self {
        self
    }
}

/// Polls `condition` until it holds, and returns its value. Panics after [`DEADLINE`]; the message contains `what`, a
/// description of the condition.
///
/// This function blocks its thread; use it in tests without an async runtime. Async tests use
/// `tracker_core::testing::eventually`, which takes an async closure.
#[track_caller]
pub fn eventually<C: Condition>(what: &str, condition: impl FnMut() -> C) -> C::Value {
    within(DEADLINE, what, condition)
}

/// As [`eventually`], with a deadline of its own.
#[track_caller]
pub fn within<C: Condition>(deadline: Duration, what: &str, mut condition: impl FnMut() -> C) -> C::Value {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = condition().met() {
            return value;
        }
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        thread::sleep(POLL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_polled_until_it_is_true_or_has_a_value() {
        let mut polls = 0;
        eventually("three polls", || {
            polls += 1;
            polls == 3
        });
        assert_eq!(eventually("a value", || Some(polls)), 3);
    }

    #[test]
    #[should_panic(expected = "not within 10ms: something impossible")]
    fn the_panic_after_the_deadline_names_the_condition() {
        within(Duration::from_millis(10), "something impossible", || false);
    }
}
