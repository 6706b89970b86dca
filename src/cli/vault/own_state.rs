//! `seaworthy vault restore --control-plane`: the control plane's own state, into a data folder that has no store.
//!
//! The store is made beside in the folder, and moved into its place when it is whole: whatever ends this early leaves a folder
//! without a store. Only between the two moves at the end it leaves the mark of one alone, which is refused as a store that was lost.

use std::path::Path;

use bytes::Bytes;
use serde_json::json;

use super::{
    Where,
    meter::{Meter, rate},
    pick, restore,
};
use crate::{
    backup::{OwnEntry, read_own_state},
    cli::{Context, exit::Exit, failure::Failure, output::note},
    error::{Chain, Error},
    store::{
        Commit, Store,
        commit::{OPERATIONS, VALUE_BYTES},
        embedded::{self, Held, Options},
    },
    text::{self, counted},
    time::Clock,
    vault::OWN_STATE,
};

/// The component that has the store.
const COMPONENT: &str = "store";

/// Restores it.
pub(super) async fn run(dir: &Path, backup: &str, at: Where, context: &mut Context) -> Result<Exit, Failure> {
    if embedded::is_in(dir) {
        return Err(has_one(dir));
    }
    let variables = at.variables(dir);
    let vault = at.open(context).await?;
    let domain = pick::service(&vault, OWN_STATE).await?;
    let found = pick::backup(&vault, &domain, backup).await?;
    let component = pick::component(&found.manifest, COMPONENT, None)?;
    let meter = Meter::new("the control plane's own state".to_owned(), context)?;
    let mut lines = Vec::new();
    let take = async |piece: Bytes| {
        lines.extend_from_slice(&piece);
        Ok(())
    };
    restore::read(&vault, &domain, component, &meter, take).await?;
    let size = lines.len() as u64;
    let entries = read_own_state(&lines).map_err(|error| cannot(dir, &error))?;
    drop(lines);
    let keys = entries.len();
    make(dir, entries, context.clock).await?;
    let took = meter.took();
    drop(meter);
    let id = found.manifest.id();
    if context.output.is_json() {
        let document = json!({
            "data_dir": dir, "backup": id.to_string(), "keys": keys, "bytes": size, "seconds": took.as_secs_f64(),
        });
        context.output.document(&document)?;
    } else {
        context.output.line(format_args!(
            "restored the control plane's own state from backup {id} to {}: {}, {} in {:.1}s, {}, every byte verified",
            dir.display(),
            counted(keys as u64, "key"),
            text::bytes(size),
            took.as_secs_f64(),
            rate(size, took),
        ))?;
    }
    note(format_args!("next: {variables}seaworthy serve --data-dir '{}'", dir.display()));
    Ok(Exit::Done)
}

/// Makes a store with these keys in a folder that has none.
async fn make(dir: &Path, entries: Vec<OwnEntry>, clock: Clock) -> Result<(), Failure> {
    let held = embedded::hold(Options::new(dir, clock)).map_err(|error| cannot(dir, &error))?;
    match fill(dir, &held, entries, clock).await {
        Ok(beside) => held.take_in(beside.path()).map_err(|cause| {
            Failure::Internal(format!("cannot move the store into {}: {cause}", dir.display()))
        }),
        Err(failure) => {
            held.undo();
            Err(failure)
        }
    }
}

/// Makes the store beside. The folder that it is in goes when it is dropped.
async fn fill(
    dir: &Path,
    // Nobody else has the folder meanwhile.
    _held: &Held,
    entries: Vec<OwnEntry>,
    clock: Clock,
) -> Result<tempfile::TempDir, Failure> {
    // Looked at again, now that nobody else can make one.
    if embedded::is_in(dir) {
        return Err(has_one(dir));
    }
    let beside = tempfile::Builder::new().prefix(".restore-").tempdir_in(dir);
    let beside =
        beside.map_err(|cause| Failure::Usage(format!("cannot write to {}: {cause}", dir.display())))?;
    let (store, engine) =
        embedded::open(Options::new(beside.path(), clock)).map_err(|error| cannot(dir, &error))?;
    let expected = entries.len() as u64;
    let put = put(&store, entries).await;
    let keys = store.status().keys;
    drop(store);
    let closed = engine.close().await;
    put.and(closed).map_err(|error| cannot(dir, &error))?;
    if keys != expected {
        return Err(Failure::Internal(format!("the store has {keys} keys of {expected}")));
    }
    Ok(beside)
}

/// Puts all keys, in as few commits as a store takes.
async fn put(store: &Store, entries: Vec<OwnEntry>) -> Result<(), Error> {
    let (mut commit, mut count, mut size) = (Commit::new(), 0, 0);
    for OwnEntry { key, value } in entries {
        let more = key.len() + value.len();
        if count == OPERATIONS || (count > 0 && size + more > VALUE_BYTES) {
            store.commit(commit).await?;
            (commit, count, size) = (Commit::new(), 0, 0);
        }
        (count, size) = (count + 1, size + more);
        commit = commit.put(key, value);
    }
    if count > 0 {
        store.commit(commit).await?;
    }
    Ok(())
}

fn has_one(dir: &Path) -> Failure {
    let shown = dir.display();
    Failure::Usage(format!(
        "{shown} has a store already, and it is not overwritten: move it aside, or name another folder"
    ))
}

fn cannot(dir: &Path, error: &Error) -> Failure {
    let cause =
        format!("cannot restore the control plane's own state into {}: {}", dir.display(), Chain(error));
    Failure::Vault { exit: Exit::Failed, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: usize, size: usize) -> Vec<OwnEntry> {
        let one =
            |number: usize| OwnEntry { key: format!("k/{number:06}"), value: Bytes::from(vec![7; size]) };
        (0..count).map(one).collect()
    }

    #[tokio::test]
    async fn many_and_large_keys_become_a_store_beside_what_is_there() {
        let home = tempfile::tempdir().unwrap();
        let (dir, clock) = (home.path().join("data"), Clock::start());
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("vault.key"), "x").unwrap();
        let all = [
            entries(2500, 10),
            vec![OwnEntry { key: "large".into(), value: Bytes::from(vec![1; VALUE_BYTES - 5]) }],
        ];
        make(&dir, all.concat(), clock).await.unwrap();
        let (store, engine) = embedded::open(Options::new(&dir, clock)).unwrap();
        assert_eq!(store.status().keys, 2501);
        assert_eq!(store.get("k/002499").await.unwrap().unwrap().value, vec![7; 10]);
        engine.close().await.unwrap();
        let names: Vec<String> = std::fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with(".restore"))
            .collect();
        assert_eq!(names, [""; 0]);
        let refused = make(&dir, entries(1, 1), clock).await.unwrap_err();
        assert_eq!(refused.exit(), Exit::Usage);
    }

    #[tokio::test]
    async fn what_cannot_be_leaves_no_folder() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("data");
        let long = OwnEntry { key: "k".repeat(1000), value: Bytes::new() };
        assert!(make(&dir, vec![long], Clock::start()).await.is_err());
        assert!(!dir.exists());
    }
}
