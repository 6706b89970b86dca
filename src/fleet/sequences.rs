//! Numbers of changes of health, which never come back, not even where the newest changes were forgotten with
//! their service or were never written down: they are reserved in the store, a block at a time, before they
//! are used. What is left of a block at a restart is left out.
//!
//! **One exception.** Health goes on, and is told, while the store takes no writes. Where it takes none from a
//! start on (or for longer than a block lasts), numbers are used that are not reserved; if the control plane
//! ends before the store takes writes again, the next run gives them to other changes. None of those changes was
//! written down either. The log says when that begins and when it is over.

use serde::{Deserialize, Serialize};
use tracing::debug;

use super::Shared;
use crate::{
    error::{Chain, Result},
    store::{Commit, Store, record},
};

/// Where it is stored below which numbers may have been used.
const KEY: &str = "sequences/transitions";
/// Newest version of the record that this build writes and reads.
const VERSION: u32 = 1;
/// Numbers that are reserved at once, and again when half of them are used: more than the largest fleet
/// uses between two turns of the journal, and not so many that they could run out.
const BLOCK: u64 = 1_000_000;

#[derive(Deserialize, Serialize)]
struct SequenceRecord {
    /// Every number below may have been used.
    below: u64,
}

/// Below which numbers may have been used; 1 where none was.
///
/// # Errors
/// The store cannot be read, or the record is damaged or from a newer build.
pub(super) async fn reserved(store: &Store) -> Result<u64> {
    Ok(match store.get(KEY).await? {
        Some(entry) => record::decode::<SequenceRecord>(KEY, VERSION, &entry.value)?.below,
        None => 1,
    })
}

/// Whether numbers that are given now may come back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Numbers {
    /// They are reserved.
    Reserved,
    /// They are not: the store does not take it.
    Unreserved,
}

/// Reserves more numbers where they run short. What cannot be reserved now is at the next turn.
pub(super) async fn reserve(shared: &Shared, store: &Store) -> Numbers {
    let Some(below) = shared.state.read().sequences_wanted(BLOCK) else { return Numbers::Reserved };
    let reserved = async {
        let value = record::encode(VERSION, &SequenceRecord { below })?;
        store.commit(Commit::new().put(KEY.to_owned(), value)).await
    };
    match reserved.await {
        Ok(_) => shared.state.write().sequences_reserved(below),
        Err(error) => {
            debug!(component = "fleet", operation = "reserve", error = %Chain(&error), "could not reserve numbers of changes of health");
        }
    }
    if shared.state.read().has_reserved_sequences() { Numbers::Reserved } else { Numbers::Unreserved }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fleet::testing::{Fleet, handle, key, report},
        health::component::Reported,
        store::embedded::faults::{Fault, Faulty},
    };

    #[tokio::test]
    async fn numbers_are_reserved_as_soon_as_the_store_takes_writes() {
        let disk = Faulty::default();
        let (store, _engine, _dir) = disk.open();
        let mut fleet = Fleet::default();
        fleet.register(&key("orders", "i-1"));
        let shared = handle(fleet.state).shared;
        disk.set(Fault::Writes);
        for reported in [Reported::Healthy, Reported::Unhealthy] {
            assert_eq!(reserve(&shared, &store).await, Numbers::Unreserved);
            let mut state = shared.state.write();
            state.report(fleet.now, &key("orders", "i-1"), 1, report(reported), None).unwrap();
        }
        disk.set(Fault::None);
        while reserve(&shared, &store).await == Numbers::Unreserved {
            tokio::task::yield_now().await;
        }
        let newest = shared.state.read().history().last_key_value().map_or(0, |(sequence, _)| *sequence);
        assert!(newest > 0 && reserved(&store).await.unwrap() > newest, "those that were used are too");
        assert_eq!(reserve(&shared, &store).await, Numbers::Reserved);
    }
}
