//! The refusal of a permit, and when to come again.

use std::time::Duration;

use crate::rules::errors::try_again_in;

/// No permit was free, and waiting longer was not allowed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.says())]
pub struct Full {
    /// Permits that may be out at once.
    pub max: u32,
    /// How long this caller waited. Zero: it was refused at once.
    pub waited: Duration,
    /// Callers that still wait, without this one.
    pub waiting: u32,
    /// When a permit is likely to be free: a guess from how long permits are held, between 10 ms and 30 s.
    pub retry_after: Duration,
}

impl Full {
    fn says(&self) -> String {
        let Self { max, waited, waiting, retry_after } = self;
        if *max == 0 {
            return "there is none: no policy has a pool of this name, or there are too many pools"
                .to_owned();
        }
        let again = try_again_in(*retry_after);
        format!(
            "all {max} permits are in use, {waiting} callers wait, and none was free within {waited:?}; {again}"
        )
    }
}

/// Sooner is a busy loop.
const SOONEST: Duration = Duration::from_millis(10);
/// Later is a guess about another time.
const LATEST: Duration = Duration::from_secs(30);

/// When a permit is likely to be free for somebody who comes behind those who wait: `max` permits that are
/// each held for `mean_hold` come back at `max / mean_hold` (Little's law).
pub(super) fn retry_after(mean_hold: Duration, waiting: u32, max: u32) -> Duration {
    let in_turn = mean_hold.saturating_mul(waiting.saturating_add(1));
    (in_turn / max.max(1)).clamp(SOONEST, LATEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_follows_the_queue() {
        let ms = Duration::from_millis;
        for (mean_hold, waiting, max, expected) in [
            (ms(100), 0, 1, ms(100)),
            (ms(100), 9, 1, ms(1_000)),
            (ms(100), 9, 10, ms(100)),
            (ms(1), 0, 100, SOONEST),
            (ms(0), 50, 1, SOONEST),
            (ms(10_000), 9, 1, LATEST),
            (Duration::MAX, u32::MAX, 1, LATEST),
        ] {
            let found = retry_after(mean_hold, waiting, max);
            assert_eq!(found, expected, "{mean_hold:?} {waiting} {max}");
        }
    }

    #[test]
    fn it_says_what_was_tried_and_what_to_do() {
        let full =
            Full { max: 5, waited: Duration::ZERO, waiting: 3, retry_after: Duration::from_millis(120) };
        let expected =
            "all 5 permits are in use, 3 callers wait, and none was free within 0ns; try again in 120ms";
        assert_eq!(full.to_string(), expected);
    }
}
