//! How fast an operation goes on, over the last seconds, and how long it takes still.
//!
//! Plain rules over samples; they know no clock.

use std::{collections::VecDeque, time::Duration};

use crate::time::Mono;

/// How far back is looked.
pub(super) const WINDOW: Duration = Duration::from_secs(10);
/// Less time than this between two samples says nothing.
const LEAST: Duration = Duration::from_millis(200);
/// Samples that are kept at the most: more than are taken within the window.
const MOST: usize = 64;

/// What was done when.
#[derive(Debug, Default)]
pub(super) struct Rate(VecDeque<(Mono, u64)>);

impl Rate {
    /// Takes a sample, and forgets those that are of no use any more.
    pub(super) fn take(&mut self, now: Mono, done: u64) {
        self.0.push_back((now, done));
        while self.0.len() > MOST || self.0.front().is_some_and(|(at, _)| now.since(*at) > WINDOW) {
            self.0.pop_front();
        }
    }

    /// Bytes in each of the last seconds.
    pub(super) fn per_second(&self, now: Mono) -> u64 {
        per_second(self.0.iter().copied(), now)
    }
}

/// Bytes per second, from the oldest sample within the window to the newest one. 0: it stands, or too little is known.
fn per_second(samples: impl Iterator<Item = (Mono, u64)> + Clone, now: Mono) -> u64 {
    let Some((_, newest)) = samples.clone().last() else { return 0 };
    let Some((at, oldest)) = samples.into_iter().find(|(at, _)| now.since(*at) <= WINDOW) else { return 0 };
    let span = now.since(at);
    if span < LEAST {
        return 0;
    }
    let bytes = u128::from(newest.saturating_sub(oldest));
    u64::try_from(bytes * 1000 / span.as_millis().max(1)).unwrap_or(u64::MAX)
}

/// How long the rest takes at this rate, in whole seconds, rounded up. None: nobody knows.
pub(super) fn remaining(done: u64, total: u64, per_second: u64) -> Option<Duration> {
    match (total, per_second) {
        (0, _) => None,
        _ if done >= total => Some(Duration::ZERO),
        (_, 0) => None,
        _ => Some(Duration::from_secs((total - done).div_ceil(per_second))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64, done: u64) -> (Mono, u64) {
        (Mono::from_millis(millis), done)
    }

    #[test]
    fn the_rate_is_that_of_the_window() {
        for (samples, now, expected) in [
            (vec![], 0, 0),
            (vec![at(0, 0)], 0, 0),
            (vec![at(0, 0)], 1000, 0),
            (vec![at(0, 0), at(100, 500)], 100, 0),
            (vec![at(0, 0), at(1000, 500)], 1000, 500),
            (vec![at(0, 0), at(1000, 500)], 2000, 250),
            // It stands: what was done long ago is forgotten.
            (vec![at(0, 0), at(1000, 500)], 11_500, 0),
            (vec![at(0, 0), at(5000, 5000), at(15_000, 6000)], 15_000, 100),
            (vec![at(0, 0), at(1, u64::MAX)], 1000, u64::MAX),
        ] {
            let now = Mono::from_millis(now);
            assert_eq!(per_second(samples.iter().copied(), now), expected, "{samples:?} at {now:?}");
        }
    }

    #[test]
    fn what_remains_as_a_table() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (done, total, rate, expected) in [
            (0, 0, 10, None),
            (5, 10, 0, None),
            (5, 10, 5, seconds(1)),
            (5, 10, 4, seconds(2)),
            (10, 10, 0, seconds(0)),
            (11, 10, 5, seconds(0)),
            (0, u64::MAX, 1, seconds(u64::MAX)),
        ] {
            assert_eq!(remaining(done, total, rate), expected, "{done} of {total} at {rate}");
        }
    }

    proptest! {
        #[test]
        fn samples_are_bounded_and_a_steady_rate_is_found(step in 200_u64..2000, rate in 1_u64..1_000_000, count in 3_u64..200) {
            let mut samples = Rate::default();
            for n in 0..count {
                samples.take(Mono::from_millis(n * step), n * step * rate);
            }
            let now = Mono::from_millis((count - 1) * step);
            prop_assert!(samples.0.len() <= MOST);
            prop_assert_eq!(samples.per_second(now), rate * 1000);
        }
    }
}
