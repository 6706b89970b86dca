//! The latencies of a window, counted in buckets whose width grows with the latency: off by at most a
//! thirtieth, in the same space however many there are.

use std::time::Duration;

/// Buckets for each doubling.
const STEPS: u64 = 1 << STEPS_LOG2;
const STEPS_LOG2: u32 = 5;
/// 71 minutes in microseconds; what is longer counts as that long.
const LONGEST: u64 = (1 << 32) - 1;
/// As many as [`bucket`] has answers.
const BUCKETS: usize = 896;

/// How often operations took how long.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    buckets: Vec<u32>,
    /// Those that never got through: longer than any.
    endless: u32,
    count: u32,
}

impl Latencies {
    pub(super) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS], endless: 0, count: 0 }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn add(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(LONGEST).min(LONGEST);
        if let Some(bucket) = self.buckets.get_mut(bucket(micros)) {
            *bucket = bucket.saturating_add(1);
            self.count = self.count.saturating_add(1);
        }
    }

    pub(super) fn add_endless(&mut self) {
        self.endless = self.endless.saturating_add(1);
        self.count = self.count.saturating_add(1);
    }

    /// What the fastest nine in ten took on average, in seconds. Infinite where more than one in ten never got
    /// through, or there are none.
    ///
    /// The mean is what Little's law speaks of; without its slowest tenth a few that are stuck do not move it.
    pub(super) fn typical(&self) -> f64 {
        let all = u64::from(self.count).saturating_mul(9).div_ceil(10);
        let (mut counted, mut micros) = (0, 0.0);
        for (index, count) in self.buckets.iter().enumerate() {
            let count = u64::from(*count).min(all - counted);
            counted += count;
            micros += count as f64 * middle(index);
        }
        match counted {
            0 => f64::INFINITY,
            _ if counted < all => f64::INFINITY,
            _ => micros / counted as f64 / 1e6,
        }
    }
}

/// Below 32 a bucket is one wide; each doubling from there on has 32.
fn bucket(micros: u64) -> usize {
    let doublings = (micros | (STEPS - 1)).ilog2() - (STEPS_LOG2 - 1);
    let index = match doublings.checked_sub(1) {
        None => micros,
        // The top bit is in the count of doublings; the five bits below it are the step.
        Some(shift) => u64::from(doublings) * STEPS + (micros >> shift) % STEPS,
    };
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The middle of a bucket, in microseconds; not zero, so that it can be divided by.
fn middle(index: usize) -> f64 {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    let (doublings, step) = (index / STEPS, index % STEPS);
    match u32::try_from(doublings.saturating_sub(1)) {
        Ok(shift) if doublings > 0 => ((STEPS + step) as f64 + 0.5) * f64::from(shift).exp2(),
        _ => step as f64 + 0.5,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_slowest_tenth_does_not_count() {
        let mut latencies = Latencies::new();
        assert!(latencies.typical().is_infinite(), "of none there is no mean");
        for millis in (1..=90).chain([60_000; 10]) {
            latencies.add(Duration::from_millis(millis));
        }
        assert!((latencies.typical() - 0.0455).abs() < 0.0455 / 30.0, "{}", latencies.typical());
        assert_eq!(latencies.count(), 100);
    }

    #[test]
    fn what_never_got_through_is_longer_than_any() {
        let mut latencies = Latencies::new();
        (0..9).for_each(|_| latencies.add(Duration::from_millis(1)));
        latencies.add_endless();
        assert!(latencies.typical() < 0.002, "one in ten may fail to");
        latencies.add_endless();
        assert!(latencies.typical().is_infinite());
    }

    #[test]
    fn every_bucket_is_used_and_none_is_beyond() {
        assert_eq!((bucket(0), bucket(31), bucket(32), bucket(LONGEST)), (0, 31, 32, BUCKETS - 1));
        let mut latencies = Latencies::new();
        latencies.add(Duration::MAX);
        assert!((latencies.typical() - 4_295.0).abs() < 4_295.0 / 30.0);
    }

    proptest! {
        #[test]
        fn a_bucket_is_near_what_is_in_it(micros in 1..LONGEST) {
            let found = middle(bucket(micros));
            let micros = f64::from(u32::try_from(micros).expect("below 2^32"));
            prop_assert!((found - micros).abs() <= (micros / 30.0).max(0.5), "{} is not {}", found, micros);
        }

        #[test]
        fn longer_is_never_in_an_earlier_bucket(one in 0..LONGEST, other in 0..LONGEST) {
            prop_assert!(bucket(one.min(other)) <= bucket(one.max(other)));
        }
    }
}
