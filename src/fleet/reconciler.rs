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
        turn(&handle, now).await;
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
            "a large part of the fleet was lost within one lease; those instances are not removed, and stay \
             in discovery, until they are heard, for {PROTECTION_LIMIT:?} at the most; look at the network \
             between them and the control plane first"
        ),
        News::Began(Scope::Service(service)) => warn!(
            component = "fleet",
            operation = "protect",
            %service,
            lost,
            protected,
            "all instances of a service were lost within one lease; they are not removed, and stay in \
             discovery, until they are heard, for {PROTECTION_LIMIT:?} at the most"
        ),
        News::Ended(Scope::Fleet) => {
            info!(component = "fleet", operation = "protect", lost, "the protection of the fleet has ended");
        }
        News::Ended(Scope::Service(service)) => {
            info!(component = "fleet", operation = "protect", %service, lost, "the protection of a service has ended");
        }
    }
}

/// Judges all leases and silences that are due. Who is to be removed is counted here, and named in the log when
/// it is done: as long as it cannot be, all of them come up again and again.
async fn turn(handle: &Handle, now: Now) {
    let (mut asked, mut put_off) = (0_usize, 0_usize);
    loop {
        let expired = expire(handle, now);
        asked += expired.asked;
        put_off += expired.put_off;
        if !expired.more {
            break;
        }
        // Somebody else's turn: many may wait for the state while a large part of a fleet is lost.
        yield_now().await;
    }
    if asked + put_off > 0 {
        info!(
            component = "fleet",
            operation = "remove",
            asked,
            put_off,
            "removing instances that were lost for too long; those that are put off come up again"
        );
    }
}

/// What became of some that were due.
struct Expired {
    /// The registrar was asked to remove so many.
    asked: usize,
    /// Its queue was full for so many.
    put_off: usize,
    /// Whether more is due.
    more: bool,
}

/// Judges some of the leases and silences that are due, and asks the registrar to remove who was lost
/// for too long.
fn expire(handle: &Handle, now: Now) -> Expired {
    let mut state = handle.shared.state.write();
    let Ticked { removals, more } = state.tick(now, HOLD);
    let since = |(key, incarnation): &(InstanceKey, u64)| state.lost_since(key, *incarnation);
    let losses: Vec<Option<Mono>> = removals.iter().map(since).collect();
    // Handed on to whoever waits: without that this loop would take it again and again before they wake.
    RwLockWriteGuard::unlock_fair(state);
    let count = removals.len();
    let asked = removals.into_iter().zip(losses).filter(|((key, incarnation), lost_since)| {
        // A full queue is no harm: it comes up again at a later turn.
        handle.try_remove(RemoveCommand {
            service: key.service.clone(),
            id: key.id.clone(),
            incarnation: Some(*incarnation),
            token: None,
            lost_since: *lost_since,
            removal: Removal::Lost,
            message: String::new(),
        })
    });
    let asked = asked.count();
    Expired { asked, put_off: count - asked, more }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use parking_lot::Mutex;
    use tracing::subscriber::set_default;

    use super::*;
    use crate::fleet::testing::{Fleet, handle, key};

    /// What was written to the log.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn however_many_are_to_be_removed_a_turn_says_so_once() {
        const COUNT: usize = 3 * HOLD;
        let mut fleet = Fleet::default();
        for at in 0..COUNT {
            fleet.register(&key("orders", &format!("i-{at}")));
        }
        // Lost at once, and protected for as long as that lasts.
        fleet.pass(Duration::from_secs(60));
        while fleet.state.tick(fleet.now, HOLD).more {}
        fleet.pass(PROTECTION_LIMIT);
        let Fleet { state, now } = fleet;
        // Nobody takes removals: they come up again.
        let handle = handle(state);
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let _default = set_default(subscriber);
        for again in 0..3 {
            log.0.lock().clear();
            let now = Now { mono: now.mono + Duration::from_secs(5 * again), wall: now.wall };
            turn(&handle, now).await;
            let text = String::from_utf8(log.0.lock().clone()).unwrap();
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.contains(&format!("put_off={COUNT}")), "{text}");
        }
    }
}
