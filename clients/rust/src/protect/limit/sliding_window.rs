//! Sliding window: so many in any time of the length of the period.
//!
//! A log of calls would be exact, and as long as an attacker makes it. Instead the period is cut into
//! [`SUB_WINDOWS`] parts, and only counts of them are kept. A part counts until no call in it can share a window with
//! one that comes now. The error is on the safe side: a call counts for at least the period, and for less than
//! [`SUB_WINDOWS`] + 1 parts. A part is the period / [`SUB_WINDOWS`], rounded up to whole nanoseconds.

use std::{mem, num::NonZeroU32, time::Duration};

use super::{
    super::clock::whole_nanos,
    decision::{self, Decision, Usage},
    meter::Meter,
    settings::Rate,
};

/// How many parts a period has: a call counts for up to one of them longer than the period, about 3 %.
pub const SUB_WINDOWS: usize = 32;

/// A window that ends within a part touches so many of them.
const COUNTED: usize = SUB_WINDOWS + 1;

/// The arithmetic of a sliding window.
#[derive(Debug)]
pub(super) struct SlidingWindow {
    limit: NonZeroU32,
    /// The length of a part, in nanoseconds.
    part: u64,
    near_from: NonZeroU32,
}

/// The parts in which permits were given and that may still count.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    /// How many parts were before the newest since the clock's origin.
    newest: u64,
    /// What was given in all of them: never more than the limit, since all of it counted for the newest call.
    used: u32,
    /// What was given in each: in a ring, where the place of a part goes to the one that comes [`COUNTED`] later.
    given: [u32; COUNTED],
}

impl Default for Parts {
    fn default() -> Self {
        Self { newest: 0, used: 0, given: [0; COUNTED] }
    }
}

impl Parts {
    /// Makes `number` the newest one; those that are too old then are forgotten.
    fn advance(&mut self, number: u64) {
        if number.saturating_sub(self.newest) >= COUNTED as u64 {
            *self = Self { newest: number, ..Self::default() };
        }
        while self.newest < number {
            self.newest += 1;
            self.used -= mem::take(self.given_in(self.newest));
        }
    }

    fn given_in(&mut self, part: u64) -> &mut u32 {
        &mut self.given[place(part)]
    }
}

/// Where the ring has this part: below [`COUNTED`], which is why neither the cast nor the indexing can fail.
#[allow(clippy::cast_possible_truncation)]
fn place(part: u64) -> usize {
    (part % COUNTED as u64) as usize
}

impl SlidingWindow {
    /// At most the amount of `rate` in any of its periods.
    pub(super) fn new(rate: Rate) -> Self {
        let limit = rate.amount();
        let part = whole_nanos(rate.period()).div_ceil(SUB_WINDOWS as u64);
        Self { limit, part, near_from: decision::near(limit) }
    }

    fn at(&self, parts: &Parts, now: u64) -> Parts {
        let mut parts = parts.clone();
        parts.advance(now / self.part);
        parts
    }

    /// How long until so many of what was given, which is at least as much, count no more.
    fn until_free(&self, parts: &Parts, wanted: u32, now: u64) -> Duration {
        let mut free = 0;
        let mut begin = now;
        // Each part that comes drops one, the oldest first.
        for coming in (1..=COUNTED as u64).map(|nth| parts.newest + nth) {
            if free >= wanted {
                break;
            }
            free += parts.given[place(coming)];
            begin = coming.saturating_mul(self.part);
        }
        Duration::from_nanos(begin.saturating_sub(now))
    }
}

impl Meter for SlidingWindow {
    type State = Parts;

    fn decide(&self, parts: &mut Parts, now: u64, permits: NonZeroU32) -> Decision {
        if permits > self.limit {
            return Decision::TooMany { most: self.limit };
        }
        parts.advance(now / self.part);
        let free = self.limit.get() - parts.used;
        if permits.get() > free {
            return Decision::Refused { retry_after: self.until_free(parts, permits.get() - free, now) };
        }
        *parts.given_in(parts.newest) += permits.get();
        parts.used += permits.get();
        Decision::Allowed { near: parts.used >= self.near_from.get() }
    }

    fn give_back(&self, parts: &mut Parts, now: u64) {
        let part = now / self.part;
        let is_counted = part <= parts.newest && parts.newest - part < COUNTED as u64;
        if is_counted && *parts.given_in(part) > 0 {
            *parts.given_in(part) -= 1;
            parts.used -= 1;
        }
    }

    fn usage(&self, parts: &Parts, now: u64) -> Usage {
        let parts = self.at(parts, now);
        Usage {
            remaining: self.limit.get() - parts.used,
            limit: self.limit,
            resets_after: self.until_free(&parts, parts.used, now),
        }
    }

    fn is_idle(&self, parts: &Parts, now: u64) -> bool {
        self.at(parts, now).used == 0
    }
}

#[cfg(test)]
mod tests;
