//! Laws of listings.

use super::{limit, put};
use crate::store::{Commit, Store, embedded::PAGE_BYTES};

async fn keys(
    store: &Store,
    prefix: &str,
    after: Option<&str>,
    most: usize,
) -> (Vec<String>, Option<String>) {
    let page = store.list(prefix, after, limit(most)).await.unwrap();
    assert_eq!(page.revision, store.status().revision);
    (page.entries.into_iter().map(|entry| entry.key).collect(), page.next)
}

pub(super) async fn pages_make_up_the_listing(store: Store) {
    let commit = (0..300).fold(Commit::new(), |commit, n| commit.put(format!("n/{n:03}"), n.to_string()));
    store.commit(commit).await.unwrap();
    for most in [1, 7, 100, 128, 129, 299, 300, 301, usize::MAX] {
        let (mut all, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let (part, next) = keys(&store, "n/", after.as_deref(), most).await;
            assert!(part.len() <= most);
            all.extend(part);
            pages += 1;
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(all, (0..300).map(|n| format!("n/{n:03}")).collect::<Vec<_>>(), "in pages of {most}");
        assert_eq!(pages, 300_usize.div_ceil(most), "no empty page at the end");
    }
}

pub(super) async fn a_prefix_is_taken_literally(store: Store) {
    for key in ["a", "a.", "a/", "a/1", "a/2", "a0", "b", "ÿ", "ÿ/1", "\u{10ffff}", "\u{10ffff}x"] {
        put(&store, key, "v").await;
    }
    let table: [(&str, Option<&str>, &[&str]); 12] = [
        ("a/", None, &["a/", "a/1", "a/2"]),
        ("a/", Some("a/"), &["a/1", "a/2"]),
        ("a/", Some("a/1"), &["a/2"]),
        ("a/", Some("a/11"), &["a/2"]),
        ("a/", Some("a/2"), &[]),
        ("a/", Some("b"), &[]),
        ("a/", Some("A"), &["a/", "a/1", "a/2"]),
        ("a/1/", None, &[]),
        ("ÿ", None, &["ÿ", "ÿ/1"]),
        ("\u{10ffff}", None, &["\u{10ffff}", "\u{10ffff}x"]),
        ("c", None, &[]),
        ("", Some("a0"), &["b", "ÿ", "ÿ/1", "\u{10ffff}", "\u{10ffff}x"]),
    ];
    for (prefix, after, expected) in table {
        let (found, next) = keys(&store, prefix, after, 100).await;
        assert_eq!(found, expected, "{prefix:?} after {after:?}");
        assert_eq!(next, None, "{prefix:?} after {after:?}");
    }
}

pub(super) async fn a_large_page_ends_early(store: Store) {
    let large = vec![0; 900 << 10];
    for n in 0..6 {
        store.commit(Commit::new().put(format!("large/{n}"), large.clone())).await.unwrap();
    }
    let (first, next) = keys(&store, "large/", None, 100).await;
    assert!(!first.is_empty() && first.len() * large.len() <= PAGE_BYTES, "{first:?}");
    assert_eq!(next.as_ref(), first.last());
    let (rest, end) = keys(&store, "large/", next.as_deref(), 100).await;
    assert_eq!((first.len() + rest.len(), end), (6, None));
}
