//! Vaults that a passphrase opens.

use super::*;

fn phrase(bucket: &Arc<InMemory>, phrase: &str) -> Options {
    let key = Arc::new(Passphrase::new(phrase, "test").unwrap());
    Options { place: Place::of(Arc::clone(bucket) as _, "memory:///", 2), key, clock: Clock::start() }
}

#[tokio::test]
async fn a_vault_is_written_and_read_by_a_passphrase() {
    let bucket = Arc::new(InMemory::new());
    let vault = Vault::open(phrase(&bucket, "correct horse")).await.unwrap();
    let bytes = noise(40, 300_000);
    let backup = back_up(&vault, &[("database", &bytes)]).await.unwrap();
    let again = Vault::open_existing(phrase(&bucket, "correct horse")).await.unwrap();
    assert_eq!(again.key_id(), vault.key_id());
    assert!(restore(&again, backup, "database", 0).await.unwrap() == bytes);
    for wrong in ["Correct horse", "correct horse "] {
        let opened = Vault::open(phrase(&bucket, wrong)).await;
        assert!(matches!(opened, Err(Problem::WrongKey { .. })), "{opened:?}");
    }
    let opened = Vault::open(options(Arc::clone(&bucket) as _, 1)).await;
    assert!(matches!(opened, Err(Problem::WrongKey { .. })), "a key is no passphrase: {opened:?}");
}

/// The bucket as it is when its description is written, and no key yet.
async fn only_described(bucket: &InMemory) {
    let begun: Vec<String> = objects(bucket).await.into_keys().filter(|name| name != "vault.json").collect();
    for name in begun {
        bucket.delete(&name.as_str().into()).await.unwrap();
    }
}

#[tokio::test]
async fn of_two_that_begin_with_different_passphrases_one_goes_on() {
    let bucket = Arc::new(InMemory::new());
    let first = Vault::open(phrase(&bucket, "correct horse")).await.unwrap();
    only_described(&bucket).await;
    for late in [phrase(&bucket, "battery staple"), options(Arc::clone(&bucket) as _, 1)] {
        let late = Vault::open(late).await;
        assert!(matches!(late, Err(Problem::WrongKey { .. })), "{late:?}");
    }
    assert_eq!(objects(&bucket).await.into_keys().collect::<Vec<_>>(), ["vault.json"]);
    // With the same one it is the same key, whoever makes it.
    let again = Vault::open(phrase(&bucket, "correct horse")).await.unwrap();
    assert_eq!(again.key_id(), first.key_id());
}

#[tokio::test]
async fn two_that_begin_at_once_with_the_same_passphrase_have_the_same_keys() {
    let bucket = Arc::new(InMemory::new());
    let (one, other) = tokio::join!(
        Vault::open(phrase(&bucket, "correct horse")),
        Vault::open(phrase(&bucket, "correct horse"))
    );
    let (one, other) = (one.unwrap(), other.unwrap());
    let part = [("database", &b"some bytes"[..])];
    let (first, second) = tokio::join!(back_up(&one, &part), back_up(&other, &part));
    let keys: Vec<String> =
        objects(&bucket).await.into_keys().filter(|name| name.starts_with("keys/")).collect();
    assert_eq!(keys.len(), 2, "one for the vault, one for the service: {keys:?}");
    for (vault, backup) in [(&one, second.unwrap()), (&other, first.unwrap())] {
        assert_eq!(restore(vault, backup, "database", 0).await.unwrap(), b"some bytes");
    }
}
