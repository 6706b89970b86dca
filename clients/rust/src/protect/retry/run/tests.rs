use std::{cell::RefCell, pin::pin};

use tokio::time::{Instant, advance};

use super::*;
use crate::protect::{clock::Monotonic, retry::settings::Values};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Without jitter, so that times are exact.
fn retry(change: impl FnOnce(&mut Values)) -> Retry<Monotonic> {
    let mut values = Values::default();
    change(&mut values);
    let settings = Settings::new(values).unwrap();
    Retry::new(settings, Budget::new(&settings, Monotonic::start())).with_random(|| 0.5)
}

/// What an operation was told, and when.
#[derive(Default)]
struct Seen {
    began: Option<Instant>,
    attempts: RefCell<Vec<(u64, Attempt)>>,
}

impl Seen {
    fn now() -> Self {
        Self { began: Some(rt::now()), ..Self::default() }
    }

    fn passed(&self) -> u64 {
        self.began.unwrap().elapsed().as_millis().try_into().unwrap()
    }

    /// Fails after this time.
    async fn fail(&self, attempt: Attempt, takes: Duration) -> Result<(), &'static str> {
        self.attempts.borrow_mut().push((self.passed(), attempt));
        sleep(takes).await;
        Err(["one", "two", "three", "four"][attempt.number as usize - 1])
    }

    fn times(&self) -> Vec<u64> {
        self.attempts.borrow().iter().map(|(at, _)| *at).collect()
    }
}

fn safe(_: &&str) -> Advice {
    Advice::IfSafe(None)
}

#[tokio::test(start_paused = true)]
async fn success_ends_it_at_once() {
    let retry = retry(|_| {});
    let answer = retry.run(Safety::Unsafe, None, async |_| Ok::<_, &str>(7), safe).await;
    assert_eq!(answer, Ok(7));
    let totals = retry.counts().totals();
    assert_eq!((totals.calls, totals.retries), (1, 0));
    assert!(totals.given_up.iter().all(|(_, total)| *total == 0));
}

#[tokio::test(start_paused = true)]
async fn attempts_follow_after_growing_pauses_and_the_last_failure_is_told() {
    let (retry, seen) = (retry(|_| {}), Seen::now());
    let failed = retry.run(Safety::Idempotent, None, |it| seen.fail(it, millis(10)), safe).await;
    assert_eq!(failed, Err(Failed { error: Some("three"), attempts: 3, why: Why::Attempts }));
    assert_eq!(seen.times(), [0, 110, 320]);
    let attempts: Vec<_> =
        seen.attempts.borrow().iter().map(|(_, it)| (it.number, it.time_left.as_millis())).collect();
    assert_eq!(attempts, [(1, 30_000), (2, 29_890), (3, 29_680)]);
    let totals = retry.counts().totals();
    assert_eq!((totals.calls, totals.retries), (1, 2));
    assert!(totals.given_up.contains(&(Why::Attempts, 1)));
}

#[tokio::test(start_paused = true)]
async fn success_after_failures_is_success() {
    let (retry, seen) = (retry(|_| {}), Seen::now());
    let op = async |attempt: Attempt| match attempt.number {
        3 => Ok(seen.passed()),
        _ => Err("not yet"),
    };
    assert_eq!(retry.run(Safety::Idempotent, None, op, safe).await, Ok(300));
    assert_eq!(retry.counts().totals().retries, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_safe_is_tried_once_where_the_answer_was_lost_and_again_where_it_was_not_begun() {
    for (advice, safety, attempts, why) in [
        (Advice::IfSafe(None), Safety::Unsafe, 1, Why::Unsafe),
        (Advice::IfSafe(Some(millis(1))), Safety::Unsafe, 1, Why::Unsafe),
        (Advice::Always(None), Safety::Unsafe, 3, Why::Attempts),
        (Advice::IfSafe(None), Safety::Idempotent, 3, Why::Attempts),
        (Advice::Never, Safety::Idempotent, 1, Why::NotRetryable),
        (Advice::Pushback, Safety::Idempotent, 1, Why::Pushback),
    ] {
        let (retry, seen) = (retry(|_| {}), Seen::now());
        let failed = retry.run(safety, None, |it| seen.fail(it, millis(1)), |_| advice).await.unwrap_err();
        assert_eq!((failed.attempts, failed.why), (attempts, why), "{advice:?} {safety:?}");
        assert_eq!(seen.times().len(), attempts as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_dropped_when_the_time_is_over() {
    for (caller, ends, why) in [
        (None, 30_000, Why::Time),
        (Some(millis(2_500)), 2_500, Why::Deadline),
        (Some(millis(60_000)), 30_000, Why::Time),
    ] {
        let (retry, seen) = (retry(|_| {}), Seen::now());
        let op = |it: Attempt| seen.fail(it, if it.number == 1 { millis(5) } else { Duration::MAX });
        let failed = retry.run(Safety::Idempotent, caller, op, safe).await;
        assert_eq!(failed, Err(Failed { error: Some("one"), attempts: 2, why }));
        assert_eq!(seen.passed(), ends);
        assert!(retry.counts().totals().given_up.contains(&(why, 1)));
    }
}

#[tokio::test(start_paused = true)]
async fn where_no_attempt_ended_there_is_no_failure_to_tell() {
    let (retry, seen) = (retry(|_| {}), Seen::now());
    let hangs = |it| seen.fail(it, Duration::MAX);
    let failed = retry.run(Safety::Idempotent, Some(millis(40)), hangs, safe).await;
    assert_eq!(failed, Err(Failed { error: None, attempts: 1, why: Why::Deadline }));
    assert_eq!(seen.passed(), 40);
    let failed = retry.run(Safety::Idempotent, Some(Duration::ZERO), hangs, safe).await;
    assert_eq!(failed, Err(Failed { error: None, attempts: 0, why: Why::Deadline }));
    assert_eq!(seen.times(), [0]);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_pause_that_ends_too_late() {
    for (caller, asked, passed, why) in [
        (Some(millis(1_000)), Some(millis(1_000)), 10, Why::Deadline),
        (Some(millis(1_000)), Some(millis(900)), 10, Why::Deadline),
        (None, Some(millis(40_000)), 10, Why::Time),
        (Some(millis(110)), None, 10, Why::Deadline),
        (Some(millis(111)), None, 111, Why::Deadline),
    ] {
        let (retry, seen) = (retry(|_| {}), Seen::now());
        let op = |it| seen.fail(it, millis(10));
        let failed = retry.run(Safety::Idempotent, caller, op, |_| Advice::IfSafe(asked)).await.unwrap_err();
        assert_eq!((failed.error, failed.why), (Some("one"), why), "{caller:?} {asked:?}");
        assert_eq!(seen.passed(), passed, "{caller:?} {asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_other_end_asks_for_is_waited_out() {
    let (retry, seen) = (retry(|_| {}), Seen::now());
    let op = |it| seen.fail(it, Duration::ZERO);
    let asked = |_: &&str| Advice::Always(Some(millis(2_000)));
    assert_eq!(retry.run(Safety::Unsafe, None, op, asked).await.unwrap_err().attempts, 3);
    assert_eq!(seen.times(), [0, 2_200, 4_400]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_budget_ends_it_without_a_pause() {
    let (retry, seen) = (retry(|it| it.budget_ttl = millis(1_000)), Seen::now());
    assert_eq!(std::iter::repeat_with(|| retry.budget.withdraw()).take_while(|it| *it).count(), 10);
    let failed = retry.run(Safety::Idempotent, None, |it| seen.fail(it, millis(10)), safe).await;
    assert_eq!(failed, Err(Failed { error: Some("one"), attempts: 1, why: Why::Budget }));
    assert_eq!(seen.passed(), 10);
    let totals = retry.counts().totals();
    assert_eq!((totals.calls, totals.retries), (1, 0));
    assert!(totals.given_up.contains(&(Why::Budget, 1)));
    // The call was counted: five of them allow a retry.
    for expected in [0, 0, 0, 1] {
        retry.run(Safety::Idempotent, None, async |_| Ok::<_, &str>(()), safe).await.unwrap();
        assert_eq!(retry.budget.balance(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_tried_again_spends_nothing() {
    let retry = retry(|_| {});
    let before = retry.budget.balance();
    for advice in [Advice::Never, Advice::Pushback, Advice::IfSafe(None), Advice::Always(Some(Duration::MAX))]
    {
        let failed = retry.run(Safety::Unsafe, None, async |_| Err::<(), _>("no"), |_| advice).await;
        assert_eq!(failed.unwrap_err().attempts, 1);
    }
    assert_eq!(retry.budget.balance(), before);
}

#[tokio::test(start_paused = true)]
async fn dropped_in_a_pause_nothing_follows() {
    let (retry, seen) = (retry(|_| {}), Seen::now());
    {
        let mut run = pin!(retry.run(Safety::Idempotent, None, |it| seen.fail(it, Duration::ZERO), safe));
        assert!(timeout(millis(250), &mut run).await.is_err());
    }
    advance(millis(60_000)).await;
    assert_eq!(seen.times(), [0, 100]);
}

#[tokio::test(start_paused = true)]
async fn randomness_spreads_the_pauses_of_many() {
    let settings = Settings::default();
    let retry = Retry::new(settings, Budget::new(&settings, Monotonic::start()));
    let mut waited = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let seen = Seen::now();
        let op = async |it: Attempt| if it.number == 1 { Err("no") } else { Ok(seen.passed()) };
        let passed = retry.run(Safety::Idempotent, None, op, safe).await.unwrap();
        assert!((80..=121).contains(&passed), "{passed}");
        waited.insert(passed);
    }
    assert!(waited.len() > 5, "{waited:?}");
}

#[test]
fn a_failure_tells_what_and_why() {
    let failed = Failed { error: Some("the disk is full"), attempts: 1, why: Why::Unsafe };
    assert_eq!(
        failed.to_string(),
        "the disk is full (gave up after 1 attempt: it may have been done, and must not be done twice)"
    );
    let failed = Failed::<&str> { error: None, attempts: 2, why: Why::Deadline };
    assert_eq!(failed.to_string(), "no answer (gave up after 2 attempts: the caller waits no longer)");
}
