//! What holds over time in the fleet: leases run out, silence is noticed, the lost are removed,
//! tombstones are let go, and changes of health are written down.
//!
//! Woken by a timer, without input, idempotent: whatever could not be done is done at the next turn.
//! It also notices when it was late itself, and credits everyone with that time before it judges.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::{
    Handle, Shared, record,
    registrar::RemoveCommand,
    snapshot::{Removal, Subject, Transition},
};
use crate::{
    error::Chain,
    store::{Commit, Store},
    task::drain,
};

/// How often it looks. The price of an expiry that is noticed late by this much at the most.
pub const TICK: Duration = Duration::from_millis(500);
/// Being later than this is a stall of the control plane.
const TOLERANCE: Duration = Duration::from_millis(500);
/// Tombstones are looked at once in so many ticks.
const GRAVE_TICKS: u32 = 120;
/// Changes of health that go into one commit.
const JOURNAL_BATCH: usize = 500;

/// Runs until the drain begins; then writes down what is left.
pub(super) async fn run(handle: Handle, store: Store, mut drain: drain::Watch) {
    let shared = Arc::clone(&handle.shared);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = shared.clock.mono();
    for turn in 0_u32.. {
        tokio::select! {
            biased;
            () = drain.begun() => break,
            _ = ticks.tick() => {}
        }
        let now = shared.clock.mono();
        let lateness = now.since(last).saturating_sub(TICK);
        last = now;
        if lateness > TOLERANCE {
            warn!(
                component = "fleet",
                late = ?lateness,
                "the control plane stalled; every lease is extended by the lateness"
            );
            shared.state.write().record_stall(shared.clock.now(), lateness);
        }
        expire(&handle);
        journal(&shared, &store).await;
        if turn % GRAVE_TICKS == 0 {
            forget_graves(&shared, &store).await;
        }
    }
    while journal(&shared, &store).await {}
}

/// Judges leases and silence, and asks the registrar to remove who was lost for too long.
fn expire(handle: &Handle) {
    let removals = handle.shared.state.write().tick(handle.shared.clock.now());
    for (key, incarnation) in removals {
        info!(component = "fleet", operation = "remove", instance = %key, incarnation, "removing an instance that was lost for too long");
        // A full queue is no harm: it comes up again at a later turn.
        handle.try_remove(RemoveCommand {
            service: key.service,
            id: key.id,
            incarnation: Some(incarnation),
            token: None,
            removal: Removal::Lost,
            message: String::new(),
        });
    }
}

/// Writes down changes of health. True: there was something, and it is written.
async fn journal(shared: &Shared, store: &Store) -> bool {
    let unsaved = shared.state.write().take_unsaved(JOURNAL_BATCH);
    if unsaved.is_empty() {
        return false;
    }
    unsaved.iter().for_each(|transition| log(transition));
    match store.commit(journal_commit(shared, &unsaved)).await {
        Ok(_) => true,
        Err(error) => {
            debug!(component = "fleet", operation = "journal", error = %Chain(&error), "could not write down changes of health");
            shared.state.write().put_back_unsaved(unsaved);
            false
        }
    }
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

/// The new ones, and the deletion of those that fall off the end of each service's history.
fn journal_commit(shared: &Shared, unsaved: &[Arc<Transition>]) -> Commit {
    let mut commit = Commit::new();
    for transition in unsaved {
        match record::encode_transition(transition) {
            Ok(value) => commit = commit.put(record::transition_key(transition), value),
            Err(error) => {
                warn!(component = "fleet", error = %Chain(&error), "could not encode a change of health");
            }
        }
    }
    for key in shared.state.write().take_forgotten() {
        commit = commit.delete(key);
    }
    commit
}

async fn forget_graves(shared: &Shared, store: &Store) {
    let expired = shared.state.write().expire_graves(shared.clock.now());
    for keys in expired.chunks(JOURNAL_BATCH) {
        let commit = keys.iter().fold(Commit::new(), |commit, key| commit.delete(record::tombstone_key(key)));
        if let Err(error) = store.commit(commit).await {
            // They are read back at the next start, and expire again.
            debug!(component = "fleet", error = %Chain(&error), "could not delete old tombstones");
        }
    }
}
