//! The exported file: in step with the store over rotations, crashes and disks that are in the way.

use std::{fs, path::PathBuf};

use super::*;
use crate::{audit::verify::read_exported, store::Commit};

fn of_file(path: &Path) -> Result<Verified, Break> {
    let text = fs::read_to_string(path).unwrap();
    let mut verifier = Verifier::new(None);
    for line in text.lines() {
        let (line, hash) = read_exported(line).unwrap();
        verifier.take(line, hash)?;
    }
    verifier.finish(None)
}

#[tokio::test]
async fn the_file_has_what_the_store_has_also_after_it_was_moved_away() {
    let (_disk, store, _engine, dir) = disk();
    let file: PathBuf = dir.path().join("audit.jsonl");
    // What was there before is exported too.
    let audit = Running::on(&store, None).await;
    audit.put("before").await.unwrap();
    audit.end().await;
    let audit = Running::on(&store, Some(&file)).await;
    audit.put("a").await.unwrap();
    assert_eq!(of_file(&file).unwrap(), audit.verify().await.unwrap());
    let rotated = dir.path().join("audit.jsonl.1");
    fs::rename(&file, &rotated).unwrap();
    audit.put("b").await.unwrap();
    let (old, new) = (of_file(&rotated).unwrap(), of_file(&file).unwrap());
    assert_eq!((old.first, old.last.sequence, new.first, new.last.sequence), (1, 4, 5, 6));
    assert!(audit.end().await);
    // Moved away while it is down: what was exported is not exported again.
    fs::remove_file(&file).unwrap();
    let audit = Running::on(&store, Some(&file)).await;
    audit.put("c").await.unwrap();
    assert_eq!(of_file(&file).unwrap().first, 7);
    assert!(audit.end().await);
}

/// A crash may come anywhere between the store and the end of the line in the file.
#[tokio::test]
async fn a_file_that_is_behind_is_brought_up_to_date_without_a_gap_and_without_a_line_twice() {
    let (_disk, store, _engine, dir) = disk();
    let file = dir.path().join("audit.jsonl");
    let audit = Running::on(&store, Some(&file)).await;
    for object in ["a", "b", "c"] {
        audit.put(object).await.unwrap();
    }
    let whole = audit.verify().await.unwrap();
    audit.end().await;
    let text = fs::read_to_string(&file).unwrap();
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    let cuts = ends.iter().flat_map(|end| [*end, end - 1, end - 40]);
    for cut in cuts {
        fs::write(&file, &text[..cut]).unwrap();
        // What the store has known of the file when it took the entry that was torn.
        let head = record::head(&store).await.unwrap().unwrap();
        let exported = text[..cut].matches('\n').count() as u64;
        let value = record::encode_head(&record::Head { exported, ..head }).unwrap();
        store.commit(Commit::new().put(record::HEAD, value)).await.unwrap();
        let audit = Running::on(&store, Some(&file)).await;
        audit
            .until("up to date", |_| fs::read_to_string(&file).is_ok_and(|now| now.len() >= text.len()))
            .await;
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "cut at {cut}");
        assert_eq!(of_file(&file).unwrap(), whole);
        audit.end().await;
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_written_refuses_changes_until_it_can() {
    let (_disk, store, _engine, dir) = disk();
    let folder = dir.path().join("log");
    let file = folder.join("audit.jsonl");
    let audit = Running::on(&store, Some(&file)).await;
    for _ in 0..3 {
        let refused = audit.put("a").await.unwrap_err();
        assert_eq!(refused.reason(), Reason::AuditUnavailable);
        assert!(!refused.message().contains(dir.path().to_str().unwrap()), "{refused}");
    }
    assert_eq!(audit.handle.ends().newest, Link::START, "the store does not fill up with what is refused");
    let trouble = audit.handle.status().trouble.unwrap();
    assert!(trouble.contains("audit.jsonl"), "{trouble}");
    fs::create_dir(&folder).unwrap();
    audit.until("it can be written", |handle| handle.status().trouble.is_none()).await;
    audit.put("b").await.unwrap();
    assert_eq!(of_file(&file).unwrap().entries, 2);
    assert!(audit.end().await);
}

#[tokio::test]
async fn a_file_of_another_chain_is_left_alone() {
    let (_disk, store, _engine, dir) = disk();
    let file = dir.path().join("audit.jsonl");
    let audit = Running::on(&store, Some(&file)).await;
    audit.put("a").await.unwrap();
    audit.end().await;
    let text = fs::read_to_string(&file).unwrap();
    let (_other_disk, other, _other_engine, _other_dir) = disk();
    for objects in [&[][..], &["x", "y"]] {
        let audit = Running::on(&other, None).await;
        for object in objects {
            audit.put(object).await.unwrap();
        }
        audit.end().await;
        let audit = Running::on(&other, Some(&file)).await;
        assert!(audit.put("b").await.is_err());
        let trouble = audit.handle.status().trouble.unwrap();
        assert!(trouble.contains("another control plane") && trouble.contains("move it away"), "{trouble}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        audit.end().await;
    }
}

/// It would have a gap for ever.
#[tokio::test]
async fn a_file_that_the_store_does_not_go_on_after_is_left_alone() {
    for (dropped, refused) in
        [(1, None), (2, None), (3, Some("has entry 4 next")), (6, Some("has none after it"))]
    {
        let (_disk, store, _engine, dir) = disk();
        let file = dir.path().join("audit.jsonl");
        let audit = Running::on(&store, Some(&file)).await;
        audit.put("a").await.unwrap();
        audit.end().await;
        // For a while there is no file.
        let audit = Running::on(&store, None).await;
        for object in ["b", "c"] {
            audit.put(object).await.unwrap();
        }
        let whole = audit.verify().await.unwrap();
        audit.end().await;
        let text = fs::read_to_string(&file).unwrap();
        let gone = (1..=dropped).fold(Commit::new(), |commit, number| commit.delete(record::key(number)));
        store.commit(gone).await.unwrap();
        let audit = Running::on(&store, Some(&file)).await;
        let Some(why) = refused else {
            audit.until("up to date", |_| of_file(&file).is_ok_and(|found| found == whole)).await;
            audit.end().await;
            continue;
        };
        assert!(audit.put("d").await.is_err(), "{dropped}");
        let trouble = audit.handle.status().trouble.unwrap();
        assert!(trouble.contains(why) && trouble.contains("move it away"), "{trouble}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        // An empty one may begin anywhere.
        fs::rename(&file, dir.path().join("audit.jsonl.1")).unwrap();
        audit.until("it can be written", |handle| handle.status().trouble.is_none()).await;
        audit.put("d").await.unwrap();
        // Where the end is gone, the start says so in the first entry.
        let found = of_file(&file);
        assert!(matches!(found, Ok(_) | Err(Break::Reported { .. })), "{found:?}");
        audit.end().await;
    }
}

/// What the store has dropped is known by what refers to it.
#[tokio::test]
async fn a_file_whose_last_entry_was_dropped_is_compared_all_the_same() {
    let (_disk, store, _engine, dir) = disk();
    let file = dir.path().join("audit.jsonl");
    let audit = Running::on(&store, Some(&file)).await;
    audit.put("a").await.unwrap();
    audit.end().await;
    let (_other_disk, other, _other_engine, _other_dir) = disk();
    let audit = Running::on(&other, None).await;
    for object in ["x", "y"] {
        audit.put(object).await.unwrap();
    }
    audit.end().await;
    other.commit(Commit::new().delete(record::key(1)).delete(record::key(2))).await.unwrap();
    let audit = Running::on(&other, Some(&file)).await;
    assert!(audit.put("z").await.is_err());
    let trouble = audit.handle.status().trouble.unwrap();
    assert!(trouble.contains("another control plane"), "{trouble}");
    audit.end().await;
}

#[tokio::test]
async fn what_is_not_exported_yet_is_not_dropped() {
    let (_disk, store, _engine, dir) = disk();
    let audit = Running::on(&store, None).await;
    for number in 0..10 {
        audit.put(&number.to_string()).await.unwrap();
    }
    audit.end().await;
    let few = Limits { max_entries: 1, ..limits() };
    // The file cannot be written, so that nothing is exported.
    let file = dir.path().join("nowhere").join("audit.jsonl");
    let audit = Running::with(&store, Some(&file), few, Clock::start()).await;
    let (_signal, drain) = drain::channel();
    assert_eq!(retention::turn(&audit.handle.shared, &store, &drain).await.unwrap(), 0);
    fs::create_dir(dir.path().join("nowhere")).unwrap();
    audit.put("a").await.unwrap();
    assert_eq!(retention::turn(&audit.handle.shared, &store, &drain).await.unwrap(), 21);
    assert_eq!(of_file(&file).unwrap().entries, 22);
    assert_eq!(audit.verify().await.unwrap().entries, 1);
    audit.end().await;
}
