//! What operations came to, counted since the first of them: for metrics that neither fall nor forget when the control plane is
//! restarted. Operations themselves are kept for a month; these sums are kept for ever.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{
    error::{Chain, Result},
    operation::{Kind, Operation, State},
    store::{Commit, Store, record},
    vault::Component,
};

/// Where they are stored.
pub(super) const KEY: &str = "backups/totals";
/// Newest version of the record that this build writes and reads.
const VERSION: u32 = 1;
/// Services of which it is remembered when they were last backed up: as many as metrics show.
const MOST_SERVICES: usize = 1000;

/// Bytes of a backup.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sizes {
    /// That components have.
    pub(crate) bytes: u64,
    /// That were new to the vault.
    pub(crate) new_bytes: u64,
    /// That these take there.
    pub(crate) stored_bytes: u64,
}

impl Sizes {
    /// A component more.
    pub(super) fn add(&mut self, component: &Component) {
        self.bytes = self.bytes.saturating_add(component.bytes);
        self.new_bytes = self.new_bytes.saturating_add(component.new_bytes);
        self.stored_bytes = self.stored_bytes.saturating_add(component.stored_bytes);
    }
}

/// What operations of one kind and outcome came to.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Sum {
    /// How many there were.
    pub count: u64,
    /// How long they took, in milliseconds.
    pub millis: u64,
    /// Bytes of the components that they were about.
    pub bytes: u64,
    /// How many of these were new to the vault.
    pub new_bytes: u64,
    /// How many bytes these take there.
    pub stored_bytes: u64,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Record {
    /// By `kind/outcome`.
    sums: BTreeMap<String, Sum>,
    /// When each service was last backed up with success, in milliseconds since 1970.
    last_success_ms: BTreeMap<String, u64>,
}

/// The sums.
#[derive(Debug)]
pub(crate) struct Totals {
    store: Store,
    record: Mutex<Record>,
    /// Held by whoever writes: a later record is never overtaken by an earlier one.
    writing: tokio::sync::Mutex<()>,
}

impl Totals {
    /// Reads them.
    pub(super) async fn open(store: Store) -> Result<Self> {
        let record = match store.get(KEY).await? {
            Some(entry) => record::decode(KEY, VERSION, &entry.value)?,
            None => Record::default(),
        };
        Ok(Self { store, record: Mutex::new(record), writing: tokio::sync::Mutex::default() })
    }

    /// Counts an operation that has ended. What cannot be written now is with the next.
    pub(crate) async fn count(&self, operation: &Operation, sizes: Sizes) {
        self.record.lock().count(operation, sizes);
        let _writing = self.writing.lock().await;
        let record = self.record.lock().clone();
        let written =
            async { self.store.commit(Commit::new().put(KEY, record::encode(VERSION, &record)?)).await };
        if let Err(error) = written.await {
            warn!(component = "backup", operation = "count", error = %Chain(&error), "sums could not be written; they are with the next");
        }
    }

    pub(super) fn sums(&self) -> Vec<(String, String, Sum)> {
        let record = self.record.lock();
        let parts = record.sums.iter().filter_map(|(name, sum)| Some((name.split_once('/')?, *sum)));
        parts.map(|((kind, outcome), sum)| (kind.to_owned(), outcome.to_owned(), sum)).collect()
    }

    pub(super) fn last_success(&self) -> Vec<(String, Duration)> {
        let record = self.record.lock();
        record.last_success_ms.iter().map(|(name, at)| (name.clone(), Duration::from_millis(*at))).collect()
    }
}

impl Record {
    fn count(&mut self, operation: &Operation, sizes: Sizes) {
        let name = format!("{}/{}", operation.kind.as_str(), operation.state.as_str());
        let sum = self.sums.entry(name).or_default();
        let took = operation.started.zip(operation.ended).and_then(|(from, to)| to.duration_since(from).ok());
        sum.count += 1;
        sum.millis += took.map_or(0, |took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        sum.bytes = sum.bytes.saturating_add(sizes.bytes);
        sum.new_bytes = sum.new_bytes.saturating_add(sizes.new_bytes);
        sum.stored_bytes = sum.stored_bytes.saturating_add(sizes.stored_bytes);
        if (operation.kind, operation.state) == (Kind::Backup, State::Succeeded)
            && let Some(ended) = operation.ended
        {
            let at = ended.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let known = self.last_success_ms.contains_key(&operation.service);
            if !known && self.last_success_ms.len() >= MOST_SERVICES {
                let oldest =
                    self.last_success_ms.iter().min_by_key(|(_, at)| **at).map(|(name, _)| name.clone());
                oldest.and_then(|oldest| self.last_success_ms.remove(&oldest));
            }
            let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
            self.last_success_ms.insert(operation.service.clone(), at);
        }
    }
}
