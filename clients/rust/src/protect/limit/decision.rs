//! What a limit answers.

use std::{num::NonZeroU32, time::Duration};

/// From how much of what is allowed being used, in percent, an admitted call is told that the limit is near.
///
/// The ratio of envoyproxy/ratelimit.
pub const NEAR_LIMIT_PERCENT: u32 = 80;

/// Whether a call passes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "a limit only counts; whoever asks has to keep to its answer"]
pub enum Decision {
    /// It passes now.
    Allowed {
        /// Whether [`NEAR_LIMIT_PERCENT`] of what is allowed is used, this call included.
        near: bool,
    },
    /// It passes after a pause, for which it holds its place. Of a leaky bucket alone.
    Queued {
        /// How long to wait before going on; more than zero. The place is not given back if the caller goes away.
        after: Duration,
        /// Whether [`NEAR_LIMIT_PERCENT`] of what is allowed is used, this call included.
        near: bool,
    },
    /// It does not pass, and nothing is used up.
    Refused {
        /// When the same call passes (of a leaky bucket: has a place), if nobody else comes before: then, and not a
        /// nanosecond earlier. More than zero.
        retry_after: Duration,
    },
    /// It asks for more permits at once than are ever allowed; waiting does not help.
    TooMany {
        /// How many can be asked for at once.
        most: NonZeroU32,
    },
}

impl Decision {
    /// Whether it passes, now or after a pause.
    pub fn is_admitted(self) -> bool {
        matches!(self, Decision::Allowed { .. } | Decision::Queued { .. })
    }
}

/// How much of a limit is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usage {
    /// How many permits one call could be given now.
    pub remaining: u32,
    /// How many permits one call can be given when nothing is used: the burst of a token bucket, the queue of a leaky
    /// bucket and the one that passes, the amount of a window.
    pub limit: NonZeroU32,
    /// How long until all of it can be given again, if nobody comes. Zero when it can be now.
    pub resets_after: Duration,
}

/// How many used permits are [`NEAR_LIMIT_PERCENT`] of the limit: at least one, and never more than the limit.
pub(super) fn near(limit: NonZeroU32) -> NonZeroU32 {
    let share = (u64::from(limit.get()) * u64::from(NEAR_LIMIT_PERCENT)).div_ceil(100);
    u32::try_from(share).ok().and_then(NonZeroU32::new).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_four_fifths_rounded_up() {
        let table = [(1, 1), (2, 2), (4, 4), (5, 4), (6, 5), (10, 8), (35, 28), (u32::MAX, 3_435_973_836)];
        for (limit, wanted) in table {
            let limit = NonZeroU32::new(limit).expect("not zero");
            assert_eq!(near(limit).get(), wanted, "of {limit}");
        }
    }
}
