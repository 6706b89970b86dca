use proptest::prelude::*;

use super::{
    simulation::{Service, Simulation},
    *,
};

const FAST: Duration = Duration::from_millis(20);
/// Callers enough to use any limit.
const MANY: u32 = 5_000;

fn settings(min: u32, initial: u32, max: u32) -> AdaptiveSettings {
    let count = |count| NonZeroU32::new(count).expect("more than zero");
    AdaptiveSettings::default().bounds(count(min), count(initial), count(max)).expect("in order")
}

fn simulation(initial: u32, workers: usize, service: Service, callers: u32) -> Simulation {
    Simulation::new(
        Adaptive::new(settings(5, initial, 1_000), Duration::ZERO, 1),
        workers,
        service,
        callers,
        7,
    )
}

/// Where the limit ought to settle: from the capacity to the buffer above it, the headroom, and its noise.
fn near(workers: usize) -> std::ops::RangeInclusive<u32> {
    let workers = u32::try_from(workers).expect("few");
    workers..=workers * 5 / 4 + 2 * workers.isqrt() + 1
}

#[test]
fn it_finds_the_capacity_from_below_and_above() {
    for service in [Service::Always(FAST), Service::Varies(FAST)] {
        for (initial, workers) in [(20, 100), (5, 10), (20, 10), (200, 50), (1_000, 50)] {
            let mut simulation = simulation(initial, workers, service, MANY);
            simulation.run(12);
            let limits = simulation.run(4);
            assert!(
                near(workers).contains(&limits.median),
                "{service:?} from {initial} to {workers}: {limits:?}"
            );
        }
    }
}

#[test]
fn it_follows_a_capacity_that_changes() {
    let mut simulation = simulation(20, 50, Service::Varies(FAST), MANY);
    for workers in [50, 120, 30, 60] {
        simulation.workers = workers;
        simulation.run(10);
        let limits = simulation.run(4);
        assert!(near(workers).contains(&limits.median), "{workers}: {limits:?}");
    }
}

#[test]
fn operations_that_became_slower_are_not_taken_for_a_queue_for_long() {
    let mut simulation = simulation(20, 50, Service::Always(FAST), MANY);
    simulation.run(10);
    simulation.service = Service::Always(3 * FAST);
    let at_first = simulation.run(4);
    assert!(at_first.least <= 10, "it looks like a queue: {at_first:?}");
    simulation.run(10);
    let limits = simulation.run(4);
    assert!(near(50).contains(&limits.median), "{limits:?}");
}

#[test]
fn it_grows_to_its_maximum_where_nothing_becomes_slower() {
    let mut simulation = simulation(20, 2_000, Service::Always(2 * FAST), MANY);
    simulation.run(12);
    let limits = simulation.run(4);
    assert_eq!((limits.median, limits.greatest), (1_000, 1_000), "{limits:?}");
}

#[test]
fn it_does_not_grow_beyond_what_is_used() {
    let mut used = simulation(5, 2_000, Service::Always(FAST), 8);
    let limits = used.run(20);
    // The headroom of 11.4 is 3.4.
    assert!((11..=12).contains(&limits.greatest), "{limits:?}");
    let mut idle = simulation(20, 2_000, Service::Always(FAST), 8);
    assert_eq!(idle.run(20).greatest, 20);
}

#[test]
fn looking_for_the_latency_without_load_does_not_pin_it_to_the_minimum() {
    let settings = settings(5, 20, 1_000).with_refresh(Duration::from_secs(5)).expect("allowed");
    let adaptive = Adaptive::new(settings, Duration::ZERO, 1);
    let mut simulation = Simulation::new(adaptive, 50, Service::Always(FAST), MANY, 7);
    simulation.run(10);
    let limits = simulation.run(20);
    assert!(limits.least < 50, "it looks several times: {limits:?}");
    assert!(limits.least >= 35, "half of 73: {limits:?}");
    assert!(near(50).contains(&limits.median), "{limits:?}");
    let unloaded = simulation.adaptive.unloaded_latency().expect("measured");
    assert!(unloaded.abs_diff(FAST) < FAST / 20, "{unloaded:?}");
}

/// What operations take where so many are in flight, of a server that can do 50 at once. Answers which limits there
/// were, and from when.
fn limits_of(mut adaptive: Adaptive, seconds: u64, in_flight: impl Fn(u32) -> u32) -> Vec<(u64, u32)> {
    let mut limits = Vec::new();
    for millis in 1..=seconds * 1_000 {
        let in_flight = in_flight(adaptive.limit().get());
        let sample = Sample { latency: FAST * in_flight.max(50) / 50, in_flight, outcome: Outcome::Done };
        let changed = adaptive.record(Duration::from_millis(millis), sample);
        limits.extend(changed.map(|limit| (millis, limit.get())));
    }
    limits
}

#[test]
fn it_goes_down_for_as_long_as_that_makes_operations_faster_and_back() {
    let limits = limits_of(Adaptive::new(settings(5, 400, 1_000), Duration::ZERO, 1), 4, |limit| limit);
    let steps: Vec<_> = limits.iter().map(|(_, limit)| *limit).take(7).collect();
    // 33 is not faster than 47, which is a step below 67.
    assert_eq!(steps, [280, 196, 137, 96, 67, 47, 32]);
    assert_eq!(limits.get(7).map(|(_, limit)| *limit), Some(67), "{limits:?}");
}

#[test]
fn what_was_found_at_first_is_questioned_soon() {
    let limits = limits_of(Adaptive::new(settings(5, 100, 1_000), Duration::ZERO, 1), 70, |_| 40);
    let looks: Vec<_> =
        limits.iter().filter(|(_, limit)| *limit == 70).map(|(millis, _)| millis / 1_000).collect();
    assert!(matches!(*looks, [1, 7 | 8]), "not again within a minute: {limits:?}");
}

#[test]
fn few_operations_are_not_what_makes_them_slow() {
    let mut adaptive = Adaptive::new(settings(5, 100, 1_000), Duration::ZERO, 1);
    let mut now = Duration::ZERO;
    let mut run = |millis, latency, in_flight| {
        for _ in 0..millis {
            now += Duration::from_millis(1);
            adaptive.record(now, Sample { latency, in_flight, outcome: Outcome::Done });
        }
        adaptive.limit().get()
    };
    assert_eq!(run(4_000, FAST, 40), 100);
    assert_eq!(run(1_000, 3 * FAST, 40), 100, "less than half of it is used");
    assert!(run(1_000, 3 * FAST, 60) < 80);
}

#[test]
fn operations_that_get_nowhere_bring_it_down() {
    let mut adaptive = Adaptive::new(settings(5, 200, 1_000), Duration::ZERO, 1);
    let mut now = Duration::ZERO;
    for _ in 0..10_000 {
        now += Duration::from_millis(1);
        let sample = Sample { latency: FAST, in_flight: adaptive.limit().get(), outcome: Outcome::Dropped };
        adaptive.record(now, sample);
    }
    assert_eq!((adaptive.limit().get(), adaptive.unloaded_latency()), (5, None));
    for _ in 0..30_000 {
        now += Duration::from_millis(1);
        let sample = Sample { latency: FAST, in_flight: adaptive.limit().get(), outcome: Outcome::Done };
        adaptive.record(now, sample);
    }
    assert!(adaptive.limit().get() > 200, "it comes back: {}", adaptive.limit());
}

#[test]
fn a_look_that_finds_nothing_is_given_up() {
    let mut adaptive = Adaptive::new(settings(5, 100, 1_000), Duration::ZERO, 1);
    let sample = Sample { latency: FAST, in_flight: 50, outcome: Outcome::Done };
    for millis in 0..1_100 {
        adaptive.record(Duration::from_millis(millis), sample);
    }
    assert_eq!(adaptive.limit().get(), 70, "it looks");
    let later = Duration::from_secs(120);
    assert_eq!(adaptive.record(later, sample), NonZeroU32::new(100), "as it was");
    assert_eq!(adaptive.record(later, sample), None, "nothing changed");
}

#[test]
fn two_processes_do_not_look_at_the_same_moment() {
    let until = |seed| {
        let mut adaptive = Adaptive::new(AdaptiveSettings::default(), Duration::ZERO, seed);
        adaptive.go_on(Duration::ZERO, false);
        match adaptive.phase {
            Phase::Following { until, .. } => until,
            Phase::Probing { .. } => panic!("it went on"),
        }
    };
    let mut all: Vec<_> = (0..100).map(until).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 100);
    let (first, last) = (all.first().expect("some"), all.last().expect("some"));
    assert!(*first >= Duration::from_secs(60) && *first < Duration::from_secs(61), "{first:?}");
    assert!(*last <= Duration::from_secs(69) && *last > Duration::from_secs(68), "{last:?}");
}

fn samples() -> impl Strategy<Value = Vec<(u64, u64, u32, Outcome)>> {
    let outcome = prop_oneof![Just(Outcome::Done), Just(Outcome::Dropped), Just(Outcome::Failed)];
    let gap = prop_oneof![100 => 0..20_u64, 1 => 0..200_000_u64];
    prop::collection::vec((gap, 0..1_000_000_u64, 0..100_u32, outcome), 0..800)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn it_never_leaves_its_bounds(samples in samples(), min in 1..20_u32, more in 0..20_u32, room in 0..50_u32) {
        let (initial, max) = (min + more, min + more + room);
        let mut adaptive = Adaptive::new(settings(min, initial, max), Duration::ZERO, 1);
        let (mut now, mut limit) = (Duration::ZERO, initial);
        for (gap, micros, in_flight, outcome) in samples {
            now += Duration::from_millis(gap);
            let changed = adaptive.record(now, Sample { latency: Duration::from_micros(micros), in_flight, outcome });
            prop_assert_eq!(changed.is_some(), adaptive.limit().get() != limit);
            limit = changed.map_or(limit, NonZeroU32::get);
            prop_assert!((min..=max).contains(&limit), "{} of {} to {}", limit, min, max);
        }
    }
}
