//! The simulated engine keeps the laws of every engine, and its faults are what they say.

use std::time::Duration;

use super::{Engine, Fate, Medium};
use crate::{
    store::{Commit, Store, conformance, outcome_is_open},
    time::Clock,
};

async fn open() -> (Store, Engine) {
    Medium::default().open(Clock::start(), Box::new(|| Fate::Written(Duration::ZERO)))
}

/// An engine to whose commits this happens, one after the other; then all is well.
fn faulty(medium: &Medium, fates: Vec<Fate>) -> (Store, Engine) {
    let mut fates = fates.into_iter();
    medium.open(Clock::start(), Box::new(move || fates.next().unwrap_or(Fate::Written(Duration::ZERO))))
}

fn put(key: &str) -> Commit {
    Commit::new().put(key, "1")
}

#[tokio::test(start_paused = true)]
async fn the_simulated_engine_keeps_the_laws() {
    conformance::suite(open).await;
}

#[tokio::test(start_paused = true)]
async fn an_open_outcome_is_settled_once_it_writes_again() {
    const SECOND: Duration = Duration::from_secs(1);
    for (shown, written) in [(false, false), (false, true), (true, false), (true, true)] {
        let fate = Fate::Open { after: SECOND, lasts: SECOND, shown, written };
        let (store, _engine) = faulty(&Medium::default(), vec![fate]);
        assert!(outcome_is_open(&store.commit(put("a")).await.unwrap_err()));
        assert!(!store.status().writable);
        assert_eq!(store.get("a").await.unwrap().is_some(), shown);
        assert!(!outcome_is_open(&store.commit(put("b")).await.unwrap_err()), "taken while it cannot write");
        tokio::time::sleep(SECOND * 2).await;
        assert!(store.status().writable);
        assert_eq!(store.get("a").await.unwrap().is_some(), written);
        store.commit(put("b")).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_keeps_what_was_acknowledged_and_a_part_of_the_rest() {
    for keep in 0..3 {
        let medium = Medium::default();
        let written = Fate::Written(Duration::ZERO);
        let (store, engine) = faulty(&medium, vec![written, Fate::Written(Duration::from_secs(9))]);
        store.commit(put("a")).await.unwrap();
        let (second, third) = (store.commit(put("b")), store.commit(put("c")));
        let waiting = async { tokio::join!(second, third) };
        assert!(tokio::time::timeout(Duration::from_secs(1), waiting).await.is_err());
        engine.crash(keep);
        let keys: Vec<_> = medium.entries("").into_iter().map(|entry| entry.key).collect();
        assert_eq!(keys, ["a", "b", "c"][..=keep]);
    }
}
