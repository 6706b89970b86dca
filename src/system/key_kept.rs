//! Whether somebody has said that the key of the vault is kept elsewhere too. Said of one key: another one is asked about anew.

use std::{sync::Arc, time::SystemTime};

use arc_swap::ArcSwapOption;
use serde::{Deserialize, Serialize};

use crate::{
    error::Result,
    store::{Commit, Store, record},
};

/// Where it is stored.
const KEY: &str = "vault/key-kept";
/// Newest version of the record that this build writes and reads.
const VERSION: u32 = 1;

#[derive(Debug, Deserialize, Serialize)]
struct Record {
    key_id: String,
    by: String,
    at_ms: u64,
}

/// What was said of the key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyKept {
    store: Store,
    said: Arc<ArcSwapOption<String>>,
}

impl KeyKept {
    /// Reads what was said.
    ///
    /// # Errors
    /// The store cannot be read, or the record is damaged or from a newer build.
    pub async fn open(store: Store) -> Result<Self> {
        let said = match store.get(KEY).await? {
            Some(entry) => Some(Arc::new(record::decode::<Record>(KEY, VERSION, &entry.value)?.key_id)),
            None => None,
        };
        Ok(Self { store, said: Arc::new(ArcSwapOption::new(said)) })
    }

    /// Writes down that the key of this id is kept elsewhere too.
    ///
    /// # Errors
    /// The store cannot write.
    pub async fn confirm(&self, key_id: &str, by: &str, now: SystemTime) -> Result<()> {
        let at = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        let record = Record { key_id: key_id.to_owned(), by: by.to_owned(), at_ms };
        self.store.commit(Commit::new().put(KEY, record::encode(VERSION, &record)?)).await?;
        self.said.store(Some(Arc::new(key_id.to_owned())));
        Ok(())
    }

    /// Whether somebody has said so of the key of this id.
    pub fn is_kept(&self, key_id: &str) -> bool {
        self.said.load().as_deref().is_some_and(|said| said == key_id)
    }
}
