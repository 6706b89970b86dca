//! Laws of leadership.

use std::time::Duration;

use tokio::time::timeout;

use super::text;
use crate::{
    error::Reason,
    store::{Commit, Leadership, Store, election},
};

const TTL: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(10);

async fn elect(store: &Store, candidate: &str) -> Leadership {
    timeout(SOON, store.elect("planner", candidate, TTL)).await.expect("the place is free soon").unwrap()
}

async fn leader(store: &Store) -> Option<String> {
    election::leader(store, "planner").await.unwrap()
}

pub(super) async fn one_leads_at_a_time(store: Store) {
    assert_eq!(leader(&store).await, None);
    let first = elect(&store, "a").await;
    let second = store.elect("planner", "b", TTL);
    tokio::pin!(second);
    assert!(timeout(TTL * 3, &mut second).await.is_err(), "a still leads");
    assert_eq!(leader(&store).await.as_deref(), Some("a"));
    let elsewhere = timeout(SOON, store.elect("plan", "c", TTL)).await.unwrap().unwrap();
    assert!(!elsewhere.is_lost(), "names are independent");
    let token = first.token();
    first.resign().await.unwrap();
    let second = timeout(SOON, second).await.unwrap().unwrap();
    assert!(second.token() > token);
    assert_eq!(leader(&store).await.as_deref(), Some("b"));
}

pub(super) async fn a_deposed_leader_is_fenced(store: Store) {
    let first = elect(&store, "a").await;
    let fence = first.fence();
    store.commit(Commit::new().require(fence.clone()).put("plan", "by a")).await.unwrap();
    // It stands still: nobody renews, the lease runs out, another takes over.
    drop(first);
    let second = elect(&store, "b").await;
    store.commit(Commit::new().require(second.fence()).put("plan", "by b")).await.unwrap();
    let late = store.commit(Commit::new().require(fence).put("plan", "by a, late")).await;
    assert_eq!(late.unwrap_err().reason(), Reason::StoreConflict);
    assert_eq!(text(&store, "plan").await.as_deref(), Some("by b"));
}

pub(super) async fn a_leader_stays_while_it_lives(store: Store) {
    let leadership = elect(&store, "a").await;
    assert!(timeout(TTL * 5, leadership.lost()).await.is_err(), "it renews itself");
    store.commit(Commit::new().require(leadership.fence()).put("plan", "1")).await.unwrap();
    // Somebody takes it away by force.
    store.commit(Commit::new().delete("elections/planner")).await.unwrap();
    timeout(SOON, leadership.lost()).await.expect("it notices");
    assert!(leadership.is_lost());
    store.commit(Commit::new().require(leadership.fence()).put("plan", "2")).await.unwrap_err();
}
