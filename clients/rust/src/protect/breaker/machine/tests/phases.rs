//! Open and half-open: times, probes, stragglers.

use super::*;

#[test]
fn half_open_from_the_very_nanosecond() {
    let mut desk = Desk::opened(options());
    let opened = desk.now;
    desk.after(seconds(10) - NANO);
    assert_eq!(desk.admit(), Err(Refused { state: State::Open, retry_after: Some(NANO) }));
    let seen = desk.look();
    assert_eq!(seen.state, State::Open);
    assert_eq!((seen.open_until, seen.retry_after), (Some(opened + seconds(10)), Some(NANO)));
    desk.after(NANO);
    assert!(matches!(desk.admit(), Ok(Pass { role: Role::Probe(_), .. })));
}

#[test]
fn a_look_alone_finds_the_open_time_over() {
    let mut desk = Desk::opened(options());
    let due = desk.now + seconds(10);
    let seen = desk.after(seconds(3_600)).look();
    assert_eq!(
        (seen.state, seen.since, seen.open_until, seen.retry_after),
        (State::HalfOpen, due, None, None)
    );
    let last = seen.transitions.last().unwrap();
    assert_eq!((last.at, last.cause), (due, Cause::OpenTimeOver), "dated to when it was due");
}

#[test]
fn a_command_finds_the_open_time_over() {
    let commands: [fn(&mut Desk) -> &mut Desk; 2] = [
        |desk| desk.force(Force::Open, seconds(60)),
        |desk| desk.reconfigure(Options { probes: 1, mode: Mode::MetricsOnly, ..options() }),
    ];
    for command in commands {
        let mut desk = Desk::opened(options());
        let due = desk.now + seconds(10);
        let transitions = command(desk.after(seconds(20))).look().transitions;
        assert_eq!((transitions[1].to, transitions[1].at), (State::HalfOpen, due));
        assert_eq!((transitions[2].from, transitions[2].at), (State::HalfOpen, desk.now));
    }
}

#[test]
fn open_shows_what_it_opened_for() {
    let mut desk = Desk::opened(options());
    let seen = desk.after(seconds(9)).calls("rrr").look();
    assert_eq!((seen.calls, seen.failure_rate, seen.consecutive_failures), (2, Some(1.0), 2));
    assert_eq!((seen.refused, seen.opened), (3, 1));
    let seen = desk.after(seconds(100)).look();
    assert_eq!((seen.state, seen.calls), (State::HalfOpen, 2));
}

#[test]
fn exactly_so_many_probes() {
    let mut desk = Desk::half_open(options());
    let passes = [desk.admit().unwrap(), desk.admit().unwrap(), desk.admit().unwrap()];
    desk.calls("rr");
    assert_eq!(desk.look().probes_out, 3);
    desk.report(passes[0], Outcome::Success, QUICK);
    desk.calls("r");
    assert_eq!((desk.look().probes_out, desk.look().probes_succeeded), (2, 1));
    desk.report(passes[1], Outcome::Success, QUICK);
    assert_eq!(desk.state(), State::HalfOpen);
    desk.report(passes[2], Outcome::Success, QUICK);
    assert_eq!(desk.last(), (State::HalfOpen, State::Closed, Cause::ProbesSucceeded));
    assert_eq!((desk.look().calls, desk.look().consecutive_failures), (0, 0));
    assert_eq!(desk.calls("f").state(), State::Closed);
}

#[test]
fn a_dropped_probe_gives_its_place_to_another() {
    let mut desk = Desk::half_open(options());
    desk.calls("dddd");
    assert_eq!(desk.state(), State::HalfOpen);
    desk.calls("..d.");
    assert_eq!(desk.state(), State::Closed);
}

#[test]
fn one_failure_opens_it_again_for_longer() {
    let mut desk = Desk::half_open(options());
    desk.calls("..f");
    assert_eq!(desk.last(), (State::HalfOpen, State::Open, Cause::ProbeFailed));
    assert_eq!(desk.look().retry_after, Some(seconds(20)));
}

#[test]
fn the_open_time_doubles_until_it_was_closed() {
    let mut desk = Desk::opened(options());
    for time in [10, 20, 40, 60, 60] {
        assert_eq!(desk.look().retry_after, Some(seconds(time)));
        desk.after(seconds(time)).calls("f");
    }
    assert_eq!(desk.look().opened, 6);
    desk.after(seconds(60)).calls("...").calls("ff");
    assert_eq!(desk.look().retry_after, Some(seconds(10)));
}

#[test]
fn slow_probes_are_judged_by_the_slow_call_rule() {
    let mut all = Desk::half_open(options());
    all.calls("sss");
    assert_eq!(all.last(), (State::HalfOpen, State::Open, Cause::ProbesSlow));
    let mut most = Desk::half_open(options());
    most.calls("ss.");
    assert_eq!(most.state(), State::Closed);
    let mut off = Desk::half_open(Options { slow_calls: None, ..options() });
    off.calls("sss");
    assert_eq!(off.state(), State::Closed);
}

#[test]
fn refused_while_probes_are_out_says_one_second_at_most() {
    let mut desk = Desk::half_open(Options { probe_timeout: seconds(5), ..options() });
    for _ in 0..3 {
        desk.admit().unwrap();
    }
    let refused = |wait| Err(Refused { state: State::HalfOpen, retry_after: Some(wait) });
    assert_eq!(desk.admit(), refused(seconds(1)));
    assert_eq!(desk.after(seconds(5) - NANO).admit(), refused(NANO));
}

#[test]
fn lost_probes_do_not_keep_it_half_open() {
    let mut desk = Desk::half_open(options());
    let lost = [desk.admit().unwrap(), desk.admit().unwrap()];
    desk.after(seconds(30)).calls(".rr");
    desk.after(seconds(30) - NANO).calls("r");
    desk.after(NANO).calls(".");
    desk.report(lost[0], Outcome::Failure, QUICK);
    assert_eq!(desk.state(), State::HalfOpen, "a lost probe has no say any more");
    desk.machine.release(lost[0]);
    desk.calls(".");
    assert_eq!(desk.state(), State::Closed);
}

#[test]
fn stragglers_are_ignored() {
    let mut desk = Desk::new(options());
    let closed = desk.admit().unwrap();
    desk.calls("ff");
    desk.report(closed, Outcome::Success, QUICK);
    assert_eq!(desk.state(), State::Open);
    desk.after(seconds(10));
    let probe = desk.admit().unwrap();
    desk.report(closed, Outcome::Failure, QUICK);
    desk.machine.release(closed);
    assert_eq!((desk.state(), desk.look().probes_out), (State::HalfOpen, 1));
    desk.calls("f").after(seconds(20));
    let next = desk.admit().unwrap();
    desk.report(probe, Outcome::Failure, QUICK);
    desk.machine.release(probe);
    assert_eq!((desk.state(), desk.look().probes_out), (State::HalfOpen, 1), "same id, other generation");
    desk.report(next, Outcome::Success, QUICK);
    desk.calls("..");
    desk.report(probe, Outcome::Failure, QUICK);
    assert_eq!((desk.state(), desk.look().calls), (State::Closed, 0));
}

#[test]
fn a_pass_says_only_one_thing() {
    let mut desk = Desk::half_open(options());
    let pass = desk.admit().unwrap();
    for _ in 0..3 {
        desk.report(pass, Outcome::Success, QUICK);
    }
    assert_eq!((desk.state(), desk.look().probes_succeeded), (State::HalfOpen, 1));
}

#[test]
fn time_never_goes_back() {
    let mut desk = Desk::opened(options());
    desk.after(seconds(10)).calls(".");
    desk.now -= seconds(5);
    assert_eq!(desk.calls("..").state(), State::Closed);
    assert_eq!(desk.look().since, desk.now + seconds(5));
}

#[test]
fn randomness_is_drawn_only_to_open() {
    let mut desk = Desk::new(options());
    let pass = desk.admit().unwrap();
    desk.machine.report(pass, Outcome::Failure, QUICK, desk.now, || panic!("not opening"));
    let mut jittered = Desk::new(Options { jitter: 0.5, ..options() });
    let pass = jittered.calls("f").admit().unwrap();
    jittered.machine.report(pass, Outcome::Failure, QUICK, jittered.now, || 0.0);
    assert_eq!(jittered.look().retry_after, Some(seconds(5)));
}
