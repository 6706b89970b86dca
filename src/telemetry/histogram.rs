//! A histogram of durations that many threads write without waiting for each other.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Upper bounds in nanoseconds: those of the OpenTelemetry conventions for RPCs from 5 ms up, and finer
/// ones below, because most answers of this server take less than a millisecond.
const BOUNDS_NANOS: [u64; 19] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
];

/// The same bounds in seconds, as they are shown.
const BOUNDS_SECONDS: [f64; 19] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5,
    5.0, 7.5, 10.0,
];

/// Counts durations by buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One more than bounds: the last is for all that is longer.
    buckets: [AtomicU64; BOUNDS_NANOS.len() + 1],
    sum_nanos: AtomicU64,
}

/// What a histogram held at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Upper bounds (inclusive, in seconds, rising) with how many values lie at or below each.
    pub cumulative: Vec<(f64, u64)>,
    /// How many values there are in all.
    pub count: u64,
    /// The sum of all values, in seconds.
    pub sum: f64,
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NANOS.partition_point(|bound| *bound < nanos);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_nanos.fetch_add(nanos, Relaxed);
    }

    /// What it holds. The count always equals the sum of the buckets; the sum may be a few values ahead
    /// or behind while others write.
    pub fn snapshot(&self) -> Snapshot {
        let mut count = 0;
        let mut upto = |bucket: &AtomicU64| {
            count += bucket.load(Relaxed);
            count
        };
        let cumulative = BOUNDS_SECONDS.iter().zip(&self.buckets).map(|(le, bucket)| (*le, upto(bucket)));
        let cumulative = cumulative.collect();
        upto(&self.buckets[BOUNDS_NANOS.len()]);
        let sum = Duration::from_nanos(self.sum_nanos.load(Relaxed)).as_secs_f64();
        Snapshot { cumulative, count, sum }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn both_lists_of_bounds_are_the_same_and_rise() {
        for (nanos, seconds) in BOUNDS_NANOS.iter().zip(BOUNDS_SECONDS) {
            assert_eq!(Duration::from_nanos(*nanos), Duration::from_secs_f64(seconds));
        }
        assert!(BOUNDS_NANOS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        for (duration, first) in [
            (Duration::ZERO, Some(0.0001)),
            (Duration::from_micros(100), Some(0.0001)),
            (Duration::from_nanos(100_001), Some(0.00025)),
            (Duration::from_secs(10), Some(10.0)),
            (Duration::from_secs(11), None),
        ] {
            let histogram = Histogram::new();
            histogram.observe(duration);
            let snapshot = histogram.snapshot();
            assert_eq!(snapshot.count, 1);
            let found = snapshot.cumulative.iter().find(|(_, count)| *count > 0).map(|(le, _)| *le);
            assert_eq!(found, first, "{duration:?}");
            assert!((snapshot.sum - duration.as_secs_f64()).abs() < 1e-9);
        }
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let histogram = Histogram::new();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|i| histogram.observe(Duration::from_micros(i))));
            }
        });
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count, 40_000);
        assert_eq!(snapshot.cumulative.last().unwrap().1, 40_000);
        assert!((snapshot.sum - 4.0 * 49.995).abs() < 1e-6, "{}", snapshot.sum);
    }
}
