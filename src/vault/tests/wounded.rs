//! A vault that something has hurt: what is whole comes back all the same, and what is not is told and not relied on again.

use super::*;

async fn flip(bucket: &InMemory, name: &str, bit: usize) {
    let mut bytes = objects(bucket).await[name].to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    put(bucket, name, bytes).await;
}

async fn verified(vault: &Vault, backup: Option<Id>) -> Verified {
    vault.verify(&orders(), backup, Depth::Data, vault.new_id().unwrap(), |_, _| {}).await.unwrap()
}

#[tokio::test]
async fn a_damaged_note_is_told_and_keeps_nobody_from_its_backup() {
    let (bucket, backup) = small().await;
    let notes: Vec<String> =
        objects(&bucket).await.into_keys().filter(|name| name.starts_with("notes/")).collect();
    assert_eq!(notes.len(), 2, "that it was checked, and that it was verified");
    flip(&bucket, &notes[1], 900).await;
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    assert_eq!(restore(&vault, backup, "one", 0).await.unwrap(), b"the first component");
    let listed = vault.backup(&orders(), backup).await.unwrap();
    assert_eq!(listed.state, State::Complete);
    assert!(!listed.is_verified(Depth::Presence));
    assert!(matches!(listed.looked(), Some(Looked::Unclear(note)) if note.object == notes[1]), "{listed:?}");

    // It is told by whoever verifies all, and takes nothing from the one backup.
    let all = verified(&vault, None).await;
    assert!(!all.is_sound() && all.broken.is_empty() && all.findings[0].object == notes[1], "{all:?}");
    let id = vault.new_id().unwrap();
    let one = vault.look(&orders(), backup, Depth::Data, id, "test", |_, _| {}).await.unwrap();
    assert!(one.is_sound() && one.remarks[0].object == notes[1], "{one:?}");
    let listed = vault.backup(&orders(), backup).await.unwrap();
    assert!(listed.is_verified(Depth::Data) && matches!(listed.looked(), Some(Looked::Sound(_))));
    // What was found to be damaged stays so, whatever cannot be read after it.
    vault.decide(&orders(), backup, Decision::Damaged, "test", "a pack").await.unwrap();
    vault.decide(&orders(), backup, Decision::Hold, "test", "").await.unwrap();
    flip(&bucket, &format!("notes/{backup}/0000000004"), 900).await;
    let listed = vault.backup(&orders(), backup).await.unwrap();
    assert!(matches!(listed.looked(), Some(Looked::Damaged(_))), "{listed:?}");
}

#[tokio::test]
async fn a_backup_that_is_late_by_the_times_of_a_copy_comes_back_without_its_first_note() {
    let (bucket, backup) = small().await;
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    let mut manifest = vault.backup(&orders(), backup).await.unwrap().manifest;
    manifest.last_renewal = 1;
    let keys = vault.keys(&orders()).await.unwrap();
    let kind = seal::Kind::Manifest;
    let key = seal::ObjectKey::fresh(keys.epoch(), kind, backup, 0, vault.random()).unwrap();
    let sealed = seal::seal_single(&key, &manifest.encode().unwrap()).unwrap();
    put(&bucket, &format!("manifests/orders/{backup}"), sealed).await;
    assert_eq!(vault.backup(&orders(), backup).await.unwrap().state, State::Complete);
    flip(&bucket, &format!("notes/{backup}/0000000000"), 900).await;
    assert_eq!(vault.backup(&orders(), backup).await.unwrap().state, State::Complete);
    assert_eq!(restore(&vault, backup, "two", 0).await.unwrap(), b"another");
}

#[tokio::test]
async fn a_damaged_list_of_pruning_stops_who_writes_and_not_who_reads() {
    let (bucket, backup) = small().await;
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    strict::condemn(&vault, &bucket, 1, &[], &[]).await;
    let list = "gc/0000000001/condemned";
    for bit in 0..objects(&bucket).await[list].len() * 8 {
        flip(&bucket, list, bit).await;
        assert_eq!(restore(&vault, backup, "one", 0).await.unwrap(), b"the first component", "bit {bit}");
        flip(&bucket, list, bit).await;
    }
    flip(&bucket, list, 900).await;
    let all = verified(&vault, None).await;
    assert!(all.broken.is_empty() && all.findings.iter().any(|one| one.what.contains(list)), "{all:?}");
    let writing = Writing::begin(&vault, &orders(), vault.new_id().unwrap()).await;
    assert!(matches!(writing, Err(Problem::Damaged { .. })), "{writing:?}");
    let undeleted = vault.undelete(&orders(), backup, "test").await;
    assert!(matches!(undeleted, Err(Problem::Damaged { .. })), "{undeleted:?}");
}

/// Names of the packs that are there.
async fn packs(bucket: &InMemory) -> Vec<String> {
    objects(bucket).await.into_keys().filter(|name| name.starts_with("packs/")).collect()
}

#[tokio::test]
async fn what_takes_no_writes_is_restored_and_verified_all_the_same() {
    let (bucket, backup) = small().await;
    let faulty = Arc::new(Faulty::new(Arc::clone(&bucket)));
    faulty.set(Some((0, Fault::TakesNothing)));
    let vault = Vault::open_existing(options(Arc::clone(&faulty) as _, 1)).await.unwrap();
    assert_eq!(restore(&vault, backup, "one", 0).await.unwrap(), b"the first component");
    let one = verified(&vault, None).await;
    assert!(one.is_sound(), "{one:?}");
    // Whoever decides whether something may be relied on has to be seen.
    assert!(vault.undelete(&orders(), backup, "test").await.is_err());
}

#[tokio::test]
async fn what_a_verification_found_damaged_is_not_leaned_on_again() {
    let bucket = Arc::new(InMemory::new());
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    let bytes = noise(30, 3 << 20);
    let first = back_up(&vault, &[("database", &bytes)]).await.unwrap();
    let damaged = packs(&bucket).await.remove(0);
    flip(&bucket, &damaged, 8 << 20).await;
    let look = async |vault: &Vault, backup| {
        let id = vault.new_id().unwrap();
        vault.look(&orders(), backup, Depth::Data, id, "test", |_, _| {}).await.unwrap()
    };
    assert!(!look(&vault, first).await.is_sound());

    // By another process, from a source that is whole.
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    let second = back_up(&vault, &[("database", &bytes)]).await.unwrap();
    let new_bytes = async |vault: &Vault, backup| {
        vault.backup(&orders(), backup).await.unwrap().manifest.components[0].new_bytes
    };
    assert_eq!(new_bytes(&vault, second).await, bytes.len() as u64);
    assert!(restore(&vault, second, "database", 0).await.unwrap() == bytes);
    assert!(look(&vault, second).await.is_sound());
    // The old one has another copy of its chunks now.
    assert!(restore(&vault, first, "database", 0).await.unwrap() == bytes);
    assert!(look(&vault, first).await.is_sound());

    // That all is sound now takes nothing back, nor does it that the backup goes by which it was found.
    for step in ["verified", "deleted", "swept"] {
        match step {
            "deleted" => vault.decide(&orders(), first, Decision::Delete, "test", "").await.unwrap(),
            "swept" => {
                for name in
                    objects(&bucket).await.into_keys().filter(|name| name.contains(&first.to_string()))
                {
                    bucket.delete(&Path::from(name)).await.unwrap();
                }
            }
            _ => {}
        }
        let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
        let next = back_up(&vault, &[("database", &bytes)]).await.unwrap();
        assert_eq!(new_bytes(&vault, next).await, 0, "{step}");
        for backup in [second, next] {
            assert!(restore(&vault, backup, "database", 0).await.unwrap() == bytes, "{step}");
            assert!(look(&vault, backup).await.is_sound(), "{step}");
        }
    }
}

#[tokio::test]
async fn a_backup_that_leans_on_what_is_found_damaged_meanwhile_does_not_commit() {
    let bucket = Arc::new(InMemory::new());
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    let bytes = noise(31, 1 << 20);
    let first = back_up(&vault, &[("database", &bytes)]).await.unwrap();
    let writing = Writing::begin(&vault, &orders(), vault.new_id().unwrap()).await.unwrap();
    let mut stream = writing.intake().stream(HOW);
    stream.push(Bytes::from(bytes)).await.unwrap();
    let mut component = named("database");
    stream.finish().await.unwrap().fill(&mut component);
    flip(&bucket, &packs(&bucket).await[0], 4 << 20).await;
    let id = vault.new_id().unwrap();
    vault.look(&orders(), first, Depth::Data, id, "test", |_, _| {}).await.unwrap();
    let backup = vault.new_id().unwrap();
    let components = vec![component];
    let draft = Draft { backup, components, consistent: true, cause: None, request_id: None };
    let committed = writing.commit(draft, || async { true }).await;
    assert!(matches!(committed, Err(Problem::Condemned { .. })), "{committed:?}");
}

/// Two that write the same at once store it twice; nobody has found out yet that one of the packs is damaged.
#[tokio::test]
async fn another_copy_serves_for_a_damaged_pack() {
    let bucket = Arc::new(InMemory::new());
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    let bytes = noise(32, 9 << 20);
    let part = [("database", &bytes[..])];
    let (one, other) = tokio::join!(back_up(&vault, &part), back_up(&vault, &part));
    let (one, other) = (one.unwrap(), other.unwrap());
    let packs = packs(&bucket).await;
    assert_eq!(packs.len(), 2);
    for pack in &packs {
        flip(&bucket, pack, 30 << 20).await;
        for backup in [one, other] {
            assert!(restore(&vault, backup, "database", 0).await.unwrap() == bytes, "{pack}");
        }
        flip(&bucket, pack, 30 << 20).await;
    }
    // Where none is whole, that is told.
    for pack in &packs {
        flip(&bucket, pack, 30 << 20).await;
    }
    assert!(matches!(restore(&vault, one, "database", 0).await, Err(Problem::Damaged { .. })));
}

#[tokio::test]
async fn a_domain_that_has_lost_its_keys_gets_no_new_ones() {
    let (bucket, _) = small().await;
    let keys: Vec<String> =
        objects(&bucket).await.into_keys().filter(|name| name.starts_with("keys/")).collect();
    assert_eq!(keys.len(), 2);
    for gone in &keys {
        let good = objects(&bucket).await[gone].to_vec();
        bucket.delete(&Path::from(gone.as_str())).await.unwrap();
        let before = objects(&bucket).await;
        let begun = async {
            let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await?;
            back_up(&vault, &[("database", b"new")]).await
        };
        let problem = begun.await.unwrap_err();
        let told = problem.to_string();
        assert!(matches!(problem, Problem::WrongKey { .. }), "{told}");
        assert!(told.contains(gone.rsplit_once('/').unwrap().0) && told.contains("back"), "{told}");
        assert_eq!(objects(&bucket).await, before, "{gone}");
        put(&bucket, gone, good).await;
    }
    let vault = Vault::open(options(Arc::clone(&bucket) as _, 1)).await.unwrap();
    back_up(&vault, &[("database", b"new")]).await.unwrap();
}
