//! Laws of watches.

use std::time::Duration;

use tokio::time::timeout;

use super::put;
use crate::store::{Commit, Event, Store, Watch};

/// Long enough for any engine to tell what it has to tell.
const QUIET: Duration = Duration::from_secs(2);

async fn next(watch: &mut Watch) -> Event {
    timeout(Duration::from_secs(10), watch.next()).await.expect("an event is due")
}

pub(super) async fn a_watch_resumes_without_a_gap(store: Store) {
    let start = put(&store, "w/start", "0").await;
    let mut revisions = Vec::new();
    for n in 0..50 {
        revisions.push(put(&store, &format!("w/{}", n % 7), &n.to_string()).await);
    }
    // Let go at any place, and taken up after the last revision seen: nothing twice, nothing missed.
    for cut in [0, 1, 25, 49] {
        let mut watch = store.watch("w/", Some(start));
        let mut seen = Vec::new();
        for _ in 0..cut {
            seen.push(next(&mut watch).await.revision());
        }
        let mut watch = store.watch("w/", Some(seen.last().copied().unwrap_or(start)));
        while seen.len() < revisions.len() {
            seen.push(next(&mut watch).await.revision());
        }
        assert_eq!(seen, revisions, "cut at {cut}");
    }
}

pub(super) async fn a_watch_sees_its_prefix(store: Store) {
    put(&store, "w/before", "0").await;
    let mut watch = store.watch("w/", None);
    put(&store, "other/a", "0").await;
    let made =
        store.commit(Commit::new().put("w/a", "1").put("w", "not below").put("w/b", "2")).await.unwrap();
    let deleted = store.commit(Commit::new().delete("w/a").delete("w/nowhere")).await.unwrap();
    let mut first: Vec<Event> = vec![next(&mut watch).await, next(&mut watch).await];
    first.sort_by_key(|event| format!("{event:?}"));
    for (event, (key, value)) in first.iter().zip([("w/a", "1"), ("w/b", "2")]) {
        let Event::Put(entry) = event else { panic!("{event:?}") };
        assert_eq!((&*entry.key, &*entry.value, entry.revision), (key, value.as_bytes(), made));
    }
    assert_eq!(next(&mut watch).await, Event::Delete { key: "w/a".into(), revision: deleted });
    assert!(timeout(QUIET, watch.next()).await.is_err(), "nothing else happened below w/");
}

pub(super) async fn a_hopeless_watch_is_reset(store: Store) {
    let revision = put(&store, "w/a", "1").await;
    let mut watch = store.watch("w/", Some(revision + 1000));
    assert_eq!(next(&mut watch).await, Event::Reset { revision }, "that revision is not ours");
    let after = put(&store, "w/b", "1").await;
    assert_eq!(next(&mut watch).await.revision(), after, "it goes on from there");
}
