//! How many denials are written: a few, so that whoever may do nothing cannot push out what was done by those who may.
//!
//! A burst is written, then one every ten seconds: with 100,000 entries that are kept it would take eleven days of
//! being denied to fill them. The log and the metrics tell of all.

use std::time::Duration;

use crate::time::Mono;

/// One denial is written in this time, on average.
const EVERY: Duration = Duration::from_secs(10);
/// So many at once where there were none for a while.
const BURST: u32 = 60;

/// How far ahead of their average denials are (a leaky bucket as a meter, ITU-T I.371).
#[derive(Debug, Default)]
pub(super) struct Denials {
    /// When the average catches up.
    even: Mono,
}

impl Denials {
    /// Whether one more is written now.
    pub(super) fn take(&mut self, now: Mono) -> bool {
        let even = self.even.max(now);
        let room = even.since(now) + EVERY <= EVERY * BURST;
        if room {
            self.even = even + EVERY;
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_one_at_a_time() {
        let mut denials = Denials::default();
        let mut taken = |second: u64, tried: u32| {
            (0..tried).filter(|_| denials.take(Mono::from_millis(second * 1000))).count()
        };
        assert_eq!(taken(100, 1000), 60);
        assert_eq!(taken(109, 1000), 0);
        assert_eq!(taken(110, 1000), 1);
        assert_eq!(taken(131, 1000), 2);
        assert_eq!(taken(100_000, 1000), 60, "no more than a burst after a long quiet");
    }
}
