//! The engine against the laws, against failing media, and against the data folder.

use std::{future::Future as _, sync::Arc, task::Poll, time::Duration};

use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::{
    DEAD_BYTES, Engine, Options, Store,
    faults::{Fault, Faulty},
    open, open_on,
};
use crate::{
    error::{Kind, Reason},
    store::{Commit, Event, Trouble, conformance, lock::DataDir},
    task::{Fatal, OnEnd},
    time::Clock,
};

/// So little may be dead that the log is written anew again and again.
const DEAD_FEW: u64 = 8 << 10;

fn options(dir: &TempDir) -> Options {
    Options::new(dir.path(), Clock::start())
}

fn open_fresh() -> (Store, (Engine, TempDir)) {
    let dir = tempfile::tempdir().unwrap();
    let (store, engine) = open(options(&dir)).unwrap();
    (store, (engine, dir))
}

fn open_faulty(disk: &Faulty) -> (Store, Engine, TempDir) {
    open_renewing(disk, DEAD_BYTES)
}

fn open_renewing(disk: &Faulty, dead_bytes: u64) -> (Store, Engine, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::start();
    let held = DataDir::hold(dir.path(), &clock).unwrap();
    let (store, engine) = open_on(Arc::new(disk.clone()), held, clock, OnEnd::Fine, dead_bytes).unwrap();
    (store, engine, dir)
}

async fn put(store: &Store, key: &str, value: &str) -> crate::error::Result<u64> {
    store.commit(Commit::new().put(key, value.to_owned())).await
}

async fn has(store: &Store, key: &str) -> bool {
    store.get(key).await.unwrap().is_some()
}

async fn wait_until_writable(store: &Store) {
    let writable = async {
        while !store.status().writable {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(30), writable).await.expect("it recovers by itself");
}

#[tokio::test(start_paused = true)]
async fn the_engine_keeps_the_laws() {
    conformance::suite(async || open_fresh()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_on_several_threads_changes_no_law() {
    conformance::crowd(async || open_fresh()).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_closed_is_there_when_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, engine) = open(options(&dir)).unwrap();
    let lease = store.grant(Duration::from_secs(5)).await.unwrap();
    store.commit(Commit::new().put_under("leased", "x", lease)).await.unwrap();
    let revision = put(&store, "a", "1").await.unwrap();
    assert_eq!(open(options(&dir)).unwrap_err().reason(), Reason::DataDirInUse);
    engine.close().await.unwrap();
    let error = put(&store, "a", "2").await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (Kind::Unavailable, Reason::StoreUnavailable));
    assert_eq!(store.get("a").await.unwrap_err().reason(), Reason::StoreUnavailable);

    let (store, _engine) = open(options(&dir)).unwrap();
    let status = store.status();
    assert_eq!((status.revision, status.keys, status.writable), (revision, 2, true));
    assert!(status.size_bytes > 0);
    assert_eq!(store.watch("", Some(revision - 1)).next().await, Event::Reset { revision });
    assert!(has(&store, "leased").await, "its time starts anew");
    store.keep_alive(lease).await.unwrap();
    sleep(Duration::from_secs(7)).await;
    assert!(!has(&store, "leased").await);
    assert_ne!(store.grant(Duration::from_secs(5)).await.unwrap(), lease);
}

#[tokio::test]
async fn closing_waits_for_what_was_handed_over() {
    let (store, (engine, dir)) = open_fresh();
    let mut waiting: Vec<_> = (0..100)
        .map(|n| {
            let store = store.clone();
            Box::pin(async move { put(&store, &n.to_string(), "x").await })
        })
        .collect();
    for commit in &mut waiting {
        // Polled once: it is in the queue.
        let polled = std::future::poll_fn(|cx| Poll::Ready(commit.as_mut().poll(cx))).await;
        assert!(matches!(polled, Poll::Pending | Poll::Ready(Ok(_))), "{polled:?}");
    }
    engine.close().await.unwrap();
    let (store, _engine) = open(options(&dir)).unwrap();
    assert_eq!(store.status().keys, 100);
}

#[tokio::test(start_paused = true)]
async fn reads_go_on_while_writing_fails_and_writing_comes_back() {
    for fault in [Fault::Writes, Fault::Syncs] {
        let disk = Faulty::default();
        let (store, engine, _dir) = open_faulty(&disk);
        put(&store, "before", "1").await.unwrap();
        let mut watch = store.watch("", None);
        disk.set(fault);
        let error = put(&store, "during", "1").await.unwrap_err();
        assert_eq!((error.kind(), error.reason()), (Kind::Unavailable, Reason::StoreUnavailable));
        assert_eq!(error.retry_pause(), Some(Duration::from_secs(1)));
        let trouble = if fault == Fault::Writes { Trouble::DiskFull } else { Trouble::DiskFails };
        assert!(error.message().contains(&trouble.to_string()), "{error}");
        let status = store.status();
        assert_eq!((status.writable, status.trouble), (false, Some(trouble)));
        for _ in 0..5 {
            sleep(Duration::from_secs(1)).await;
            assert!(has(&store, "before").await, "reads go on under {fault:?}");
            assert_eq!(put(&store, "refused", "1").await.unwrap_err().reason(), Reason::StoreUnavailable);
        }
        disk.set(Fault::None);
        wait_until_writable(&store).await;
        let revision = put(&store, "after", "1").await.unwrap();
        assert!(has(&store, "before").await && has(&store, "after").await && !has(&store, "refused").await);
        let followed = async { while watch.next().await.revision() < revision {} };
        timeout(Duration::from_secs(5), followed).await.expect("the watch goes on");
        assert_eq!(store.counters().failed_commits, 6);
        engine.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_a_definite_failure_with_its_cause() {
    let disk = Faulty::default();
    let (store, _engine, _dir) = open_faulty(&disk);
    let mut n = 0;
    disk.set(Fault::NoSpace);
    // There is some room yet: what fits is written, and what does not has changed nothing.
    let error = loop {
        match store.commit(Commit::new().put(format!("{n}"), vec![b'v'; 30_000])).await {
            Ok(_) => n += 1,
            Err(error) => break error,
        }
    };
    assert!(n > 3, "{n}");
    for error in [error, put(&store, "next", "1").await.unwrap_err()] {
        assert_eq!((error.kind(), error.reason()), (Kind::Unavailable, Reason::StoreUnavailable));
        let said = error.message();
        assert!(said.contains("the disk is full; free space on the disk of the data folder"), "{said}");
        assert!(said.contains("has written nothing") && !said.contains("unknown"), "{said}");
    }
    disk.set(Fault::None);
    wait_until_writable(&store).await;
    assert!(!has(&store, &n.to_string()).await && !has(&store, "next").await);
}

#[tokio::test(start_paused = true)]
async fn a_sync_that_failed_once_is_taken_back_and_says_so() {
    let disk = Faulty::default();
    let (store, engine, _dir) = open_faulty(&disk);
    put(&store, "before", "1").await.unwrap();
    disk.set(Fault::Once(1));
    let error = put(&store, "during", "1").await.unwrap_err();
    assert!(error.message().contains("has taken it back"), "{error}");
    assert!(store.status().writable && store.status().trouble.is_none());
    engine.close().await.unwrap();
    let survivor = disk.after_power_cut(1);
    let (store, _engine, _dir) = open_faulty(&survivor);
    assert!(has(&store, "before").await && !has(&store, "during").await);
}

#[tokio::test(start_paused = true)]
async fn a_disk_without_space_lets_a_torn_log_be_read() {
    let disk = Faulty::default();
    let (store, engine, _dir) = open_faulty(&disk);
    put(&store, "before", "1").await.unwrap();
    disk.set(Fault::PowerCut(1));
    put(&store, "during", &"x".repeat(5000)).await.unwrap_err();
    drop((store, engine));
    let survivor = (0..).map(|seed| disk.after_power_cut(seed)).find(Faulty::has_torn_end).unwrap();
    survivor.set(Fault::NoSpace);
    let (store, _engine, _dir) = open_faulty(&survivor);
    assert_eq!(store.status().trouble, Some(Trouble::DiskFull));
    assert!(has(&store, "before").await);
    survivor.set(Fault::None);
    wait_until_writable(&store).await;
    put(&store, "after", "1").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_medium_that_fails_wholly_comes_back_too() {
    let disk = Faulty::default();
    let (store, _engine, _dir) = open_faulty(&disk);
    put(&store, "before", "1").await.unwrap();
    disk.set(Fault::Everything);
    put(&store, "during", "1").await.unwrap_err();
    sleep(Duration::from_secs(3)).await;
    assert_eq!(store.get("before").await.unwrap_err().reason(), Reason::StoreUnavailable);
    disk.set(Fault::None);
    wait_until_writable(&store).await;
    assert!(has(&store, "before").await);
    put(&store, "after", "1").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn leases_wait_for_the_medium_and_end_then() {
    let disk = Faulty::default();
    let (store, _engine, _dir) = open_faulty(&disk);
    let lease = store.grant(Duration::from_secs(2)).await.unwrap();
    store.commit(Commit::new().put_under("leased", "x", lease)).await.unwrap();
    disk.set(Fault::Writes);
    sleep(Duration::from_secs(9)).await;
    assert!(has(&store, "leased").await, "its end cannot be written");
    disk.set(Fault::None);
    sleep(Duration::from_secs(5)).await;
    assert!(!has(&store, "leased").await);
}

/// Commits pairs of keys until `count` or until the store stays unwritable; answers those acknowledged.
async fn commit_pairs(store: &Store, from: u32, count: u32) -> Vec<u32> {
    let mut acknowledged = Vec::new();
    for n in from..from + count {
        // Values of many sizes, so that pages split and merge; old keys change and go.
        let value = vec![n.to_le_bytes()[0]; (n as usize * 613) % 5000];
        let mut commit = Commit::new().put(format!("a/{n}"), value.clone()).put(format!("b/{n}"), value);
        if n % 3 == 0 {
            commit = commit.put("churn", n.to_string()).delete(format!("gone/{}", n / 2));
        } else {
            commit = commit.put(format!("gone/{n}"), vec![7; 2000]);
        }
        match store.commit(commit).await {
            Ok(_) => acknowledged.push(n),
            Err(error) => assert_eq!(error.reason(), Reason::StoreUnavailable),
        }
    }
    acknowledged
}

async fn assert_whole(store: &Store, attempted: u32, acknowledged: &[u32], what: &str) {
    for n in 0..attempted {
        let a = store.get(&format!("a/{n}")).await.unwrap();
        let b = store.get(&format!("b/{n}")).await.unwrap();
        assert_eq!(
            a.map(|entry| entry.revision),
            b.as_ref().map(|entry| entry.revision),
            "{what}: half of {n}"
        );
        if acknowledged.contains(&n) {
            let value = b.unwrap_or_else(|| panic!("{what}: {n} was acknowledged and is lost")).value;
            assert_eq!(value.len(), (n as usize * 613) % 5000, "{what}");
            assert!(value.iter().all(|byte| *byte == n.to_le_bytes()[0]), "{what}: {n} is damaged");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_at_any_moment_loses_nothing_acknowledged() {
    const COMMITS: u32 = 12;
    let mut cut_at_work = 0;
    for moment in 0..30 {
        let disk = Faulty::default();
        let (store, engine, _dir) = open_faulty(&disk);
        let mut acknowledged = commit_pairs(&store, 0, 4).await;
        assert_eq!(acknowledged.len(), 4);
        disk.set(Fault::PowerCut(moment));
        acknowledged.extend(commit_pairs(&store, 4, COMMITS).await);
        cut_at_work += usize::from(disk.is_spent());
        drop((store, engine));
        for seed in 0..5 {
            let survivor = disk.after_power_cut(seed * 1000 + moment as u64);
            let (store, engine, _dir) = open_faulty(&survivor);
            let what = format!("power cut after {moment} operations, seed {seed}");
            assert_whole(&store, 4 + COMMITS, &acknowledged, &what).await;
            put(&store, "after", "1").await.unwrap();
            engine.close().await.unwrap();
        }
    }
    assert!(cut_at_work > 20, "only {cut_at_work} cuts hit the work");
}

#[tokio::test(start_paused = true)]
async fn one_failed_operation_anywhere_is_survived_and_so_is_a_power_cut_later() {
    const COMMITS: u32 = 12;
    let mut failed = 0;
    for moment in 0..30 {
        let disk = Faulty::default();
        let (store, engine, _dir) = open_faulty(&disk);
        let mut acknowledged = commit_pairs(&store, 0, 4).await;
        disk.set(Fault::Once(moment));
        acknowledged.extend(commit_pairs(&store, 4, COMMITS / 2).await);
        wait_until_writable(&store).await;
        acknowledged.extend(commit_pairs(&store, 4 + COMMITS / 2, COMMITS / 2).await);
        failed += usize::from(acknowledged.len() < (4 + COMMITS) as usize);
        let what = format!("failure of operation {moment}");
        assert_whole(&store, 4 + COMMITS, &acknowledged, &what).await;
        let survivor = disk.after_power_cut(moment as u64);
        drop((store, engine));
        let (store, _engine, _dir) = open_faulty(&survivor);
        assert_whole(&store, 4 + COMMITS, &acknowledged, &format!("{what}, then a power cut")).await;
    }
    assert!(failed > 10, "only {failed} failures hit a commit");
}

/// Overwrites a few pairs of keys, so that most of the log is dead soon; answers how often each was
/// acknowledged last.
async fn churn(store: &Store, from: u32, count: u32) -> [u32; PAIRS] {
    let mut acknowledged = [0; PAIRS];
    for n in from..from + count {
        let pair = n as usize % PAIRS;
        let value = n.to_string().repeat(300);
        let commit = Commit::new().put(format!("a/{pair}"), value.clone()).put(format!("b/{pair}"), value);
        if store.commit(commit).await.is_ok() {
            acknowledged[pair] = n;
        }
    }
    acknowledged
}

const PAIRS: usize = 5;

async fn assert_churned(store: &Store, acknowledged: [u32; PAIRS], what: &str) {
    for (pair, least) in acknowledged.into_iter().enumerate() {
        let a = store.get(&format!("a/{pair}")).await.unwrap();
        let b = store.get(&format!("b/{pair}")).await.unwrap();
        let (a, b) = a.zip(b).unwrap_or_else(|| panic!("{what}: pair {pair} is lost"));
        assert_eq!((&a.value, a.revision), (&b.value, b.revision), "{what}: half of pair {pair}");
        let text = std::str::from_utf8(&a.value).unwrap();
        let found: u32 = text[..text.len() / 300].parse().unwrap();
        assert!(found >= least, "{what}: pair {pair} is at {found}, and {least} was acknowledged");
    }
}

#[tokio::test]
async fn a_power_cut_while_the_log_is_written_anew_loses_nothing_acknowledged() {
    const COMMITS: u32 = 80;
    let (mut renewed, mut during, mut cut_at_work) = (0, 0, 0);
    for moment in (0..200).step_by(4) {
        let disk = Faulty::default();
        let (store, engine, _dir) = open_renewing(&disk, DEAD_FEW);
        churn(&store, 1000, 20).await;
        disk.set(Fault::PowerCut(moment));
        let acknowledged = churn(&store, 1020, COMMITS).await;
        cut_at_work += usize::from(disk.is_spent());
        for seed in 0..4 {
            let survivor = disk.after_power_cut(seed * 1000 + moment as u64);
            let (times, unfinished) = survivor.renewals();
            renewed += usize::from(times > 0);
            during += usize::from(unfinished);
            let (store, engine, _dir) = open_renewing(&survivor, DEAD_FEW);
            let what = format!("power cut after {moment} operations, seed {seed}, renewed {times} times");
            assert_churned(&store, acknowledged, &what).await;
            churn(&store, 2000, 5).await;
            engine.close().await.unwrap();
        }
        drop((store, engine));
    }
    assert!(cut_at_work > 30 && renewed > 50 && during > 3, "{cut_at_work} {renewed} {during}");
}

#[tokio::test]
async fn a_failure_while_the_log_is_written_anew_is_survived_and_so_is_a_power_cut_later() {
    let mut renewed = 0;
    for moment in (0..160).step_by(4) {
        let disk = Faulty::default();
        let (store, engine, _dir) = open_renewing(&disk, DEAD_FEW);
        churn(&store, 1000, 20).await;
        disk.set(Fault::Once(moment));
        churn(&store, 1020, 50).await;
        wait_until_writable(&store).await;
        let acknowledged = churn(&store, 1070, 30).await;
        let what = format!("failure of operation {moment}");
        assert_churned(&store, acknowledged, &what).await;
        let survivor = disk.after_power_cut(moment as u64);
        drop((store, engine));
        renewed += usize::from(survivor.renewals().0 > 0);
        let (store, _engine, _dir) = open_faulty(&survivor);
        assert_churned(&store, acknowledged, &format!("{what}, then a power cut")).await;
    }
    assert!(renewed > 20, "only {renewed} wrote the log anew");
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_sync_left_in_the_cache_is_not_built_upon() {
    let disk = Faulty::default();
    let (store, engine, _dir) = open_faulty(&disk);
    put(&store, "before", "1").await.unwrap();
    // Written, not synced, and nothing works after that: then the process dies.
    disk.set(Fault::From(1));
    let error = put(&store, "during", "1").await.unwrap_err();
    assert!(error.message().contains("outcome is unknown"), "{error}");
    drop(store);
    drop(engine.close().await);
    disk.set(Fault::None);
    let (store, engine, _dir) = open_faulty(&disk);
    put(&store, "after", "1").await.unwrap();
    drop((store, engine));
    let survivor = disk.after_power_cut(3);
    let (store, _engine, _dir) = open_faulty(&survivor);
    assert!(has(&store, "before").await && has(&store, "after").await && !has(&store, "during").await);
}

#[tokio::test]
async fn a_writer_that_panics_ends_the_process_and_answers_everybody() {
    let (disk, fatal) = (Faulty::default(), Fatal::new());
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::start();
    let held = DataDir::hold(dir.path(), &clock).unwrap();
    let on_end = OnEnd::Fatal(fatal.clone());
    let (store, engine) = open_on(Arc::new(disk.clone()), held, clock, on_end, DEAD_BYTES).unwrap();
    put(&store, "before", "1").await.unwrap();
    disk.set(Fault::Panic);
    let error = put(&store, "during", "1").await.unwrap_err();
    assert!(error.message().contains("outcome is unknown"), "{error}");
    assert_eq!(timeout(Duration::from_secs(30), fatal.raised()).await.unwrap(), "store-writer");
    for error in [put(&store, "after", "1").await.unwrap_err(), store.get("before").await.unwrap_err()] {
        assert_eq!(error.reason(), Reason::StoreUnavailable);
    }
    assert!(!store.status().writable);
    assert_eq!(engine.close().await.unwrap_err().kind(), Kind::Internal);
}

#[tokio::test]
async fn a_folder_that_was_made_for_nothing_is_removed_again() {
    let temp = tempfile::tempdir().unwrap();
    let (made, clock) = (temp.path().join("deep/data"), Clock::start());
    let full = Faulty::default();
    full.set(Fault::NoSpace);
    let held = DataDir::hold(&made, &clock).unwrap();
    open_on(Arc::new(full), held, clock, OnEnd::Fine, DEAD_BYTES).unwrap_err();
    assert!(!temp.path().join("deep").exists());

    let (_, engine) = open(Options::new(&made, clock)).unwrap();
    engine.undo().await.unwrap();
    assert!(!temp.path().join("deep").exists());

    // What holds something stays, and so does what was there before.
    let (store, engine) = open(Options::new(&made, clock)).unwrap();
    put(&store, "a", "1").await.unwrap();
    engine.undo().await.unwrap();
    let (store, engine) = open(Options::new(&made, clock)).unwrap();
    assert!(has(&store, "a").await);
    engine.undo().await.unwrap();
    std::fs::create_dir(temp.path().join("empty")).unwrap();
    let (_, engine) = open(Options::new(temp.path().join("empty"), clock)).unwrap();
    engine.undo().await.unwrap();
    assert!(temp.path().join("empty").exists());
}

#[tokio::test]
async fn counters_count_what_was_done() {
    let (store, _owner) = open_fresh();
    store.commit(Commit::new().put("a", "1").put("b", "1")).await.unwrap();
    store.commit(Commit::new().delete("a").delete("nowhere")).await.unwrap();
    let taken = crate::store::Compare::Absent("b".into());
    store.commit(Commit::new().require(taken)).await.unwrap_err();
    store.get("a").await.unwrap();
    store.list("", None, std::num::NonZeroUsize::MAX).await.unwrap();
    let counters = store.counters();
    assert_eq!((counters.writes, counters.deletes, counters.reads), (2, 1, 2));
    assert_eq!((counters.commits, counters.failed_commits), (2, 1));
    assert_eq!(counters.commit_seconds.iter().sum::<u64>(), 2);
    assert!(counters.commit_seconds_sum > 0.0);
}
