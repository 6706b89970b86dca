//! What operations came to, counted since the first of them: for metrics that neither fall nor forget when the control plane is
//! restarted. Operations themselves are kept for a month; these sums are kept for ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{
    error::{Chain, Reason, Result},
    operation::{self, Beside, Kind, Operation, Outcome, Run, State},
    store::{Commit, Store, record},
    vault::Component,
};

/// Where they are stored.
pub(super) const KEY: &str = "backups/totals";
/// Where it stands of an operation that has ended that it is not in the sums yet, by its id; beside it what it came to.
const NOTED: &str = "backups/totals/";
/// Of these so many are read, and taken away, at a time.
const PAGE: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not zero");
const MOST_NOTED: usize = 256;
/// Newest version of the record that this build writes and reads.
const VERSION: u32 = 1;
/// Services of which it is remembered when they were last backed up: as many as metrics show.
const MOST_SERVICES: usize = 1000;

/// Bytes of a backup.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
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
    sums: Mutex<Sums>,
    /// Held by whoever writes: a later record is never overtaken by an earlier one.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Sums {
    record: Record,
    /// Operations that are counted here, and of which the store says still that they are not.
    noted: BTreeSet<String>,
}

impl Totals {
    /// Reads them, and counts what ended just before the control plane did.
    pub(super) async fn open(store: Store, operations: &operation::Handle) -> Result<Self> {
        let record = match store.get(KEY).await? {
            Some(entry) => record::decode(KEY, VERSION, &entry.value)?,
            None => Record::default(),
        };
        let mut sums = Sums { record, noted: BTreeSet::new() };
        let mut after = None;
        loop {
            let page = store.list(NOTED, after.as_deref(), PAGE).await?;
            for entry in page.entries {
                let sizes: Sizes = record::decode(&entry.key, VERSION, &entry.value)?;
                if let Some(id) = entry.key.strip_prefix(NOTED).and_then(|id| id.parse().ok()) {
                    match operations.get(id).await {
                        Ok(operation) => sums.record.count(&operation, sizes),
                        // One that is forgotten since cannot be counted any more.
                        Err(error) if error.reason() == Reason::OperationNotFound => {}
                        Err(error) => return Err(error),
                    }
                }
                sums.noted.insert(entry.key);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let is_news = !sums.noted.is_empty();
        let totals = Self { store, sums: Mutex::new(sums), writing: tokio::sync::Mutex::default() };
        if is_news {
            totals.write().await;
        }
        Ok(totals)
    }

    /// Ends an operation, and counts it. With its end it is written that it is not counted yet: a kill in between takes it from no
    /// sum.
    ///
    /// # Errors
    /// How it ended could not be written down.
    pub(crate) async fn finish(
        &self,
        run: Run,
        outcome: Outcome,
        report: Vec<String>,
        sizes: Sizes,
    ) -> Result<Arc<Operation>> {
        let note = Beside { key: format!("{NOTED}{}", run.id()), value: record::encode(VERSION, &sizes)? };
        let key = note.key.clone();
        let operation = run.finish_with(outcome, report, Some(note)).await?;
        {
            let mut sums = self.sums.lock();
            sums.record.count(&operation, sizes);
            sums.noted.insert(key);
        }
        self.write().await;
        Ok(operation)
    }

    /// Writes the sums, and that what was noted is in them. What cannot be written now is with the next.
    async fn write(&self) {
        let _writing = self.writing.lock().await;
        let (record, noted) = {
            let sums = self.sums.lock();
            (sums.record.clone(), sums.noted.iter().take(MOST_NOTED).cloned().collect::<Vec<_>>())
        };
        let written = async {
            let commit = Commit::new().put(KEY, record::encode(VERSION, &record)?);
            let commit = noted.iter().fold(commit, |commit, key| commit.delete(key.clone()));
            self.store.commit_settled(commit).await
        };
        match written.await {
            Ok(_) => {
                let mut sums = self.sums.lock();
                noted.iter().for_each(|key| {
                    sums.noted.remove(key);
                });
            }
            Err(error) => {
                warn!(component = "backup", operation = "count", error = %Chain(&error), "sums could not be written; they are with the next");
            }
        }
    }

    pub(super) fn sums(&self) -> Vec<(String, String, Sum)> {
        let sums = self.sums.lock();
        let parts = sums.record.sums.iter().filter_map(|(name, sum)| Some((name.split_once('/')?, *sum)));
        parts.map(|((kind, outcome), sum)| (kind.to_owned(), outcome.to_owned(), sum)).collect()
    }

    pub(super) fn last_success(&self) -> Vec<(String, Duration)> {
        let sums = self.sums.lock();
        sums.record
            .last_success_ms
            .iter()
            .map(|(name, at)| (name.clone(), Duration::from_millis(*at)))
            .collect()
    }
}

impl Record {
    fn count(&mut self, operation: &Operation, sizes: Sizes) {
        let sizes = match operation.kind {
            Kind::Backup | Kind::Verify => sizes,
            Kind::Restore => Sizes { bytes: operation.progress.done_bytes, ..Sizes::default() },
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::Entropy,
        operation::{Begun, Wanted},
        store::simulated::{Fate, Medium},
        task::{self, OnEnd, drain},
        time::Clock,
    };

    const SIZES: Sizes = Sizes { bytes: 30, new_bytes: 20, stored_bytes: 10 };

    /// What the sums are after a life in which this happened.
    async fn life<F: Future<Output = ()>>(
        medium: &Medium,
        live: impl FnOnce(operation::Handle, Arc<Totals>) -> F,
    ) -> Vec<(String, String, Sum)> {
        let clock = Clock::start_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let (store, _engine) = medium.open(clock, Box::new(|| Fate::Written(Duration::from_millis(1))));
        let options = operation::Options::default();
        let opened = operation::open(options, clock, Entropy::system(), store.clone()).await.unwrap();
        let (handle, service, _orphans) = opened;
        let (_drain, watch) = drain::channel();
        let _task = task::spawn("operations", OnEnd::Fine, service.run(watch));
        let totals = Arc::new(Totals::open(store, &handle).await.unwrap());
        let last_success = totals.last_success();
        live(handle, Arc::clone(&totals)).await;
        assert!(last_success.len() <= 1);
        totals.sums()
    }

    async fn begin(operations: &operation::Handle, kind: Kind) -> Run {
        let wanted = Wanted {
            kind,
            service: "orders".to_owned(),
            backup_id: None,
            created_by: "local".to_owned(),
            request_id: String::new(),
            asked: String::new(),
            scope: kind.as_str().to_owned(),
        };
        match operations.begin(wanted).await.unwrap() {
            Begun::New(run) => run,
            Begun::Same(same) => panic!("the same as {same:?}"),
        }
    }

    fn told(sums: &[(String, String, Sum)]) -> Vec<(&str, u64, u64)> {
        sums.iter().map(|(kind, _, sum)| (kind.as_str(), sum.count, sum.bytes)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_ended_is_counted_once_whenever_the_control_plane_dies() {
        let medium = Medium::default();
        let counted = life(&medium, async |operations, totals| {
            let run = begin(&operations, Kind::Backup).await;
            totals.finish(run, Outcome::Succeeded, Vec::new(), SIZES).await.unwrap();
        });
        assert_eq!(told(&counted.await), [("backup", 1, 30)]);
        // It dies right after the last word was written, and before it is counted.
        let died = life(&medium, async |operations, _| {
            let run = begin(&operations, Kind::Backup).await;
            let note = Beside {
                key: format!("{NOTED}{}", run.id()),
                value: record::encode(VERSION, &SIZES).unwrap(),
            };
            run.finish_with(Outcome::Succeeded, Vec::new(), Some(note)).await.unwrap();
            let run = begin(&operations, Kind::Restore).await;
            let step = run.add_step("restore", 7).unwrap();
            step.progress(7, 7);
            let value = record::encode(VERSION, &Sizes::default()).unwrap();
            let note = Beside { key: format!("{NOTED}{}", run.id()), value };
            run.finish_with(Outcome::Succeeded, Vec::new(), Some(note)).await.unwrap();
        });
        assert_eq!(told(&died.await), [("backup", 1, 30)]);
        for _ in 0..2 {
            let again = life(&medium, async |_, totals| assert_eq!(totals.last_success().len(), 1));
            assert_eq!(told(&again.await), [("backup", 2, 60), ("restore", 1, 7)]);
        }
    }
}
