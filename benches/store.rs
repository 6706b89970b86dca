//! How many durable puts per second the embedded store takes.
//!
//! Method: a fresh store in a folder below the target folder (set `SEAWORTHY_BENCH_DIR` for another; not
//! a tmpfs, where a sync costs nothing). N tasks on one multi-threaded runtime each put 1 KiB under keys
//! of a fixed set of 20,000 (so most puts overwrite) and wait for the answer before the next. A warm-up
//! of one second is not counted; then the commits acknowledged within five seconds are, with the median
//! and 99th percentile of the time that one caller waited. Run: `cargo bench --bench store`.

#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used)]

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use seaworthy::{
    store::{
        Commit, Store,
        embedded::{self, Options},
    },
    time::Clock,
};
use tokio::task::JoinSet;

const KEYS: u64 = 20_000;
const VALUE_BYTES: usize = 1024;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(5);

fn main() {
    let parent = std::env::var_os("SEAWORTHY_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("{:>10} {:>10} {:>12} {:>12}", "in flight", "puts/s", "median µs", "p99 µs");
    for in_flight in [1, 8, 64] {
        let dir = tempfile::tempdir_in(&parent).unwrap();
        runtime.block_on(async {
            let (store, engine) = embedded::open(Options::new(dir.path(), Clock::start())).unwrap();
            let mut times = run(&store, in_flight).await;
            engine.close().await.unwrap();
            times.sort_unstable();
            let rate = times.len() as u64 / MEASURED.as_secs();
            let at = |percent: usize| times[times.len() * percent / 100].as_micros();
            println!("{in_flight:>10} {rate:>10} {:>12} {:>12}", at(50), at(99));
        });
    }
    let dir = tempfile::tempdir_in(&parent).unwrap();
    runtime.block_on(opening(dir.path().to_owned()));
}

/// Puts with so many callers at once; answers the time of each put that was counted.
async fn run(store: &Store, in_flight: u64) -> Vec<Duration> {
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..in_flight {
        let store = store.clone();
        callers.spawn(async move {
            let mut times = Vec::new();
            let mut n = caller.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            while start.elapsed() < WARM_UP + MEASURED {
                n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let key = format!("bench/{:05}", (n >> 33) % KEYS);
                let began = Instant::now();
                store.commit(Commit::new().put(key, vec![b'v'; VALUE_BYTES])).await.unwrap();
                if start.elapsed() >= WARM_UP {
                    times.push(began.elapsed());
                }
            }
            times
        });
    }
    callers.join_all().await.concat()
}

/// Opens a store of that many keys again.
async fn opening(dir: PathBuf) {
    let options = Options::new(dir, Clock::start());
    let began = Instant::now();
    let (store, engine) = embedded::open(options.clone()).unwrap();
    println!("made in {:?}", began.elapsed());
    for hundred in 0..KEYS / 100 {
        let commit = (0..100).fold(Commit::new(), |commit, n| {
            commit.put(format!("bench/{:05}", hundred * 100 + n), vec![b'v'; VALUE_BYTES])
        });
        store.commit(commit).await.unwrap();
    }
    engine.close().await.unwrap();
    let began = Instant::now();
    let (store, engine) = embedded::open(options).unwrap();
    println!("opened with {} keys in {:?}", store.status().keys, began.elapsed());
    engine.close().await.unwrap();
}
