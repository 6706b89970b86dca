//! Laws of many callers at once.

use tokio::task::JoinSet;

use super::{limit, put, text};
use crate::{
    error::Reason,
    store::{Commit, Compare, Revision, Store},
};

const TASKS: usize = 16;
const INCREMENTS: usize = 10;

/// Adds one to a number, as often as somebody else was faster; answers the revision and the new number.
async fn increment(store: &Store) -> (Revision, u64) {
    loop {
        let entry = store.get("number").await.unwrap().unwrap();
        let number: u64 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
        let unchanged = Compare::Unchanged { key: entry.key, revision: entry.revision };
        let commit = Commit::new().require(unchanged).put("number", (number + 1).to_string());
        match store.commit(commit).await {
            Ok(revision) => return (revision, number + 1),
            Err(error) => assert_eq!(error.reason(), Reason::StoreConflict, "{error}"),
        }
    }
}

/// Read, compare and write by many tasks: the order of revisions is the order of the numbers.
#[allow(clippy::disallowed_methods)]
pub(super) async fn increments_are_not_lost(store: Store) {
    put(&store, "number", "0").await;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            let mut done = Vec::new();
            for _ in 0..INCREMENTS {
                done.push(increment(&store).await);
            }
            assert!(done.is_sorted(), "nobody's own commits go backwards");
            done
        });
    }
    let mut all = tasks.join_all().await.concat();
    all.sort_unstable();
    let numbers: Vec<u64> = all.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, (1..=(TASKS * INCREMENTS) as u64).collect::<Vec<_>>());
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0), "each has a revision of its own");
    assert_eq!(text(&store, "number").await.unwrap(), (TASKS * INCREMENTS).to_string());
}

/// Two keys that always change together are never seen apart.
#[allow(clippy::disallowed_methods)]
pub(super) async fn readers_see_whole_commits(store: Store) {
    let both = |n: u32| Commit::new().put("pair/a", n.to_string()).put("pair/b", n.to_string());
    store.commit(both(0)).await.unwrap();
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 1..200 {
                store.commit(both(n)).await.unwrap();
            }
        }
    });
    let mut last = 0;
    while !writer.is_finished() {
        let page = store.list("pair/", None, limit(2)).await.unwrap();
        let [a, b] = page.entries.as_slice() else { panic!("{page:?}") };
        assert_eq!((&a.value, a.revision), (&b.value, b.revision));
        assert!(page.revision >= last && page.revision >= a.revision);
        last = page.revision;
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}
