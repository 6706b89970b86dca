//! Laws of leases.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{put, text};
use crate::{
    error::{Kind, Reason},
    store::{Commit, Event, LeaseId, Store},
};

const TTL: Duration = Duration::from_secs(1);
/// By then a lease that ran out is gone, keys and all.
const SOON: Duration = Duration::from_secs(10);

async fn put_under(store: &Store, key: &str, lease: LeaseId) {
    store.commit(Commit::new().put_under(key, "leased", lease)).await.unwrap();
}

async fn wait_until_deleted(store: &Store, key: &str) {
    let mut watch = store.watch(key, None);
    let deleted = async {
        while store.get(key).await.unwrap().is_some() {
            watch.next().await;
        }
    };
    timeout(SOON, deleted).await.expect("the key ends with its lease");
}

pub(super) async fn keys_end_with_their_lease(store: Store) {
    assert_eq!(store.grant(Duration::ZERO).await.unwrap_err().kind(), Kind::InvalidArgument);
    let (lease, other) = (store.grant(TTL).await.unwrap(), store.grant(TTL * 3600).await.unwrap());
    put_under(&store, "l/a", lease).await;
    put_under(&store, "l/b", lease).await;
    put_under(&store, "other", other).await;
    put(&store, "plain", "stays").await;
    let mut watch = store.watch("l/", None);
    for _ in 0..2 {
        let event = timeout(SOON, watch.next()).await.unwrap();
        assert!(matches!(event, Event::Delete { .. }), "{event:?}");
    }
    assert_eq!((text(&store, "l/a").await, text(&store, "l/b").await), (None, None));
    assert!(text(&store, "other").await.is_some() && text(&store, "plain").await.is_some());
    let error = store.keep_alive(lease).await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (Kind::Aborted, Reason::StoreConflict));
}

pub(super) async fn a_renewed_lease_lives(store: Store) {
    let lease = store.grant(TTL).await.unwrap();
    put_under(&store, "l/a", lease).await;
    for _ in 0..9 {
        sleep(TTL / 3).await;
        assert_eq!(store.keep_alive(lease).await.unwrap(), TTL);
    }
    assert!(text(&store, "l/a").await.is_some());
    wait_until_deleted(&store, "l/a").await;
}

pub(super) async fn a_revoked_lease_is_gone(store: Store) {
    let lease = store.grant(TTL).await.unwrap();
    put_under(&store, "l/a", lease).await;
    store.revoke(lease).await.unwrap();
    assert_eq!(text(&store, "l/a").await, None);
    store.revoke(lease).await.unwrap();
    let late = Commit::new().put("plain", "1").put_under("l/a", "late", lease);
    assert_eq!(store.commit(late).await.unwrap_err().reason(), Reason::StoreConflict);
    assert_eq!((text(&store, "plain").await, text(&store, "l/a").await), (None, None));
    assert_ne!(store.grant(TTL).await.unwrap(), lease, "ids are not used again");
}

pub(super) async fn a_key_leaves_its_lease(store: Store) {
    let (one, two) = (store.grant(TTL).await.unwrap(), store.grant(TTL).await.unwrap());
    for key in ["freed", "moved", "deleted", "left"] {
        put_under(&store, key, one).await;
    }
    put(&store, "freed", "plain").await;
    put_under(&store, "moved", two).await;
    store.commit(Commit::new().delete("deleted")).await.unwrap();
    put(&store, "deleted", "anew").await;
    store.revoke(one).await.unwrap();
    assert_eq!(text(&store, "freed").await.as_deref(), Some("plain"));
    assert_eq!(text(&store, "moved").await.as_deref(), Some("leased"));
    assert_eq!(text(&store, "deleted").await.as_deref(), Some("anew"));
    assert_eq!(text(&store, "left").await, None);
    store.revoke(two).await.unwrap();
    assert_eq!(text(&store, "moved").await, None);
}
