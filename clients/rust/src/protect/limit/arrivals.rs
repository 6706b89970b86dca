//! Calls that come when it hurts: at the edges of windows, all at once, after silence. For tests.

use std::{num::NonZeroU32, time::Duration};

use proptest::prelude::*;

use super::{Algorithm, Rate, SUB_WINDOWS, Settings};

/// A call, some time after the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    gap: Gap,
    /// How many permits it takes.
    pub(super) permits: NonZeroU32,
}

#[derive(Clone, Copy, Debug)]
enum Gap {
    /// At the same instant.
    None,
    /// A few nanoseconds.
    Nanos(u64),
    /// A share of the period, in percent.
    Share(u64),
    /// Round the next multiple of the period, of a sub-window, or of the time for a permit: just before, at, or just
    /// after it.
    Edge(Unit, i64),
    /// Some whole periods.
    Silence(u64),
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    Period,
    SubWindow,
    Interval,
}

impl Arrival {
    /// When it comes, in nanoseconds, if the one before came then.
    pub(super) fn after(self, before: u64, rate: Rate) -> u64 {
        let period = nanos(rate.period());
        match self.gap {
            Gap::None => before,
            Gap::Nanos(nanos) => before + nanos,
            Gap::Share(percent) => before + period * percent / 100,
            Gap::Silence(periods) => before + period * periods,
            Gap::Edge(unit, off) => {
                let unit = match unit {
                    Unit::Period => period,
                    Unit::SubWindow => period.div_ceil(SUB_WINDOWS as u64),
                    Unit::Interval => nanos(rate.interval()),
                };
                ((before / unit + 1) * unit).saturating_add_signed(off)
            }
        }
    }
}

/// Sequences of calls, most of one permit.
pub(super) fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let unit = prop_oneof![Just(Unit::Period), Just(Unit::SubWindow), Just(Unit::Interval)];
    let gap = prop_oneof![
        4 => Just(Gap::None),
        1 => (1..20u64).prop_map(Gap::Nanos),
        2 => (1..100u64).prop_map(Gap::Share),
        3 => (unit, -1..=1i64).prop_map(|(unit, off)| Gap::Edge(unit, off)),
        1 => (1..4u64).prop_map(Gap::Silence),
    ];
    let permits =
        prop_oneof![3 => Just(1), 2 => 1..12u32].prop_map(|n| NonZeroU32::new(n).expect("not zero"));
    let arrival = (gap, permits).prop_map(|(gap, permits)| Arrival { gap, permits });
    prop::collection::vec(arrival, 1..150)
}

/// Rates whose periods divide well and badly.
pub(super) fn rates() -> impl Strategy<Value = Rate> {
    let period = prop_oneof![Just(64), Just(1_000_003), Just(1_000_000_000), 30..100_000u64];
    (1..=30u32, period)
        .prop_map(|(amount, period)| Rate::new(amount, Duration::from_nanos(period)).expect("a rate"))
}

/// All four algorithms.
pub(super) fn settings() -> impl Strategy<Value = Settings> {
    let algorithm = prop_oneof![
        (1..20u32).prop_map(|n| Algorithm::TokenBucket { burst: NonZeroU32::new(n).expect("not zero") }),
        (0..20u32).prop_map(|queue| Algorithm::LeakyBucket { queue }),
        Just(Algorithm::SlidingWindow),
        Just(Algorithm::FixedWindow),
    ];
    (rates(), algorithm).prop_map(|(rate, algorithm)| Settings::new(rate, algorithm).expect("settings"))
}

/// One of each algorithm that admits five permits of a call at once, and one each second after that.
pub(super) fn of_five() -> [Settings; 4] {
    let five = NonZeroU32::new(5).expect("not zero");
    let rate = Rate::new(5, Duration::from_secs(5)).expect("a rate");
    [
        Algorithm::TokenBucket { burst: five },
        Algorithm::LeakyBucket { queue: 4 },
        Algorithm::SlidingWindow,
        Algorithm::FixedWindow,
    ]
    .map(|algorithm| Settings::new(rate, algorithm).expect("settings"))
}

/// Of a time of a test, which is never long.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("short")
}
