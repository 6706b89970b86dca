//! The breaker as its users hold it: tickets, clones, the clock. What it decides is tested with the machine.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use super::*;
use crate::protect::clock::Manual;

const QUICK: Duration = Duration::from_millis(1);

fn settings(change: impl FnOnce(&mut Options)) -> Settings {
    let mut options = Options { consecutive_failures: Some(2), probes: 2, ..Options::default() };
    change(&mut options);
    Settings::new(options).unwrap()
}

fn breaker(change: impl FnOnce(&mut Options)) -> (Breaker<Manual>, Manual) {
    let clock = Manual::default();
    (Breaker::with_random(settings(change), clock.clone(), || 0.5), clock)
}

fn opened(change: impl FnOnce(&mut Options)) -> (Breaker<Manual>, Manual) {
    let (breaker, clock) = breaker(change);
    fail(&breaker, 2);
    (breaker, clock)
}

fn fail(breaker: &Breaker<Manual>, times: u32) {
    for _ in 0..times {
        breaker.admit().unwrap().failure(QUICK);
    }
}

#[test]
fn a_ticket_goes_wherever_its_call_goes() {
    fn owned<T: Send + Sync + 'static>() {}
    owned::<Ticket>();
    owned::<Breaker>();
    let (breaker, _) = breaker(|_| {});
    let ticket = breaker.admit().unwrap();
    drop(breaker);
    ticket.success(QUICK);
}

#[test]
fn clones_are_the_same_breaker() {
    let (breaker, _) = opened(|_| {});
    let second = breaker.clone();
    assert_eq!(second.admit().map(drop).unwrap_err().state, State::Open);
    assert_eq!(breaker.snapshot().refused, 1);
}

#[test]
fn opens_half_opens_and_closes_on_its_clock() {
    let (breaker, clock) = opened(|_| {});
    assert_eq!(breaker.state(), State::Open);
    clock.advance(Duration::from_secs(10));
    assert_eq!(breaker.state(), State::HalfOpen);
    let probes = [breaker.admit().unwrap(), breaker.admit().unwrap()];
    assert!(probes.iter().all(Ticket::is_probe));
    assert_eq!(breaker.admit().map(drop).unwrap_err().state, State::HalfOpen);
    probes.into_iter().for_each(|probe| probe.success(QUICK));
    assert_eq!(breaker.state(), State::Closed);
    let ticket = breaker.admit().unwrap();
    assert!(!ticket.is_probe());
    assert_eq!(ticket.generation(), breaker.snapshot().generation);
}

#[test]
fn a_dropped_probe_gives_its_place_back() {
    let (breaker, clock) = opened(|_| {});
    clock.advance(Duration::from_secs(10));
    let kept = breaker.admit().unwrap();
    drop(breaker.admit().unwrap());
    assert_eq!(breaker.snapshot().probes_out, 1);
    breaker.admit().unwrap().success(QUICK);
    kept.success(QUICK);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_settled_probe_gives_nothing_back() {
    let (breaker, clock) = opened(|_| {});
    clock.advance(Duration::from_secs(10));
    breaker.admit().unwrap().success(QUICK);
    let seen = breaker.snapshot();
    assert_eq!((seen.probes_out, seen.probes_succeeded), (0, 1));
    let _out = breaker.admit().unwrap();
    assert!(breaker.admit().is_err(), "one succeeded, one is out");
}

#[test]
fn the_gate_follows_every_change() {
    let (breaker, clock) = breaker(|_| {});
    let refuses = || breaker.admit().is_err();
    assert!(!refuses());
    let until = clock.now() + Duration::from_secs(5);
    breaker.override_with(Some(Override { force: Force::Open, until }));
    assert!(refuses());
    breaker.override_with(None);
    assert!(!refuses());
    breaker.override_with(Some(Override { force: Force::Open, until }));
    clock.advance(Duration::from_secs(5));
    assert!(!refuses());
    breaker.reconfigure(settings(|o| o.mode = Mode::ForcedOpen));
    assert!(refuses());
    breaker.reconfigure(settings(|o| o.mode = Mode::MetricsOnly));
    fail(&breaker, 2);
    let ticket = breaker.admit().unwrap();
    assert!(ticket.would_refuse());
    ticket.failure(QUICK);
    breaker.reconfigure(settings(|_| {}));
    assert!(refuses());
}

#[test]
fn one_number_is_drawn_for_each_opening() {
    static DRAWN: AtomicU32 = AtomicU32::new(0);
    let clock = Manual::default();
    let breaker = Breaker::with_random(settings(|_| {}), clock.clone(), || {
        DRAWN.fetch_add(1, Ordering::Relaxed);
        0.0
    });
    fail(&breaker, 1);
    assert_eq!(DRAWN.load(Ordering::Relaxed), 0);
    fail(&breaker, 1);
    assert_eq!(breaker.snapshot().retry_after, Some(Duration::from_secs(5)));
    clock.advance(Duration::from_secs(5));
    fail(&breaker, 1);
    assert_eq!(DRAWN.load(Ordering::Relaxed), 2);
}

#[test]
fn production_draws_its_jitter() {
    let open_times: std::collections::BTreeSet<_> = (0..20)
        .map(|_| {
            let breaker = Breaker::new(settings(|_| {}), Manual::default());
            fail(&breaker, 2);
            breaker.snapshot().open_until.unwrap()
        })
        .collect();
    assert!(open_times.len() > 10, "{open_times:?}");
    let (least, most) = (Duration::from_secs(5), Duration::from_secs(15));
    assert!(open_times.iter().all(|time| (least..=most).contains(time)), "{open_times:?}");
}

#[test]
fn a_refusal_says_what_to_do() {
    let (breaker, clock) = opened(|_| {});
    clock.advance(Duration::from_millis(600));
    let refused = breaker.admit().map(drop).unwrap_err();
    assert_eq!(refused.to_string(), "circuit breaker is open: try again in 9.4s");
    breaker.reconfigure(settings(|o| o.mode = Mode::ForcedOpen));
    let refused = breaker.admit().map(drop).unwrap_err();
    assert_eq!(refused.to_string(), "circuit breaker is forced_open: it stays so until its settings change");
}

#[test]
fn names_are_those_of_metrics() {
    let names: Vec<_> = State::ALL.iter().map(|state| state.as_str()).collect();
    assert_eq!(names, ["closed", "open", "half_open", "forced_open", "forced_closed", "metrics_only"]);
    assert_eq!(format!("{:>9}", State::Open), "     open");
    assert_eq!(Cause::SlowCallRate.to_string(), "slow_call_rate");
}
