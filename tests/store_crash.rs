//! What the store acknowledged is there after its process was killed.
//!
//! A child process (this test binary again, told so by an environment variable) commits from several
//! tasks and prints each key once it is acknowledged. The parent kills it with SIGKILL in the middle,
//! opens the same folder, and looks for every key that it had read. Several rounds share one folder, so
//! that each starts from what the kill before left behind.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // helpers of tests stop a test like tests do

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use seaworthy::{
    error::Reason,
    store::{
        Commit, Store,
        embedded::{self, Engine, Options},
    },
    time::Clock,
};

const DIR: &str = "SEAWORTHY_TEST_STORE_CRASH_DIR";
const ROUND: &str = "SEAWORTHY_TEST_STORE_CRASH_ROUND";
const ROUNDS: usize = 5;
const WRITERS: u64 = 8;
/// The child gives up by itself after so many commits of each writer, should nobody kill it.
const MOST: u64 = 20_000;

fn open(dir: &Path) -> (Store, Engine) {
    embedded::open(Options::new(dir, Clock::start())).unwrap()
}

/// The key says what its value must be.
fn value(key: &str) -> Vec<u8> {
    key.bytes().cycle().take(100 + key.len() * 37 % 900).collect()
}

/// The child's part; nothing when the test runs as an ordinary test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let (Ok(dir), Ok(round)) = (std::env::var(DIR), std::env::var(ROUND)) else { return };
    let (store, _engine) = open(Path::new(&dir));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (store, round) = (store.clone(), round.clone());
        writers.spawn(async move {
            for n in 0..MOST {
                let key = format!("{round}/{writer}/{n}");
                let commit = Commit::new().put(&key, value(&key)).put(format!("twin/{key}"), value(&key));
                store.commit(commit).await.unwrap();
                // One write for one line: lines of several tasks do not mix.
                std::io::stdout().lock().write_all(format!("acknowledged {key}\n").as_bytes()).unwrap();
            }
        });
    }
    writers.join_all().await;
}

fn start_child(dir: &Path, round: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads what the child acknowledges, and kills it once there are so many; answers all that was read.
fn read_and_kill(mut child: Child, wanted: usize, dir: &Path) -> Vec<String> {
    let mut acknowledged = Vec::new();
    // After the kill the pipe still holds what was acknowledged before it.
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some(key) = line.strip_prefix("acknowledged ") else { continue };
        acknowledged.push(key.to_owned());
        if acknowledged.len() == wanted {
            let error = embedded::open(Options::new(dir, Clock::start())).unwrap_err();
            assert_eq!(error.reason(), Reason::DataDirInUse);
            assert!(error.message().contains(&format!("process {} on", child.id())), "{error}");
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success(), "it was killed and did not end by itself");
    assert!(acknowledged.len() >= wanted, "{} of {wanted}", acknowledged.len());
    acknowledged
}

#[tokio::test]
async fn a_killed_process_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let child = start_child(dir.path(), round);
        acknowledged.extend(read_and_kill(child, 200 + round * 150, dir.path()));
        let (store, engine) = open(dir.path());
        for key in &acknowledged {
            let entry = store.get(key).await.unwrap().unwrap_or_else(|| panic!("{key} is lost"));
            let twin = store.get(&format!("twin/{key}")).await.unwrap().unwrap();
            assert_eq!(entry.value, value(key), "{key}");
            assert_eq!((entry.value, entry.revision), (twin.value, twin.revision), "{key}");
        }
        // What was committed and could not be acknowledged may be there too, but as whole commits.
        let keys = store.status().keys;
        assert!(keys >= 2 * acknowledged.len() as u64 && keys.is_multiple_of(2), "{keys}");
        engine.close().await.unwrap();
    }
}
