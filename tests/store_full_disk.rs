//! A full disk turns the store read-only and nothing worse; with room again it goes on by itself.
//!
//! The kernel plays the full disk: this test binary starts itself again under a limit on the size of
//! files (`ulimit -f`, with the signal ignored so that writes fail instead), fills the store until it
//! refuses, and then lifts its own limit.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // helpers of tests stop a test like tests do

use std::{num::NonZeroUsize, path::Path, process::Command, time::Duration};

use rustix::process::{Resource, getrlimit, setrlimit};
use seaworthy::{
    error::{Kind, Reason, Result},
    store::{
        Commit, Store,
        embedded::{self, Options},
    },
    time::Clock,
};
use tokio::time::{sleep, timeout};

const DIR: &str = "SEAWORTHY_TEST_STORE_FULL_DIR";
/// In units of 512 or 1024 bytes, as the shell has it.
const LIMIT: &str = "4096";

async fn put(store: &Store, n: u32) -> Result<u64> {
    store.commit(Commit::new().put(format!("fill/{n:06}"), vec![b'x'; 50_000])).await
}

async fn assert_readable(store: &Store, acknowledged: u32) {
    let all = NonZeroUsize::MAX;
    let (mut found, mut after) = (0, None);
    loop {
        let page = store.list("fill/", after.as_deref(), all).await.unwrap();
        found += u32::try_from(page.entries.len()).unwrap();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(found >= acknowledged, "{found} of {acknowledged}");
    assert!(store.get(&format!("fill/{:06}", acknowledged - 1)).await.unwrap().is_some());
}

/// The child's part; nothing when the test runs as an ordinary test.
#[tokio::test]
async fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let options = || Options::new(Path::new(&dir), Clock::start());
    let (store, engine) = embedded::open(options()).unwrap();
    let mut acknowledged = 0;
    let error = loop {
        match put(&store, acknowledged).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 1000, "the limit does not hold");
    };
    assert_eq!((error.kind(), error.reason()), (Kind::Unavailable, Reason::StoreUnavailable));
    assert!(acknowledged > 10, "{acknowledged}");
    assert_readable(&store, acknowledged).await;
    // The failed one may have been the only one too large; a full disk refuses all of them.
    while store.status().writable {
        drop(put(&store, 999_999).await);
    }
    assert_readable(&store, acknowledged).await;

    let mut limit = getrlimit(Resource::Fsize);
    limit.current = limit.maximum;
    setrlimit(Resource::Fsize, limit).unwrap();
    let recovered = async {
        while !store.status().writable {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), recovered).await.expect("it recovers by itself");
    for n in 0..20 {
        put(&store, acknowledged + n).await.unwrap();
    }
    assert_readable(&store, acknowledged + 20).await;
    engine.close().await.unwrap();
    let (store, engine) = embedded::open(options()).unwrap();
    assert_readable(&store, acknowledged + 20).await;
    engine.close().await.unwrap();
}

#[test]
fn a_full_disk_refuses_writes_keeps_reads_and_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(r#"trap "" XFSZ; ulimit -S -f {LIMIT}; exec "$0" --exact child --nocapture"#);
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}\n{}", said[0], said[1]);
    assert!(said[0].contains("1 passed"), "the child ran its part: {}", said[0]);
}
