mod model;

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::time::advance;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn permits(max: u32, max_waiting: u32) -> InFlight {
    InFlight::new(NonZeroU32::new(max).expect("more than zero"), max_waiting)
}

fn size(max: u32) -> NonZeroU32 {
    NonZeroU32::new(max).expect("more than zero")
}

type Waiting = Pin<Box<dyn Future<Output = Result<Permit, Full>>>>;

/// Asks for a permit, up to where it would wait.
fn ask(permits: &InFlight, wait: Duration) -> (Waiting, Poll<Result<Permit, Full>>) {
    let permits = permits.clone();
    let mut waiting: Waiting = Box::pin(async move { permits.acquire(wait).await });
    let answer = look(&mut waiting);
    (waiting, answer)
}

fn look(waiting: &mut Waiting) -> Poll<Result<Permit, Full>> {
    waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn granted(answer: Poll<Result<Permit, Full>>) -> Permit {
    match answer {
        Poll::Ready(Ok(permit)) => permit,
        other => panic!("expected a permit, found {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn zero_wait_answers_at_once() {
    let permits = permits(1, 10);
    let held = permits.acquire(Duration::ZERO).await.expect("one is free");
    let full = permits.acquire(Duration::ZERO).await.expect_err("none is free");
    assert_eq!((full.max, full.waited, full.waiting), (1, Duration::ZERO, 0));
    assert!(permits.try_acquire().is_err());
    let expected = Usage { in_use: 1, max: 1, peak: 1, waiting: 0, refused: 2 };
    assert_eq!(permits.usage(), expected, "nobody is left in the queue");
    drop(held);
    assert!(permits.try_acquire().is_ok());
}

#[test]
fn what_does_not_wait_needs_no_runtime() {
    let permits = permits(1, 10);
    let _held = granted(ask(&permits, SECOND).1);
    assert!(matches!(ask(&permits, Duration::ZERO).1, Poll::Ready(Err(_))));
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_at_its_deadline() {
    let permits = permits(1, 1);
    let _held = permits.try_acquire().expect("one is free");
    let started = rt::now();
    let full = permits.acquire(SECOND).await.expect_err("none comes back");
    assert_eq!(rt::now() - started, full.waited);
    // The timer's grain is a millisecond.
    assert!(full.waited >= SECOND && full.waited <= SECOND + Duration::from_millis(1), "{full}");
    assert_eq!((permits.usage().waiting, permits.usage().refused), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn more_than_may_wait_are_refused_at_once() {
    let permits = permits(1, 2);
    let _held = permits.try_acquire().expect("one is free");
    let waiting = [ask(&permits, SECOND), ask(&permits, SECOND)];
    assert!(waiting.iter().all(|(_, answer)| answer.is_pending()));
    let (_, answer) = ask(&permits, SECOND);
    let Poll::Ready(Err(full)) = answer else { panic!("expected a refusal, found {answer:?}") };
    assert_eq!((full.waiting, full.waited), (2, Duration::ZERO));
    permits.set_max_waiting(3);
    assert!(ask(&permits, SECOND).1.is_pending());
}

#[tokio::test(start_paused = true)]
async fn nobody_overtakes_who_waits() {
    let permits = permits(1, 2);
    let held = permits.try_acquire().expect("one is free");
    let (mut first, _) = ask(&permits, SECOND);
    let (mut second, _) = ask(&permits, SECOND);
    drop(held);
    // The permit is the first one's, although that has not looked yet.
    assert!(permits.try_acquire().is_err());
    assert!(look(&mut second).is_pending());
    drop(granted(look(&mut first)));
    let _held = granted(look(&mut second));
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_its_place() {
    let permits = permits(1, 3);
    let held = permits.try_acquire().expect("one is free");
    let (first, _) = ask(&permits, SECOND);
    let (mut second, _) = ask(&permits, SECOND);
    drop(first);
    assert_eq!(permits.usage().waiting, 1);
    drop(held);
    let _held = granted(look(&mut second));
    assert_eq!(permits.usage(), Usage { in_use: 1, max: 1, peak: 1, waiting: 0, refused: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_permit_for_one_who_gave_up_goes_to_the_next() {
    let permits = permits(1, 3);
    let held = permits.try_acquire().expect("one is free");
    let (first, _) = ask(&permits, SECOND);
    let (mut second, _) = ask(&permits, SECOND);
    drop(held);
    assert_eq!((permits.usage().in_use, permits.usage().waiting), (1, 1), "it is on its way to the first");
    drop(first);
    drop(granted(look(&mut second)));
    assert_eq!(permits.usage().in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_comes_with_the_deadline_is_taken() {
    let permits = permits(1, 1);
    let held = permits.try_acquire().expect("one is free");
    let (mut waiting, _) = ask(&permits, SECOND);
    advance(2 * SECOND).await;
    drop(held);
    let _held = granted(look(&mut waiting));
    assert_eq!(permits.usage().refused, 0);
}

#[tokio::test(start_paused = true)]
async fn growing_wakes_those_who_wait() {
    let permits = permits(1, 3);
    let _held = permits.try_acquire().expect("one is free");
    let mut waiting = [ask(&permits, SECOND).0, ask(&permits, SECOND).0, ask(&permits, SECOND).0];
    permits.resize(size(3));
    let [first, second, third] = &mut waiting;
    let _held = (granted(look(first)), granted(look(second)));
    assert!(look(third).is_pending());
    assert_eq!(permits.usage(), Usage { in_use: 3, max: 3, peak: 3, waiting: 1, refused: 0 });
}

#[tokio::test(start_paused = true)]
async fn shrinking_waits_for_what_is_out() {
    let permits = permits(3, 1);
    let mut held: Vec<_> = (0..3).map(|_| permits.try_acquire().expect("one is free")).collect();
    permits.resize(size(1));
    let (mut waiting, _) = ask(&permits, SECOND);
    for out in [2, 1] {
        held.pop();
        assert_eq!(permits.usage().in_use, out);
        assert!(look(&mut waiting).is_pending() && permits.try_acquire().is_err());
    }
    held.pop();
    let _held = granted(look(&mut waiting));
    assert_eq!(permits.usage().in_use, 1);
}

#[tokio::test(start_paused = true)]
async fn the_hint_learns_how_long_permits_are_held() {
    let permits = permits(2, 0);
    for _ in 0..100 {
        let held = permits.try_acquire().expect("one is free");
        advance(4 * SECOND).await;
        drop(held);
    }
    let _held = (permits.try_acquire(), permits.try_acquire());
    let full = permits.try_acquire().expect_err("none is free");
    let off = full.retry_after.abs_diff(2 * SECOND);
    assert!(off < Duration::from_millis(10), "two permits of 4 s: one comes back each 2 s, not {full}");
}

#[test]
fn threads_never_hold_more_than_there_are() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build();
    runtime.expect("a runtime").block_on(async {
        let permits = permits(3, 64);
        let tasks: Vec<_> = (0..32)
            .map(|task| {
                let permits = permits.clone();
                rt::spawn(async move {
                    for turn in 0..200 {
                        let acquiring = permits.acquire(10 * SECOND);
                        if (task + turn) % 5 == 0 {
                            // Gives up, at whatever moment that is.
                            timeout(Duration::from_micros(turn), acquiring).await.ok();
                        } else {
                            let permit = acquiring.await.expect("there is time");
                            tokio::task::yield_now().await;
                            drop(permit);
                        }
                    }
                })
            })
            .collect();
        for mut task in tasks {
            task.join().await.expect("it ends");
        }
        assert_eq!(permits.usage(), Usage { in_use: 0, max: 3, peak: 3, waiting: 0, refused: 0 });
    });
}
