//! Fixed window: so many from one multiple of the period to the next.

use std::{num::NonZeroU32, time::Duration};

use super::{
    super::clock::whole_nanos,
    decision::{self, Decision, Usage},
    meter::Meter,
    settings::Rate,
};

/// The arithmetic of a fixed window.
#[derive(Debug)]
pub(super) struct FixedWindow {
    limit: NonZeroU32,
    /// Nanoseconds.
    period: u64,
    near_from: NonZeroU32,
}

/// The newest window in which permits were given.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// How many windows were before it since the clock's origin.
    number: u64,
    used: u32,
}

impl FixedWindow {
    /// At most the amount of `rate` in each of its periods.
    pub(super) fn new(rate: Rate) -> Self {
        let limit = rate.amount();
        Self { limit, period: whole_nanos(rate.period()), near_from: decision::near(limit) }
    }

    /// The window that counts now, with what is used of it.
    fn at(&self, newest: &Window, now: u64) -> Window {
        match now / self.period {
            number if number > newest.number => Window { number, used: 0 },
            _ => Window { ..*newest },
        }
    }

    fn until_end(&self, window: &Window, now: u64) -> Duration {
        Duration::from_nanos((window.number + 1).saturating_mul(self.period).saturating_sub(now))
    }
}

impl Meter for FixedWindow {
    type State = Window;

    fn decide(&self, newest: &mut Window, now: u64, permits: NonZeroU32) -> Decision {
        if permits > self.limit {
            return Decision::TooMany { most: self.limit };
        }
        let window = self.at(newest, now);
        if permits.get() > self.limit.get() - window.used {
            return Decision::Refused { retry_after: self.until_end(&window, now) };
        }
        let used = window.used + permits.get();
        *newest = Window { used, ..window };
        Decision::Allowed { near: used >= self.near_from.get() }
    }

    fn give_back(&self, newest: &mut Window, now: u64) {
        if newest.number == now / self.period {
            newest.used = newest.used.saturating_sub(1);
        }
    }

    fn usage(&self, newest: &Window, now: u64) -> Usage {
        let window = self.at(newest, now);
        Usage {
            remaining: self.limit.get() - window.used,
            limit: self.limit,
            resets_after: if window.used == 0 { Duration::ZERO } else { self.until_end(&window, now) },
        }
    }

    fn is_idle(&self, newest: &Window, now: u64) -> bool {
        self.at(newest, now).used == 0
    }
}

#[cfg(test)]
mod tests;
