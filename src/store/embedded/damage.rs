//! Files damaged by hand: the store never panics, never opens as if less had been written, and says which
//! file it is and what to do. What a crash leaves is no damage.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{
    DEAD_BYTES, Engine, FILES, Options, Store, disk,
    frame::{HEADER, PREFIX},
    log, mark, open, open_on,
};
use crate::{
    error::{Error, Reason},
    store::{Commit, lock::DataDir},
    task::OnEnd,
    time::Clock,
};

/// Commits of the store that is damaged.
const COMMITS: usize = 20;

fn options(dir: &Path) -> Options {
    Options::new(dir, Clock::start())
}

async fn fill(store: &Store) {
    for n in 0..COMMITS {
        store.commit(Commit::new().put(format!("key/{n}"), vec![b'v'; 300])).await.unwrap();
    }
}

/// A folder whose store was filled and then closed.
async fn closed() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (store, engine) = open(options(dir.path())).unwrap();
    fill(&store).await;
    engine.close().await.unwrap();
    dir
}

/// A folder as a killed process leaves it.
async fn killed() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (store, _engine) = open(options(dir.path())).unwrap();
    fill(&store).await;
    copy(dir.path())
}

fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in FILES.iter().filter(|file| from.join(file).exists()) {
        fs::copy(from.join(file), to.path().join(file)).unwrap();
    }
    to
}

/// Opens a copy in which the log was changed; answers how many keys it has.
async fn open_changed(dir: &TempDir, change: impl FnOnce(&mut Vec<u8>)) -> Result<u64, Error> {
    let copy = copy(dir.path());
    let path = copy.path().join(log::FILE);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    let (store, engine) = open(options(copy.path()))?;
    let keys = store.status().keys;
    engine.close().await.unwrap();
    Ok(keys)
}

fn assert_damaged(error: &Error, file: &str) {
    assert_eq!(error.reason(), Reason::RecordDamaged, "{error}");
    let said = error.message();
    assert!(said.contains(file) && said.contains("restore the whole data folder from a copy"), "{said}");
}

/// Where the last frame of a log ends: it does not end with a zero.
fn end_of(dir: &TempDir) -> usize {
    fs::read(dir.path().join(log::FILE)).unwrap().iter().rposition(|byte| *byte != 0).unwrap() + 1
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_noticed() {
    let dir = closed().await;
    let end = end_of(&dir);
    for at in (0..end).step_by(37).chain(0..HEADER + 24).chain(end - 40..end) {
        let error =
            open_changed(&dir, |bytes| bytes[at] ^= 0x10).await.expect_err(&format!("byte {at} of {end}"));
        assert_damaged(&error, log::FILE);
    }
}

#[tokio::test]
async fn a_flipped_bit_before_the_last_commit_is_noticed_after_a_crash_too() {
    let dir = killed().await;
    let end = end_of(&dir);
    assert_eq!(open_changed(&dir, |_| {}).await.unwrap(), COMMITS as u64);
    for at in (HEADER..end - 400).step_by(37) {
        let error =
            open_changed(&dir, |bytes| bytes[at] ^= 0x10).await.expect_err(&format!("byte {at} of {end}"));
        assert_damaged(&error, log::FILE);
    }
}

#[tokio::test]
async fn a_log_cut_short_by_hand_is_noticed() {
    let dir = closed().await;
    let end = end_of(&dir);
    for length in (0..end).step_by(53) {
        let error = open_changed(&dir, |bytes| bytes.truncate(length))
            .await
            .expect_err(&format!("{length} of {end}"));
        assert_damaged(&error, log::FILE);
    }
    assert_eq!(
        open_changed(&dir, |bytes| bytes.truncate(end)).await.unwrap(),
        COMMITS as u64,
        "only the room went"
    );
}

#[tokio::test]
async fn the_last_commit_torn_by_a_crash_is_cut_off_and_nothing_else() {
    let dir = killed().await;
    let end = end_of(&dir);
    let frame = PREFIX + 27 + "key/19".len() + 300;
    for gone in (end - frame..end).step_by(11) {
        let zeros = |bytes: &mut Vec<u8>| bytes[gone..].fill(0);
        assert_eq!(open_changed(&dir, zeros).await.unwrap(), COMMITS as u64 - 1, "nothing from byte {gone}");
        let hole = |bytes: &mut Vec<u8>| bytes[gone..end.min(gone + 16)].fill(0);
        assert_eq!(open_changed(&dir, hole).await.unwrap(), COMMITS as u64 - 1, "a hole at byte {gone}");
        let garbage = |bytes: &mut Vec<u8>| bytes[gone..end + 5000].fill(0xa5);
        assert_eq!(
            open_changed(&dir, garbage).await.unwrap(),
            COMMITS as u64 - 1,
            "garbage from byte {gone}"
        );
    }
}

#[tokio::test]
async fn files_emptied_or_gone_are_not_an_empty_store() {
    for made in [closed().await, killed().await] {
        type Deed = fn(PathBuf);
        let empty: Deed = |path| fs::write(path, "").unwrap();
        let remove: Deed = |path| fs::remove_file(path).unwrap();
        let nonsense: Deed = |path| fs::write(path, "not a store, and long enough to look at").unwrap();
        let table = [
            (log::FILE, empty),
            (log::FILE, remove),
            (log::FILE, nonsense),
            (mark::FILE, empty),
            (mark::FILE, nonsense),
        ];
        for (file, deed) in table {
            let dir = copy(made.path());
            deed(dir.path().join(file));
            assert_damaged(&open(options(dir.path())).unwrap_err(), file);
            // Saying so changed nothing.
            assert_damaged(&open(options(dir.path())).unwrap_err(), file);
        }
        // A mark that is gone is made again: the log is there, as a whole.
        let dir = copy(made.path());
        fs::remove_file(dir.path().join(mark::FILE)).unwrap();
        let (store, _engine) = open(options(dir.path())).unwrap();
        assert_eq!(store.status().keys, COMMITS as u64);
        assert!(dir.path().join(mark::FILE).exists());
    }
}

#[tokio::test]
async fn an_older_log_than_the_mark_knows_is_refused() {
    let dir = closed().await;
    let newer = mark::Mark { generation: 2, end: HEADER as u64 };
    mark::write(&disk::Directory(dir.path().to_owned()), newer).unwrap();
    assert_damaged(&open(options(dir.path())).unwrap_err(), log::FILE);
}

#[tokio::test]
async fn a_log_of_a_newer_release_is_refused_and_left_alone() {
    let dir = closed().await;
    let path = dir.path().join(log::FILE);
    let mut bytes = fs::read(&path).unwrap();
    bytes[16] = 9;
    let crc = crc32fast::hash(&bytes[..28]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let error = open(options(dir.path())).unwrap_err();
    assert_eq!(error.reason(), Reason::RecordTooNew, "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[tokio::test]
async fn damage_while_it_runs_is_an_error_of_that_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, engine) = open(options(dir.path())).unwrap();
    fill(&store).await;
    let path = dir.path().join(log::FILE);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(5).position(|window| window == b"vvvvv").unwrap();
    bytes[at] = b'w';
    fs::write(&path, &bytes).unwrap();
    let error = store.get("key/0").await.unwrap_err();
    assert_eq!(error.reason(), Reason::RecordDamaged, "{error}");
    assert!(error.message().contains(log::FILE) && error.message().contains("key/0"), "{error}");
    assert!(store.get("key/1").await.unwrap().is_some());
    engine.close().await.unwrap();
}

/// Opens a store with small bounds, and overwrites one key until the log was written anew.
async fn renewed(dir: &Path) -> (Store, Engine) {
    let held = DataDir::hold(dir, &Clock::start()).unwrap();
    let folder = std::sync::Arc::new(disk::Directory(dir.to_owned()));
    let (store, engine) = open_on(folder, held, Clock::start(), OnEnd::Fine, DEAD_BYTES / 64).unwrap();
    fill(&store).await;
    let lease = store.grant(std::time::Duration::from_secs(600)).await.unwrap();
    store.commit(Commit::new().put_under("leased", "x", lease)).await.unwrap();
    store.commit(Commit::new().put("gone", "x").delete("key/0")).await.unwrap();
    store.commit(Commit::new().delete("gone")).await.unwrap();
    // Until it is smaller than before: the log is written anew beside the work, whenever that is done.
    let mut before = 0;
    while store.status().size_bytes >= before {
        before = store.status().size_bytes;
        store.commit(Commit::new().put("churn", vec![b'c'; 20_000])).await.unwrap();
        assert!(before < 1 << 30, "the log grows for ever");
    }
    store.commit(Commit::new().put("churn", "last")).await.unwrap();
    (store, engine)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_written_anew_is_small_and_holds_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (store, engine) = renewed(dir.path()).await;
    let status = store.status();
    engine.close().await.unwrap();
    assert!(!dir.path().join(log::NEW_FILE).exists());
    let (store, _engine) = open(options(dir.path())).unwrap();
    let again = store.status();
    assert_eq!((again.revision, again.keys), (status.revision, COMMITS as u64 - 1 + 2));
    assert_eq!(store.get("churn").await.unwrap().unwrap().value, "last");
    assert!(store.get("key/0").await.unwrap().is_none() && store.get("gone").await.unwrap().is_none());
    let leased = store.get("leased").await.unwrap().unwrap();
    let next = store.grant(std::time::Duration::from_secs(600)).await.unwrap();
    store.commit(Commit::new().put_under("next", "x", next)).await.unwrap();
    store.revoke(next).await.unwrap();
    assert_eq!(store.get("leased").await.unwrap(), Some(leased), "its lease is another one");
}
