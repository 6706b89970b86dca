//! The engine as a whole, over buckets in memory: what is written comes back, whatever fails on the way.

mod machine;
mod phrases;
mod streams;
mod strict;
mod wounded;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutPayload, memory::InMemory, path::Path};
use proptest::prelude::*;

use super::{
    faults::{Fault, Faulty},
    *,
};
use crate::time::Clock;

fn options(bucket: Arc<dyn object_store::ObjectStore>, key: u8) -> Options {
    let key = KeyItself::new(Kek::new(Secret::new([key; 32])), "test");
    Options { place: Place::of(bucket, "memory:///", 2), key: Arc::new(key), clock: Clock::start() }
}

fn orders() -> Domain {
    Domain::of_service("orders").unwrap()
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

fn named(name: &str) -> Component {
    Component::new(name, "test", "i-1")
}

const HOW: How = How { cut: Cut::Content, incompressible: false, digest: DigestKind::Blake3 };

/// Backs components up, in pieces that fit nothing.
async fn back_up(vault: &Vault, what: &[(&str, &[u8])]) -> Result<Id> {
    let writing = Writing::begin(vault, &orders(), vault.new_id()?).await?;
    let mut components = Vec::new();
    for (name, bytes) in what {
        let mut stream = writing.intake().stream(HOW);
        for piece in bytes.chunks(77_777) {
            stream.push(Bytes::copy_from_slice(piece)).await?;
        }
        let captured = stream.finish().await?;
        assert_eq!(captured.digest[..], blake3::hash(bytes).as_bytes()[..]);
        let mut component = named(name);
        captured.fill(&mut component);
        components.push(component);
    }
    let backup = vault.new_id()?;
    let draft = Draft { backup, components, consistent: true, cause: None, request_id: None };
    writing.commit(draft, || async { true }).await?;
    Ok(backup)
}

async fn restore(vault: &Vault, backup: Id, name: &str, offset: u64) -> Result<Vec<u8>> {
    let listed = vault.backup(&orders(), backup).await?;
    let reader = Reader::open(vault, &orders(), vault.new_id()?, Purpose::Restore).await?;
    let component = listed.manifest.component(name, None).ok_or_else(|| Problem::missing(name))?;
    let mut reading = reader.read(component, offset)?;
    let mut bytes = Vec::new();
    while let Some(piece) = reading.next().await? {
        bytes.extend_from_slice(&piece);
    }
    reader.close().await;
    Ok(bytes)
}

/// Every object of a bucket.
async fn objects(bucket: &InMemory) -> BTreeMap<String, Bytes> {
    use futures_util::TryStreamExt as _;
    let listed: Vec<_> = bucket.list(None).try_collect().await.unwrap();
    let mut found = BTreeMap::new();
    for meta in listed {
        let bytes = bucket.get(&meta.location).await.unwrap().bytes().await.unwrap();
        found.insert(meta.location.to_string(), bytes);
    }
    found
}

async fn put(bucket: &InMemory, name: &str, bytes: Vec<u8>) {
    bucket.put(&Path::from(name), PutPayload::from(bytes)).await.unwrap();
}

#[tokio::test]
async fn what_is_written_comes_back_from_any_offset() {
    let vault = Vault::open(options(Arc::new(InMemory::new()), 1)).await.unwrap();
    let large = [noise(1, 9 << 20), b"words ".repeat(900_000), noise(2, 100)].concat();
    let backup = back_up(&vault, &[("large", &large), ("empty", b""), ("small", b"x")]).await.unwrap();
    assert_eq!(restore(&vault, backup, "large", 0).await.unwrap(), large);
    assert_eq!(restore(&vault, backup, "small", 0).await.unwrap(), b"x");
    assert_eq!(restore(&vault, backup, "empty", 0).await.unwrap(), b"");
    for offset in [1, 4096, 5 << 20, large.len() - 1, large.len()] {
        assert_eq!(
            restore(&vault, backup, "large", offset as u64).await.unwrap(),
            large[offset..],
            "{offset}"
        );
    }
    assert!(restore(&vault, backup, "large", large.len() as u64 + 1).await.is_err());
    let verified =
        vault.verify(&orders(), None, Depth::Data, vault.new_id().unwrap(), |_, _| {}).await.unwrap();
    assert!(verified.is_sound(), "{verified:?}");
}

#[tokio::test]
async fn what_is_there_already_is_not_stored_again() {
    let bucket = Arc::new(InMemory::new());
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    let before = noise(3, 6 << 20);
    let first = back_up(&vault, &[("database", &before)]).await.unwrap();
    let mut after = before.clone();
    after.splice(1 << 20..1 << 20, b"inserted".iter().copied());
    let second = back_up(&vault, &[("database", &after)]).await.unwrap();
    let third = back_up(&vault, &[("database", &after)]).await.unwrap();
    let listed = |backup| {
        let vault = vault.clone();
        async move { vault.backup(&orders(), backup).await.unwrap().manifest.components.remove(0) }
    };
    assert_eq!(listed(first).await.new_bytes, before.len() as u64);
    assert!(listed(second).await.new_bytes < 400_000);
    assert_eq!(listed(third).await.new_bytes, 0);
    for (backup, bytes) in [(first, &before), (second, &after), (third, &after)] {
        assert_eq!(&restore(&vault, backup, "database", 0).await.unwrap(), bytes);
    }
    // Each names the one before.
    let hash = vault.backup(&orders(), second).await.unwrap().hash;
    assert_eq!(listed(third).await.previous, Some(hash));
    // Nothing is left of sessions and probes.
    assert!(
        objects(&bucket)
            .await
            .keys()
            .all(|name| !name.starts_with("sessions") && !name.starts_with("probes"))
    );
}

#[tokio::test]
async fn without_the_index_all_comes_back() {
    let bucket = Arc::new(InMemory::new());
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    let bytes = noise(4, 3 << 20);
    let backup = back_up(&vault, &[("database", &bytes)]).await.unwrap();
    for name in objects(&bucket).await.keys().filter(|name| name.starts_with("index/")) {
        bucket.delete(&Path::from(name.as_str())).await.unwrap();
    }
    assert_eq!(restore(&vault, backup, "database", 0).await.unwrap(), bytes);
    let again = back_up(&vault, &[("database", &bytes)]).await.unwrap();
    assert_eq!(vault.backup(&orders(), again).await.unwrap().manifest.components[0].new_bytes, 0);
}

/// Between its description and its first key it is nobody's but that of who began it.
#[tokio::test]
async fn of_two_that_begin_with_different_keys_one_goes_on() {
    let bucket = Arc::new(InMemory::new());
    Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    let begun: Vec<String> = objects(&bucket).await.into_keys().filter(|name| name != "vault.json").collect();
    for name in begun {
        bucket.delete(&name.as_str().into()).await.unwrap();
    }
    let late = Vault::open(options(Arc::clone(&bucket) as _, 2)).await;
    assert!(matches!(late, Err(Problem::WrongKey { .. })), "{late:?}");
    assert_eq!(objects(&bucket).await.into_keys().collect::<Vec<_>>(), ["vault.json"]);
    Vault::open(options(bucket, 1)).await.unwrap();
}

#[tokio::test]
async fn a_wrong_key_opens_nothing_and_writes_nothing() {
    let bucket = Arc::new(InMemory::new());
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    back_up(&vault, &[("database", b"secret")]).await.unwrap();
    let before = objects(&bucket).await;
    assert!(matches!(Vault::open(options(Arc::clone(&bucket) as _, 2)).await, Err(Problem::WrongKey { .. })));
    assert!(matches!(
        Vault::open_existing(options(Arc::clone(&bucket) as _, 2)).await,
        Err(Problem::WrongKey { .. })
    ));
    assert_eq!(objects(&bucket).await, before);
    assert!(!before.values().any(|bytes| bytes.windows(6).any(|six| six == b"secret")));
    let empty = Vault::open_existing(options(Arc::new(InMemory::new()), 1)).await;
    assert!(matches!(empty, Err(Problem::Missing { .. })), "{empty:?}");
}

/// At every operation on the bucket in turn, the process dies or the bucket fails: what was acknowledged before is whole,
/// what was acknowledged now is whole, and whatever else shows is whole too. And then it goes on.
#[tokio::test]
async fn whatever_fails_nothing_that_was_acknowledged_is_lost() {
    let old = noise(5, 60_000);
    let new = [&old[..40_000], &noise(6, 30_000)[..]].concat();
    for fault in [Fault::Fails, Fault::FailsAfter, Fault::Dies, Fault::DiesAfter] {
        let mut at = 0;
        loop {
            let bucket = Arc::new(InMemory::new());
            let faulty = Arc::new(Faulty::new(Arc::clone(&bucket)));
            let vault = Vault::open(options(Arc::clone(&faulty) as _, 1)).await.unwrap();
            let first = back_up(&vault, &[("database", &old)]).await.unwrap();
            faulty.set(Some((at, fault)));
            let second = back_up(&vault, &[("database", &new)]).await;
            let asked = faulty.asked();
            faulty.set(None);
            let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
            assert_eq!(restore(&vault, first, "database", 0).await.unwrap(), old, "{fault:?} at {at}");
            if let Ok(second) = &second {
                assert_eq!(restore(&vault, *second, "database", 0).await.unwrap(), new, "{fault:?} at {at}");
            }
            for (id, listed) in vault.backups(&orders()).await.unwrap() {
                assert_eq!(listed.unwrap().state, State::Complete);
                let expected = if id == first { &old } else { &new };
                assert_eq!(&restore(&vault, id, "database", 0).await.unwrap(), expected, "{fault:?} at {at}");
            }
            let third = back_up(&vault, &[("database", &new)]).await.unwrap();
            assert_eq!(restore(&vault, third, "database", 0).await.unwrap(), new, "{fault:?} at {at}");
            let verified =
                vault.verify(&orders(), None, Depth::Data, vault.new_id().unwrap(), |_, _| {}).await.unwrap();
            assert!(verified.is_sound(), "{fault:?} at {at}: {verified:?}");
            if at >= asked {
                assert!(second.is_ok(), "nothing failed: {second:?}");
                break;
            }
            at += 1;
        }
        assert!(at > 15, "{at} operations are fewer than a backup has");
    }
}

/// A small vault of two components in one pack.
async fn small() -> (Arc<InMemory>, Id) {
    let bucket = Arc::new(InMemory::new());
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    let backup = back_up(&vault, &[("one", b"the first component"), ("two", b"another")]).await.unwrap();
    vault.decide(&orders(), backup, Decision::Verified, "test", "").await.unwrap();
    (bucket, backup)
}

#[tokio::test]
async fn every_single_flipped_bit_is_detected_and_what_it_does_not_touch_comes_back() {
    let (bucket, backup) = small().await;
    let (mut looked_at, mut other_came_back) = (0, 0);
    for (name, good) in objects(&bucket).await {
        for bit in 0..good.len() * 8 {
            let mut flipped = good.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            put(&bucket, &name, flipped).await;
            let detected = async {
                let vault = Vault::open_existing(options(Arc::clone(&bucket) as _, 1)).await?;
                let id = vault.new_id()?;
                let verified = vault.verify(&orders(), None, Depth::Data, id, |_, _| {}).await?;
                Ok::<_, Problem>(!verified.is_sound())
            };
            assert!(detected.await.unwrap_or(true), "bit {bit} of {name} was not seen");
            looked_at += 1;
            if name.starts_with("packs/")
                && let Ok(vault) = Vault::open_existing(options(Arc::clone(&bucket) as _, 1)).await
            {
                let (one, two) =
                    (restore(&vault, backup, "one", 0).await, restore(&vault, backup, "two", 0).await);
                assert!(one.is_err() || one.as_ref().is_ok_and(|bytes| bytes == b"the first component"));
                assert!(two.is_err() || two.as_ref().is_ok_and(|bytes| bytes == b"another"));
                other_came_back += usize::from(one.is_ok() != two.is_ok());
            }
            // What is beside the bytes of a backup keeps nobody from them.
            if ["notes/", "index/"].iter().any(|kind| name.starts_with(kind)) {
                let vault = Vault::open_existing(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
                let one = restore(&vault, backup, "one", 0).await;
                assert!(one.is_ok_and(|bytes| bytes == b"the first component"), "bit {bit} of {name}");
            }
        }
        put(&bucket, &name, good.to_vec()).await;
    }
    assert!(
        looked_at > 8000 && other_came_back > 200,
        "{looked_at} bits, {other_came_back} times the other one"
    );
}

#[tokio::test]
async fn what_is_missing_or_exchanged_is_detected() {
    let (bucket, _) = small().await;
    let all = objects(&bucket).await;
    let (other_bucket, _) = small().await;
    let sound = async || {
        let vault = Vault::open_existing(options(Arc::clone(&bucket) as _, 1)).await?;
        Ok::<_, Problem>(
            vault.verify(&orders(), None, Depth::Presence, vault.new_id()?, |_, _| {}).await?.is_sound(),
        )
    };
    assert!(sound().await.unwrap());
    for (name, good) in &all {
        bucket.delete(&Path::from(name.as_str())).await.unwrap();
        // An index is rebuilt from packs; a manifest or a note that is not there was never there, to who has the bucket alone.
        let unseen = ["index/", "manifests/", "notes/"].iter().any(|kind| name.starts_with(kind));
        assert_eq!(sound().await.unwrap_or(false), unseen, "{name} was taken away");
        put(&bucket, name, good.to_vec()).await;
    }
    // What another vault has in its place does not open here, with the same key.
    for (name, theirs) in objects(&other_bucket).await {
        let kind = name.split('/').next().unwrap();
        let Some((ours, good)) = all.iter().find(|(ours, _)| ours.starts_with(kind)) else { continue };
        put(&bucket, ours, theirs.to_vec()).await;
        let vault = Vault::open_existing(options(Arc::clone(&bucket) as _, 1)).await;
        let sound = match vault {
            Ok(vault) => vault
                .verify(&orders(), None, Depth::Data, vault.new_id().unwrap(), |_, _| {})
                .await
                .is_ok_and(|verified| verified.is_sound()),
            Err(_) => false,
        };
        assert!(!sound, "{ours} was exchanged");
        put(&bucket, ours, good.to_vec()).await;
    }
    // A manifest under the id of another backup.
    let (name, good) = all.iter().find(|(name, _)| name.starts_with("manifests/")).unwrap();
    let other = format!("manifests/orders/{}", Id::from_bits(77));
    assert_ne!(name, &other);
    put(&bucket, &other, good.to_vec()).await;
    assert!(!sound().await.unwrap());
}

#[tokio::test]
async fn what_is_condemned_is_not_referred_to() {
    let bucket = Arc::new(InMemory::new());
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    let bytes = noise(8, 400_000);
    let first = back_up(&vault, &[("database", &bytes)]).await.unwrap();
    let packs: Vec<PackName> = objects(&bucket)
        .await
        .keys()
        .filter(|name| name.starts_with("packs/"))
        .filter_map(|name| PackName::parse(name.rsplit('/').next()?))
        .collect();
    let condemn = async |number: u32| {
        let list = condemned::Condemned {
            packs: packs.iter().flat_map(|name| name.0).collect(),
            backups: Vec::new(),
        };
        let key = seal::ObjectKey::fresh(
            vault.vault_keys().epoch(),
            seal::Kind::Condemned,
            vault.new_id().unwrap(),
            number,
            vault.random(),
        );
        let sealed = seal::seal_single(&key.unwrap(), &minicbor::to_vec(&list).unwrap()).unwrap();
        put(&bucket, &format!("gc/{number:010}/condemned"), sealed).await;
    };
    condemn(1).await;
    // All of it is stored again, in a pack of another name; and the first one can be read for as long as it is there.
    let second = back_up(&vault, &[("database", &bytes)]).await.unwrap();
    let component = vault.backup(&orders(), second).await.unwrap().manifest.components.remove(0);
    assert_eq!(component.new_bytes, bytes.len() as u64);
    assert_eq!(restore(&vault, first, "database", 0).await.unwrap(), bytes);
    bucket.delete(&Path::from("gc/0000000001/condemned")).await.unwrap();

    // Condemned after the index was read: found before the commit.
    let writing = Writing::begin(&vault, &orders(), vault.new_id().unwrap()).await.unwrap();
    let mut stream = writing.intake().stream(HOW);
    stream.push(Bytes::from(bytes.clone())).await.unwrap();
    let mut component = named("database");
    stream.finish().await.unwrap().fill(&mut component);
    condemn(2).await;
    for name in objects(&bucket).await.keys().filter(|name| name.starts_with("packs/")) {
        if !packs.iter().any(|pack| name.ends_with(&pack.to_string())) {
            bucket.delete(&Path::from(name.as_str())).await.unwrap();
        }
    }
    let draft = Draft {
        backup: vault.new_id().unwrap(),
        components: vec![component],
        consistent: true,
        cause: None,
        request_id: None,
    };
    let committed = writing.commit(draft, || async { true }).await;
    assert!(matches!(committed, Err(Problem::Condemned { .. })), "{committed:?}");
}

#[tokio::test]
async fn a_run_that_was_taken_over_is_looked_at_again() {
    let bucket = Arc::new(InMemory::new());
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    let writing = Writing::begin(&vault, &orders(), vault.new_id().unwrap()).await.unwrap();
    let backup = vault.new_id().unwrap();
    let draft = Draft { backup, components: Vec::new(), consistent: true, cause: None, request_id: None };
    writing.commit(draft, || async { false }).await.unwrap();
    let listed = vault.backup(&orders(), backup).await.unwrap();
    assert!(listed.last(Decision::Checked).is_some());
    assert_eq!(listed.state, State::Complete);
}

#[tokio::test]
async fn two_writers_at_once_both_come_back() {
    let vault = Vault::open(options(Arc::new(InMemory::new()), 1)).await.unwrap();
    let (one, two) = (noise(9, 2 << 20), [noise(9, 1 << 20), noise(10, 1 << 20)].concat());
    let parts = ([("database", &one[..])], [("database", &two[..])]);
    let (first, second) = tokio::join!(back_up(&vault, &parts.0), back_up(&vault, &parts.1));
    assert_eq!(restore(&vault, first.unwrap(), "database", 0).await.unwrap(), one);
    assert_eq!(restore(&vault, second.unwrap(), "database", 0).await.unwrap(), two);
}

#[tokio::test]
async fn a_deleted_backup_is_shown_as_such_and_can_come_back() {
    let (bucket, backup) = small().await;
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    let state = async || vault.backup(&orders(), backup).await.unwrap().state;
    for (decision, expected) in [
        (Decision::Delete, State::Deleted),
        (Decision::Undelete, State::Complete),
        (Decision::Delete, State::Deleted),
    ] {
        vault.decide(&orders(), backup, decision, "alice", "test").await.unwrap();
        assert_eq!(state().await, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Any bytes, cut any way, in pieces of any size.
    #[test]
    fn any_component_comes_back(
        seed: u64,
        length in 0_usize..3_000_000,
        repeat in 1_usize..4,
        pages in any::<bool>(),
        incompressible in any::<bool>(),
        piece in 1_usize..2_000_000,
        offset in 0_usize..1000,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let vault = Vault::open(options(Arc::new(InMemory::new()), 1)).await.unwrap();
            let bytes = noise(seed, length / repeat).repeat(repeat);
            let writing = Writing::begin(&vault, &orders(), vault.new_id().unwrap()).await.unwrap();
            let cut = if pages { Cut::Pages(4096) } else { Cut::Content };
            let mut stream = writing.intake().stream(How { cut, incompressible, digest: DigestKind::Sha256 });
            for piece in bytes.chunks(piece) {
                stream.push(Bytes::copy_from_slice(piece)).await.unwrap();
            }
            let mut component = named("database");
            let captured = stream.finish().await.unwrap();
            assert_eq!(captured.bytes, bytes.len() as u64);
            captured.fill(&mut component);
            let backup = vault.new_id().unwrap();
            let draft = Draft { backup, components: vec![component], consistent: true, cause: None, request_id: None };
            writing.commit(draft, || async { true }).await.unwrap();
            assert_eq!(restore(&vault, backup, "database", 0).await.unwrap(), bytes);
            let offset = bytes.len() * offset / 1000;
            assert_eq!(restore(&vault, backup, "database", offset as u64).await.unwrap(), bytes[offset..]);
        });
    }
}
