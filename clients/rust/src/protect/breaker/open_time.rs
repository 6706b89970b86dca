//! How long a breaker stays open: doubling each time it opens again, up to a limit, give or take the jitter.

use std::time::Duration;

use super::settings::Options;

/// The open time after `reopened` openings since it was last closed, by a random number from 0 up to 1.
///
/// Jitter comes after the limit: were it cut there, half of all breakers would wait for the same time at last.
pub(super) fn open_time(options: &Options, reopened: u32, random: f64) -> Duration {
    let doubled = 2_u32.checked_pow(reopened).and_then(|times| options.open_time.checked_mul(times));
    let limited = doubled.map_or(options.max_open_time, |time| time.min(options.max_open_time));
    // A source that gives nonsense must not make a breaker panic or stay open for ever.
    let random = if (0.0..=1.0).contains(&random) { random } else { 0.5 };
    // Neither negative nor too large to be a duration: settings hold jitter below 1 and the time below a day.
    limited.mul_f64(1.0 + options.jitter * (2.0 * random - 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn doubles_up_to_the_limit() {
        let options = Options::default();
        let seconds: Vec<u64> = (0..6).map(|times| open_time(&options, times, 0.5).as_secs()).collect();
        assert_eq!(seconds, [10, 20, 40, 60, 60, 60]);
        assert_eq!(open_time(&options, u32::MAX, 0.5), options.max_open_time);
    }

    #[test]
    fn jitter_goes_both_ways_and_beyond_the_limit() {
        let options = Options::default();
        for (reopened, random, seconds) in [(0, 0.0, 5.0), (0, 1.0, 15.0), (9, 0.0, 30.0), (9, 1.0, 90.0)] {
            assert_eq!(open_time(&options, reopened, random), Duration::from_secs_f64(seconds));
        }
        let steady = Options { jitter: 0.0, ..options };
        assert_eq!(open_time(&steady, 0, 0.0), steady.open_time);
    }

    #[test]
    fn nonsense_for_randomness_is_as_good_as_none() {
        let options = Options::default();
        for random in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1, 1.1] {
            assert_eq!(open_time(&options, 1, random), Duration::from_secs(20), "{random}");
        }
    }

    proptest! {
        #[test]
        fn stays_within_its_jitter(
            first in 1_u64..100_000,
            more in 0_u64..1_000_000,
            jitter in 0.0..0.999_f64,
            reopened in 0_u32..80,
            random in 0.0..1.0_f64,
        ) {
            let (first, limit) = (Duration::from_millis(first), Duration::from_millis(first + more));
            let options = Options { open_time: first, max_open_time: limit, jitter, ..Options::default() };
            let nominal = (first.as_secs_f64() * 2_f64.powi(reopened.cast_signed())).min(limit.as_secs_f64());
            let time = open_time(&options, reopened, random).as_secs_f64();
            prop_assert!(time >= nominal * (1.0 - jitter) - 1e-6, "{time} of {nominal}");
            prop_assert!(time <= nominal * (1.0 + jitter) + 1e-6, "{time} of {nominal}");
        }
    }
}
