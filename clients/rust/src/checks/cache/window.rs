//! What happened within the last minute, from numbers that only rise: samples of them over time, a bounded
//! number.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::Lookups;

/// About how many samples are kept of a window.
const KEPT: u32 = 64;

/// Samples of rising numbers.
#[derive(Debug)]
pub(super) struct Window {
    length: Duration,
    samples: VecDeque<(Instant, Lookups)>,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        Self { length, samples: VecDeque::new() }
    }

    /// Takes the numbers of now, and answers how much they have risen within the window.
    pub(super) fn take(&mut self, now: Instant, all: Lookups) -> Lookups {
        let fell = |before: &Lookups| all.hits < before.hits || all.misses < before.misses;
        if self.samples.back().is_some_and(|(_, before)| fell(before)) {
            // It has started anew, and counts from nothing.
            self.samples.clear();
            self.samples.push_back((now, Lookups::default()));
        }
        // The first one that is kept is the newest from before the window, if there is any.
        while self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= self.length) {
            self.samples.pop_front();
        }
        let before = self.samples.front().map_or(all, |(_, before)| *before);
        let due = |(at, _): &(Instant, Lookups)| now.duration_since(*at) >= self.length / KEPT;
        if self.samples.back().is_none_or(due) {
            self.samples.push_back((now, all));
        }
        Lookups { hits: all.hits - before.hits, misses: all.misses - before.misses }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt;

    /// Takes samples so many seconds after the start, and answers the hits in the window after each.
    fn hits(length: u64, samples: &[(u64, u64)]) -> (Vec<u64>, usize) {
        let start = rt::now();
        let mut window = Window::new(Duration::from_secs(length));
        let each = |(second, hits): &(u64, u64)| {
            window.take(start + Duration::from_secs(*second), Lookups { hits: *hits, misses: 0 }).hits
        };
        let found = samples.iter().map(each).collect();
        (found, window.samples.len())
    }

    #[test]
    fn windows_as_a_table() {
        for (length, samples, expected) in [
            // What was before the first sample is of no known time.
            (60, &[(0, 1000), (20, 1010), (40, 1030)][..], vec![0, 10, 30]),
            // What is older than the window is out.
            (60, &[(0, 0), (20, 10), (60, 20), (80, 30), (140, 30)], vec![0, 10, 20, 20, 0]),
            // It runs more rarely than the window is long: from run to run.
            (60, &[(0, 0), (300, 50), (600, 70)], vec![0, 50, 20]),
            // It has started anew.
            (60, &[(0, 1000), (20, 1010), (40, 5), (50, 9)], vec![0, 10, 5, 9]),
        ] {
            assert_eq!(hits(length, samples).0, expected, "{samples:?}");
        }
    }

    #[test]
    fn however_often_it_runs_the_samples_are_bounded() {
        let samples: Vec<(u64, u64)> = (0..20_000).map(|second| (second, second)).collect();
        let (found, kept) = hits(3600, &samples);
        assert!(kept <= KEPT as usize + 2, "{kept}");
        let last = *found.last().expect("many");
        assert!((3600..=3600 + 3600 / 64 + 1).contains(&last), "{last}");
    }
}
