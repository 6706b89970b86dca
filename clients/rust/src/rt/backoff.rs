//! How long to wait before the next try: doubling up to a cap, with full jitter, so that a fleet
//! which lost its control plane does not come back in step. Plain arithmetic; sleeping is the
//! caller's.

use std::time::Duration;

/// Pauses that grow until [`reset`](Backoff::reset).
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    cap: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Pauses of up to `first`, then up to twice that, and so on up to `cap`.
    pub(crate) fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, ceiling: first.min(cap) }
    }

    /// The next pause, for a random number from 0 up to 1.
    pub(crate) fn next(&mut self, random: f64) -> Duration {
        let pause = self.ceiling.mul_f64(random.clamp(0.0, 1.0));
        self.ceiling = self.ceiling.saturating_mul(2).min(self.cap);
        pause
    }

    /// Begins again with the first pause.
    pub(crate) fn reset(&mut self) {
        self.ceiling = self.first.min(self.cap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIRST: Duration = Duration::from_millis(100);
    const CAP: Duration = Duration::from_secs(10);

    #[test]
    fn doubles_up_to_the_cap_and_begins_again() {
        let mut backoff = Backoff::new(FIRST, CAP);
        let pauses: Vec<u128> = (0..9).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        backoff.reset();
        assert_eq!(backoff.next(1.0), FIRST);
    }

    proptest! {
        #[test]
        fn jitter_is_full_and_bounded(tries in 0_usize..80, random in 0.0..1.0_f64) {
            let mut backoff = Backoff::new(FIRST, CAP);
            for _ in 0..tries {
                backoff.next(random);
            }
            let mut same = backoff.clone();
            prop_assert_eq!(same.next(0.0), Duration::ZERO);
            prop_assert!(backoff.next(random) <= CAP);
        }
    }
}
