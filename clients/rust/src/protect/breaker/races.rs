//! Many callers at one moment, under thousands of schedules. What the machine decides is not asked here; what is, is
//! that the lock, the gate before it and the tickets that outlive a state keep its promises between threads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use shuttle::thread;

use super::{
    sync::scheduled::{explore, explore_priorities},
    *,
};
use crate::protect::clock::Manual;

const PROBES: u32 = 3;
const OPEN_TIME: Duration = Duration::from_secs(10);
const QUICK: Duration = Duration::from_millis(1);
/// The generation in which the breaker of these tests is half-open: closed was the first, open the second.
const HALF_OPEN: u64 = 3;

type Call = Box<dyn FnOnce() + Send>;

fn closed() -> (Breaker<Manual>, Manual) {
    let options =
        Options { consecutive_failures: Some(2), probes: PROBES, jitter: 0.0, ..Options::default() };
    let clock = Manual::default();
    let breaker = Breaker::with_random(Settings::new(options).unwrap(), clock.clone(), || 0.5);
    (breaker, clock)
}

fn fail_twice(breaker: &Breaker<Manual>) {
    breaker.admit().unwrap().failure(QUICK);
    breaker.admit().unwrap().failure(QUICK);
}

/// Open, at the very moment at which its open time ends. Nobody noticed that yet.
fn due() -> Breaker<Manual> {
    let (breaker, clock) = closed();
    fail_twice(&breaker);
    clock.advance(OPEN_TIME);
    breaker
}

/// Runs each call on a thread of its own, until all are through.
fn all_at_once<T: Send + 'static>(
    calls: impl IntoIterator<Item = impl FnOnce() -> T + Send + 'static>,
) -> Vec<T> {
    let threads: Vec<_> = calls.into_iter().map(thread::spawn).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn exactly_so_many_probes_get_in() {
    explore(3_000, || {
        let breaker = due();
        let callers = (0..8).map(|_| breaker.clone());
        let answers = all_at_once(callers.map(|breaker| move || breaker.admit()));
        let tickets: Vec<_> = answers.into_iter().flatten().collect();
        assert_eq!(tickets.len(), PROBES as usize);
        assert!(tickets.iter().all(|ticket| ticket.is_probe() && ticket.generation() == HALF_OPEN));
        let seen = breaker.snapshot();
        assert_eq!((seen.probes_out, seen.refused), (PROBES, 8 - u64::from(PROBES)));
        all_at_once(tickets.into_iter().map(|ticket| move || ticket.success(QUICK)));
        assert_eq!((breaker.state(), breaker.snapshot().transitions.len()), (State::Closed, 3));
    });
}

/// What a caller does with its ticket.
#[derive(Clone, Copy)]
enum Caller {
    Succeeds,
    Fails,
    Drops,
}

/// What the callers of one schedule did, by their own account.
#[derive(Debug, Default)]
struct Account {
    /// Never less than the probes that are out or succeeded in the breaker's view.
    taken: AtomicU32,
    succeeded: AtomicU32,
    failed: AtomicU32,
}

/// Each caller comes twice, so that places that were given back are taken again.
fn call_twice(breaker: &Breaker<Manual>, caller: Caller, account: &Account) {
    for _ in 0..2 {
        let Ok(ticket) = breaker.admit() else { continue };
        if ticket.generation() != HALF_OPEN {
            continue;
        }
        // Counted after it was let in and discounted before it is given back: the true number is never smaller.
        let taken = account.taken.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(taken <= PROBES, "{taken} are out or succeeded");
        thread::yield_now();
        match caller {
            Caller::Succeeds => {
                account.succeeded.fetch_add(1, Ordering::SeqCst);
                ticket.success(QUICK);
            }
            Caller::Fails => {
                account.failed.fetch_add(1, Ordering::SeqCst);
                ticket.failure(QUICK);
            }
            Caller::Drops => {
                account.taken.fetch_sub(1, Ordering::SeqCst);
                drop(ticket);
            }
        }
    }
}

/// Stragglers of the closed time report into the race; whatever the schedule, the end is what the account says.
fn race(callers: &[Caller], ends: &[AtomicU32; 3]) {
    let (breaker, clock) = closed();
    let stragglers = [breaker.admit().unwrap(), breaker.admit().unwrap(), breaker.admit().unwrap()];
    fail_twice(&breaker);
    clock.advance(OPEN_TIME);
    let account = Arc::new(Account::default());
    let calls = callers.iter().map(|&caller| {
        let (breaker, account) = (breaker.clone(), Arc::clone(&account));
        Box::new(move || call_twice(&breaker, caller, &account)) as Call
    });
    let late = stragglers.into_iter().enumerate().map(|(index, ticket)| {
        Box::new(move || match index {
            0 => ticket.success(QUICK),
            1 => ticket.failure(QUICK),
            _ => drop(ticket),
        }) as Call
    });
    all_at_once(calls.chain(late));

    let seen = breaker.snapshot();
    let (succeeded, failed) =
        (account.succeeded.load(Ordering::SeqCst), account.failed.load(Ordering::SeqCst));
    let expected = match (failed, succeeded) {
        (0, PROBES) => State::Closed,
        (0, _) => State::HalfOpen,
        _ => State::Open,
    };
    assert_eq!(seen.state, expected, "{account:?}");
    assert_eq!(seen.calls, if expected == State::Closed { 0 } else { 2 }, "no straggler was counted");
    match expected {
        State::Closed => ends[0].fetch_add(1, Ordering::SeqCst),
        State::HalfOpen => {
            assert_eq!((seen.probes_out, seen.probes_succeeded), (0, succeeded));
            ends[1].fetch_add(1, Ordering::SeqCst)
        }
        _ => {
            assert_eq!((seen.opened, seen.retry_after), (2, Some(2 * OPEN_TIME)), "opened again once");
            ends[2].fetch_add(1, Ordering::SeqCst)
        }
    };
}

#[test]
fn whatever_the_callers_do_the_end_is_what_they_said() {
    use Caller::{Drops, Fails, Succeeds};
    // Whether it ends closed, half-open or open: in some schedules, in none, or only in rare ones.
    let crowds: [(&'static [Caller], [Option<bool>; 3]); 4] = [
        (&[Succeeds, Succeeds, Drops, Drops], [Some(true), Some(true), Some(false)]),
        (&[Succeeds, Drops, Drops], [Some(false), Some(true), Some(false)]),
        (&[Succeeds, Succeeds, Succeeds, Fails, Drops], [Some(true), None, Some(true)]),
        (&[Fails, Fails, Drops, Succeeds], [Some(false), None, Some(true)]),
    ];
    for (crowd, expected) in crowds {
        let ends: Arc<[AtomicU32; 3]> = Arc::default();
        let seen = Arc::clone(&ends);
        explore(500, move || race(crowd, &seen));
        let seen = Arc::clone(&ends);
        explore_priorities(500, 3, move || race(crowd, &seen));
        for (end, expected) in ends.iter().zip(expected) {
            assert!(expected.is_none_or(|expected| expected == (end.load(Ordering::SeqCst) > 0)), "{ends:?}");
        }
    }
}

#[test]
fn whoever_knows_that_it_opened_is_refused() {
    explore(3_000, || {
        let (breaker, _) = closed();
        let opened = Arc::new(shuttle::sync::atomic::AtomicBool::new(false));
        let opener = {
            let (breaker, opened) = (breaker.clone(), Arc::clone(&opened));
            Box::new(move || {
                fail_twice(&breaker);
                opened.store(true, Ordering::SeqCst);
            }) as Call
        };
        // Whoever looks writes to the gate as well, and must not write what is no longer so.
        let looker = breaker.clone();
        let looks = Box::new(move || {
            for _ in 0..3 {
                looker.state();
            }
        }) as Call;
        let callers = (0..3).map(|_| {
            let (breaker, opened) = (breaker.clone(), Arc::clone(&opened));
            Box::new(move || {
                for _ in 0..3 {
                    let knew = opened.load(Ordering::SeqCst);
                    let answer = breaker.admit();
                    assert!(!knew || answer.is_err(), "let through after it had opened");
                }
            }) as Call
        });
        all_at_once([opener, looks].into_iter().chain(callers));
        assert_eq!(breaker.admit().map(drop).unwrap_err().state, State::Open);
    });
}

#[test]
fn no_failure_is_lost_between_threads() {
    explore(2_000, || {
        let (breaker, _) = closed();
        let options = Options { consecutive_failures: Some(6), minimum_calls: 100, ..Options::default() };
        breaker.reconfigure(Settings::new(options).unwrap());
        all_at_once((0..3).map(|_| {
            let breaker = breaker.clone();
            move || {
                for _ in 0..2 {
                    breaker.admit().unwrap().failure(QUICK);
                }
            }
        }));
        let seen = breaker.snapshot();
        assert_eq!((seen.state, seen.calls, seen.consecutive_failures), (State::Open, 6, 6));
    });
}

#[test]
fn commands_and_calls_at_one_moment() {
    explore(3_000, || {
        let breaker = due();
        let until = OPEN_TIME + Duration::from_secs(5);
        let mut all: Vec<Call> = Vec::new();
        for index in 0..4 {
            let breaker = breaker.clone();
            all.push(Box::new(move || match breaker.admit() {
                Ok(ticket) if index % 2 == 0 => ticket.failure(QUICK),
                Ok(ticket) => ticket.success(QUICK),
                Err(_) => {}
            }));
        }
        let operator = breaker.clone();
        all.push(Box::new(move || {
            operator.override_with(Some(Override { force: Force::Open, until }));
            assert_eq!(operator.admit().map(drop).unwrap_err().state, State::ForcedOpen);
            operator.override_with(None);
            let seen = operator.snapshot();
            assert!(seen.overridden.is_none());
        }));
        all_at_once(all);
        // Before any look, which would bring the gate up to date.
        let ticket = breaker.admit();
        let seen = breaker.snapshot();
        assert!(matches!(seen.state, State::Closed | State::Open), "begun anew: {:?}", seen.state);
        assert_eq!(seen.probes_out, 0);
        assert!(seen.transitions.windows(2).all(|pair| pair[0].to == pair[1].from));
        assert_eq!(ticket.is_ok(), seen.state == State::Closed);
        assert_eq!(ticket.map_or(seen.generation, |ticket| ticket.generation()), seen.generation);
    });
}
