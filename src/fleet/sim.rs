//! The whole fleet in one deterministic world: by seed, on injected time, judged after every step.
//!
//! What runs is the real registry with its registrar, reconciler and journal, on a store in memory that
//! keeps the same contract and fails by the dice (`store::simulated`). Around it: clients that register,
//! beat, report, leave, die, hang, get twins and come back; a network that delays, loses, doubles, reorders
//! and partitions; a process that stalls, crashes and restarts; operators; watchers that are slow, leave
//! and resume. A step is one letter that arrives, one timer, or one durable answer. After each, `judge`
//! compares the fleet with what was delivered and acknowledged, which is all that it goes by.
//!
//! Not modelled: gRPC itself and its adapters (`tests/server`), bytes on a disk (`store::embedded`), and
//! threads that race (`fleet::state::expiry` and proptests have those).
//!
//! A seed that fails says so, and how to see it again: `SEAWORTHY_SIM_SEED=7 cargo test --lib fleet::sim`.
//! `SEAWORTHY_SIM_STEPS` says how many steps there are in all.

mod client;
mod dice;
mod durable;
mod faults;
mod judge;
mod letter;
mod network;
mod plane;
mod recount;
mod setting;
mod watcher;
mod weather;
mod world;

use std::{
    collections::BTreeMap,
    hash::Hasher,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

use self::world::{Failure, World};

/// Steps of one seed: several storms, each with the calm after it.
const STEPS_OF_A_SEED: u64 = 10_000;
/// Steps of a plain test run.
const STEPS: u64 = 160_000;
/// How long it takes at the most until whoever lives is known and well again, once nothing new breaks:
/// leases with their credit for stalls run out, pauses end, a disk in trouble recovers.
const HEALING: Duration = Duration::from_secs(150);
/// Seeds that run at once.
const THREADS: usize = 2;
/// What a run comes across, however short it is.
const MUST_HAPPEN: &[&str] = &[
    "boot",
    "dead incarnation refused",
    "found again",
    "healed",
    "health moved",
    "it deregistered",
    "it was lost for too long",
    "late copy refused",
    "lost",
    "nobody was told",
    "an operator removed it",
    "open outcome",
    "partition",
    "protected",
    "protection ended by itself",
    "removed after protection",
    "specification",
    "stall",
    "superseded",
    "taken over",
    "twin",
    "first word taken",
    "wave recounted",
    "no wave recounted",
    "watcher compared",
    "watcher reset",
    "wrong token refused",
];
/// Lines that are shown of what led to a failure.
const TOLD: usize = 60;

/// What came of a seed.
struct Ran {
    failure: Option<Failure>,
    digest: u64,
    story: Vec<String>,
    seen: BTreeMap<&'static str, u64>,
}

fn run(seed: u64, steps: u64, told: bool) -> Ran {
    let storm = weather::KINDS[usize::try_from(seed % weather::KINDS.len() as u64).unwrap()];
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed, storm, told);
        let failure = world.run(steps).await.err();
        Ran {
            failure,
            digest: world.digest.finish(),
            story: world.story.take().unwrap_or_default(),
            seen: world.seen(),
        }
    })
}

/// Runs a seed; where it fails, runs it again to tell what led there.
fn check(seed: u64, steps: u64) -> Ran {
    let ran = run(seed, steps, false);
    if let Some(failure) = &ran.failure {
        let again = run(seed, steps, true);
        let story = &again.story[again.story.len().saturating_sub(TOLD)..];
        let storm = weather::KINDS[usize::try_from(seed % weather::KINDS.len() as u64).unwrap()].name;
        let Failure { step, at, what } = failure;
        let same = again.failure.as_ref() == Some(failure);
        panic!(
            "{}\n\nseed {seed} ({storm}) fails at step {step}, {} ms: {what}\nagain, it {} at the same \
             step\nreplay: SEAWORTHY_SIM_SEED={seed} SEAWORTHY_SIM_STEPS={steps} cargo test --lib fleet::sim",
            story.join("\n"),
            at.as_millis(),
            if same { "fails" } else { "DOES NOT FAIL" },
        );
    }
    ran
}

#[allow(clippy::disallowed_methods)] // a test asks whoever runs it
fn setting_of(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn whatever_happens_the_fleet_is_shown_as_it_is() {
    let steps = setting_of("SEAWORTHY_SIM_STEPS").unwrap_or(STEPS);
    if let Some(seed) = setting_of("SEAWORTHY_SIM_SEED") {
        println!("seed {seed}: {:?}", check(seed, steps.min(STEPS_OF_A_SEED)).seen);
        return;
    }
    let seeds = steps.div_ceil(STEPS_OF_A_SEED);
    let next = AtomicU64::new(0);
    let seen = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            for (what, count) in check(seed, STEPS_OF_A_SEED).seen {
                *seen.lock().entry(what).or_default() += count;
            }
        }
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    let seen: BTreeMap<&str, u64> = seen.into_inner();
    println!("{seeds} seeds: {seen:?}");
    // What never happened was never judged.
    for what in MUST_HAPPEN {
        assert!(seen.contains_key(what), "never seen in {seeds} seeds: {what}");
    }
}

#[test]
fn a_seed_comes_to_the_same_each_time() {
    for seed in 0..weather::KINDS.len() as u64 {
        assert_eq!(run(seed, 2_000, false).digest, run(seed, 2_000, true).digest, "seed {seed}");
    }
}
