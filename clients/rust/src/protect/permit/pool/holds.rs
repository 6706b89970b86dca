//! How long things were held, those that still are included.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

/// One that is held. Smaller began earlier.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Hold(u64);

/// All that are held, and the longest of those that were. As many entries as are held.
#[derive(Debug, Default)]
pub(super) struct Holds {
    next: u64,
    open: BTreeMap<Hold, Instant>,
    longest_ended: Duration,
}

impl Holds {
    pub(super) fn begin(&mut self, now: Instant) -> Hold {
        let hold = Hold(self.next);
        self.next += 1;
        self.open.insert(hold, now);
        hold
    }

    pub(super) fn end(&mut self, hold: Hold, now: Instant) {
        if let Some(since) = self.open.remove(&hold) {
            self.longest_ended = self.longest_ended.max(now - since);
        }
    }

    pub(super) fn longest(&self, now: Instant) -> Duration {
        // The first began first, so that of those still held it is the longest.
        let longest_open = self.open.first_key_value().map(|(_, since)| now - *since);
        self.longest_ended.max(longest_open.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt;

    #[test]
    fn the_longest_is_of_those_that_ended_and_those_that_have_not() {
        let second = |seconds| Duration::from_secs(seconds);
        let start = rt::now();
        let mut holds = Holds::default();
        assert_eq!(holds.longest(start), Duration::ZERO);
        let first = holds.begin(start);
        let second_one = holds.begin(start + second(1));
        assert_eq!(holds.longest(start + second(5)), second(5));
        holds.end(first, start + second(6));
        assert_eq!(holds.longest(start + second(6)), second(6), "that of the first");
        assert_eq!(holds.longest(start + second(9)), second(8), "that of the second, which goes on");
        holds.end(second_one, start + second(10));
        let third = holds.begin(start + second(20));
        holds.end(third, start + second(21));
        assert_eq!(holds.longest(start + second(99)), second(9));
    }
}
