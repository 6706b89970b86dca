use proptest::prelude::*;

use super::{
    super::arrivals::{arrivals, nanos, rates},
    *,
};

/// The textbook: a bucket of tokens into which they come steadily. What a token takes to come is counted, so that parts
/// of tokens are whole numbers.
struct Model {
    interval: u64,
    burst: u32,
    level: u64,
    seen: u64,
}

impl Model {
    fn full(&self) -> u64 {
        u64::from(self.burst) * self.interval
    }

    fn at(&mut self, now: u64) {
        self.level = self.full().min(self.level + (now - self.seen));
        self.seen = now;
    }

    fn decide(&mut self, permits: NonZeroU32) -> Decision {
        let wanted = u64::from(permits.get()) * self.interval;
        if permits.get() > self.burst {
            return Decision::TooMany { most: NonZeroU32::new(self.burst).expect("not zero") };
        }
        if wanted > self.level {
            return Decision::Refused { retry_after: Duration::from_nanos(wanted - self.level) };
        }
        self.level -= wanted;
        let used = (self.full() - self.level).div_ceil(self.interval);
        Decision::Allowed { near: used * 5 >= u64::from(self.burst) * 4 }
    }

    fn usage(&self) -> (u64, Duration) {
        (self.level / self.interval, Duration::from_nanos(self.full() - self.level))
    }
}

proptest! {
    /// Neither more nor less than the textbook, told the same.
    #[test]
    fn decides_as_a_bucket_of_tokens_would(rate in rates(), burst in 1..20u32, arrivals in arrivals()) {
        let bucket = TokenBucket::new(rate, NonZeroU32::new(burst).expect("not zero"));
        let mut model = Model { interval: nanos(rate.interval()), burst, level: 0, seen: 0 };
        model.level = model.full();
        let (mut state, mut now) = (0, 0);
        for arrival in arrivals {
            now = arrival.after(now, rate);
            model.at(now);
            let usage = bucket.usage(&state, now);
            prop_assert_eq!((u64::from(usage.remaining), usage.resets_after), model.usage());
            prop_assert_eq!(bucket.is_idle(&state, now), model.level == model.full());
            prop_assert_eq!(bucket.decide(&mut state, now, arrival.permits), model.decide(arrival.permits));
        }
    }

    /// In any time of length t, at most burst + rate × t.
    #[test]
    fn never_exceeds_burst_and_rate(rate in rates(), burst in 1..20u32, arrivals in arrivals()) {
        let bucket = TokenBucket::new(rate, NonZeroU32::new(burst).expect("not zero"));
        let (mut state, mut now) = (0, 0);
        let mut admitted: Vec<(u64, u64)> = Vec::new();
        for arrival in arrivals {
            now = arrival.after(now, rate);
            if bucket.decide(&mut state, now, arrival.permits).is_admitted() {
                admitted.push((now, arrival.permits.get().into()));
            }
        }
        let period = nanos(rate.period());
        for (first, &(from, _)) in admitted.iter().enumerate() {
            let mut sum = 0;
            for &(to, permits) in &admitted[first..] {
                sum += permits;
                // In whole numbers: sum <= burst + amount × (to - from) / period.
                prop_assert!(sum * period <= u64::from(burst) * period + u64::from(rate.amount().get()) * (to - from));
            }
        }
    }
}

#[test]
fn a_reading_that_lies_behind_lets_nothing_more_through() {
    let rate = Rate::new(1, Duration::from_secs(1)).expect("a rate");
    let bucket = TokenBucket::new(rate, NonZeroU32::MIN);
    let mut state = 0;
    assert!(bucket.decide(&mut state, 5_000_000_000, NonZeroU32::MIN).is_admitted());
    let behind = bucket.decide(&mut state, 4_999_999_990, NonZeroU32::MIN);
    assert_eq!(behind, Decision::Refused { retry_after: Duration::from_nanos(1_000_000_010) });
}

#[test]
fn a_hundred_years_neither_overflow_nor_lose_anything() {
    let century = super::super::LONGEST;
    let rate = Rate::new(1, century).expect("a rate");
    let bucket = TokenBucket::new(rate, NonZeroU32::MIN);
    let mut state = 0;
    let late = 2 * nanos(century);
    assert!(bucket.decide(&mut state, late, NonZeroU32::MIN).is_admitted());
    let again = bucket.decide(&mut state, late, NonZeroU32::MIN);
    assert_eq!(again, Decision::Refused { retry_after: century });
    assert!(bucket.decide(&mut state, late + nanos(century), NonZeroU32::MIN).is_admitted());
}
