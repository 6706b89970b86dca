//! What a strict reader found: each of these lost data, or hung, or held all memory once.

use std::time::Duration;

use super::*;

/// A component with lists of lists: pages of noise, each another one.
async fn paged(vault: &Vault, bytes: &[u8], page: u32) -> Id {
    let writing = Writing::begin(vault, &orders(), vault.new_id().unwrap()).await.unwrap();
    let mut stream = writing.intake().stream(How { cut: Cut::Pages(page), ..HOW });
    stream.push(Bytes::copy_from_slice(bytes)).await.unwrap();
    let mut component = named("database");
    stream.finish().await.unwrap().fill(&mut component);
    let backup = vault.new_id().unwrap();
    let draft =
        Draft { backup, components: vec![component], consistent: true, cause: None, request_id: None };
    writing.commit(draft, || async { true }).await.unwrap();
    backup
}

#[tokio::test]
async fn whoever_gives_up_waiting_for_the_next_bytes_loses_none_of_them() {
    let bucket = Arc::new(InMemory::new());
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    let bytes = noise(20, 12 << 20);
    let backup = paged(&vault, &bytes, 4096).await;
    let listed = vault.backup(&orders(), backup).await.unwrap();
    assert!(listed.manifest.components[0].levels > 0);
    let reader = Reader::open(&vault, &orders(), vault.new_id().unwrap(), Purpose::Restore).await.unwrap();
    let mut reading = reader.read(&listed.manifest.components[0], 0).unwrap();
    let (mut read, mut given_up) = (Vec::new(), 0);
    loop {
        tokio::select! {
            biased;
            next = reading.next() => match next.unwrap() {
                Some(piece) => read.extend_from_slice(&piece),
                None => break,
            },
            () = tokio::task::yield_now() => given_up += 1,
        }
    }
    assert!(given_up > 3);
    assert_eq!(read.len(), bytes.len());
    assert!(read == bytes);
}

#[tokio::test]
async fn what_repeats_itself_is_read_a_little_at_a_time() {
    let vault = Vault::open(options(Arc::new(InMemory::new()), 1)).await.unwrap();
    let bytes = vec![0; 64 << 20];
    let backup = paged(&vault, &bytes, 8192).await;
    let listed = vault.backup(&orders(), backup).await.unwrap();
    let reader = Reader::open(&vault, &orders(), vault.new_id().unwrap(), Purpose::Restore).await.unwrap();
    let mut reading = reader.read(&listed.manifest.components[0], 0).unwrap();
    let mut length = reading.next().await.unwrap().unwrap().len();
    assert!(reading.listed() <= 48 << 20, "{} bytes were listed at once", reading.listed());
    while let Some(piece) = reading.next().await.unwrap() {
        length += piece.len();
    }
    assert_eq!(length, bytes.len());
}

/// Each has sent less than the next piece: with all the room taken, nobody may wait for another.
#[tokio::test]
async fn many_components_at_once_do_not_wait_for_each_other() {
    let vault = Vault::open(options(Arc::new(InMemory::new()), 1)).await.unwrap();
    let writing = Writing::begin(&vault, &orders(), vault.new_id().unwrap()).await.unwrap();
    let each = (0..16_u64).map(|seed| {
        let mut stream = writing.intake().stream(HOW);
        async move {
            let bytes = Bytes::from(noise(seed, 3 << 20));
            stream.push(bytes.slice(..2 << 20)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
            stream.push(bytes.slice(2 << 20..)).await.unwrap();
            stream.finish().await.unwrap()
        }
    });
    let all = futures_util::future::join_all(each);
    assert_eq!(tokio::time::timeout(Duration::from_secs(120), all).await.expect("no deadlock").len(), 16);
}

#[tokio::test]
async fn pages_of_no_size_are_pages_of_the_least_size() {
    let vault = Vault::open(options(Arc::new(InMemory::new()), 1)).await.unwrap();
    let bytes = noise(21, 3 << 20);
    for page in [0, 1, u32::MAX] {
        let backup = paged(&vault, &bytes, page).await;
        assert!(restore(&vault, backup, "database", 0).await.unwrap() == bytes);
    }
}

#[tokio::test]
async fn a_deleted_backup_breaks_no_chain() {
    let vault = Vault::open(options(Arc::new(InMemory::new()), 1)).await.unwrap();
    let first = back_up(&vault, &[("database", b"one")]).await.unwrap();
    back_up(&vault, &[("database", b"two")]).await.unwrap();
    vault.decide(&orders(), first, Decision::Delete, "test", "").await.unwrap();
    let verified =
        vault.verify(&orders(), None, Depth::Data, vault.new_id().unwrap(), |_, _| {}).await.unwrap();
    assert!(verified.is_sound(), "{verified:?}");
}

/// A list of pruning as a pruner writes it.
pub(super) async fn condemn(
    vault: &Vault,
    bucket: &InMemory,
    number: u32,
    packs: &[PackName],
    backups: &[Id],
) {
    let list = condemned::Condemned {
        packs: packs.iter().flat_map(|name| name.0).collect(),
        backups: backups.iter().flat_map(|id| id.to_bits().to_be_bytes()).collect(),
    };
    let operation = vault.new_id().unwrap();
    let (keys, kind) = (vault.vault_keys().epoch(), seal::Kind::Condemned);
    let key = seal::ObjectKey::fresh(keys, kind, operation, number, vault.random()).unwrap();
    let sealed = seal::seal_single(&key, &minicbor::to_vec(&list).unwrap()).unwrap();
    put(bucket, &format!("gc/{number:010}/condemned"), sealed).await;
}

#[tokio::test]
async fn a_backup_that_is_about_to_be_swept_does_not_come_back() {
    let (bucket, backup) = small().await;
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    vault.decide(&orders(), backup, Decision::Delete, "test", "").await.unwrap();
    // None of its packs goes: its manifest does.
    condemn(&vault, &bucket, 1, &[], &[backup]).await;
    let undeleted = vault.undelete(&orders(), backup, "test").await;
    assert!(matches!(undeleted, Err(Problem::Condemned { .. })), "{undeleted:?}");
    assert_eq!(vault.backup(&orders(), backup).await.unwrap().state, State::Deleted);
    bucket.delete(&Path::from("gc/0000000001/condemned")).await.unwrap();
    vault.undelete(&orders(), backup, "test").await.unwrap();
    assert_eq!(vault.backup(&orders(), backup).await.unwrap().state, State::Complete);
    assert!(!objects(&bucket).await.keys().any(|name| name.starts_with("sessions")));
}

#[tokio::test]
async fn a_list_of_pruning_under_another_number_is_refused() {
    let (bucket, backup) = small().await;
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    condemn(&vault, &bucket, 1, &[], &[backup]).await;
    let list = objects(&bucket).await["gc/0000000001/condemned"].to_vec();
    put(&bucket, "gc/0000000002/condemned", list).await;
    let writing = Writing::begin(&vault, &orders(), vault.new_id().unwrap()).await;
    assert!(matches!(writing, Err(Problem::Damaged { .. })), "{writing:?}");
}

/// The answer to the manifest was lost: it may arrive later, and until it would be late its session has to stand.
#[tokio::test]
async fn a_session_stands_while_the_fate_of_its_manifest_is_not_known() {
    let mut seen = 0;
    for at in 0..40 {
        let bucket = Arc::new(InMemory::new());
        let faulty = Arc::new(Faulty::new(Arc::clone(&bucket)));
        let vault = Vault::open(options(Arc::clone(&faulty) as _, 1)).await.unwrap();
        faulty.set(Some((at, Fault::FailsAfter)));
        let failed = back_up(&vault, &[("database", b"one")]).await;
        faulty.set(None);
        let all = objects(&bucket).await;
        if failed.is_err() && all.keys().any(|name| name.starts_with("manifests/")) {
            assert!(all.keys().any(|name| name.starts_with("sessions/")), "operation {at}");
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[tokio::test]
async fn a_manifest_that_nobody_could_read_is_not_written() {
    let bucket = Arc::new(InMemory::new());
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    let failed = back_up(&vault, &[("../database", b"one")]).await;
    assert!(matches!(failed, Err(Problem::Internal(_))), "{failed:?}");
    assert!(!objects(&bucket).await.keys().any(|name| name.starts_with("manifests/")));
}

/// A pack that is only a header and an end, named by what it is.
#[tokio::test]
async fn an_object_that_is_shorter_than_any_pack_is_told() {
    let (bucket, _) = small().await;
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    let keys = vault.keys(&orders()).await.unwrap();
    let all = objects(&bucket).await;
    let (_, pack) = all.iter().find(|(name, _)| name.starts_with("packs/")).unwrap();
    for more in [&[1, 0, 0][..], &[]] {
        let mut short = pack[..seal::HEADER].to_vec();
        short.extend_from_slice(more);
        short.extend_from_slice(b"SWVPEND1");
        let name = PackName(*blake3::hash(&short).as_bytes());
        let read = pack::read_all(&keys, name, "it", &short, |_, _| Ok(()));
        assert!(matches!(read, Err(Problem::Damaged { .. })), "{read:?}");
    }
}

#[tokio::test]
async fn a_backup_that_its_writer_found_wanting_is_not_taken_up_as_done() {
    let (bucket, backup) = small().await;
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    assert!(vault.settle(&orders(), backup).await.unwrap().is_some());
    vault.decide(&orders(), backup, Decision::Delete, "its writer", "a pack was gone").await.unwrap();
    assert!(vault.settle(&orders(), backup).await.unwrap().is_none());
}

#[tokio::test]
async fn a_late_backup_that_nobody_has_looked_at_is_not_sound() {
    let (bucket, backup) = small().await;
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    let mut manifest = vault.backup(&orders(), backup).await.unwrap().manifest;
    let late = vault.new_id().unwrap();
    manifest.backup = late.to_bits().to_be_bytes();
    manifest.last_renewal = 1;
    let keys = vault.keys(&orders()).await.unwrap();
    let kind = seal::Kind::Manifest;
    let key = seal::ObjectKey::fresh(keys.epoch(), kind, late, 0, vault.random()).unwrap();
    let sealed = seal::seal_single(&key, &manifest.encode().unwrap()).unwrap();
    put(&bucket, &format!("manifests/orders/{late}"), sealed).await;
    assert_eq!(vault.backup(&orders(), late).await.unwrap().state, State::Late);
    let verify = async || {
        let id = vault.new_id().unwrap();
        vault.verify(&orders(), Some(late), Depth::Data, id, |_, _| {}).await.unwrap()
    };
    assert!(!verify().await.is_sound());
    // Nothing of it is damaged, and nobody says so.
    let id = vault.new_id().unwrap();
    vault.look(&orders(), late, Depth::Data, id, "test", |_, _| {}).await.unwrap();
    assert!(vault.backup(&orders(), late).await.unwrap().looked().is_none());
    vault.decide(&orders(), late, Decision::Checked, "test", "").await.unwrap();
    assert!(verify().await.is_sound());
}
