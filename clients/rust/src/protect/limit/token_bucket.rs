//! Token bucket: what comes in steadily is kept up to a burst.
//!
//! Kept as the generic cell rate algorithm keeps it: one time for each key, at which its bucket is full again. The
//! arithmetic is governor's. It decides over one state at one reading of the clock, both lent for the decision, so
//! that the states can live in this room's bounded store, and a refusal is exact to the reading that it was made by.

use std::{cell::Cell, num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{NotKeyed, StateStore},
};

use super::{
    super::clock::whole_nanos,
    decision::{self, Decision, Usage},
    meter::Meter,
    settings::Rate,
};

/// The arithmetic of a token bucket.
#[derive(Debug)]
pub(super) struct TokenBucket {
    quota: Quota,
    burst: NonZeroU32,
    /// Nanoseconds until one permit more is there.
    interval: u64,
    /// A bucket that is full only after more nanoseconds than these is near its limit.
    near_beyond: u64,
}

impl TokenBucket {
    /// A bucket that holds `burst` and is filled by `rate`.
    pub(super) fn new(rate: Rate, burst: NonZeroU32) -> Self {
        let every = rate.interval();
        let interval = whole_nanos(every);
        Self {
            // An interval is never zero, which is all that governor would refuse.
            quota: Quota::with_period(every).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(burst),
            burst,
            interval,
            near_beyond: interval * u64::from(decision::near(burst).get() - 1),
        }
    }
}

impl Meter for TokenBucket {
    /// When the bucket is full again.
    type State = u64;

    fn decide(&self, full_at: &mut u64, now: u64, permits: NonZeroU32) -> Decision {
        let bucket = Bucket { full_at: Cell::from_mut(full_at), now };
        let governor = RateLimiter::<_, _, _, NoOpMiddleware<Nanos>>::new(self.quota, bucket, Reading(now));
        match governor.check_n(permits) {
            Ok(Ok(())) => Decision::Allowed { near: *full_at - now > self.near_beyond },
            Ok(Err(not_until)) => {
                Decision::Refused { retry_after: not_until.wait_time_from(Nanos::from(now)) }
            }
            Err(_) => Decision::TooMany { most: self.burst },
        }
    }

    fn give_back(&self, full_at: &mut u64, _now: u64) {
        *full_at = full_at.saturating_sub(self.interval);
    }

    fn usage(&self, full_at: &u64, now: u64) -> Usage {
        let left = full_at.saturating_sub(now);
        let used = u32::try_from(left.div_ceil(self.interval)).unwrap_or(u32::MAX);
        Usage {
            remaining: self.burst.get().saturating_sub(used),
            limit: self.burst,
            resets_after: Duration::from_nanos(left),
        }
    }

    fn is_idle(&self, full_at: &u64, now: u64) -> bool {
        *full_at <= now
    }
}

/// governor's clock: the one reading that a decision is made by.
#[derive(Debug)]
struct Reading(u64);

impl Clock for Reading {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0)
    }
}

/// governor's state: of one key, on loan.
#[derive(Debug)]
struct Bucket<'a> {
    full_at: &'a Cell<u64>,
    now: u64,
}

impl StateStore for Bucket<'_> {
    type Key = NotKeyed;

    /// governor counts from when its limiter is made, and that is now.
    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let left = self.full_at.get().saturating_sub(self.now);
        let (outcome, full_after) = decide(Some(Nanos::from(left)))?;
        self.full_at.set(self.now + full_after.as_u64());
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests;
