//! One decision of a keyed rate limit, against governor's own keyed limiter.
//!
//! 10,000 keys of text, 2 threads, each through all keys in an order of its own; both sides are asked the same keys in
//! the same order. The sides take turns in short windows, so that a machine that sways does so for both of a pair;
//! which side is the first of a pair changes with each round. `BENCH_ROUNDS` (301) and `BENCH_DECISIONS` (20000 of each
//! thread in a window) change how long it takes. In-process: no server, no network.
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

mod support;

use std::{
    hint::black_box,
    num::{NonZeroU32, NonZeroUsize},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock as _};
use seaworthy_client::protect::{
    clock::{Clock, Manual, Monotonic},
    limit::{Algorithm, KeyedLimiter, Rate, Settings},
};
use support::{
    Result,
    report::{self, Goal},
    settings,
};

const KEYS: usize = 10_000;
const THREADS: usize = 2;
/// More than a window asks of any key.
const PLENTY: NonZeroU32 = NonZeroU32::new(1_000_000).unwrap();

fn main() -> Result<()> {
    let rounds = settings::number("BENCH_ROUNDS", 301)?;
    let decisions = settings::number("BENCH_DECISIONS", 20_000)?;
    let callers: Vec<Vec<String>> = (0..THREADS).map(shuffled_keys).collect();
    report::head("A decision of a keyed limit, 10,000 keys, 2 threads", "governor, keyed");

    let plenty = Rate::new(PLENTY.get(), Duration::from_secs(1))?;
    for (what, algorithm, goal) in [
        ("token bucket", Algorithm::TokenBucket { burst: PLENTY }, Goal::AtMost(1.5, 1.1)),
        ("leaky bucket", Algorithm::LeakyBucket { queue: PLENTY.get() }, Goal::Shown),
        ("sliding window", Algorithm::SlidingWindow, Goal::Shown),
        ("fixed window", Algorithm::FixedWindow, Goal::Shown),
    ] {
        let ours = limiter(plenty, algorithm, Monotonic::start())?;
        let theirs = RateLimiter::keyed(Quota::per_second(PLENTY));
        compare(
            what,
            goal,
            rounds,
            || window(&callers, decisions, |key| ours.decide(key).is_admitted()),
            || window(&callers, decisions, |key| theirs.check_key(key).is_ok()),
        );
    }

    let ours = limiter(
        Rate::new(1, Duration::from_secs(3600))?,
        Algorithm::TokenBucket { burst: NonZeroU32::MIN },
        Monotonic::start(),
    )?;
    let theirs = RateLimiter::keyed(Quota::per_hour(NonZeroU32::MIN));
    compare(
        "token bucket, refused, told when to come again",
        Goal::Shown,
        rounds,
        || window(&callers, decisions, |key| ours.decide(key).is_admitted()),
        || window(&callers, decisions, |key| wait_by_governor(&theirs, key).is_zero()),
    );
    memory(plenty)
}

/// All keys, in an order that no two threads share.
fn shuffled_keys(thread: usize) -> Vec<String> {
    let mut keys: Vec<String> = (0..KEYS).map(|n| format!("orders/instance-{n:05}")).collect();
    fastrand::Rng::with_seed(thread as u64).shuffle(&mut keys);
    keys
}

fn limiter<C: Clock>(rate: Rate, algorithm: Algorithm, clock: C) -> Result<KeyedLimiter<String, C>> {
    let room = NonZeroUsize::MIN.saturating_add(2 * KEYS);
    Ok(KeyedLimiter::new(&Settings::new(rate, algorithm)?, room, clock))
}

fn wait_by_governor(limiter: &DefaultKeyedRateLimiter<String>, key: &String) -> Duration {
    match limiter.check_key(key) {
        Ok(()) => Duration::ZERO,
        Err(not_until) => not_until.wait_time_from(limiter.clock().now()),
    }
}

/// Runs both sides in turn, and prints nanoseconds for each decision of a thread.
fn compare(
    what: &str,
    goal: Goal,
    rounds: usize,
    mut ours: impl FnMut() -> f64,
    mut theirs: impl FnMut() -> f64,
) {
    // So that all keys are known, and all code is warm.
    ours();
    theirs();
    let (mut our, mut their) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            our.push(ours());
            their.push(theirs());
        } else {
            their.push(theirs());
            our.push(ours());
        }
    }
    report::line(what, " ns", &our, &their, goal);
}

/// Nanoseconds for each decision, while all threads decide.
fn window(callers: &[Vec<String>], decisions: u32, decide: impl Fn(&String) -> bool + Sync) -> f64 {
    let start = Barrier::new(callers.len());
    let nanos = |keys: &Vec<String>| {
        start.wait();
        let began = Instant::now();
        for key in keys.iter().cycle().take(decisions as usize) {
            black_box(decide(black_box(key)));
        }
        began.elapsed().as_secs_f64() * 1e9 / f64::from(decisions)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = callers.iter().map(|keys| scope.spawn(move || nanos(keys))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).sum::<f64>() / callers.len() as f64
    })
}

/// What keys cost while they are in use, and when they are idle and were evicted.
fn memory(rate: Rate) -> Result<()> {
    for (what, algorithm) in [
        ("token bucket", Algorithm::TokenBucket { burst: PLENTY }),
        ("sliding window", Algorithm::SlidingWindow),
    ] {
        let clock = Manual::default();
        let limiter = limiter(rate, algorithm, clock.clone())?;
        for key in shuffled_keys(0) {
            black_box(limiter.decide(&key).is_admitted());
        }
        limiter.evict_idle();
        let in_use = limiter.capacity_bytes();
        clock.advance(Duration::from_secs(10));
        limiter.evict_idle();
        let idle = limiter.capacity_bytes();
        for (when, bytes, goal) in
            [("in use", in_use, Goal::Shown), ("idle, evicted", idle, Goal::AtMost(0.0, 0.0))]
        {
            report::figure(
                &format!("{what}: memory for each key, {when}"),
                " B",
                &[bytes as f64 / KEYS as f64],
                &[],
                goal,
            );
        }
    }
    Ok(())
}
