//! Counters and histograms.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// Bucket bounds for durations in nanoseconds: 0.25 ms to 10 s.
pub const DURATIONS: &[u64] = &[
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];
/// Bucket bounds for the number of items in a batch or group.
pub const SIZES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// A monotonic counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Increases the count by `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The current count.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.count())
    }
}

/// A histogram with fixed buckets. It is serialized with its `buckets` as [`Self::cumulative`] returns them.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// A counter for each bound, and one for values above the last bound.
    counts: Box<[Counter]>,
    sum: Counter,
}

impl Histogram {
    /// Creates an empty histogram. `bounds` are the inclusive upper bounds of its buckets, in
    /// ascending order.
    pub fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| Counter::default()).collect(), sum: Counter::default() }
    }

    /// Counts `value`.
    pub fn record(&self, value: u64) {
        self.counts[self.bounds.partition_point(|bound| *bound < value)].add(1);
        self.sum.add(value);
    }

    /// Counts `duration` in nanoseconds.
    pub fn record_time(&self, duration: Duration) {
        self.record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Each bound with the number of values up to it, in ascending order. The last item is `None`
    /// with the number of all values.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds.zip(&self.counts).scan(0, |total, (bound, counter)| {
            *total += counter.count();
            Some((bound, *total))
        })
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(Counter::count).sum()
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum.count()
    }
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let buckets: Vec<_> = self.cumulative().collect();
        let mut histogram = serializer.serialize_struct("Histogram", 3)?;
        histogram.serialize_field("count", &buckets.last().map_or(0, |(_, count)| *count))?;
        histogram.serialize_field("sum", &self.sum())?;
        histogram.serialize_field("buckets", &buckets)?;
        histogram.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_in_its_bucket_and_every_later_one() {
        let histogram = Histogram::new(&[1, 10]);
        for value in [0, 1, 2, 10, 11] {
            histogram.record(value);
        }
        let cumulative: Vec<_> = histogram.cumulative().collect();
        assert_eq!(cumulative, [(Some(1), 2), (Some(10), 4), (None, 5)]);
        assert_eq!((histogram.count(), histogram.sum()), (5, 24));
        let json = serde_json::to_string(&histogram).expect("plain data");
        assert_eq!(json, r#"{"count":5,"sum":24,"buckets":[[1,2],[10,4],[null,5]]}"#);
    }
}
