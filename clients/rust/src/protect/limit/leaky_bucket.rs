//! Leaky bucket: what leaves, leaves steadily.
//!
//! The bucket as a queue: permits leave one by one, an interval apart, in the order of their calls. Nothing is queued
//! here; a call is told when its turn is, and keeps to it. So one time for each key is enough: the next free turn.

use std::{num::NonZeroU32, time::Duration};

use super::{
    super::clock::whole_nanos,
    decision::{self, Decision, Usage},
    meter::Meter,
    settings::Rate,
};

/// The arithmetic of a leaky bucket.
#[derive(Debug)]
pub(super) struct LeakyBucket {
    /// How many permits a call can have: those that may wait, and the one that leaves.
    limit: NonZeroU32,
    /// Nanoseconds between two turns.
    interval: u64,
    /// The longest that a permit may wait, in nanoseconds: behind a queue that it fills.
    longest_wait: u64,
    /// A bucket whose next free turn is more nanoseconds away than these is near its limit.
    near_beyond: u64,
}

impl LeakyBucket {
    /// A bucket that is emptied by `rate`, in which `queue` permits may wait.
    pub(super) fn new(rate: Rate, queue: u32) -> Self {
        let interval = whole_nanos(rate.interval());
        let limit = NonZeroU32::MIN.saturating_add(queue);
        Self {
            limit,
            interval,
            longest_wait: interval * u64::from(queue),
            near_beyond: interval * u64::from(decision::near(limit).get() - 1),
        }
    }
}

impl Meter for LeakyBucket {
    /// When the next turn is free.
    type State = u64;

    fn decide(&self, next_turn: &mut u64, now: u64, permits: NonZeroU32) -> Decision {
        if permits > self.limit {
            return Decision::TooMany { most: self.limit };
        }
        let last_turn = (*next_turn).max(now) + u64::from(permits.get() - 1) * self.interval;
        let wait = last_turn - now;
        if wait > self.longest_wait {
            return Decision::Refused { retry_after: Duration::from_nanos(wait - self.longest_wait) };
        }
        *next_turn = last_turn + self.interval;
        let near = *next_turn - now > self.near_beyond;
        match wait {
            0 => Decision::Allowed { near },
            _ => Decision::Queued { after: Duration::from_nanos(wait), near },
        }
    }

    /// Whoever came meanwhile keeps the turn that he was told.
    fn give_back(&self, next_turn: &mut u64, _now: u64) {
        *next_turn = next_turn.saturating_sub(self.interval);
    }

    fn usage(&self, next_turn: &u64, now: u64) -> Usage {
        let left = next_turn.saturating_sub(now);
        let used = u32::try_from(left.div_ceil(self.interval)).unwrap_or(u32::MAX);
        Usage {
            remaining: self.limit.get().saturating_sub(used),
            limit: self.limit,
            resets_after: Duration::from_nanos(left),
        }
    }

    fn is_idle(&self, next_turn: &u64, now: u64) -> bool {
        *next_turn <= now
    }
}

#[cfg(test)]
mod tests;
