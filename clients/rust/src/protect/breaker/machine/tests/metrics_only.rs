//! What metrics-only shows and lets through.

use super::*;

fn options() -> Options {
    Options { mode: Mode::MetricsOnly, ..super::options() }
}

#[test]
fn says_what_it_would_have_done_and_refuses_nothing() {
    let mut desk = Desk::new(options());
    let since = desk.now;
    assert!(!desk.look().would_refuse);
    desk.after(seconds(1)).calls("ff");
    let seen = desk.look();
    assert_eq!((seen.state, seen.judged, seen.since), (State::MetricsOnly, State::Open, since));
    assert!(seen.would_refuse);
    let shadow = desk.admit().unwrap();
    assert_eq!(shadow.role, Role::Shadow);
    desk.report(shadow, Outcome::Failure, QUICK);

    desk.after(seconds(10));
    let probes = [desk.admit().unwrap(), desk.admit().unwrap(), desk.admit().unwrap()];
    assert_eq!(desk.admit().map(|pass| pass.role), Ok(Role::Shadow));
    assert!(desk.look().would_refuse);
    for probe in probes {
        desk.report(probe, Outcome::Success, QUICK);
    }
    let seen = desk.look();
    assert_eq!((seen.judged, seen.would_refuse), (State::Closed, false));
    assert_eq!((seen.refused, seen.would_have_refused, seen.opened), (0, 2, 0));
    assert_eq!(seen.totals, Default::default());
    assert_eq!(seen.shadow_totals.between(State::Closed, State::Open), 1);
    assert_eq!(seen.shadow_totals.between(State::HalfOpen, State::Closed), 1);
    assert!(seen.transitions.iter().all(|transition| transition.effect == Effect::Shadow));
}

#[test]
fn becomes_law_as_it_is() {
    let mut desk = Desk::opened(options());
    desk.after(seconds(1)).reconfigure(super::options()).calls("r");
    assert_eq!(desk.last(), (State::MetricsOnly, State::Open, Cause::ModeChanged));
    let seen = desk.look();
    assert_eq!((seen.since, seen.retry_after, seen.opened), (desk.now, Some(seconds(9)), 1));
    assert_eq!(desk.reconfigure(options()).state(), State::MetricsOnly);
    desk.after(seconds(9)).calls("...");
    assert_eq!(desk.look().judged, State::Closed);
}

#[test]
fn an_override_is_felt_nevertheless() {
    let mut desk = Desk::new(options());
    desk.force(Force::Open, seconds(1)).calls("r");
    assert_eq!((desk.state(), desk.look().would_refuse), (State::ForcedOpen, false));
    assert_eq!(desk.after(seconds(1)).state(), State::MetricsOnly);
}
