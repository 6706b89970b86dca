//! What time does to the fleet: leases run out, components fall silent, the lost and the tombstones go.

use std::{cmp::Reverse, time::Duration};

use super::{Due, State};
use crate::{
    fleet::{lifecycle::Lifecycle, member::Member, names::InstanceKey},
    time::Now,
};

/// A removal that could not be written is tried again after this long.
const RETRY_REMOVAL: Duration = Duration::from_secs(5);
/// Most tombstones that are kept, whatever their age.
const MAX_TOMBSTONES: usize = 10_000;

impl State {
    /// Takes note that the control plane itself was late.
    pub(in crate::fleet) fn record_stall(&mut self, now: Now, lateness: Duration) {
        self.stalls.record(now.mono, lateness);
    }

    /// Does what is due, and answers the instances that have been lost for too long.
    pub(in crate::fleet) fn tick(&mut self, now: Now) -> Vec<(InstanceKey, u64)> {
        let mut removals = Vec::new();
        while let Some(Reverse((at, _))) = self.due.peek() {
            if *at > now.mono {
                break;
            }
            let Some(Reverse((_, due))) = self.due.pop() else { break };
            match due {
                Due::Lease(key, incarnation) => self.lease_due(now, key, incarnation),
                Due::Silence(key, incarnation, component) => {
                    self.silence_due(now, &key, incarnation, component);
                }
                Due::Removal(key, incarnation) => {
                    // It may have been found, and lost again since: then a later entry counts.
                    let patience = self.limits.lost_removal;
                    let overdue = |member: &Member| {
                        member.lost_since().is_some_and(|since| since + patience <= now.mono)
                    };
                    if self.member(&key, incarnation).is_some_and(overdue) {
                        // Until the removal is durable, it is looked at again.
                        self.due.push(Reverse((
                            now.mono + RETRY_REMOVAL,
                            Due::Removal(key.clone(), incarnation),
                        )));
                        removals.push((key, incarnation));
                    }
                }
            }
        }
        self.changes.tidy();
        removals
    }

    fn lease_due(&mut self, now: Now, key: InstanceKey, incarnation: u64) {
        let Some(member) = self.member(&key, incarnation) else { return };
        if member.lifecycle() == Lifecycle::Lost {
            return;
        }
        let ends = self.stalls.deadline(member.lease.last_heard(), member.lease.ttl());
        if ends > now.mono {
            self.due.push(Reverse((ends, Due::Lease(key, incarnation))));
            return;
        }
        let _ = self.change(now, &key, incarnation, |member| {
            member.lose(now);
            (vec![], true)
        });
        self.due.push(Reverse((now.mono + self.limits.lost_removal, Due::Removal(key, incarnation))));
    }

    fn silence_due(&mut self, now: Now, key: &InstanceKey, incarnation: u64, component: usize) {
        let Some((since, patience)) =
            self.member(key, incarnation).and_then(|member| member.silence(component))
        else {
            return;
        };
        if self.stalls.deadline(since, patience) > now.mono {
            self.watch_silence(key, incarnation, component);
            return;
        }
        let _ = self.change(now, key, incarnation, |member| {
            let changed = member.forget(component, now);
            (changed.into_iter().collect(), false)
        });
    }

    /// Tombstones that are kept no longer, taken away here; their records are the caller's.
    pub(in crate::fleet) fn expire_graves(&mut self, now: Now) -> Vec<InstanceKey> {
        let oldest = now.wall.checked_sub(self.limits.tombstone_retention);
        let mut expired: Vec<InstanceKey> = self
            .graves
            .iter()
            .filter(|(_, grave)| oldest.is_some_and(|oldest| grave.tombstone.removed < oldest))
            .map(|(key, _)| key.clone())
            .collect();
        let left = self.graves.len() - expired.len();
        if left > MAX_TOMBSTONES {
            let mut by_age: Vec<_> = self
                .graves
                .iter()
                .filter(|(key, _)| !expired.contains(key))
                .map(|(key, grave)| (grave.tombstone.removed, key.clone()))
                .collect();
            by_age.sort();
            expired.extend(by_age.into_iter().take(left - MAX_TOMBSTONES).map(|(_, key)| key));
        }
        for key in &expired {
            self.graves.remove(key);
        }
        expired
    }
}
