//! What a limit is told: how much, and counted how.

use std::{num::NonZeroU32, time::Duration};

use super::super::clock::whole_nanos;

/// The longest period, the longest time for an empty token bucket to fill, and the longest wait in a leaky bucket's
/// queue: a hundred years. Sums of a few of them and of the clock fit in 64 bits of nanoseconds.
pub const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// So many in a period.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Rate {
    amount: NonZeroU32,
    period: Duration,
}

impl Rate {
    /// `amount` permits in each `period`.
    ///
    /// # Errors
    /// `amount` is zero or more than one a nanosecond, or `period` is zero or above [`LONGEST`].
    pub fn new(amount: u32, period: Duration) -> Result<Self, InvalidSettings> {
        if period.is_zero() || period > LONGEST {
            return Err(invalid("period", format!("{period:?}"), format!("above 0 and at most {LONGEST:?}")));
        }
        match NonZeroU32::new(amount) {
            Some(whole) if u128::from(amount) <= period.as_nanos() => Ok(Self { amount: whole, period }),
            _ => {
                let most = u32::try_from(period.as_nanos()).unwrap_or(u32::MAX);
                Err(invalid("amount", amount.to_string(), format!("from 1 to {most} in {period:?}")))
            }
        }
    }

    /// How many.
    pub fn amount(self) -> NonZeroU32 {
        self.amount
    }

    /// In which time.
    pub fn period(self) -> Duration {
        self.period
    }

    /// The time for each permit, in whole nanoseconds: at least one. Rounded up, so that the rate is never exceeded;
    /// it falls short by less than a nanosecond for each permit.
    pub fn interval(self) -> Duration {
        Duration::from_nanos(whole_nanos(self.period).div_ceil(u64::from(self.amount.get())))
    }

    /// What a second of it gives, rounded down, and at least one: the burst of a token bucket unless another is asked
    /// for.
    pub fn default_burst(self) -> NonZeroU32 {
        let second =
            Duration::from_secs(1).as_nanos() * u128::from(self.amount.get()) / self.period.as_nanos();
        let whole = u32::try_from(second).unwrap_or(u32::MAX);
        NonZeroU32::new(whole).unwrap_or(NonZeroU32::MIN)
    }
}

/// How a rate is held.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// Permits come in steadily and are kept up to `burst`; a call takes its own, or is refused. In any time of length
    /// `t` at most `burst` and what the rate gives in `t` pass. The generic cell rate algorithm, by the crate
    /// `governor`.
    TokenBucket {
        /// How many permits are kept: all of them at first. [`Rate::default_burst`] unless told otherwise.
        burst: NonZeroU32,
    },
    /// Calls leave steadily, one each period / amount: at once, or after a pause; where the queue is full, a call is
    /// refused. A call of several permits leaves with its last.
    LeakyBucket {
        /// How many permits may wait. Zero: a call passes at once or not.
        queue: u32,
    },
    /// In any window of the length of the period at most the amount passes. Counted by [`SUB_WINDOWS`] parts of the
    /// period in constant memory, with one error, on the safe side: a call counts for up to one part longer than the
    /// period.
    ///
    /// [`SUB_WINDOWS`]: super::SUB_WINDOWS
    SlidingWindow,
    /// In any window that begins at a multiple of the period, by the clock's origin, at most the amount passes. Around
    /// the edge between two of them twice as many can pass within a period.
    FixedWindow,
}

/// A limit that can be held: validated.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Settings {
    rate: Rate,
    algorithm: Algorithm,
}

impl Settings {
    /// This rate, held in this way.
    ///
    /// # Errors
    /// Filling the burst, or waiting behind a full queue, would take longer than [`LONGEST`].
    pub fn new(rate: Rate, algorithm: Algorithm) -> Result<Self, InvalidSettings> {
        let (field, given) = match algorithm {
            Algorithm::TokenBucket { burst } => ("burst", burst.get()),
            Algorithm::LeakyBucket { queue } => ("queue", queue),
            Algorithm::SlidingWindow | Algorithm::FixedWindow => return Ok(Self { rate, algorithm }),
        };
        let most = LONGEST.as_nanos() / rate.interval().as_nanos();
        if u128::from(given) > most {
            return Err(invalid(field, given.to_string(), format!("at most {most} at this rate")));
        }
        Ok(Self { rate, algorithm })
    }

    /// A token bucket with the burst of [`Rate::default_burst`]: what fits most limits.
    pub fn token_bucket(rate: Rate) -> Self {
        // Filling it takes a second, or the interval of one permit, and so never too long.
        Self { rate, algorithm: Algorithm::TokenBucket { burst: rate.default_burst() } }
    }

    /// The rate.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// How it is held.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// What cannot be a limit.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("rate limit setting {field} is {given}: it must be {allowed}")]
pub struct InvalidSettings {
    /// The field: `amount`, `period`, `burst` or `queue`.
    pub field: &'static str,
    /// What was given.
    pub given: String,
    /// What would have been right, to go on after "it must be".
    pub allowed: String,
}

fn invalid(field: &'static str, given: String, allowed: String) -> InvalidSettings {
    InvalidSettings { field, given, allowed }
}

#[cfg(test)]
mod tests;
