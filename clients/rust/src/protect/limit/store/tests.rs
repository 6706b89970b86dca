use std::{hash::Hasher, thread, time::Duration};

use proptest::prelude::*;

use super::{
    super::{
        super::clock::{Clock, Manual},
        KeyedLimiter, Rate, Settings,
        arrivals::{arrivals, of_five, settings},
        fixed_window::FixedWindow,
        token_bucket::TokenBucket,
    },
    *,
};

const SECOND: u64 = 1_000_000_000;

/// One permit a second and key.
fn one_a_second() -> TokenBucket {
    TokenBucket::new(Rate::new(1, Duration::from_secs(1)).expect("a rate"), NonZeroU32::MIN)
}

fn room(keys: usize) -> NonZeroUsize {
    NonZeroUsize::new(keys).expect("not zero")
}

fn is_admitted<K: Clone + Eq + Hash, M: Meter>(store: &Store<K, M>, key: &K, now: u64) -> bool {
    store.decide(key, now, NonZeroU32::MIN).is_admitted()
}

#[test]
fn no_more_keys_than_there_is_room_for() {
    for settings in of_five() {
        let clock = Manual::default();
        let limiter = KeyedLimiter::new(&settings, room(3_000), clock.clone());
        let mut most_bytes = 0;
        for key in 0..50_000_u64 {
            // Some become idle while others come.
            clock.advance(Duration::from_micros(200));
            assert!(limiter.decide(&key).is_admitted() || limiter.overflows() > 0);
            assert!(limiter.len() <= 3_000);
            most_bytes = most_bytes.max(limiter.capacity_bytes());
        }
        assert!(limiter.len() > 2_900, "{settings:?}: {}", limiter.len());
        assert!(limiter.overflows() > 0, "{settings:?}");
        let state =
            if matches!(settings.algorithm(), super::super::Algorithm::SlidingWindow) { 144 } else { 16 };
        assert!(most_bytes < 4 * 3_000 * (8 + state + 1), "{settings:?}: {most_bytes}");
    }
}

#[test]
fn a_flood_makes_nothing_forgotten() {
    let store = Store::new(one_a_second(), room(8));
    assert!(is_admitted(&store, &0, 0));
    for key in 1..10_000 {
        is_admitted(&store, &key, key * SECOND / 20_000); // All of it before the first is idle again.
    }
    assert!(!is_admitted(&store, &0, SECOND - 1));
    assert_eq!(store.len(), 8);
    assert!(is_admitted(&store, &0, SECOND));
}

#[test]
fn newcomers_without_a_place_share_what_one_may_have() {
    let store = Store::new(one_a_second(), room(8));
    let admitted = (0..10_000).filter(|&key| is_admitted(&store, &key, 0)).count();
    assert_eq!((store.len(), admitted, store.overflows()), (8, 9, 9_992));
    // So is what they are shown; who has a place is shown its own.
    assert_eq!(store.usage(&20_000, 0).remaining, 0);
    assert_eq!(store.usage(&0, SECOND).remaining, 1);
}

#[test]
fn idle_keys_make_way() {
    let store = Store::new(one_a_second(), room(8));
    for key in 0..8 {
        assert!(is_admitted(&store, &key, 0));
    }
    for key in 8..16 {
        assert!(is_admitted(&store, &key, SECOND));
    }
    assert_eq!((store.len(), store.overflows()), (8, 0));
    // The new ones have their own places: each is refused for what it used itself.
    assert!((8..16).all(|key| !is_admitted(&store, &key, SECOND)));
    assert_eq!(store.overflows(), 0);
}

#[test]
fn a_few_looks_at_a_time_find_any_idle_key() {
    let store = Store::new(one_a_second(), room(500));
    assert!(is_admitted(&store, &0, 0));
    for key in 1..500 {
        assert!(is_admitted(&store, &key, SECOND / 2));
    }
    // One of 500 is idle now. Each of these looks at 32 places, and all of them at each at least once.
    let newcomers = 1024 / PLACES_PER_NEWCOMER;
    for key in 0..newcomers {
        is_admitted(&store, &(1_000 + key), SECOND);
    }
    let found =
        (0..newcomers).filter(|key| store.usage(&(1_000 + key), SECOND).resets_after != Duration::ZERO);
    assert_eq!(store.overflows(), newcomers as u64 - 1);
    assert!(found.count() >= 1);
}

#[test]
fn who_read_the_clock_before_its_key_was_forgotten_is_not_given_twice() {
    let rate = Rate::new(1, Duration::from_nanos(100)).expect("a rate");
    let forget: [fn(&Store<i32, FixedWindow>); 2] =
        [|store| store.evict_idle(100), |store| assert!(is_admitted(store, &2, 100))];
    for forget in forget {
        let store = Store::new(FixedWindow::new(rate), room(2));
        assert!(is_admitted(&store, &0, 0) && is_admitted(&store, &1, 0));
        forget(&store);
        // The window of its reading was used up: it is given the next one, and that once.
        assert!(is_admitted(&store, &0, 99));
        assert!(!is_admitted(&store, &0, 100));
        assert!(is_admitted(&store, &0, 200));
    }
}

#[test]
fn eviction_gives_all_memory_of_idle_keys_back() {
    for settings in of_five() {
        let clock = Manual::default();
        let limiter = KeyedLimiter::new(&settings, room(20_000), clock.clone());
        assert_eq!(limiter.capacity_bytes(), 0);
        for key in 0..10_000_u64 {
            assert!(limiter.decide(&key).is_admitted());
        }
        limiter.evict_idle();
        assert_eq!(limiter.len(), 10_000, "{settings:?}");
        assert!(limiter.capacity_bytes() > 10_000 * 16);
        clock.advance(limiter.usage(&0).resets_after);
        assert!(limiter.decide(&u64::MAX).is_admitted());
        limiter.evict_idle();
        assert_eq!(limiter.len(), 1, "{settings:?}");
        assert!(limiter.capacity_bytes() < 2_000, "{settings:?}: {}", limiter.capacity_bytes());
        clock.advance(limiter.usage(&u64::MAX).resets_after);
        limiter.evict_idle();
        assert_eq!((limiter.len(), limiter.capacity_bytes()), (0, 0), "{settings:?}");
        assert!(limiter.is_empty());
    }
}

#[test]
fn who_asks_for_too_many_takes_no_place() {
    for settings in of_five() {
        let limiter = KeyedLimiter::new(&settings, room(1), Manual::default());
        let most = limiter.usage(&0).limit;
        let too_many = limiter.decide_many(&0, most.saturating_add(1));
        assert_eq!(too_many, Decision::TooMany { most });
        assert_eq!((limiter.len(), limiter.capacity_bytes()), (0, 0));
    }
}

#[test]
fn keys_of_one_hash_are_told_apart() {
    #[derive(Clone, Debug, Eq, PartialEq)]
    struct Alike(u32);
    impl Hash for Alike {
        fn hash<H: Hasher>(&self, _: &mut H) {}
    }
    let store = Store::new(one_a_second(), room(300));
    assert!((0..300).all(|key| is_admitted(&store, &Alike(key), 0)));
    assert!((0..300).all(|key| !is_admitted(&store, &Alike(key), 0)));
    assert_eq!(store.len(), 300);
}

#[test]
fn places_are_counted_right_by_many_threads() {
    let store = Store::new(one_a_second(), room(1_000));
    thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..5_000 {
                    is_admitted(store, &(thread * 3_000 + n), n * SECOND / 500);
                    assert!(store.len() <= 1_000);
                    if n % 1_000 == 0 {
                        store.evict_idle(n * SECOND / 500);
                    }
                }
            });
        }
    });
    let counted: usize = store.shards.iter().map(|shard| shard.lock().entries.len()).sum();
    assert_eq!(store.len(), counted);
    store.evict_idle(20 * SECOND);
    assert_eq!(store.len(), 0);
}

proptest! {
    /// Whatever keys come: no more in any window than places, and the shared cell, may have; no more of a key than its
    /// own place and the shared cell may.
    #[test]
    fn a_flood_gets_what_its_places_may_have(
        places in 1..6usize,
        calls in prop::collection::vec((0..12u8, 0..40u64), 1..300),
    ) {
        let rate = Rate::new(2, Duration::from_nanos(100)).expect("a rate");
        let store = Store::new(FixedWindow::new(rate), room(places));
        let mut admitted = std::collections::HashMap::new();
        let mut now = 0;
        for (key, gap) in calls {
            now += gap;
            if is_admitted(&store, &key, now) {
                *admitted.entry((now / 100, key)).or_insert(0) += 1;
            }
            prop_assert!(store.len() <= places);
        }
        prop_assert!(admitted.values().all(|&times| times <= 2 * 2));
        for window in 0..=now / 100 {
            let all: usize = admitted.iter().filter(|((of, _), _)| *of == window).map(|(_, times)| times).sum();
            prop_assert!(all <= (places + 1) * 2);
        }
    }

    /// To forget what is idle changes no decision.
    #[test]
    fn what_is_evicted_is_not_missed(
        settings in settings(),
        arrivals in arrivals(),
        keys in prop::collection::vec((0..4u8, prop::bool::ANY), 150),
    ) {
        let clock = Manual::default();
        let limiter = |settings: &Settings| KeyedLimiter::new(settings, room(4), clock.clone());
        let (evicted, kept) = (limiter(&settings), limiter(&settings));
        for (arrival, (key, evict)) in arrivals.into_iter().zip(keys) {
            let next = arrival.after(clock.nanos(), settings.rate());
            clock.advance(Duration::from_nanos(next - clock.nanos()));
            if evict {
                evicted.evict_idle();
            }
            prop_assert_eq!(evicted.usage(&key), kept.usage(&key));
            prop_assert_eq!(evicted.decide_many(&key, arrival.permits), kept.decide_many(&key, arrival.permits));
        }
    }
}
