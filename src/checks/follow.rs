//! Keeps the schedule in step with the fleet: its whole state once, in pieces, and its changes from then
//! on. Only when changes came faster than they were read is the whole read again.

use tokio::{sync::watch, task::yield_now};

use super::schedule::{JobId, Schedule};
use crate::{
    fleet::{Handle, changes::Change, reading::Reading, snapshot::Revision},
    time::Clock,
};

/// Changes that are taken at a time.
const TURN: usize = 1024;

/// A place in the fleet's changes.
#[derive(Debug)]
pub(super) struct Follower {
    /// None: the whole has to be read.
    revision: Option<Revision>,
    news: watch::Receiver<Revision>,
}

impl Follower {
    pub(super) fn new(fleet: &Handle) -> Self {
        Self { revision: None, news: fleet.changed() }
    }

    /// Waits for a change. Cancel safe.
    pub(super) async fn changed(&mut self) {
        // The fleet's end is the end of the server: the drain says so.
        if self.news.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Takes everything that has changed, and answers the checks that are no longer there.
    pub(super) async fn follow(
        &mut self,
        fleet: &Handle,
        schedule: &mut Schedule,
        clock: Clock,
    ) -> Vec<JobId> {
        let mut gone = Vec::new();
        loop {
            let Some(revision) = self.revision else {
                gone.extend(self.read_all(fleet, schedule, clock).await);
                continue;
            };
            if *self.news.borrow_and_update() <= revision {
                return gone;
            }
            match fleet.changes_after(revision, None, TURN) {
                Err(_) => self.revision = None,
                Ok((looked, changes)) => {
                    for (_, change) in changes {
                        gone.extend(apply(schedule, clock, &change));
                    }
                    self.revision = Some(looked);
                    yield_now().await;
                }
            }
        }
    }

    async fn read_all(&mut self, fleet: &Handle, schedule: &mut Schedule, clock: Clock) -> Vec<JobId> {
        let mut gone = Vec::new();
        schedule.begin_reading();
        let mut reading: Reading = fleet.reading(None);
        loop {
            let Ok(part) = fleet.read_on(&mut reading) else {
                // Too slow: from the beginning. What was found stays.
                schedule.begin_reading();
                reading = fleet.reading(None);
                continue;
            };
            for change in &part.changes {
                gone.extend(apply(schedule, clock, change));
            }
            for instance in &part.instances {
                gone.extend(schedule.follow(clock.mono(), instance));
            }
            if let Some(revision) = part.complete {
                gone.extend(schedule.end_reading());
                self.revision = Some(revision);
                return gone;
            }
            yield_now().await;
        }
    }
}

fn apply(schedule: &mut Schedule, clock: Clock, change: &Change) -> Vec<JobId> {
    match change {
        Change::Instance(instance) => schedule.follow(clock.mono(), instance),
        Change::Removed(tombstone) => schedule.forget(&tombstone.key),
        Change::Service(_) | Change::ServiceRemoved(_) => Vec::new(),
    }
}
