use std::collections::HashMap;

use proptest::prelude::*;

use super::{
    super::arrivals::{arrivals, nanos, rates},
    *,
};

proptest! {
    /// Neither more nor less than the amount in each window, told how long it lasts.
    #[test]
    fn counts_each_window_by_itself(rate in rates(), arrivals in arrivals()) {
        let meter = FixedWindow::new(rate);
        let (amount, period) = (rate.amount().get(), nanos(rate.period()));
        let mut used: HashMap<u64, u32> = HashMap::new();
        let (mut state, mut now) = (Window::default(), 0);
        for arrival in arrivals {
            now = arrival.after(now, rate);
            let used = used.entry(now / period).or_default();
            let rest = Duration::from_nanos(period - now % period);
            let usage = meter.usage(&state, now);
            prop_assert_eq!(usage.remaining, amount - *used);
            prop_assert_eq!(usage.resets_after, if *used == 0 { Duration::ZERO } else { rest });
            prop_assert_eq!(meter.is_idle(&state, now), *used == 0);

            let permits = arrival.permits.get();
            let right = if permits > amount {
                Decision::TooMany { most: rate.amount() }
            } else if *used + permits > amount {
                Decision::Refused { retry_after: rest }
            } else {
                *used += permits;
                Decision::Allowed { near: *used * 5 >= amount * 4 }
            };
            prop_assert_eq!(meter.decide(&mut state, now, arrival.permits), right);
        }
    }
}

#[test]
fn twice_the_amount_passes_around_an_edge() {
    let rate = Rate::new(3, Duration::from_nanos(100)).expect("a rate");
    let meter = FixedWindow::new(rate);
    let mut state = Window::default();
    for now in [99, 99, 99, 100, 100, 100] {
        assert!(meter.decide(&mut state, now, NonZeroU32::MIN).is_admitted(), "at {now}");
    }
    let refused = Decision::Refused { retry_after: Duration::from_nanos(100) };
    assert_eq!(meter.decide(&mut state, 100, NonZeroU32::MIN), refused);
}

#[test]
fn a_reading_that_lies_behind_counts_for_the_newest_window() {
    let rate = Rate::new(1, Duration::from_nanos(100)).expect("a rate");
    let meter = FixedWindow::new(rate);
    let mut state = Window::default();
    assert!(meter.decide(&mut state, 100, NonZeroU32::MIN).is_admitted());
    let behind = meter.decide(&mut state, 99, NonZeroU32::MIN);
    assert_eq!(behind, Decision::Refused { retry_after: Duration::from_nanos(101) });
}
