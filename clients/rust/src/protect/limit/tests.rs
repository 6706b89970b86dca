//! What holds of every algorithm.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use proptest::prelude::*;

use super::{
    super::clock::{Clock, Manual},
    arrivals::{arrivals, of_five, settings},
    *,
};

const NANOSECOND: Duration = Duration::from_nanos(1);

fn go_to(clock: &Manual, nanos: u64) {
    clock.advance(Duration::from_nanos(nanos - clock.nanos()));
}

proptest! {
    /// A refused call passes when it was told to come again, not a nanosecond earlier, and was not counted.
    #[test]
    fn a_refused_call_is_told_when_to_come_again(settings in settings(), arrivals in arrivals()) {
        let clock = Manual::default();
        let limiter = Limiter::new(&settings, clock.clone());
        for arrival in arrivals {
            go_to(&clock, arrival.after(clock.nanos(), settings.rate()));
            if let Decision::Refused { retry_after } = limiter.decide_many(arrival.permits) {
                prop_assert!(retry_after > Duration::ZERO);
                clock.advance(retry_after - NANOSECOND);
                let early = limiter.decide_many(arrival.permits);
                prop_assert_eq!(early, Decision::Refused { retry_after: NANOSECOND });
                clock.advance(NANOSECOND);
                prop_assert!(limiter.decide_many(arrival.permits).is_admitted());
            }
        }
    }

    /// What usage says is what is decided, and asking changes nothing.
    #[test]
    fn usage_is_what_is_decided_by(settings in settings(), arrivals in arrivals()) {
        let clock = Manual::default();
        let (limiter, unasked) = (Limiter::new(&settings, clock.clone()), Limiter::new(&settings, clock.clone()));
        for arrival in arrivals {
            go_to(&clock, arrival.after(clock.nanos(), settings.rate()));
            let usage = limiter.usage();
            let decision = limiter.decide_many(arrival.permits);
            prop_assert_eq!(decision.is_admitted(), arrival.permits.get() <= usage.remaining);
            let too_many = Decision::TooMany { most: usage.limit };
            prop_assert_eq!(decision == too_many, arrival.permits > usage.limit);
            prop_assert_eq!(decision, unasked.decide_many(arrival.permits));
        }
        let resets_after = limiter.usage().resets_after;
        let Some(just_before) = resets_after.checked_sub(NANOSECOND) else { return Ok(()) };
        clock.advance(just_before);
        let usage = limiter.usage();
        prop_assert!(usage.remaining < usage.limit.get());
        prop_assert_eq!(usage.resets_after, NANOSECOND);
        clock.advance(NANOSECOND);
        let usage = limiter.usage();
        prop_assert_eq!((usage.remaining, usage.resets_after), (usage.limit.get(), Duration::ZERO));
        prop_assert!(limiter.decide_many(usage.limit).is_admitted());
    }

    /// One key of many is held as if there were no other.
    #[test]
    fn each_key_is_held_by_itself(settings in settings(), arrivals in arrivals(), keys in prop::collection::vec(0..4u8, 150)) {
        let clock = Manual::default();
        let keyed = KeyedLimiter::new(&settings, NonZeroUsize::new(4).expect("not zero"), clock.clone());
        let single: Vec<_> = (0..4).map(|_| Limiter::new(&settings, clock.clone())).collect();
        for (arrival, key) in arrivals.into_iter().zip(keys) {
            go_to(&clock, arrival.after(clock.nanos(), settings.rate()));
            let alone = &single[usize::from(key)];
            prop_assert_eq!(keyed.usage(&key), alone.usage());
            prop_assert_eq!(keyed.decide_many(&key, arrival.permits), alone.decide_many(arrival.permits));
        }
    }
}

#[test]
fn all_of_the_limit_can_be_had_at_once_and_no_more() {
    for settings in of_five() {
        let limiter = Limiter::new(&settings, Manual::default());
        let most = limiter.usage().limit;
        assert_eq!(most.get(), 5, "{settings:?}");
        assert_eq!(limiter.decide_many(most.saturating_add(1)), Decision::TooMany { most });
        assert!(limiter.decide_many(most).is_admitted(), "{settings:?}");
        assert!(matches!(limiter.decide(), Decision::Refused { .. }), "{settings:?}");
    }
}

#[test]
fn the_limit_is_near_from_four_fifths() {
    for settings in of_five() {
        let limiter = Limiter::new(&settings, Manual::default());
        let near: Vec<bool> = (0..5)
            .map(|_| match limiter.decide() {
                Decision::Allowed { near } | Decision::Queued { near, .. } => near,
                refused => panic!("{settings:?}: {refused:?}"),
            })
            .collect();
        assert_eq!(near, [false, false, false, true, true], "{settings:?}");
    }
}

/// Threads decide as often as they can; answers how often they were admitted.
fn hammered(decide: impl Fn() -> Decision + Sync) -> u32 {
    let admitted = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    admitted.fetch_add(decide().is_admitted().into(), Ordering::Relaxed);
                }
            });
        }
    });
    admitted.into_inner()
}

#[test]
fn threads_share_what_there_is_at_one_instant() {
    for settings in of_five() {
        let single = Limiter::new(&settings, Manual::default());
        assert_eq!(hammered(|| single.decide()), 5, "{settings:?}");
        let keyed = KeyedLimiter::new(&settings, NonZeroUsize::MIN, Manual::default());
        assert_eq!(hammered(|| keyed.decide(&"key")), 5, "{settings:?}");
    }
}

#[test]
fn threads_share_what_there_is_while_time_goes_on() {
    // Each decision moves the time by a microsecond: 8 ms in all, in which at most what five milliseconds' worth of
    // each window allows passes.
    let rate = Rate::new(100, Duration::from_millis(2)).expect("a rate");
    let hundred = rate.amount();
    for (algorithm, most) in [
        (Algorithm::TokenBucket { burst: hundred }, 100 + 400),
        (Algorithm::LeakyBucket { queue: 99 }, 100 + 400),
        (Algorithm::SlidingWindow, 100 * 5),
        (Algorithm::FixedWindow, 100 * 5),
    ] {
        let settings = Settings::new(rate, algorithm).expect("settings");
        let clock = Manual::default();
        let keyed = KeyedLimiter::new(&settings, NonZeroUsize::MIN, clock.clone());
        let admitted = hammered(|| {
            clock.advance(Duration::from_micros(1));
            keyed.decide(&"key")
        });
        assert!(admitted <= most, "{settings:?}: {admitted}");
        assert!(admitted >= 350, "{settings:?}: {admitted}");
    }
}

#[test]
fn permits_are_all_or_nothing() {
    let four = NonZeroU32::new(4).expect("not zero");
    for settings in of_five() {
        let limiter = Limiter::new(&settings, Manual::default());
        assert!(limiter.decide_many(four).is_admitted());
        assert!(matches!(limiter.decide_many(four), Decision::Refused { .. }), "{settings:?}");
        assert_eq!(limiter.usage().remaining, 1, "{settings:?}");
    }
}
