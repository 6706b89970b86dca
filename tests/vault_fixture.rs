//! The frozen vault of format 1: every build restores it, byte for byte. It is never made anew; how it was made is `make`
//! below, and a vault that is made like it now stands the same check.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test"
)]

#[path = "vault_support/mod.rs"]
mod vault_support;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use seaworthy::vault::{
    Cut, Decision, Depth, Domain, Id, KeyItself, Place, Problem, State, Status, Vault, Writing,
};
use vault_support::{commit, component, named, noise, options, restore_of};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vault-1")
}

/// The vault is copied: reading it leaves sessions for a while. A copy has times of its own, far from those of the first.
fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copied(&entry.path(), &place);
        } else {
            fs::copy(entry.path(), &place).unwrap();
            let file = fs::File::options().append(true).open(place).unwrap();
            file.set_modified(SystemTime::now() + Duration::from_hours(24)).unwrap();
        }
    }
}

fn service(name: &str) -> Domain {
    Domain::of_service(name).unwrap()
}

#[tokio::test]
async fn every_component_of_format_1_comes_back() {
    check(&fixture()).await;
}

#[tokio::test]
async fn every_component_that_this_build_writes_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("made");
    make(&folder).await;
    check(&folder).await;
}

/// Opens a copy of the vault in a folder with the key beside it, and compares what it has with what is expected of it there.
async fn check(from: &Path) {
    let dir = tempfile::tempdir().unwrap();
    copied(&from.join("vault"), dir.path());
    let key = Arc::new(KeyItself::from_file(&from.join("key")).unwrap());
    let vault = Vault::open_existing(options(Place::folder(dir.path()).unwrap(), key)).await.unwrap();
    let names: Vec<String> =
        vault.services().await.unwrap().iter().map(|name| name.as_str().to_owned()).collect();
    assert_eq!(names, ["invoices", "orders"]);
    // A line: service, backup, its state, component, its bytes, BLAKE3 of them; a component that failed has none.
    let expected = fs::read_to_string(from.join("expected")).unwrap();
    let mut seen = BTreeSet::new();
    for line in expected.lines() {
        let [of, backup, state, name, length, digest] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line:?}");
        };
        let (of, backup) = (service(of), Id::parse(backup).unwrap());
        let listed = vault.backup(&of, backup).await.unwrap();
        assert_eq!(format!("{:?}", listed.state), state, "{line}");
        seen.insert((of.clone(), backup));
        let restored = restore_of(&vault, &of, backup, name).await;
        match digest {
            "failed" => assert!(matches!(restored, Err(Problem::Damaged { .. })), "{line}"),
            digest => {
                let bytes = restored.unwrap();
                assert_eq!(bytes.len().to_string(), length, "{line}");
                assert_eq!(blake3::hash(&bytes).to_hex().as_str(), digest, "{line}");
            }
        }
    }
    for name in ["orders", "invoices"] {
        let of = service(name);
        for (backup, listed) in vault.backups(&of).await.unwrap() {
            listed.unwrap();
            assert!(seen.remove(&(of.clone(), backup)), "{backup} is not expected");
        }
        let id = vault.new_id().unwrap();
        let verified = vault.verify(&of, None, Depth::Data, id, |_, _| {}).await.unwrap();
        assert!(verified.is_sound(), "{verified:?}");
    }
    assert!(seen.is_empty(), "{seen:?}");
}

/// 6,000 pages of 4 KiB, alike in threes: enough for lists of chunks, and next to nothing when
/// compressed.
fn pages(changed: usize) -> Vec<u8> {
    let mut bytes = vec![0; 6000 * 4096];
    for (number, page) in bytes.chunks_mut(4096).enumerate() {
        let value = if number == changed { usize::MAX } else { number / 3 };
        page[..8].copy_from_slice(&(value as u64).to_le_bytes());
    }
    bytes
}

/// Makes a vault with its key and what is expected of it, in a folder that is not there yet.
async fn make(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let kek = seaworthy::vault::Kek::new(seaworthy::vault::SystemRandom::new().secret().unwrap());
    fs::write(
        folder.join("key"),
        format!("# of the frozen vault: it protects nothing\n{}\n", *kek.to_text()),
    )
    .unwrap();
    let key = Arc::new(KeyItself::from_file(&folder.join("key")).unwrap());
    let place = Place::folder(&folder.join("vault")).unwrap();
    let vault = Vault::open(options(place, key)).await.unwrap();
    let (orders, invoices) = (service("orders"), service("invoices"));
    let log = [noise(1, 60_000), b"words ".repeat(40_000)].concat();
    let mut log_after = log.clone();
    log_after.splice(30_000..30_000, *b"inserted");

    let writing = Writing::begin(&vault, &orders, vault.new_id().unwrap()).await.unwrap();
    let parts = vec![
        component(&writing, "database", Cut::Pages(4096), &pages(0)).await.unwrap(),
        component(&writing, "empty", Cut::Content, b"").await.unwrap(),
        component(&writing, "log", Cut::Content, &log).await.unwrap(),
    ];
    let first = commit(&vault, writing, parts, None).await.unwrap();

    let writing = Writing::begin(&vault, &orders, vault.new_id().unwrap()).await.unwrap();
    let cause = "the disk of the instance failed";
    let parts = vec![
        component(&writing, "database", Cut::Pages(4096), &pages(17)).await.unwrap(),
        named("log", Some(cause)),
    ];
    let second = commit(&vault, writing, parts, Some(format!("log is missing: {cause}"))).await.unwrap();

    let writing = Writing::begin(&vault, &invoices, vault.new_id().unwrap()).await.unwrap();
    let parts = vec![component(&writing, "log", Cut::Content, &log_after).await.unwrap()];
    let third = commit(&vault, writing, parts, None).await.unwrap();
    vault.decide(&orders, first, Decision::Verified, "maker", "every byte").await.unwrap();
    vault.decide(&invoices, third, Decision::Delete, "maker", "an example").await.unwrap();

    let mut expected = String::new();
    for (of, backup) in [(&orders, first), (&orders, second), (&invoices, third)] {
        let listed = vault.backup(of, backup).await.unwrap();
        for part in &listed.manifest.components {
            let (state, name, length) = (listed.state, &part.name, part.bytes);
            let digest = match part.status {
                Status::Failed => "failed".to_owned(),
                Status::Complete => {
                    let bytes = restore_of(&vault, of, backup, name).await.unwrap();
                    blake3::hash(&bytes).to_hex().to_string()
                }
            };
            expected.push_str(&format!("{of} {backup} {state:?} {name} {length} {digest}\n"));
        }
        let lists = listed.manifest.components.iter().any(|part| part.levels > 0);
        assert!(lists || backup == third);
        assert_eq!(listed.state == State::Deleted, backup == third);
    }
    fs::write(folder.join("expected"), expected).unwrap();
}
