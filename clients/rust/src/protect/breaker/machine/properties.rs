//! The machine by properties: whatever happens to it in whichever order, what a breaker promises holds.

mod shadow;
mod world;

use proptest::prelude::*;

use self::world::World;
use super::*;
use crate::protect::breaker::{SlidingWindow, SlowCalls};

/// Something that happens to a breaker.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Admit,
    /// A call that was let through ends; chosen among those that run.
    Report {
        call: usize,
        outcome: Outcome,
        is_slow: bool,
    },
    Release {
        call: usize,
    },
    /// A call of which nothing is heard any more.
    Lose {
        call: usize,
    },
    Wait(Duration),
    /// Goes to the moment at which the open time or the override ends, by way of the nanosecond before.
    WaitUntilDue,
    Override {
        force: Force,
        time: Duration,
    },
    EndOverride,
    Reconfigure(Settings),
}

/// Small numbers, so that limits are met often.
pub(super) fn settings(mode: impl Strategy<Value = Mode>) -> impl Strategy<Value = Settings> {
    let rate = || prop_oneof![Just(None), (0.01..=1.0_f64).prop_map(Some)];
    let window = prop_oneof![
        (1_u32..8).prop_map(SlidingWindow::Count),
        (1_u64..20).prop_map(|seconds| SlidingWindow::Time(Duration::from_secs(seconds))),
    ];
    let times = (1_u64..20, 0_u64..100, 0.0..0.99_f64);
    (proptest::option::of(1_u32..5), rate(), rate(), window, 1_u32..8, times, 1_u32..6, 1_u64..90, mode)
        .prop_map(
            |(
                consecutive_failures,
                failure_rate,
                slow,
                window,
                minimum,
                (first, more, jitter),
                probes,
                timeout,
                mode,
            )| {
                let minimum_calls = match window {
                    SlidingWindow::Count(calls) => minimum.min(calls),
                    SlidingWindow::Time(_) => minimum,
                };
                let options = Options {
                    consecutive_failures,
                    failure_rate,
                    slow_calls: slow.map(|rate| SlowCalls { rate, longer_than: Duration::from_secs(5) }),
                    window,
                    minimum_calls,
                    open_time: Duration::from_secs(first),
                    max_open_time: Duration::from_secs(first + more),
                    jitter,
                    probes,
                    probe_timeout: Duration::from_secs(timeout),
                    mode,
                };
                Settings::new(options).unwrap()
            },
        )
}

pub(super) fn any_mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        6 => Just(Mode::Normal),
        2 => Just(Mode::MetricsOnly),
        1 => Just(Mode::ForcedOpen),
        1 => Just(Mode::ForcedClosed),
    ]
}

/// Calls and time.
pub(super) fn traffic() -> impl Strategy<Value = Event> {
    let outcome = prop_oneof![3 => Just(Outcome::Success), 2 => Just(Outcome::Failure)];
    prop_oneof![
        12 => Just(Event::Admit),
        9 => (any::<usize>(), outcome, proptest::bool::weighted(0.3))
            .prop_map(|(call, outcome, is_slow)| Event::Report { call, outcome, is_slow }),
        1 => any::<usize>().prop_map(|call| Event::Release { call }),
        1 => any::<usize>().prop_map(|call| Event::Lose { call }),
        1 => (0_u64..30_000).prop_map(|millis| Event::Wait(Duration::from_millis(millis))),
        2 => Just(Event::WaitUntilDue),
    ]
}

fn anything() -> impl Strategy<Value = Event> {
    let force = prop_oneof![Just(Force::Open), Just(Force::Closed)];
    prop_oneof![
        40 => traffic(),
        1 => (force, 0_u64..60).prop_map(|(force, seconds)| {
            Event::Override { force, time: Duration::from_secs(seconds) }
        }),
        1 => Just(Event::EndOverride),
        2 => settings(any_mode()).prop_map(Event::Reconfigure),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_a_breaker_promises_holds_whatever_happens(
        settings in settings(any_mode()),
        events in proptest::collection::vec((anything(), 0.0..1.0_f64), 1..150),
    ) {
        let mut world = World::new(settings);
        for (event, random) in events {
            world.happen(&event, random);
        }
        world.recover();
    }
}
