//! Laws of single keys and of commits.

use super::{put, text};
use crate::{
    error::{Kind, Reason},
    store::{Commit, Compare, Entry, Store},
};

pub(super) async fn a_key_is_what_was_put_last(store: Store) {
    assert_eq!(store.get("a").await.unwrap(), None);
    put(&store, "a", "1").await;
    let revision = put(&store, "a", "2").await;
    put(&store, "b", "").await;
    let expected = Entry { key: "a".into(), value: "2".into(), revision };
    assert_eq!(store.get("a").await.unwrap(), Some(expected));
    assert_eq!(text(&store, "b").await.as_deref(), Some(""), "an empty value is a value");
    store.commit(Commit::new().delete("a")).await.unwrap();
    assert_eq!(store.get("a").await.unwrap(), None);
    assert_eq!(store.status().keys, 1);
    let bytes: Vec<u8> = (0..=255).collect();
    store.commit(Commit::new().put("bytes", bytes.clone())).await.unwrap();
    assert_eq!(store.get("bytes").await.unwrap().unwrap().value, bytes);
}

pub(super) async fn conditions_decide(store: Store) {
    let first = put(&store, "there", "1").await;
    let newer = put(&store, "other", "1").await;
    let absent = |key: &str| Compare::Absent(key.into());
    let unchanged = |key: &str, revision| Compare::Unchanged { key: key.into(), revision };
    let table = [
        (vec![], true),
        (vec![absent("nowhere")], true),
        (vec![absent("there")], false),
        (vec![unchanged("there", first)], true),
        (vec![unchanged("there", first - 1)], false),
        (vec![unchanged("there", newer)], false),
        (vec![unchanged("nowhere", 0)], false),
        (vec![unchanged("there", first), absent("nowhere")], true),
        (vec![unchanged("there", first), absent("other")], false),
    ];
    for (compares, holds) in table {
        let commit = compares.iter().cloned().fold(Commit::new().put("target", "x"), Commit::require);
        match store.commit(commit).await {
            Ok(_) => assert!(holds, "{compares:?}"),
            Err(error) => {
                assert!(!holds, "{compares:?}: {error}");
                assert_eq!((error.kind(), error.reason()), (Kind::Aborted, Reason::StoreConflict));
            }
        }
    }
    // A key that was deleted and made again is not the same.
    store.commit(Commit::new().delete("there")).await.unwrap();
    put(&store, "there", "1").await;
    store.commit(Commit::new().require(unchanged("there", first)).delete("there")).await.unwrap_err();
}

pub(super) async fn a_refused_commit_leaves_no_trace(store: Store) {
    let before = put(&store, "a", "1").await;
    let refused = Commit::new().put("a", "2").put("b", "2").require(Compare::Absent("a".into()));
    store.commit(refused).await.unwrap_err();
    assert_eq!((text(&store, "a").await.as_deref(), text(&store, "b").await), (Some("1"), None));
    assert_eq!(store.status().revision, before);
    let error = store.commit(Commit::new().put("a", "2").put("", "2")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    assert_eq!(text(&store, "a").await.as_deref(), Some("1"));
}

pub(super) async fn revisions_grow_by_change_alone(store: Store) {
    let one = put(&store, "a", "same").await;
    let two = put(&store, "a", "same").await;
    assert!(two > one, "the same value again is a change");
    let commit = Commit::new().put("b", "1").put("c", "1").delete("a").delete("nowhere");
    let three = store.commit(commit).await.unwrap();
    assert!(three > two);
    for key in ["b", "c"] {
        assert_eq!(store.get(key).await.unwrap().unwrap().revision, three, "one commit, one revision");
    }
    let looked = Commit::new().require(Compare::Absent("a".into())).delete("nowhere");
    assert_eq!(store.commit(looked).await.unwrap(), three, "nothing changed");
    assert_eq!(store.status().revision, three);
}
