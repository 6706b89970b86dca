//! What holds over time in the fleet: leases run out, silence is noticed, the lost are removed.
//!
//! Woken by a timer, without input, idempotent: whatever could not be done is done at the next turn.
//! It also notices when it was late itself, and credits everyone with that time before it judges, and says
//! in the log when a wave of losses began and ended.

use std::{sync::Arc, time::Duration};

use parking_lot::RwLockWriteGuard;
use tokio::{
    task::yield_now,
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use super::{
    Handle,
    names::InstanceKey,
    registrar::RemoveCommand,
    snapshot::Removal,
    state::{Totals, expiry::Ticked},
    waves::{News, PROTECTION_LIMIT, Scope},
};
use crate::{
    task::drain,
    time::{Mono, Now},
};

/// How often it looks. The price of an expiry that is noticed late by this much at the most.
pub const TICK: Duration = Duration::from_millis(500);
/// What is judged under one hold of the state's lock: about a millisecond.
const HOLD: usize = 256;
/// Being later than this is a stall of the control plane.
const TOLERANCE: Duration = Duration::from_millis(500);

/// Runs until the drain begins. Never waits for the store. `opened`: since when leases run; until now nobody
/// could be heard, and nobody is judged by that time.
pub(super) async fn run(handle: Handle, mut drain: drain::Watch, opened: Mono) {
    let shared = Arc::clone(&handle.shared);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let started = shared.clock.now();
    shared.state.write().record_stall(started, started.mono.since(opened));
    let mut last = started.mono;
    loop {
        tokio::select! {
            biased;
            () = drain.begun() => return,
            _ = ticks.tick() => {}
        }
        // The whole turn is judged as of its top: a pause within it is the lateness of the next one.
        let now = shared.clock.now();
        let lateness = now.mono.since(last).saturating_sub(TICK);
        last = now.mono;
        if lateness > TOLERANCE {
            warn!(
                component = "fleet",
                late = ?lateness,
                "the control plane stalled; every lease is extended by the lateness"
            );
            shared.state.write().record_stall(now, lateness);
        }
        while expire(&handle, now) {
            // Somebody else's turn: many may wait for the state while a large part of a fleet is lost.
            yield_now().await;
        }
        let (news, totals) = {
            let mut state = shared.state.write();
            state.changes.tidy();
            (state.take_wave_news(), state.totals())
        };
        news.iter().for_each(|news| log(news, totals));
    }
}

/// Once for each wave, however many it takes.
fn log(news: &News, totals: Totals) {
    let Totals { instances, lost, protected, .. } = totals;
    match news {
        News::Began(Scope::Fleet) => warn!(
            component = "fleet",
            operation = "protect",
            instances,
            lost,
            protected,
            "a large part of the fleet was lost within one lease; those instances are neither removed nor dropped \
             from discovery until they are heard, for {PROTECTION_LIMIT:?} at the most; look at the network \
             between them and the control plane first"
        ),
        News::Began(Scope::Service(service)) => warn!(
            component = "fleet",
            operation = "protect",
            %service,
            lost,
            protected,
            "all instances of a service were lost within one lease; they are neither removed nor dropped from \
             discovery until they are heard, for {PROTECTION_LIMIT:?} at the most"
        ),
        News::Ended(Scope::Fleet) => {
            info!(component = "fleet", operation = "protect", lost, "the protection of the fleet has ended");
        }
        News::Ended(Scope::Service(service)) => {
            info!(component = "fleet", operation = "protect", %service, lost, "the protection of a service has ended");
        }
    }
}

/// Judges some of the leases and silences that are due, and asks the registrar to remove who was lost
/// for too long. True: more is due.
fn expire(handle: &Handle, now: Now) -> bool {
    let mut state = handle.shared.state.write();
    let Ticked { removals, more } = state.tick(now, HOLD);
    let since = |(key, incarnation): &(InstanceKey, u64)| state.lost_since(key, *incarnation);
    let losses: Vec<Option<Mono>> = removals.iter().map(since).collect();
    // Handed on to whoever waits: without that this loop would take it again and again before they wake.
    RwLockWriteGuard::unlock_fair(state);
    for ((key, incarnation), lost_since) in removals.into_iter().zip(losses) {
        info!(component = "fleet", operation = "remove", instance = %key, incarnation, "removing an instance that was lost for too long");
        // A full queue is no harm: it comes up again at a later turn.
        handle.try_remove(RemoveCommand {
            service: key.service,
            id: key.id,
            incarnation: Some(incarnation),
            token: None,
            lost_since,
            removal: Removal::Lost,
            message: String::new(),
        });
    }
    more
}
