//! Starts on an audit that is not as it was written.

use super::*;
use crate::store::Commit;

/// What somebody does to the store while the control plane is down.
async fn damaged(store: &Store, how: &str) {
    let newest = store.get(&record::key(6)).await.unwrap().unwrap();
    let kept = record::decode_entry(&newest).unwrap().unwrap();
    let line = kept.line.replace("local", "nobody");
    let commit = match how {
        "changed" => {
            Commit::new().put(record::key(6), record::encode_entry(&line, hash(&kept.line)).unwrap())
        }
        "changed with its hash" => {
            Commit::new().put(record::key(6), record::encode_entry(&line, hash(&line)).unwrap())
        }
        "removed" => Commit::new().delete(record::key(6)),
        "removed two" => Commit::new().delete(record::key(6)).delete(record::key(5)),
        "unreadable" => Commit::new().put(record::key(6), "[]"),
        "without head" => Commit::new().delete(record::HEAD),
        "with an unreadable head" => Commit::new().put(record::HEAD, "{}"),
        "more than there is" => Commit::new().put(record::key(7), newest.value),
        _ => unreachable!("{how}"),
    };
    store.commit(commit).await.unwrap();
}

#[tokio::test]
async fn an_end_that_is_not_as_it_was_written_is_reported_and_never_forgotten() {
    for (how, found, next) in [
        ("changed", "entry 6 was changed", 7),
        ("changed with its hash", "entry 6 is not the one", 7),
        ("removed", "entry 6 is missing: the chain was cut off after entry 5", 7),
        ("removed two", "entry 6 is missing: the chain was cut off after entry 4", 7),
        ("unreadable", "entry 6 was changed", 7),
        ("without head", "record of the newest entry is missing", 7),
        ("with an unreadable head", "record of the newest entry is damaged", 7),
        ("more than there is", "there is an entry 7 after entry 6", 8),
    ] {
        let (_disk, store, _engine, _dir) = disk();
        let audit = Running::on(&store, None).await;
        for object in ["a", "b", "c"] {
            audit.put(object).await.unwrap();
        }
        audit.end().await;
        damaged(&store, how).await;
        let audit = Running::on(&store, None).await;
        let broken = audit.handle.status().broken.unwrap_or_else(|| panic!("{how} was not seen"));
        assert!(broken.contains(found), "{how}: {broken}");
        audit.put("later").await.unwrap();
        let newest = audit.handle.ends().newest.sequence;
        assert_eq!(newest, next + 2, "{how}: a number of its own");
        let said = audit.entries().await.into_iter().find(|kept| kept.sequence == next).unwrap();
        let said = said.entry.unwrap();
        assert_eq!((said.call.operation.as_str(), said.detail), (BROKEN, broken), "{how}");
        assert!(audit.verify().await.is_err(), "{how}");
        audit.end().await;
        // The next start remembers.
        let audit = Running::on(&store, None).await;
        let status = audit.handle.status();
        assert_eq!((status.broken, status.broken_before), (None, Some(next)), "{how}");
        assert!(audit.verify().await.is_err(), "{how}");
        audit.end().await;
    }
}

/// Its number would be the last that there is, and the first entries would be written over.
#[tokio::test]
async fn a_number_that_was_made_up_is_reported_and_not_gone_on_with() {
    for (key, number) in [(record::key(u64::MAX), u64::MAX), (record::key(1 << 40), 1 << 40)] {
        let (_disk, store, _engine, _dir) = disk();
        let audit = Running::on(&store, None).await;
        audit.put("a").await.unwrap();
        let genuine = audit.entries().await;
        audit.end().await;
        let planted = store.get(&record::key(2)).await.unwrap().unwrap().value;
        store.commit(Commit::new().put(key, planted)).await.unwrap();
        let audit = Running::on(&store, None).await;
        let broken = audit.handle.status().broken.unwrap();
        let found = format!("there is a key \"audit/{number:020}\" far beyond entry 2");
        assert!(broken.contains(&found), "{broken}");
        audit.put("later").await.unwrap();
        assert_eq!(audit.handle.ends().newest.sequence, 5);
        let entries = audit.entries().await;
        assert_eq!((entries.len(), &entries[..2]), (5, &genuine[..]));
        audit.end().await;
    }
}

#[tokio::test]
async fn a_chain_that_was_cut_off_after_the_entry_of_a_start_is_reported() {
    let (_disk, store, _engine, _dir) = disk();
    let audit = Running::on(&store, None).await;
    for object in ["a", "b", "c"] {
        audit.put(object).await.unwrap();
    }
    audit.end().await;
    damaged(&store, "removed").await;
    let audit = Running::on(&store, None).await;
    audit.put("later").await.unwrap();
    audit.end().await;
    store.commit(Commit::new().delete(record::key(8)).delete(record::key(9))).await.unwrap();
    let audit = Running::on(&store, None).await;
    let broken = audit.handle.status().broken.unwrap();
    assert!(broken.contains("entry 9 is missing: the chain was cut off after entry 7"), "{broken}");
    audit.end().await;
}

#[tokio::test]
async fn a_newer_build_s_audit_is_not_guessed_at() {
    let (_disk, store, _engine, _dir) = disk();
    store.commit(Commit::new().put(record::HEAD, r#"{"version":2}"#)).await.unwrap();
    let options = Options { file: None, limits: limits() };
    let refused = open(options, Clock::start(), store).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::RecordTooNew);
}
