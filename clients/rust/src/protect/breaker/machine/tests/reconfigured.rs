//! Settings that change while it runs.

use super::*;
use crate::protect::breaker::SlidingWindow;

#[test]
fn numbers_change_and_the_state_stays() {
    let mut desk = Desk::new(options());
    desk.calls("f").reconfigure(Options { consecutive_failures: Some(3), ..options() });
    assert_eq!(desk.look().calls, 1);
    desk.calls("f");
    assert_eq!(desk.state(), State::Closed);
    desk.calls("f");
    assert_eq!(desk.state(), State::Open);
    let open_until = desk.look().open_until;
    desk.reconfigure(Options { open_time: seconds(1), ..options() });
    assert_eq!(desk.look().open_until, open_until, "the next open time, not this one");
    assert_eq!(desk.look().transitions.len(), 1);
}

#[test]
fn another_window_begins_empty() {
    let windows = [SlidingWindow::Count(30), SlidingWindow::Count(31), SlidingWindow::Time(seconds(60))];
    let mut desk = Desk::new(options());
    for window in windows {
        desk.calls(".f.");
        assert_eq!(desk.look().calls, 3);
        desk.reconfigure(Options { window, ..options() });
        assert_eq!((desk.look().calls, desk.state()), (0, State::Closed), "{window:?}");
    }
    desk.calls(".").reconfigure(Options { window: SlidingWindow::Time(seconds(60)), ..options() });
    assert_eq!(desk.look().calls, 1, "the same form");
}

#[test]
fn fewer_probes_do_not_wedge_those_that_are_out() {
    let mut desk = Desk::half_open(options());
    desk.calls("..").reconfigure(Options { probes: 1, ..options() }).calls(".");
    assert_eq!(desk.state(), State::Closed);
    desk.calls("ff").after(seconds(10)).calls(".");
    assert_eq!(desk.state(), State::Closed, "one the next time");
}

#[test]
fn a_mode_that_forces_begins_anew() {
    let mut desk = Desk::opened(options());
    desk.reconfigure(Options { mode: Mode::ForcedClosed, ..options() }).calls("fff");
    assert_eq!(desk.last(), (State::Open, State::ForcedClosed, Cause::ModeChanged));
    let seen = desk.reconfigure(options()).look();
    assert_eq!((seen.state, seen.calls), (State::Closed, 0));
}

#[test]
fn a_window_that_changes_with_the_mode_is_the_new_one() {
    let mut desk = Desk::new(options());
    let by_count = Options { window: SlidingWindow::Count(2), minimum_calls: 2, ..options() };
    desk.reconfigure(Options { mode: Mode::ForcedClosed, ..by_count }).calls("....");
    assert_eq!(desk.look().calls, 2);
}
