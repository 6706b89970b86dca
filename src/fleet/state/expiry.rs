//! What time does to the fleet: leases run out, components fall silent, the lost and the tombstones go.

use std::{cmp::Reverse, time::Duration};

use super::{Due, State};
use crate::{
    fleet::{lifecycle::Lifecycle, member::Member, names::InstanceKey},
    time::{Mono, Now},
};

/// A removal that could not be written is tried again after this long.
const RETRY_REMOVAL: Duration = Duration::from_secs(5);
/// Most tombstones that are kept, whatever their age.
const MAX_TOMBSTONES: usize = 10_000;

/// What a turn of time did.
#[derive(Debug)]
pub(in crate::fleet) struct Ticked {
    /// Instances that have been lost for too long: to be removed, by whoever can make that durable.
    pub(in crate::fleet) removals: Vec<(InstanceKey, u64)>,
    /// Whether more is due.
    pub(in crate::fleet) more: bool,
}

impl State {
    /// Takes note that the control plane itself was late.
    pub(in crate::fleet) fn record_stall(&mut self, now: Now, lateness: Duration) {
        self.stalls.record(now.mono, lateness);
    }

    /// Does up to `limit` of what is due.
    pub(in crate::fleet) fn tick(&mut self, now: Now, limit: usize) -> Ticked {
        let mut removals = Vec::new();
        for _ in 0..limit {
            match self.due.peek() {
                Some(Reverse((at, _))) if *at <= now.mono => {}
                _ => return Ticked { removals, more: false },
            }
            let Some(Reverse((_, due))) = self.due.pop() else { break };
            match due {
                Due::Lease(key, incarnation) => self.lease_due(now, key, incarnation),
                Due::Silence(key, incarnation, component) => {
                    self.silence_due(now, &key, incarnation, component);
                }
                Due::Removal(key, incarnation, lost_at) => {
                    let lost = self.member(&key, incarnation).and_then(Member::lost_since);
                    // It may have been found, and lost again since: then a later entry counts.
                    let Some(since) = lost.filter(|since| *since == lost_at) else { continue };
                    let ends = self.stalls.deadline(since, self.limits.lost_removal);
                    let next = if ends > now.mono {
                        ends
                    } else {
                        removals.push((key.clone(), incarnation));
                        // Until the removal is durable, it is looked at again.
                        now.mono + RETRY_REMOVAL
                    };
                    self.due.push(Reverse((next, Due::Removal(key, incarnation, since))));
                }
            }
        }
        Ticked { removals, more: true }
    }

    fn lease_due(&mut self, now: Now, key: InstanceKey, incarnation: u64) {
        let Some(member) = self.member(&key, incarnation) else { return };
        if member.lifecycle() == Lifecycle::Lost {
            return;
        }
        if self.lease_ends(member) <= now.mono {
            self.suspect(&key, incarnation);
        }
        self.judge_lease(now, key, incarnation);
    }

    fn lease_ends(&self, member: &Member) -> Mono {
        self.stalls.deadline(member.lease.last_heard(), member.lease.ttl())
    }

    /// From here on a sign of life of this instance comes with a notice.
    fn suspect(&self, key: &InstanceKey, incarnation: u64) {
        if let Some(member) = self.member(key, incarnation) {
            member.lease.want_notice(true);
        }
    }

    /// Loses an instance whose lease has run out. Signs of life need no lock, and may come at any moment:
    /// one from before the notice was wanted is seen here, a later one asks to be heard.
    fn judge_lease(&mut self, now: Now, key: InstanceKey, incarnation: u64) {
        let Some(member) = self.member(&key, incarnation) else { return };
        let ends = self.lease_ends(member);
        if ends > now.mono {
            member.lease.want_notice(!member.confirmed());
            self.due.push(Reverse((ends, Due::Lease(key, incarnation))));
            return;
        }
        let _ = self.change(now, &key, incarnation, |member| {
            member.lose(now);
            (vec![], true)
        });
        self.due
            .push(Reverse((now.mono + self.limits.lost_removal, Due::Removal(key, incarnation, now.mono))));
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

    /// Up to `limit` tombstones that are kept no longer, taken away here; their records are the caller's.
    pub(in crate::fleet) fn expire_graves(&mut self, now: Now, limit: usize) -> Vec<InstanceKey> {
        let oldest = now.wall.checked_sub(self.limits.tombstone_retention);
        self.graves.expire(oldest, MAX_TOMBSTONES, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::testing::{Fleet, key};

    #[test]
    fn who_is_heard_while_it_is_being_judged_is_not_lost() {
        for (beat, lost) in [("before", false), ("between", false), ("after", true)] {
            let mut fleet = Fleet::default();
            let key = key("orders", "i-1");
            fleet.register(&key);
            let session = fleet.state.open_session(fleet.now, &key, 1).unwrap();
            fleet.pass(Duration::from_secs(60));
            // The state is locked; a session touches its lease all the same, and waits with the rest.
            let mut noticed = beat == "before" && session.lease.touch(fleet.now.mono);
            fleet.state.suspect(&key, 1);
            noticed |= beat == "between" && session.lease.touch(fleet.now.mono);
            fleet.state.judge_lease(fleet.now, key.clone(), 1);
            assert_eq!(fleet.state.member(&key, 1).unwrap().lost_since().is_some(), lost, "heard {beat}");
            noticed |= beat == "after" && session.lease.touch(fleet.now.mono);
            if noticed {
                fleet.state.hear(fleet.now, &key, 1);
            }
            // Whatever was decided, the sign of life counted, and the next silence is noticed.
            assert!(fleet.state.member(&key, 1).unwrap().lost_since().is_none(), "heard {beat}");
            fleet.pass(Duration::from_secs(60));
            while fleet.state.tick(fleet.now, 8).more {}
            assert!(fleet.state.member(&key, 1).unwrap().lost_since().is_some());
        }
    }

    #[test]
    fn however_much_is_due_a_turn_does_a_bounded_part_of_it() {
        let mut fleet = Fleet::default();
        for number in 0..100 {
            fleet.register(&key("orders", &format!("i-{number}")));
        }
        fleet.pass(Duration::from_secs(60));
        let before = fleet.state.revision();
        assert!(fleet.state.tick(fleet.now, 10).more);
        // Each loss is a change of the instance and one of its service.
        assert_eq!(fleet.state.revision() - before, 20);
        let mut turns = 0;
        while fleet.state.tick(fleet.now, 10).more {
            turns += 1;
        }
        assert_eq!((turns, fleet.state.totals().lost), (9, 100));
    }

    #[test]
    fn a_stall_is_credited_to_the_lost_before_they_are_removed() {
        let mut fleet = Fleet::default();
        fleet.register(&key("orders", "i-1"));
        fleet.pass(Duration::from_secs(60));
        assert!(fleet.state.tick(fleet.now, 8).removals.is_empty());
        assert_eq!(fleet.state.totals().lost, 1);
        // Four of the five minutes nobody could be heard.
        fleet.pass(Duration::from_secs(250));
        fleet.state.record_stall(fleet.now, Duration::from_secs(240));
        // Whatever is forgotten of it, later stalls may not bring that about.
        fleet.pass(Duration::from_secs(60));
        fleet.state.record_stall(fleet.now, Duration::from_secs(1));
        assert!(fleet.state.tick(fleet.now, 8).removals.is_empty(), "310 s of which 241 do not count");
        fleet.pass(Duration::from_secs(230));
        assert!(fleet.state.tick(fleet.now, 8).removals.is_empty(), "540 s of which 241 do not count");
        fleet.pass(Duration::from_secs(2));
        assert_eq!(fleet.state.tick(fleet.now, 8).removals.len(), 1);
    }
}
