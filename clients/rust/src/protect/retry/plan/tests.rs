use proptest::prelude::*;

use super::*;

const START: Duration = Duration::from_secs(1_000_000);
const TENTH: Duration = Duration::from_millis(100);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn settings(change: impl FnOnce(&mut Values)) -> Settings {
    let mut values = Values::default();
    change(&mut values);
    Settings::new(values).unwrap()
}

/// The first attempt has begun.
fn begun(settings: &Settings, safety: Safety, time_left: Option<Duration>) -> Plan {
    let mut plan = Plan::new(settings, safety, START, time_left);
    plan.begin(START).unwrap();
    plan
}

/// The pauses after one failure after the other, at one moment.
fn pauses(plan: &mut Plan, advice: Advice, random: f64) -> Vec<u128> {
    let mut pauses = Vec::new();
    while let Next::After(pause) = plan.after(advice, START, random) {
        pauses.push(pause.as_millis());
        plan.begin(START).unwrap();
    }
    pauses
}

#[test]
fn what_follows_from_a_failure_as_a_table() {
    use Advice::{Always, IfSafe, Never, Pushback};
    use Safety::{Idempotent, Unsafe};
    let after = |pause| Next::After(millis(pause));
    for (advice, safety, next) in [
        (Never, Idempotent, Next::Stop(Why::NotRetryable)),
        (Never, Unsafe, Next::Stop(Why::NotRetryable)),
        (Pushback, Idempotent, Next::Stop(Why::Pushback)),
        (Pushback, Unsafe, Next::Stop(Why::Pushback)),
        (IfSafe(None), Idempotent, after(100)),
        (IfSafe(None), Unsafe, Next::Stop(Why::Unsafe)),
        (IfSafe(Some(millis(700))), Idempotent, after(770)),
        (IfSafe(Some(millis(700))), Unsafe, Next::Stop(Why::Unsafe)),
        (Always(None), Idempotent, after(100)),
        (Always(None), Unsafe, after(100)),
        (Always(Some(millis(700))), Unsafe, after(770)),
        // What was asked for replaces what was computed, also where it is shorter.
        (Always(Some(millis(10))), Unsafe, after(11)),
        (Always(Some(Duration::ZERO)), Unsafe, after(0)),
    ] {
        let mut plan = begun(&Settings::default(), safety, None);
        assert_eq!(plan.after(advice, START, 0.5), next, "{advice:?} {safety:?}");
    }
}

#[test]
fn pauses_grow_up_to_the_longest_and_attempts_end() {
    let many = settings(|it| (it.attempts, it.total) = (10, millis(3_600_000)));
    for (random, expected) in [
        (0.0, [80, 160, 320, 640, 1280, 2560, 4000, 4000, 4000]),
        (0.5, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]),
        (1.0, [120, 240, 480, 960, 1920, 3840, 6000, 6000, 6000]),
    ] {
        let mut plan = begun(&many, Safety::Idempotent, None);
        assert_eq!(pauses(&mut plan, Advice::IfSafe(None), random), expected);
        assert_eq!(plan.attempts(), 10);
        assert_eq!(plan.after(Advice::IfSafe(None), START, random), Next::Stop(Why::Attempts));
    }
    for attempts in 1..=10 {
        let settings = settings(|it| (it.attempts, it.total) = (attempts, millis(3_600_000)));
        let mut plan = begun(&settings, Safety::Idempotent, None);
        assert_eq!(pauses(&mut plan, Advice::IfSafe(None), 0.5).len(), attempts as usize - 1);
    }
}

#[test]
fn computed_pauses_begin_again_after_one_that_was_asked_for() {
    let many = settings(|it| it.attempts = 10);
    let mut plan = begun(&many, Safety::Idempotent, None);
    let (none, asked) = (Advice::IfSafe(None), Advice::IfSafe(Some(millis(50))));
    for (advice, pause) in [(none, 100), (none, 200), (asked, 50), (none, 100), (none, 200)] {
        assert_eq!(plan.after(advice, START, 0.5 * f64::from(advice == none)), Next::After(millis(pause)));
    }
}

#[test]
fn a_pause_that_does_not_fit_is_not_begun_as_a_table() {
    let second = millis(1000);
    // The total time is 30 s; the caller's time, the time that has passed, what was asked for.
    for (caller, passed, asked, next) in [
        (None, millis(29_899), None, Next::After(TENTH)),
        (None, millis(29_900), None, Next::Stop(Why::Time)),
        (None, millis(40_000), None, Next::Stop(Why::Time)),
        (None, millis(28_000), Some(second), Next::After(millis(1_100))),
        (None, millis(28_900), Some(second), Next::Stop(Why::Time)),
        (None, millis(29_000), Some(second), Next::Stop(Why::Time)),
        (None, Duration::ZERO, Some(Duration::MAX), Next::Stop(Why::Time)),
        (Some(second), millis(899), None, Next::After(TENTH)),
        (Some(second), millis(900), None, Next::Stop(Why::Deadline)),
        (Some(second), Duration::ZERO, Some(second), Next::Stop(Why::Deadline)),
        (Some(millis(30_000)), millis(30_000), None, Next::Stop(Why::Deadline)),
        (Some(millis(30_001)), millis(30_000), None, Next::Stop(Why::Time)),
        (Some(Duration::MAX), millis(29_900), None, Next::Stop(Why::Time)),
    ] {
        let mut plan = begun(&Settings::default(), Safety::Idempotent, caller);
        let next_one = plan.after(Advice::IfSafe(asked), START + passed, 0.5);
        assert_eq!(next_one, next, "{caller:?} {passed:?} {asked:?}");
    }
}

#[test]
fn an_attempt_is_told_how_long_it_may_take_and_none_begins_without_time() {
    let mut plan = Plan::new(&Settings::default(), Safety::Idempotent, START, Some(millis(300)));
    assert_eq!(plan.begin(START), Ok(Attempt { number: 1, time_left: millis(300) }));
    assert_eq!(plan.begin(START + millis(299)), Ok(Attempt { number: 2, time_left: millis(1) }));
    assert_eq!(plan.begin(START + millis(300)), Err(Why::Deadline));
    assert_eq!(plan.begin(START + millis(301)), Err(Why::Deadline));
    assert_eq!(plan.attempts(), 2);
    let mut none = Plan::new(&Settings::default(), Safety::Idempotent, START, Some(Duration::ZERO));
    assert_eq!(none.begin(START), Err(Why::Deadline));
}

fn advices() -> impl Strategy<Value = Advice> {
    let asked = || proptest::option::of((0_u64..40_000).prop_map(millis));
    prop_oneof![
        Just(Advice::Never),
        Just(Advice::Pushback),
        asked().prop_map(Advice::IfSafe),
        asked().prop_map(Advice::Always),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_pauses_are_as_long_as_promised_and_end_in_time(
        attempts in 1_u32..=10,
        caller in proptest::option::of((0_u64..60_000).prop_map(millis)),
        idempotent: bool,
        steps in proptest::collection::vec((advices(), 0_u64..8_000, 0.0..1.0_f64), 1..20),
    ) {
        let settings = settings(|it| it.attempts = attempts);
        let safety = if idempotent { Safety::Idempotent } else { Safety::Unsafe };
        let ends = START + caller.unwrap_or(Duration::MAX).min(settings.values().total);
        let mut plan = Plan::new(&settings, safety, START, caller);
        let (mut now, mut begun) = (START, 0);
        for (advice, takes, random) in steps {
            let Ok(attempt) = plan.begin(now) else {
                prop_assert!(now >= ends);
                break;
            };
            begun += 1;
            prop_assert_eq!(attempt, Attempt { number: begun, time_left: ends - now });
            prop_assert!(begun <= attempts);
            now += millis(takes);
            let Next::After(pause) = plan.after(advice, now, random) else { break };
            let asked = match advice {
                Advice::IfSafe(asked) => {
                    prop_assert!(idempotent);
                    asked
                }
                Advice::Always(asked) => asked,
                Advice::Never | Advice::Pushback => return Err(TestCaseError::fail("tried again")),
            };
            let (least, most) = match asked {
                Some(asked) => (asked, asked.mul_f64(1.2)),
                None => (millis(80), millis(6_000)),
            };
            prop_assert!(least <= pause && pause <= most, "{:?}", pause);
            now += pause;
            prop_assert!(now < ends);
        }
    }
}
