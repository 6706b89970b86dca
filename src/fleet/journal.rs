//! Writes down what may be written late: changes of health, and the end of old tombstones.
//!
//! Apart from the reconciler, so that a slow disk never delays the judgement of who lives. What could
//! not be written waits, within a bound, for the next turn.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::{
    Shared,
    names::InstanceKey,
    reconciler::TICK,
    record,
    sequences::{self, Numbers},
    snapshot::{Subject, Transition},
};
use crate::{
    error::Chain,
    store::{Commit, Compare, Entry, Store},
    task::drain,
};

/// Keys that go into one commit.
const BATCH: usize = 400;
/// Bytes of records that go into one commit; well below what the store takes.
const BATCH_BYTES: usize = 512 * 1024;

/// Runs until the drain begins; then writes down what is left. False: some of it could not be.
pub(super) async fn run(shared: Arc<Shared>, store: Store, mut drain: drain::Watch) -> bool {
    let mut journal = Journal { shared, store, logged: 0, numbers: Numbers::Reserved };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = drain.begun() => break,
            _ = ticks.tick() => {}
        }
        journal.reserve().await;
        journal.write().await;
        journal.forget_graves().await;
    }
    journal.write().await
}

struct Journal {
    shared: Arc<Shared>,
    store: Store,
    /// The last change of health that is in the log.
    logged: u64,
    /// What the log says of the numbers of changes of health.
    numbers: Numbers,
}

impl Journal {
    /// Keeps numbers of changes of health reserved, and says so where it cannot.
    async fn reserve(&mut self) {
        let numbers = sequences::reserve(&self.shared, &self.store).await;
        match (self.numbers, numbers) {
            (Numbers::Reserved, Numbers::Unreserved) => warn!(
                component = "fleet",
                operation = "reserve",
                "changes of health get numbers that are not reserved, because the store takes no writes; if the \
                 control plane ends before it does, the next run uses these numbers again"
            ),
            (Numbers::Unreserved, Numbers::Reserved) => info!(
                component = "fleet",
                operation = "reserve",
                "numbers of changes of health are reserved again, and those that were used stay used"
            ),
            (Numbers::Reserved, Numbers::Reserved) | (Numbers::Unreserved, Numbers::Unreserved) => {}
        }
        self.numbers = numbers;
    }

    /// Writes all that waits, changes before deletions. True: nothing is left.
    async fn write(&mut self) -> bool {
        loop {
            let taken = self.shared.state.write().take_unsaved(BATCH);
            if taken.is_empty() {
                break;
            }
            for transition in taken.iter().filter(|transition| transition.sequence > self.logged) {
                log(transition);
            }
            self.logged = self.logged.max(taken.last().map_or(0, |last| last.sequence));
            let (commit, rest) = puts(&taken);
            let (written, kept) = match self.store.commit(commit).await {
                Ok(_) => (true, rest),
                Err(error) => {
                    debug!(component = "fleet", operation = "journal", error = %Chain(&error), "could not write down changes of health");
                    (false, taken)
                }
            };
            self.shared.state.write().put_back_unsaved(kept);
            if !written {
                return false;
            }
        }
        loop {
            let keys = self.shared.state.write().take_forgotten(BATCH);
            if keys.is_empty() {
                return true;
            }
            let commit = keys.iter().fold(Commit::new(), |commit, key| commit.delete(key.clone()));
            if let Err(error) = self.store.commit(commit).await {
                debug!(component = "fleet", operation = "journal", error = %Chain(&error), "could not delete old changes of health");
                self.shared.state.write().put_back_forgotten(keys);
                return false;
            }
        }
    }

    async fn forget_graves(&self) {
        loop {
            let expired = self.shared.state.write().expire_graves(self.shared.clock.now(), BATCH);
            if expired.is_empty() {
                return;
            }
            forget(&self.shared, &self.store, &expired).await;
        }
    }
}

/// Deletes the records of tombstones that the registry has forgotten, and of no others: an instance may
/// have come and gone again since. What cannot be deleted is read back at the next start, and expires again.
pub(super) async fn forget(shared: &Shared, store: &Store, keys: &[InstanceKey]) {
    let deleted = async {
        let mut commit = Commit::new();
        for key in keys {
            let record = record::tombstone_key(key);
            // First the record, then the registry: one that is buried in between has another revision.
            if let Some(Entry { revision, .. }) = store.get(&record).await?
                && shared.state.read().grave(key).is_none()
            {
                let unchanged = Compare::Unchanged { key: record.clone(), revision };
                commit = commit.require(unchanged).delete(record);
            }
        }
        store.commit(commit).await
    };
    if let Err(error) = deleted.await {
        debug!(component = "fleet", error = %Chain(&error), "could not delete old tombstones");
    }
}

/// A commit of as many as fit, and those that do not.
fn puts(taken: &[Arc<Transition>]) -> (Commit, Vec<Arc<Transition>>) {
    let mut commit = Commit::new();
    let mut bytes = 0;
    for (at, transition) in taken.iter().enumerate() {
        if bytes > BATCH_BYTES {
            return (commit, taken[at..].to_vec());
        }
        match record::encode_transition(transition) {
            Ok(value) => {
                bytes += value.len();
                commit = commit.put(record::transition_key(transition), value);
            }
            Err(error) => {
                warn!(component = "fleet", error = %Chain(&error), "could not encode a change of health");
            }
        }
    }
    (commit, Vec::new())
}

/// What somebody who is woken at night looks for first.
fn log(transition: &Transition) {
    let Transition { sequence, time: _, subject, from, to } = transition;
    let (from, to, cause) = (from.as_str(), to.state.as_str(), to.cause.as_str());
    match subject {
        Subject::Service(name) => {
            info!(component = "fleet", operation = "health", service = %name, from, to, cause, sequence, "service is {to}");
        }
        Subject::Instance(key, incarnation) => {
            info!(component = "fleet", operation = "health", instance = %key, incarnation, from, to, cause, sequence, "instance is {to}");
        }
        Subject::Component(key, incarnation, name) => {
            debug!(component = "fleet", operation = "health", instance = %key, incarnation, part = %name, from, to, cause, sequence, "component is {to}");
        }
    }
}
