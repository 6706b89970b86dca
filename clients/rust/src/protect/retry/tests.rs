//! A simulated outage: what all parts together make of it.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::{
    task::LocalSet,
    time::{sleep, sleep_until},
};

use super::{Advice, Budget, Counts, Retry, Safety, Settings, Values};
use crate::{protect::clock::Monotonic, rt};

const CALLERS: u32 = 1_000;
const OUTAGE: Duration = Duration::from_secs(40);
/// How often each of them calls.
const EVERY: Duration = Duration::from_secs(4);

/// What the other end saw, second by second.
#[derive(Debug, Default)]
struct Outage {
    calls: u64,
    attempts: Vec<u64>,
}

impl Outage {
    fn all(&self) -> u64 {
        self.attempts.iter().sum()
    }
}

/// All callers call, in turn, something that is away, until it has been away for long enough.
async fn outage(values: Values, advice: Advice) -> Outage {
    let settings = Settings::new(values).unwrap();
    let began = rt::now();
    let budget = Budget::new(&settings, Monotonic::start());
    let retry = Retry::new(settings, budget).with_counts(Counts::default());
    let attempts: Rc<[Cell<u64>]> = (0..2 * OUTAGE.as_secs()).map(|_| Cell::new(0)).collect();
    let callers = LocalSet::new();
    for caller in 0..CALLERS {
        let (retry, attempts) = (retry.clone(), Rc::clone(&attempts));
        callers.spawn_local(async move {
            let mut next = began + EVERY * caller / CALLERS;
            while next < began + OUTAGE {
                sleep_until(next).await;
                next += EVERY;
                let op = async |_| {
                    let second = &attempts[usize::try_from(began.elapsed().as_secs()).unwrap()];
                    second.set(second.get() + 1);
                    sleep(Duration::from_millis(20)).await;
                    Err::<(), _>("away")
                };
                retry.run(Safety::Idempotent, None, op, |_| advice).await.unwrap_err();
            }
        });
    }
    callers.await;
    let totals = retry.counts().totals();
    let gave_up: u64 = totals.given_up.iter().map(|(_, total)| total).sum();
    assert_eq!(gave_up, totals.calls);
    let outage = Outage { calls: totals.calls, attempts: attempts.iter().map(Cell::get).collect() };
    assert_eq!(totals.calls + totals.retries, outage.all());
    assert_eq!(outage.calls, u64::from(CALLERS) * OUTAGE.as_secs() / EVERY.as_secs());
    outage
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_never_answered_with_a_storm() {
    let values = Values { attempts: 10, ..Values::default() };
    let outage = outage(values, Advice::IfSafe(None)).await;
    // A fifth more than the calls, and ten a second, with what a ttl has in reserve.
    let reserve = 10 * (OUTAGE.as_secs() + 10);
    let most = outage.calls * 12 / 10 + reserve;
    assert!(outage.all() <= most, "{} attempts of {} calls", outage.all(), outage.calls);
    // It is used, too: nearly all that may be.
    assert!(outage.all() >= outage.calls * 115 / 100 + reserve / 2, "{} attempts", outage.all());
    // Nor in any stretch of ten seconds by itself.
    for (at, stretch) in outage.attempts.windows(10).enumerate() {
        let made: u64 = stretch.iter().sum();
        assert!(made <= 2_500 + 2 * (500 + 100), "{made} attempts in the ten seconds from {at} on");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_to_speak_of_the_same_outage_is_a_storm() {
    let values = Values { budget_share: 1.0, budget_per_second: 1_000, ..Values::default() };
    let outage = outage(values, Advice::IfSafe(None)).await;
    assert_eq!(outage.all(), 3 * outage.calls);
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_asks_to_be_left_alone_is() {
    let outage = outage(Values::default(), Advice::Pushback).await;
    assert_eq!(outage.all(), outage.calls);
}
