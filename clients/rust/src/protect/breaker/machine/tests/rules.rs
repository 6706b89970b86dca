//! What opens a closed breaker.

use super::*;
use crate::protect::breaker::{SlidingWindow, SlowCalls};

#[test]
fn each_rule_opens_and_says_so() {
    let quiet = Options { consecutive_failures: None, minimum_calls: 4, ..options() };
    let cases = [
        (options(), "ff", Cause::ConsecutiveFailures),
        (quiet, ".f.f", Cause::FailureRate),
        (quiet, "ssss", Cause::SlowCallRate),
    ];
    for (options, calls, cause) in cases {
        let mut desk = Desk::new(options);
        desk.calls(calls).calls("r");
        assert_eq!(desk.last(), (State::Closed, State::Open, cause));
    }
}

#[test]
fn slow_is_longer_than_the_limit() {
    let slow_calls = Some(SlowCalls { rate: 1.0, longer_than: seconds(5) });
    let options = Options { slow_calls, minimum_calls: 1, ..options() };
    for (latency, state) in [(seconds(5), State::Closed), (seconds(5) + NANO, State::Open)] {
        let mut desk = Desk::new(options);
        let pass = desk.admit().unwrap();
        desk.report(pass, Outcome::Success, latency);
        assert_eq!(desk.state(), state, "{latency:?}");
    }
    let mut off = Desk::new(Options { slow_calls: None, ..options });
    off.calls("ssss");
    assert_eq!((off.state(), off.look().slow_call_rate), (State::Closed, Some(0.0)));
}

#[test]
fn dropped_calls_count_for_nothing() {
    let mut desk = Desk::new(options());
    desk.calls("fd");
    assert_eq!((desk.look().calls, desk.look().consecutive_failures), (1, 1));
    desk.calls("f");
    assert_eq!(desk.state(), State::Open);
}

#[test]
fn an_old_window_does_not_open() {
    let options = Options { consecutive_failures: None, minimum_calls: 4, ..options() };
    let mut desk = Desk::new(options);
    desk.calls("fff").after(seconds(30)).calls("...");
    assert_eq!(desk.look().calls, 3);
    let mut by_count = Desk::new(Options { window: SlidingWindow::Count(4), ..options });
    by_count.calls("fff").after(seconds(3_000)).calls(".");
    assert_eq!(by_count.state(), State::Open, "a window by count knows no time");
}

#[test]
fn a_look_forgets_what_is_old() {
    let mut desk = Desk::new(options());
    desk.calls("f.");
    assert_eq!((desk.look().calls, desk.look().failure_rate), (2, Some(0.5)));
    assert_eq!((desk.after(seconds(30)).look().calls, desk.look().failure_rate), (0, None));
}
