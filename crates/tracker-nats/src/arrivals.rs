//! The messages that are known to be in the stream.
//!
//! Every message carries a [`Mark`] in a header: its batch, its place in the batch, and the sequence from which the
//! subject must be read to find every batch that may be delivered again. The messages of a batch arrive in order and
//! without gaps, so the highest place of a batch tells which of them have arrived. After a restart, the last message of
//! the subject says where to start reading; after an error, the output reads on from the last message that it knows.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tracker_core::Uuid;

/// The header of the mark.
pub(crate) const MARK: &str = "Deployment-Tracker-Batch";
/// How long a batch that the tracker does not forget stays known. The tracker never forgets a batch whose delivery has
/// failed before, and delivers or removes each within minutes of reaching its store and NATS.
const KNOWN: Duration = Duration::from_secs(3_600);
/// The longest time between two deliveries that counts. The tracker may have been unable to reach its store for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The place of a message: `<batch> <place> <oldest>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) batch: Uuid,
    /// The number of messages of the batch up to this one.
    pub(crate) place: usize,
    /// The sequence from which to read the subject after a restart.
    pub(crate) oldest: u64,
}

impl fmt::Display for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{} {} {}", self.batch, self.place, self.oldest)
    }
}

/// The header of another program.
#[derive(Debug)]
pub(crate) struct NotAMark;

impl FromStr for Mark {
    type Err = NotAMark;

    fn from_str(text: &str) -> Result<Self, NotAMark> {
        let mut words = text.split(' ');
        let (Some(batch), Some(place), Some(oldest), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(NotAMark);
        };
        let number = |word: &str| word.parse().map_err(|_| NotAMark);
        let place = usize::try_from(number(place)?).map_err(|_| NotAMark)?;
        Ok(Self { batch: batch.parse().map_err(|_| NotAMark)?, place, oldest: number(oldest)? })
    }
}

/// The messages that are known to be in the stream.
///
/// The time of outages does not count for the age of a batch: the tracker cannot deliver or remove batches meanwhile.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// The sequence of the last message of the subject, 0 if there is none. `None` before the first read.
    last: Option<u64>,
    batches: HashMap<Uuid, Arrived>,
    /// The `first` of each batch.
    firsts: BTreeSet<(u64, Uuid)>,
    /// The time that has passed without outages.
    now: Duration,
    /// The age at which a batch is dropped.
    pub(crate) known: Duration,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { last: None, batches: HashMap::new(), firsts: BTreeSet::new(), now: Duration::ZERO, known: KNOWN }
    }
}

#[derive(Debug)]
struct Arrived {
    /// The sequence of its first message, or a lower one.
    first: u64,
    /// The number of its messages, from the start of the batch.
    messages: usize,
    /// When the tracker last delivered it.
    delivered: Duration,
}

impl Arrivals {
    /// Adds the message at `sequence` of the subject.
    pub(crate) fn add(&mut self, mark: Mark, sequence: u64) {
        let arrived = self.batches.entry(mark.batch).or_insert_with(|| {
            self.firsts.insert((sequence, mark.batch));
            Arrived { first: sequence, messages: 0, delivered: self.now }
        });
        arrived.messages = arrived.messages.max(mark.place);
        self.last = Some(sequence);
    }

    /// Adds a message that the server recognized as a duplicate. It may be of another subject, so it says nothing about
    /// the last sequence of this one.
    pub(crate) fn add_duplicate(&mut self, mark: Mark) {
        let last = self.last;
        self.add(mark, self.next());
        self.last = last;
    }

    /// The number of messages of a batch that have arrived, from its start.
    pub(crate) fn of(&self, batch: Uuid) -> usize {
        self.batches.get(&batch).map_or(0, |arrived| arrived.messages)
    }

    /// As [`Arrivals::of`], for a batch that the tracker delivers now.
    pub(crate) fn deliver(&mut self, batch: Uuid) -> usize {
        if let Some(arrived) = self.batches.get_mut(&batch) {
            arrived.delivered = self.now;
        }
        self.of(batch)
    }

    /// Removes a batch that will not be delivered again.
    pub(crate) fn forget(&mut self, batch: Uuid) {
        if let Some(arrived) = self.batches.remove(&batch) {
            self.firsts.remove(&(arrived.first, batch));
        }
    }

    /// Counts the time between two deliveries without an outage, and drops batches from the oldest on that will not be
    /// delivered again.
    pub(crate) fn pass(&mut self, pause: Duration) {
        self.now += pause.min(LONGEST_PAUSE);
        while let Some(&(_, batch)) = self.firsts.first()
            && self.batches[&batch].delivered + self.known <= self.now
        {
            self.forget(batch);
        }
    }

    /// The sequence of the last message of the subject, 0 if there is none.
    pub(crate) fn last(&self) -> u64 {
        self.last.unwrap_or_default()
    }

    /// Records the last sequence of the subject, after everything before it has been added.
    pub(crate) fn set_last(&mut self, last: u64) {
        self.last = Some(last);
    }

    /// The sequence from which to read the subject, whose last message has `mark`.
    pub(crate) fn unread(&self, mark: Option<Mark>) -> u64 {
        self.last.map_or(mark.map_or(u64::MAX, |mark| mark.oldest), |last| last + 1)
    }

    /// The `oldest` of the next mark.
    pub(crate) fn oldest(&self) -> u64 {
        self.firsts.first().map_or(self.next(), |&(first, _)| first.min(self.next()))
    }

    fn next(&self) -> u64 {
        self.last() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(batch: u128, place: usize) -> Mark {
        Mark { batch: Uuid::from_u128(batch), place, oldest: 3 }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let text = mark(1, 17).to_string();
        assert_eq!(text, "00000000-0000-0000-0000-000000000001 17 3");
        assert_eq!(text.parse::<Mark>().ok(), Some(mark(1, 17)));
        for text in ["", "1 2 3", "00000000-0000-0000-0000-000000000001 17", &format!("{text} 4"), "- -1 3"] {
            assert!(text.parse::<Mark>().is_err(), "{text}");
        }
    }

    #[test]
    fn reading_starts_at_the_first_message_of_the_oldest_batch_that_is_not_forgotten() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.unread(Some(mark(9, 1))), 3, "a restart begins where the last message says");
        arrivals.set_last(9);
        assert_eq!((arrivals.oldest(), arrivals.unread(Some(mark(9, 1)))), (10, 10));
        for (batch, place, sequence) in [(1, 1, 10), (1, 2, 11), (2, 1, 14), (3, 1, 15)] {
            arrivals.add(mark(batch, place), sequence);
        }
        assert_eq!([1, 2, 3, 4].map(|batch| arrivals.of(Uuid::from_u128(batch))), [2, 1, 1, 0]);
        assert_eq!((arrivals.oldest(), arrivals.last()), (10, 15));
        arrivals.forget(Uuid::from_u128(1));
        assert_eq!((arrivals.oldest(), arrivals.of(Uuid::from_u128(1))), (14, 0));
        arrivals.add_duplicate(mark(4, 2));
        assert_eq!((arrivals.last(), arrivals.of(Uuid::from_u128(4))), (15, 2));
        // The stream was deleted and created again.
        arrivals.set_last(0);
        assert_eq!(arrivals.oldest(), 1);
    }

    #[test]
    fn a_batch_is_dropped_an_hour_after_its_last_delivery_without_the_time_of_outages() {
        let mut arrivals = Arrivals::default();
        let known = |arrivals: &Arrivals| [1, 2].map(|batch| arrivals.of(Uuid::from_u128(batch)));
        arrivals.add(mark(1, 1), 10);
        arrivals.add(mark(2, 1), 11);
        // The store was away for a day.
        arrivals.pass(24 * KNOWN);
        assert_eq!((known(&arrivals), arrivals.oldest()), ([1, 1], 10));
        for _ in 0..59 {
            assert_eq!(arrivals.deliver(Uuid::from_u128(2)), 1);
            arrivals.pass(LONGEST_PAUSE);
        }
        assert_eq!((known(&arrivals), arrivals.oldest()), ([0, 1], 11));
        for _ in 0..59 {
            arrivals.pass(LONGEST_PAUSE);
        }
        assert_eq!((known(&arrivals), arrivals.oldest()), ([0, 0], 12));
    }
}
