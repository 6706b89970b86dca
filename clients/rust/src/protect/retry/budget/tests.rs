use proptest::prelude::*;

use super::*;
use crate::protect::{clock::Manual, retry::settings::Values};

const TTL: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(500);

fn budget(share: f64, per_second: u32, ttl: Duration) -> (Budget<Manual>, Manual) {
    let clock = Manual::default();
    let values =
        Values { budget_share: share, budget_per_second: per_second, budget_ttl: ttl, ..Values::default() };
    (Budget::new(&Settings::new(values).unwrap(), clock.clone()), clock)
}

/// Spends all there is.
fn spend(budget: &Budget<Manual>) -> usize {
    std::iter::repeat_with(|| budget.withdraw()).take(100_000).take_while(|allowed| *allowed).count()
}

fn deposit(budget: &Budget<Manual>, calls: usize) {
    (0..calls).for_each(|_| budget.deposit());
}

#[test]
fn what_is_allowed_at_once_as_a_table() {
    for (share, per_second, calls, allowed) in [
        (0.2, 10, 0, 100),
        (0.2, 10, 4, 100),
        (0.2, 10, 5, 101),
        (0.2, 10, 1000, 300),
        (0.0, 10, 1000, 100),
        (1.0, 0, 1000, 1000),
        (0.2, 0, 4, 0),
        (0.2, 0, 5, 1),
        // Shares that no binary fraction is.
        (0.1, 0, 30, 3),
        (0.29, 0, 100, 29),
        (0.07, 0, 100, 7),
        (0.0157, 0, 10_000, 157),
        (0.000_001, 0, 999_999, 0),
        (0.000_001, 0, 1_000_000, 1),
    ] {
        let (budget, _) = budget(share, per_second, TTL);
        deposit(&budget, calls);
        assert_eq!(budget.balance(), allowed, "{share} {per_second} {calls}");
        assert_eq!(spend(&budget) as u64, allowed, "{share} {per_second} {calls}");
        assert_eq!(budget.balance(), 0);
    }
}

#[test]
fn calls_count_for_a_ttl_less_a_step_and_never_for_more_than_a_ttl() {
    for (after, allowed) in
        [(Duration::ZERO, 20), (TTL - STEP, 20), (TTL - Duration::from_nanos(1), 20), (TTL, 0), (TTL * 9, 0)]
    {
        let (budget, clock) = budget(0.2, 0, TTL);
        deposit(&budget, 100);
        clock.advance(after);
        assert_eq!(spend(&budget), allowed, "{after:?}");
    }
    // At the end of a step, it counts for the least time.
    let (budget, clock) = budget(0.2, 0, TTL);
    clock.advance(STEP - Duration::from_nanos(1));
    deposit(&budget, 100);
    clock.advance(TTL - STEP);
    assert_eq!(budget.balance(), 20);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(budget.balance(), 0);
}

#[test]
fn retries_count_for_a_ttl_and_never_for_more_than_a_step_longer() {
    for (after, allowed) in
        [(TTL, 0), (TTL + STEP - Duration::from_nanos(1), 0), (TTL + STEP, 100), (TTL * 1_000_000, 100)]
    {
        let (budget, clock) = budget(0.2, 10, TTL);
        assert_eq!(spend(&budget), 100);
        clock.advance(after);
        assert_eq!(spend(&budget), allowed, "{after:?}");
    }
}

#[test]
fn an_odd_ttl_is_kept_to_the_nanosecond_of_its_steps() {
    let odd = Duration::from_nanos(1_000_000_019);
    let (budget, clock) = budget(0.5, 0, odd);
    deposit(&budget, 2);
    clock.advance(Duration::from_nanos(999_999_999));
    assert_eq!(budget.balance(), 1);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(budget.balance(), 0);
}

#[test]
fn clones_share_it_and_others_do_not() {
    let (budget, clock) = budget(0.2, 10, TTL);
    let clone = budget.clone();
    assert_eq!(spend(&clone), 100);
    assert!(!budget.withdraw());
    assert!(Budget::new(&Settings::default(), clock).withdraw());
}

#[test]
fn threads_spend_no_more_than_there_is() {
    let (budget, _) = budget(0.2, 10, TTL);
    let spent: usize = std::thread::scope(|scope| {
        let each = || {
            let budget = budget.clone();
            scope.spawn(move || {
                deposit(&budget, 250);
                spend(&budget)
            })
        };
        let threads: Vec<_> = (0..4).map(|_| each()).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(spent as u64 + budget.balance(), 300);
}

/// What somebody does with a budget.
#[derive(Clone, Copy, Debug)]
enum Act {
    Wait(Duration),
    Call(usize),
    Retry(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let nanos = |most: u64| (1..most).prop_map(|nanos| Act::Wait(Duration::from_nanos(nanos)));
    let act = prop_oneof![
        nanos(100_000_000),
        nanos(1_100_000_000),
        // Whole steps, for what happens at their edges.
        (1_u32..45).prop_map(|steps| Act::Wait(Duration::from_millis(50) * steps)),
        (1_usize..30).prop_map(Act::Call),
        (1_usize..30).prop_map(Act::Retry),
    ];
    proptest::collection::vec(act, 1..80)
}

/// How many events there were later than `after` and not later than `until`.
fn between(events: &[(Duration, u128)], after: Option<Duration>, until: Duration) -> u128 {
    let within = |time: Duration| after.is_none_or(|after| time > after) && time <= until;
    events.iter().filter(|(time, _)| within(*time)).map(|(_, times)| times).sum()
}

proptest! {
    /// The bounds in the documentation of `Budget`, of a `ttl` of one second.
    #[test]
    fn retries_are_never_more_than_promised_and_never_refused_below_it(
        millionths in 0_u32..=1_000_000,
        per_second in 0_u32..30,
        acts in acts(),
    ) {
        const TTL: Duration = Duration::from_secs(1);
        const STEP: Duration = Duration::from_millis(50);
        const NANO: Duration = Duration::from_nanos(1);
        prop_assume!(millionths > 0 || per_second > 0);
        let (budget, clock) = budget(f64::from(millionths) / 1e6, per_second, TTL);
        let allowed = |windows: u128, calls: u128| {
            u128::from(per_second) * 1_000_000 * windows + u128::from(millionths) * calls
        };
        let (mut calls, mut retries) = (Vec::new(), Vec::new());
        for act in acts {
            let now = clock.now();
            match act {
                Act::Wait(pause) => clock.advance(pause),
                Act::Call(times) => {
                    deposit(&budget, times);
                    calls.push((now, times as u128));
                }
                Act::Retry(times) => for _ in 0..times {
                    if budget.withdraw() {
                        retries.push((now, 1));
                        // The very moment a ttl ago counts against it, and not for it.
                        let made = between(&retries, now.checked_sub(TTL + NANO), now);
                        let called = between(&calls, now.checked_sub(TTL), now);
                        prop_assert!(made * 1_000_000 <= allowed(1, called), "{} of {} calls", made, called);
                    } else {
                        let made = between(&retries, now.checked_sub(TTL + STEP), now) + 1;
                        let called = between(&calls, now.checked_sub(TTL - STEP + NANO), now);
                        prop_assert!(made * 1_000_000 > allowed(1, called), "{} of {} calls", made, called);
                    }
                },
            }
        }
        let mut moments: Vec<Duration> = retries.iter().map(|(time, _)| *time).collect();
        moments.dedup();
        for (at, begin) in moments.iter().enumerate() {
            for end in &moments[at..] {
                let made = between(&retries, begin.checked_sub(NANO), *end);
                let called = between(&calls, begin.checked_sub(TTL), *end);
                let windows = u128::from((*end - *begin).as_secs()) + 1;
                prop_assert!(made * 1_000_000 <= allowed(windows, called), "{:?} to {:?}", begin, end);
            }
        }
    }
}
