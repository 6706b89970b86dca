//! Overrides, and modes that force.

use super::*;

#[test]
fn an_override_ends_at_the_very_nanosecond() {
    for (force, state) in [(Force::Open, State::ForcedOpen), (Force::Closed, State::ForcedClosed)] {
        let mut desk = Desk::new(options());
        let until = desk.now + seconds(60);
        desk.force(force, seconds(60)).after(seconds(60) - NANO);
        assert_eq!(desk.state(), state);
        assert_eq!(desk.look().overridden, Some(Override { force, until }));
        let seen = desk.after(seconds(100)).look();
        assert_eq!((seen.state, seen.since, seen.overridden), (State::Closed, until, None));
        assert_eq!(desk.last(), (state, State::Closed, Cause::OverrideExpired));
    }
}

#[test]
fn forced_open_refuses_and_says_until_when() {
    let mut desk = Desk::new(options());
    desk.force(Force::Open, seconds(60)).after(seconds(1));
    assert_eq!(desk.admit(), Err(Refused { state: State::ForcedOpen, retry_after: Some(seconds(59)) }));
    assert_eq!(desk.look().retry_after, Some(seconds(59)));
    desk.after(seconds(59) - NANO).calls("r").after(NANO).calls(".");
    assert_eq!((desk.look().refused, desk.look().opened), (2, 0));
}

#[test]
fn forced_closed_counts_and_does_not_judge() {
    let mut desk = Desk::opened(options());
    desk.force(Force::Closed, seconds(5)).calls("ffffffff");
    let seen = desk.look();
    assert_eq!((seen.state, seen.judged), (State::ForcedClosed, State::Closed));
    assert_eq!((seen.calls, seen.failure_rate, seen.consecutive_failures), (8, Some(1.0), 8));
    assert!(!seen.would_refuse);
    let seen = desk.after(seconds(5)).look();
    assert_eq!((seen.state, seen.calls, seen.consecutive_failures), (State::Closed, 0, 0));
    assert_eq!(desk.calls("f").state(), State::Closed);
    assert_eq!(desk.calls("f").look().retry_after, Some(seconds(10)), "the first open time");
}

#[test]
fn an_override_can_be_taken_back() {
    let mut desk = Desk::half_open(options());
    let straggler = desk.admit().unwrap();
    desk.force(Force::Open, seconds(60)).release();
    assert_eq!(desk.last(), (State::ForcedOpen, State::Closed, Cause::Released));
    desk.report(straggler, Outcome::Failure, QUICK);
    assert_eq!(desk.look().calls, 0);
    assert_eq!(desk.after(seconds(60)).look().transitions.len(), 4, "it does not end twice");
}

#[test]
fn calls_from_before_or_during_an_override_are_stragglers_after_it() {
    let mut desk = Desk::new(options());
    let before = desk.admit().unwrap();
    desk.force(Force::Closed, seconds(60));
    let during = desk.admit().unwrap();
    desk.report(before, Outcome::Failure, QUICK);
    assert_eq!(desk.look().calls, 0);
    desk.release();
    desk.report(before, Outcome::Failure, QUICK);
    desk.report(during, Outcome::Failure, QUICK);
    assert_eq!((desk.state(), desk.look().calls), (State::Closed, 0));
}

#[test]
fn none_where_there_is_none_changes_nothing() {
    let mut desk = Desk::half_open(options());
    desk.calls(".");
    let before = desk.look();
    assert_eq!(desk.release().look(), before);
    let over = Override { force: Force::Open, until: desk.now };
    desk.machine.override_with(Some(over), desk.now);
    assert_eq!(desk.look(), before, "over already");
}

#[test]
fn an_override_that_is_over_ends_the_one_in_force() {
    let mut desk = Desk::new(options());
    desk.force(Force::Open, seconds(60)).force(Force::Open, Duration::ZERO);
    assert_eq!(desk.last(), (State::ForcedOpen, State::Closed, Cause::Released));
}

#[test]
fn a_longer_override_goes_on_where_the_first_was() {
    let mut desk = Desk::new(options());
    desk.force(Force::Closed, seconds(60)).calls("ff");
    let since = desk.now;
    let seen = desk.after(seconds(1)).force(Force::Closed, seconds(90)).look();
    assert_eq!((seen.since, seen.calls, seen.transitions.len()), (since, 2, 1));
    desk.force(Force::Open, seconds(90));
    assert_eq!(desk.last(), (State::ForcedClosed, State::ForcedOpen, Cause::Forced));
    assert_eq!(desk.look().calls, 0);
}

#[test]
fn a_forcing_mode_has_no_end() {
    let mut desk = Desk::new(Options { mode: Mode::ForcedOpen, ..options() });
    assert_eq!(desk.admit(), Err(Refused { state: State::ForcedOpen, retry_after: None }));
    assert_eq!(desk.after(seconds(100_000)).state(), State::ForcedOpen);
    desk.force(Force::Closed, seconds(1)).calls("ff").after(seconds(1)).calls("r");
    assert_eq!(desk.last(), (State::ForcedClosed, State::ForcedOpen, Cause::OverrideExpired));
    desk.force(Force::Open, seconds(1)).after(seconds(1)).calls("r");
    assert_eq!(desk.look().transitions.len(), 2, "forced the same way by both");
}
