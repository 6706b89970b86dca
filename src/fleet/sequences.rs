//! Numbers of changes of health, which never come back, not even where the newest changes were forgotten with
//! their service or were never written down: they are reserved in the store, a block at a time, before they
//! are used. What is left of a block at a restart is left out.

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
/// uses between two turns of the journal, and not so many that they could run out. Only while the store takes
/// no writes for very long are numbers used that are not reserved.
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

/// Reserves more numbers where they run short. What cannot be reserved now is at the next turn.
pub(super) async fn reserve(shared: &Shared, store: &Store) {
    let Some(below) = shared.state.read().sequences_wanted(BLOCK) else { return };
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
}
