//! What time does to the fleet: leases run out, components fall silent, the lost and the tombstones go.

use std::time::Duration;

use super::{Due, State};
use crate::{
    fleet::{
        lifecycle::is_checked,
        member::{Member, shown},
        names::InstanceKey,
    },
    health::component::{SILENT_INTERVALS, longest_wait},
    time::{Mono, Now},
};

/// A removal that could not be written is tried again after this long.
pub(super) const RETRY_REMOVAL: Duration = Duration::from_secs(5);
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
            // Before a loss that is part of a wave becomes too old to be.
            if self.protect_next(now) {
                continue;
            }
            match self.next_due(now.mono) {
                None => return Ticked { removals, more: false },
                Some(Due::Instance(key)) => {
                    if let Some(incarnation) = self.instance_due(now, &key) {
                        removals.push((key, incarnation));
                    }
                }
                Some(Due::Silence(key, component)) => self.silence_due(now, &key, component),
            }
        }
        Ticked { removals, more: true }
    }

    /// Looks at an instance; answers its incarnation where it is to be removed.
    fn instance_due(&mut self, now: Now, key: &InstanceKey) -> Option<u64> {
        let member = self.groups.get(&key.service)?.members.get(&key.id)?;
        let incarnation = member.incarnation;
        // Some messages touch the lease and are then refused: nobody else says that it was heard.
        if member.is_to_be_heard() {
            self.hear(now, key, incarnation);
            return None;
        }
        if member.lost_since().is_some() {
            return self.lost_due(now, key).then_some(incarnation);
        }
        if self.lease_ends(member) <= now.mono {
            self.suspect(key, incarnation);
        }
        self.judge_lease(now, key.clone(), incarnation);
        None
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
            self.schedule(ends, Due::Instance(key));
            return;
        }
        self.lose(now, &key, incarnation);
    }

    fn silence_due(&mut self, now: Now, key: &InstanceKey, component: usize) {
        let member = self.groups.get(&key.service).and_then(|group| group.members.get(&key.id));
        let Some((member, (since, patience))) =
            member.and_then(|member| Some((member, member.silence(component)?)))
        else {
            return;
        };
        let incarnation = member.incarnation;
        if self.stalls.deadline(since, patience) > now.mono {
            self.watch_silence(key, incarnation, component);
            return;
        }
        let declared = member.registration.components.get(component);
        let why =
            if is_checked(member.lifecycle()) && declared.is_some_and(|declared| declared.check.is_some()) {
                // It waits for its turn to be asked: our lateness, not its silence. Whoever asks says so when
                // it cannot be; once it is asked no more, what was found last does not hold for long.
                let interval = patience / SILENT_INTERVALS;
                let longest = longest_wait(interval);
                let until = self.stalls.deadline(since, longest);
                if until > now.mono {
                    let next = (now.mono + interval).min(until);
                    self.schedule(next, Due::Silence(key.clone(), component));
                    return;
                }
                format!("not asked for {}: its check waits for its turn", shown(longest))
            } else {
                format!("no report for {}", shown(patience))
            };
        let _ = self.change(now, key, incarnation, |member| {
            let changed = member.forget(component, why, now);
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
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        fleet::{
            snapshot::{Removal, Tombstone},
            state::{Claim, Pending},
            testing::{Fleet, birth, key, register_as, registration, remove, report},
        },
        health::component::Reported,
    };

    /// What may be due: one thing for each instance, and one for each component that has to report again.
    fn may_be_due(fleet: &Fleet) -> usize {
        let members = fleet.state.groups.values().flat_map(|group| group.members.values());
        members.map(|member| 1 + usize::from(member.silence(0).is_some())).sum()
    }

    proptest! {
        #[test]
        fn what_is_due_is_bounded_by_who_is_there(
            steps in prop::collection::vec((0u8..7, 0u8..4, 0u64..20), 1..80),
        ) {
            let mut fleet = Fleet::default();
            for (step, id, seconds) in steps {
                let key = key("orders", &format!("i-{id}"));
                let member = fleet.state.groups.get(&key.service).and_then(|group| group.members.get(&key.id));
                let known = member.map(|member| member.incarnation);
                let now = fleet.now;
                match (step, known) {
                    (0, _) | (_, None) => drop(fleet.register(&key)),
                    (1, Some(incarnation)) => remove(&mut fleet.state, now, &key, incarnation),
                    (2, Some(incarnation)) => drop(fleet.state.open_session(now, &key, incarnation, false).unwrap()),
                    (3, Some(incarnation)) => {
                        // One component named twice in one report.
                        let twice = [report(Reported::Healthy), report(Reported::Unhealthy)].concat();
                        fleet.state.report(now, &key, incarnation, twice, None).unwrap();
                    }
                    (4, Some(_)) => fleet.state.record_stall(now, Duration::from_secs(1)),
                    // Long enough that components fall silent, and that the lost are to be removed.
                    (5, Some(_)) => fleet.pass(Duration::from_secs(seconds * 100)),
                    (_, Some(_)) => fleet.pass(Duration::from_secs(seconds)),
                }
                while fleet.state.tick(fleet.now, 8).more {}
                prop_assert!(fleet.state.agenda.len() <= may_be_due(&fleet), "{} are due", fleet.state.agenda.len());
            }
        }
    }

    #[test]
    fn who_is_heard_while_it_is_being_judged_is_not_lost() {
        for (beat, lost) in [("before", false), ("between", false), ("after", true)] {
            let mut fleet = Fleet::default();
            let key = key("orders", "i-1");
            fleet.register(&key);
            let (session, _) = fleet.state.open_session(fleet.now, &key, 1, false).unwrap();
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

    /// A lease is touched and the caller answered; the lock that hearing takes is somebody else's until then.
    #[test]
    fn who_was_answered_and_is_yet_to_be_heard_is_neither_buried_nor_replaced_nor_removed() {
        for what in ["removal asked for", "removal durable", "takeover asked for", "takeover durable"] {
            let mut fleet = Fleet::default();
            let key = key("orders", "i-1");
            fleet.register(&key);
            let lease = Arc::clone(&fleet.state.member(&key, 1).unwrap().lease);
            fleet.pass(Duration::from_secs(60));
            while fleet.state.tick(fleet.now, 8).more {}
            let lost_since = fleet.state.lost_since(&key, 1);
            // Its time was taken just before the loss was judged, and it came just after.
            let beat = Mono::from_millis(fleet.now.mono.as_millis() - 1);
            fleet.pass(Duration::from_secs(10));
            let tombstone = Tombstone {
                key: key.clone(),
                incarnation: 1,
                removal: Removal::Lost,
                message: String::new(),
                removed: fleet.now.wall,
            };
            let (now, claim) = (fleet.now, Claim::default());
            let next = birth(registration(&key), 2, now.wall);
            let kept = |fleet: &mut Fleet| match what {
                "removal asked for" => !fleet.state.member(&key, 1).unwrap().may_be_removed(),
                "removal durable" => fleet.state.recheck_removal(now, &tombstone, lost_since).is_err(),
                "takeover asked for" => {
                    fleet.state.check_register(now, &next.registration, claim, Pending::default()).is_err()
                }
                _ => fleet.state.recheck_admission(now, &next, claim).is_err(),
            };
            assert!(!kept(&mut fleet), "{what}: it is lost");
            assert!(lease.touch(beat), "it is to be heard");
            assert!(kept(&mut fleet), "{what}: it was answered");
            // Also where nobody comes to say so.
            fleet.state.schedule(fleet.now.mono, Due::Instance(key.clone()));
            assert!(fleet.state.tick(fleet.now, 8).removals.is_empty());
            lease.touch(fleet.now.mono);
            fleet.state.hear_if_due(fleet.now, &key, 1);
            assert!(fleet.state.member(&key, 1).unwrap().lost_since().is_none(), "{what}");
            fleet.pass(Duration::from_secs(60));
            while fleet.state.tick(fleet.now, 8).more {}
            assert!(
                fleet.state.member(&key, 1).unwrap().lost_since().is_some(),
                "{what}: it is silent again"
            );
        }
    }

    #[test]
    fn a_message_that_was_refused_is_a_sign_of_life_all_the_same() {
        let mut fleet = Fleet::default();
        let key = key("orders", "i-1");
        fleet.register(&key);
        fleet.pass(Duration::from_secs(60));
        while fleet.state.tick(fleet.now, 8).more {}
        fleet.pass(Duration::from_secs(299));
        fleet.state.member(&key, 1).unwrap().lease.touch(fleet.now.mono);
        fleet.pass(Duration::from_secs(1));
        assert!(fleet.state.tick(fleet.now, 8).removals.is_empty());
        assert!(fleet.state.member(&key, 1).unwrap().lost_since().is_none());
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
        // The first two are changed twice: they were lost before it turned out to be a wave.
        assert_eq!((turns, fleet.state.totals().lost), (10, 100));
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

    /// A component that the control plane asks itself, each ten seconds.
    fn checked(fleet: &mut Fleet, key: &InstanceKey) -> u64 {
        let mut registration = registration(key);
        let component = &mut Arc::make_mut(&mut registration.components)[0];
        let interval = Duration::from_secs(10);
        component.report_interval = interval;
        component.check = Some(Box::new(crate::fleet::registration::ActiveCheck {
            ask: crate::probe::Ask::Tcp,
            host: crate::probe::Host::Peer,
            port: std::num::NonZeroU16::MIN,
            interval,
            timeout: Duration::from_secs(1),
        }));
        register_as(&mut fleet.state, fleet.now, registration)
    }

    #[test]
    fn a_check_that_waits_its_turn_is_not_the_silence_of_who_is_checked() {
        let mut fleet = Fleet::default();
        let key = key("orders", "i-1");
        let incarnation = checked(&mut fleet, &key);
        let found = report(Reported::Healthy).remove(0);
        assert!(fleet.state.checked(fleet.now, &key, incarnation, found));
        let health = |fleet: &Fleet| fleet.state.member(&key, incarnation).unwrap().part(0).unwrap().state;
        let wait = |fleet: &mut Fleet| {
            fleet.pass(Duration::from_secs(10));
            fleet.state.hear(fleet.now, &key, incarnation);
            let lease = &fleet.state.member(&key, incarnation).unwrap().lease;
            lease.touch(fleet.now.mono);
            while fleet.state.tick(fleet.now, 8).more {}
        };
        for _ in 0..29 {
            wait(&mut fleet);
            assert_eq!(health(&fleet), crate::health::State::Healthy);
        }
        // Not for ever: what is that old is nobody's health now.
        for _ in 0..4 {
            wait(&mut fleet);
        }
        let member = fleet.state.member(&key, incarnation).unwrap();
        let told = member.part(0).unwrap();
        assert_eq!(told.state, crate::health::State::Unknown);
        assert_eq!(told.cause, "not asked for 300s: its check waits for its turn");
        let found = report(Reported::Healthy).remove(0);
        assert!(fleet.state.checked(fleet.now, &key, incarnation, found));
        assert_eq!(health(&fleet), crate::health::State::Healthy);
        // The lost are not asked: that is silence.
        fleet.pass(Duration::from_secs(60));
        while fleet.state.tick(fleet.now, 8).more {}
        fleet.pass(Duration::from_secs(60));
        while fleet.state.tick(fleet.now, 8).more {}
        assert_eq!(health(&fleet), crate::health::State::Unknown);
    }
}
