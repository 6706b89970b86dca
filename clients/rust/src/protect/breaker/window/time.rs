//! The calls of the last so long: ten slices, each of which goes as a whole. What is counted is therefore the
//! slice that runs and the nine before it: nine to ten tenths of the window.

use std::{collections::VecDeque, mem, time::Duration};

use super::{Call, Counts};
use crate::protect::clock::whole_nanos;

const SLICES: u64 = 10;
/// All but the one that runs.
const PAST_SLICES: usize = 9;

#[derive(Clone, Debug)]
pub(in super::super) struct TimeWindow {
    slice_nanos: u64,
    /// When the slice that runs is over, so that the usual call costs a comparison and no division.
    slice_ends: u64,
    running: Counts,
    /// Oldest first.
    past: VecDeque<Counts>,
    counts: Counts,
}

impl TimeWindow {
    /// The first slice begins now.
    pub(super) fn new(span: Duration, now: Duration) -> Self {
        let slice_nanos = whole_nanos(span).div_ceil(SLICES);
        Self {
            slice_nanos,
            slice_ends: whole_nanos(now).saturating_add(slice_nanos),
            running: Counts::default(),
            past: VecDeque::with_capacity(PAST_SLICES),
            counts: Counts::default(),
        }
    }

    pub(super) fn record(&mut self, now: Duration, call: Call) {
        self.advance(now);
        self.running.add(call);
        self.counts.add(call);
    }

    pub(super) fn advance(&mut self, now: Duration) {
        let now = whole_nanos(now);
        if now < self.slice_ends {
            return;
        }
        // Settings hold a window to a millisecond or more, so a slice is never nothing.
        let over = (now - self.slice_ends) / self.slice_nanos + 1;
        self.slice_ends = self.slice_ends.saturating_add(over.saturating_mul(self.slice_nanos));
        for _ in 0..over.min(SLICES) {
            if self.past.len() == PAST_SLICES
                && let Some(oldest) = self.past.pop_front()
            {
                self.counts.remove(oldest);
            }
            self.past.push_back(mem::take(&mut self.running));
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAILED: Call = Call { failed: true, slow: false };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_slice_goes_at_the_nanosecond() {
        let mut window = TimeWindow::new(seconds(30), seconds(100));
        window.record(seconds(103) - Duration::from_nanos(1), FAILED);
        window.record(seconds(103), FAILED);
        window.advance(seconds(130) - Duration::from_nanos(1));
        assert_eq!(window.counts().failed, 2);
        window.advance(seconds(130));
        assert_eq!(window.counts().failed, 1);
        window.advance(seconds(133));
        assert_eq!(window.counts(), Counts::default());
    }

    #[test]
    fn a_long_silence_empties_it() {
        let mut window = TimeWindow::new(seconds(30), Duration::ZERO);
        window.record(seconds(1), FAILED);
        window.advance(Duration::from_nanos(u64::MAX));
        assert_eq!(window.counts(), Counts::default());
        assert_eq!(window.past.len(), PAST_SLICES);
    }

    proptest! {
        #[test]
        fn counts_what_ended_in_its_ten_slices(
            begin in 0_u64..5_000,
            span in 1_u64..5_000,
            steps in proptest::collection::vec((0_u64..2_000_000, any::<(bool, bool)>()), 1..200),
        ) {
            let begin = Duration::from_millis(begin);
            let mut window = TimeWindow::new(Duration::from_millis(span), begin);
            let slice = window.slice_nanos;
            let slice_of = |at: Duration| whole_nanos(at - begin) / slice;
            let mut now = begin;
            let mut seen: Vec<(u64, bool, bool)> = Vec::new();
            for (micros, (failed, slow)) in steps {
                now += Duration::from_micros(micros);
                window.record(now, Call { failed, slow });
                seen.push((slice_of(now), failed, slow));
                let within: Vec<_> =
                    seen.iter().filter(|call| call.0 + SLICES > slice_of(now)).collect();
                let failed = within.iter().filter(|call| call.1).count() as u64;
                let slow = within.iter().filter(|call| call.2).count() as u64;
                prop_assert_eq!(window.counts(), Counts { calls: within.len() as u64, failed, slow });
                prop_assert!(window.past.len() <= PAST_SLICES);
            }
        }
    }
}
