use proptest::prelude::*;

use super::{
    super::arrivals::{arrivals, nanos, rates},
    *,
};

/// A log of what was admitted, which is what the meter does without.
#[derive(Default)]
struct Log(Vec<(u64, u32)>);

impl Log {
    /// What was admitted in the time of that length that ends now, its end included and its begin not.
    fn within(&self, length: u64, now: u64) -> u32 {
        self.0.iter().filter(|(when, _)| now - when < length).map(|(_, permits)| permits).sum()
    }
}

proptest! {
    /// At most the amount in any window; and no call is refused that had room if calls counted for one part longer.
    #[test]
    fn holds_any_window_and_errs_by_one_part(rate in rates(), arrivals in arrivals()) {
        let meter = SlidingWindow::new(rate);
        let (amount, period) = (rate.amount().get(), nanos(rate.period()));
        let part = period.div_ceil(32);
        let mut log = Log::default();
        let (mut state, mut now) = (Parts::default(), 0);
        for arrival in arrivals {
            now = arrival.after(now, rate);
            let permits = arrival.permits.get();
            let remaining = meter.usage(&state, now).remaining;
            prop_assert!(remaining + log.within(period, now) <= amount);
            prop_assert!(remaining + log.within(33 * part, now) >= amount);
            prop_assert_eq!(meter.is_idle(&state, now), remaining == amount);
            match meter.decide(&mut state, now, arrival.permits) {
                Decision::Allowed { near } => {
                    log.0.push((now, permits));
                    prop_assert_eq!(near, (amount - remaining + permits) * 5 >= amount * 4);
                    // The fullest window is always one that ends with an admitted call.
                    prop_assert!(log.within(period, now) <= amount);
                }
                Decision::Refused { .. } => prop_assert!(log.within(33 * part, now) + permits > amount),
                Decision::TooMany { most } => {
                    prop_assert!(permits > amount);
                    prop_assert_eq!(most, rate.amount());
                }
                Decision::Queued { .. } => prop_assert!(false, "there is no queue"),
            }
        }
    }
}

#[test]
fn a_call_counts_for_the_period_and_up_to_a_part_more() {
    // Parts of a second.
    let rate = Rate::new(1, Duration::from_secs(32)).expect("a rate");
    let meter = SlidingWindow::new(rate);
    let (second, one) = (1_000_000_000, NonZeroU32::MIN);
    for (first, free_again) in [(0, 33 * second), (second - 1, 33 * second), (second, 34 * second)] {
        let mut state = Parts::default();
        assert!(meter.decide(&mut state, first, one).is_admitted());
        let refused = meter.decide(&mut state, free_again - 1, one);
        assert_eq!(refused, Decision::Refused { retry_after: Duration::from_nanos(1) });
        assert!(meter.decide(&mut state, free_again, one).is_admitted());
    }
}

#[test]
fn what_is_free_first_is_told() {
    let rate = Rate::new(3, Duration::from_secs(32)).expect("a rate");
    let meter = SlidingWindow::new(rate);
    let (second, one) = (1_000_000_000, NonZeroU32::MIN);
    let mut state = Parts::default();
    for now in [0, 10 * second, 20 * second] {
        assert!(meter.decide(&mut state, now, one).is_admitted());
    }
    for (permits, seconds) in [(1, 3), (2, 13), (3, 23)] {
        let permits = NonZeroU32::new(permits).expect("not zero");
        let retry_after = Duration::from_secs(seconds);
        assert_eq!(meter.decide(&mut state, 30 * second, permits), Decision::Refused { retry_after });
    }
    assert_eq!(meter.usage(&state, 30 * second).resets_after, Duration::from_secs(23));
}

#[test]
fn a_reading_that_lies_behind_counts_for_the_newest_part() {
    let rate = Rate::new(1, Duration::from_secs(32)).expect("a rate");
    let meter = SlidingWindow::new(rate);
    let (second, one) = (1_000_000_000, NonZeroU32::MIN);
    let mut state = Parts::default();
    assert!(meter.decide(&mut state, second, one).is_admitted());
    let behind = meter.decide(&mut state, second - 1, one);
    assert_eq!(behind, Decision::Refused { retry_after: Duration::from_nanos(33 * second + 1) });
}
