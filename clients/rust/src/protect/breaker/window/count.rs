//! The last so many calls: a ring, and its sums.

use std::collections::VecDeque;

use super::{Call, Counts};

#[derive(Clone, Debug)]
pub(in super::super) struct CountWindow {
    size: usize,
    ring: VecDeque<Call>,
    counts: Counts,
}

impl CountWindow {
    /// Takes memory as calls come, not before.
    pub(super) fn new(calls: u32) -> Self {
        // The settings hold it to ten thousand.
        Self { size: calls as usize, ring: VecDeque::new(), counts: Counts::default() }
    }

    pub(super) fn record(&mut self, call: Call) {
        if self.ring.len() == self.size
            && let Some(oldest) = self.ring.pop_front()
        {
            let mut gone = Counts::default();
            gone.add(oldest);
            self.counts.remove(gone);
        }
        self.ring.push_back(call);
        self.counts.add(call);
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_the_last_calls_and_no_others(
            size in 1_u32..40,
            calls in proptest::collection::vec(any::<(bool, bool)>(), 0..200),
        ) {
            let mut window = CountWindow::new(size);
            for (index, &(failed, slow)) in calls.iter().enumerate() {
                window.record(Call { failed, slow });
                let last = &calls[(index + 1).saturating_sub(size as usize)..=index];
                let failed = last.iter().filter(|call| call.0).count() as u64;
                let slow = last.iter().filter(|call| call.1).count() as u64;
                prop_assert_eq!(window.counts(), Counts { calls: last.len() as u64, failed, slow });
                prop_assert!(window.ring.len() <= size as usize);
            }
        }
    }
}
