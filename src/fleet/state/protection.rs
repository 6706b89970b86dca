//! Protection of those who are lost in a wave: they are not removed, until they are heard or a limit has
//! passed. What they are shown as is not touched by it: they are lost.

use std::time::{Duration, SystemTime};

use super::{Due, State, expiry::RETRY_REMOVAL};
use crate::{
    fleet::{
        names::{InstanceKey, ServiceName},
        waves::{News, PROTECTION_LIMIT, Present},
    },
    time::{Mono, Now},
};

/// By how much the end of a protection has to move before it is published anew: clocks alone move it by less.
const NOTEWORTHY: Duration = Duration::from_secs(1);

impl State {
    /// Loses an instance whose lease has run out, and protects it where many are lost with it.
    pub(super) fn lose(&mut self, now: Now, key: &InstanceKey, incarnation: u64) {
        let expected = self.member(key, incarnation).is_some_and(|member| member.is_expected());
        let in_wave = expected && self.waves.lose(key, self.present_without_one(key)).is_some();
        let until = now.wall + PROTECTION_LIMIT;
        let _ = self.change(now, key, incarnation, |member| {
            member.lose(now);
            if in_wave {
                member.protect(now, until);
            }
            (vec![], true)
        });
        self.watch_lost(now, key);
    }

    /// Those that are expected and neither lost nor leaving, without the one that is about to be lost.
    fn present_without_one(&self, key: &InstanceKey) -> Present {
        let fleet = self.tally.counts();
        let service = self.groups.get(&key.service).map(|group| *group.counts()).unwrap_or_default();
        let without_one = |alive: u32, leaving: u32| alive.saturating_sub(leaving).saturating_sub(1) as usize;
        Present {
            in_fleet: without_one(fleet.alive, fleet.leaving),
            in_service: without_one(service.alive, service.leaving),
        }
    }

    /// Protects somebody who was lost before it turned out to be a wave. False: there is nobody.
    pub(super) fn protect_next(&mut self, now: Now) -> bool {
        let Some(key) = self.waves.next_to_protect() else { return false };
        self.protect(now, &key, now.wall + PROTECTION_LIMIT);
        self.watch_lost(now, &key);
        true
    }

    fn protect(&mut self, now: Now, key: &InstanceKey, until: SystemTime) {
        let Some(incarnation) = self.incarnation(key) else { return };
        let _ = self.change(now, key, incarnation, |member| {
            member.protect(now, until);
            (vec![], true)
        });
    }

    /// Looks at an instance that is lost. True: it is to be removed.
    pub(super) fn lost_due(&mut self, now: Now, key: &InstanceKey) -> bool {
        if self.loss_counts_until(key).is_some_and(|until| until <= now.mono) {
            self.waves.forget(key);
        }
        if let Some((ends, shown)) = self.protection_ends(key) {
            let until = now.wall + ends.since(now.mono);
            if ends <= now.mono {
                let Some(incarnation) = self.incarnation(key) else { return false };
                let _ = self.change(now, key, incarnation, |member| {
                    member.unprotect();
                    (vec![], true)
                });
            } else if until > shown + NOTEWORTHY {
                // A stall of the control plane put it off.
                self.protect(now, key, until);
            }
        }
        self.watch_lost(now, key);
        self.removal_due(key).is_some_and(|due| due <= now.mono)
    }

    /// Puts on the agenda when an instance that is lost has to be looked at again.
    fn watch_lost(&mut self, now: Now, key: &InstanceKey) {
        // Until the removal is durable, it is looked at again.
        let again = now.mono + RETRY_REMOVAL;
        let removal = self.removal_due(key).map(|due| if due > now.mono { due } else { again });
        let protection = self.protection_ends(key).map(|(ends, _)| ends);
        let next = [removal, protection, self.loss_counts_until(key)].into_iter().flatten().min();
        if let Some(next) = next {
            self.schedule(next, Due::Instance(key.clone()));
        }
    }

    /// When a loss will not count any more for waves. None: it does not.
    fn loss_counts_until(&self, key: &InstanceKey) -> Option<Mono> {
        let member = self.groups.get(&key.service)?.members.get(&key.id)?;
        let since = member.lost_since().filter(|_| self.waves.is_recent(key))?;
        Some(self.stalls.deadline(since, member.lease.ttl()))
    }

    /// When the protection of an instance ends, and when it is shown to. None: it has none.
    fn protection_ends(&self, key: &InstanceKey) -> Option<(Mono, SystemTime)> {
        let member = self.groups.get(&key.service)?.members.get(&key.id)?;
        let protection = member.protection()?;
        Some((self.stalls.deadline(protection.since, PROTECTION_LIMIT), protection.until))
    }

    /// When an instance that is lost and not under protection is to be removed.
    fn removal_due(&self, key: &InstanceKey) -> Option<Mono> {
        let member = self.groups.get(&key.service)?.members.get(&key.id)?;
        let since = member.lost_since().filter(|_| member.may_be_removed())?;
        Some(self.stalls.deadline(since, self.limits.lost_removal))
    }

    fn incarnation(&self, key: &InstanceKey) -> Option<u64> {
        let member = self.groups.get(&key.service)?.members.get(&key.id)?;
        Some(member.incarnation)
    }

    /// Ends the waves of which nobody is protected any more, after a member of this service has changed or gone.
    pub(super) fn settle_waves(&mut self, service: &ServiceName) {
        let Some(group) = self.groups.get(service) else { return };
        self.waves.settle(self.tally.counts().protected, service, group.counts().protected);
    }

    /// Waves that have begun or ended since it was last asked.
    pub(in crate::fleet) fn take_wave_news(&mut self) -> Vec<News> {
        self.waves.take_news()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        fleet::{
            lifecycle::Lifecycle,
            testing::{Fleet, birth, key, registration, remove, start},
            waves::Scope,
        },
        health::State as Health,
    };

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    /// Instances `i-0` and so on of a service.
    fn keys(service: &str, count: usize) -> Vec<InstanceKey> {
        (0..count).map(|at| key(service, &format!("i-{at}"))).collect()
    }

    fn fleet_of(keys: &[InstanceKey]) -> Fleet {
        let mut fleet = Fleet::default();
        for key in keys {
            fleet.register(key);
        }
        fleet
    }

    fn beat(fleet: &mut Fleet, keys: &[InstanceKey]) {
        for key in keys {
            let Some(incarnation) = fleet.state.incarnation(key) else { continue };
            if fleet.state.member(key, incarnation).unwrap().lease.touch(fleet.now.mono) {
                fleet.state.hear(fleet.now, key, incarnation);
            }
        }
    }

    /// Time passes, these are heard every second, and whoever is lost for too long is removed.
    fn live(fleet: &mut Fleet, time: Duration, heard: &[InstanceKey]) -> Vec<InstanceKey> {
        let mut removed = Vec::new();
        for _ in 0..time.as_secs() {
            fleet.pass(SECOND);
            beat(fleet, heard);
            loop {
                let turn = fleet.state.tick(fleet.now, 4);
                for (key, incarnation) in turn.removals {
                    remove(&mut fleet.state, fleet.now, &key, incarnation);
                    removed.push(key);
                }
                if !turn.more {
                    break;
                }
            }
        }
        removed
    }

    fn is_protected(fleet: &Fleet, key: &InstanceKey) -> bool {
        let member = fleet.state.groups[&key.service].members.get(&key.id).unwrap();
        member.protection().is_some()
    }

    #[test]
    fn a_wave_stays_until_its_protection_ends_by_itself() {
        let all = keys("orders", 20);
        let mut fleet = fleet_of(&all);
        let (silent, heard) = all.split_at(3);
        // The first of them a little earlier than the others.
        live(&mut fleet, 10 * SECOND, &all[1..]);
        assert_eq!(live(&mut fleet, 20 * SECOND, heard), []);
        assert!(silent.iter().all(|key| is_protected(&fleet, key)), "also who was lost first");
        let group = &fleet.state.groups[&all[0].service];
        assert_eq!((group.counts().lost, group.counts().protected, group.counts().available), (3, 3, 0));
        let protection = group.snapshot().protection.unwrap();
        assert_eq!((protection.instances, protection.ends), (3, protection.began + PROTECTION_LIMIT));
        let lost = &group.members[&silent[0].id];
        assert_eq!((lost.lifecycle(), lost.health().state), (Lifecycle::Lost, Health::Unknown), "no better");
        assert_eq!(lost.snapshot(fleet.now).protection_end, Some(protection.began + PROTECTION_LIMIT));
        assert_eq!(fleet.state.take_wave_news(), [News::Began(Scope::Fleet)]);
        // Ten minutes after they were lost.
        assert_eq!(live(&mut fleet, 9 * MINUTE + 30 * SECOND, heard), []);
        assert_eq!(live(&mut fleet, MINUTE, heard).len(), 3);
        assert_eq!(fleet.state.take_wave_news(), [News::Ended(Scope::Fleet)]);
        assert_eq!(fleet.state.groups[&all[0].service].snapshot().protection, None);
    }

    #[test]
    fn all_of_a_service_is_a_wave_and_one_of_two_is_not() {
        let (pair, many) = (keys("pair", 2), keys("many", 100));
        let mut fleet = fleet_of(&[pair.clone(), many.clone()].concat());
        let heard = [&pair[1..], &many[..]].concat();
        assert_eq!(live(&mut fleet, 6 * MINUTE, &heard), [pair[0].clone()], "an ordinary loss");
        fleet.register(&pair[0]);
        live(&mut fleet, 30 * SECOND, &many);
        assert!(pair.iter().all(|key| is_protected(&fleet, key)));
        let service = || Scope::Service(pair[0].service.clone());
        assert_eq!(fleet.state.take_wave_news(), [News::Began(service())]);
        // One is heard again; the other is still not removed.
        beat(&mut fleet, &pair[..1]);
        assert!(!is_protected(&fleet, &pair[0]));
        let heard = [&pair[..1], &many[..]].concat();
        assert_eq!(live(&mut fleet, 6 * MINUTE, &heard), []);
        // It comes back as a new incarnation.
        fleet.register(&pair[1]);
        assert_eq!(fleet.state.take_wave_news(), [News::Ended(service())]);
        assert_eq!(fleet.state.totals().protected, 0);
    }

    #[test]
    fn who_said_that_it_leaves_is_no_loss_and_not_expected() {
        let all = keys("orders", 20);
        let mut fleet = fleet_of(&all);
        let (leaving, heard) = all.split_at(10);
        for (key, lifecycle) in leaving.iter().zip([Lifecycle::LameDuck, Lifecycle::Draining].iter().cycle())
        {
            fleet.state.report(fleet.now, key, 1, vec![], Some(*lifecycle)).unwrap();
        }
        assert_eq!(live(&mut fleet, 30 * SECOND, heard), []);
        assert_eq!((fleet.state.totals().lost, fleet.state.totals().protected), (10, 0));
        // Of the ten that are left three are a wave, and it does not reach back to them.
        live(&mut fleet, 30 * SECOND, &heard[3..]);
        assert_eq!((fleet.state.totals().lost, fleet.state.totals().protected), (13, 3));
        // All others leave: nobody but those that went is lost with the last two, who are not all.
        let mut fleet = fleet_of(&keys("orders", 3));
        fleet.state.report(fleet.now, &key("orders", "i-0"), 1, vec![], Some(Lifecycle::LameDuck)).unwrap();
        live(&mut fleet, 30 * SECOND, &[]);
        assert_eq!((fleet.state.totals().lost, fleet.state.totals().protected), (3, 2));
    }

    #[test]
    fn losses_of_different_leases_make_no_wave() {
        let all = keys("orders", 4);
        let mut fleet = fleet_of(&all);
        // One every twenty seconds.
        for at in 1..=3 {
            live(&mut fleet, 20 * SECOND, &all[at..]);
        }
        live(&mut fleet, 10 * SECOND, &all[3..]);
        assert_eq!((fleet.state.totals().lost, fleet.state.totals().protected), (3, 0));
    }

    #[test]
    fn nobody_who_is_heard_after_a_restart_is_a_wave_like_any_other() {
        let mut fleet = Fleet::default();
        for key in keys("orders", 5) {
            let registered = start().wall;
            let restored =
                crate::fleet::member::Birth { confirmed: false, ..birth(registration(&key), 1, registered) };
            fleet.state.admit(fleet.now, restored);
        }
        live(&mut fleet, 20 * SECOND, &[]);
        assert_eq!((fleet.state.totals().lost, fleet.state.totals().protected), (5, 5));
    }

    #[test]
    fn a_stall_puts_the_end_of_a_protection_off_and_shows_it() {
        let all = keys("orders", 3);
        let mut fleet = fleet_of(&all);
        live(&mut fleet, 20 * SECOND, &[]);
        let shown = |fleet: &Fleet| fleet.state.groups[&all[0].service].snapshot().protection.unwrap().ends;
        let before = shown(&fleet);
        assert_eq!(live(&mut fleet, 9 * MINUTE, &[]), []);
        fleet.pass(4 * MINUTE);
        fleet.state.record_stall(fleet.now, 4 * MINUTE);
        assert_eq!(live(&mut fleet, 30 * SECOND, &[]), []);
        assert!(shown(&fleet) >= before + 4 * MINUTE, "{:?}", shown(&fleet));
        assert_eq!(live(&mut fleet, MINUTE, &[]).len(), 3);
    }

    #[test]
    fn the_protection_of_a_service_is_shown_from_the_first_to_the_last_of_those_who_have_it() {
        let all = keys("orders", 4);
        let mut fleet = fleet_of(&all);
        // The last of them a little later than the others.
        live(&mut fleet, 5 * SECOND, &all[3..]);
        live(&mut fleet, 30 * SECOND, &[]);
        let of = |fleet: &Fleet, key: &InstanceKey| {
            fleet.state.groups[&key.service].members[&key.id].protection().copied()
        };
        let ends = |fleet: &Fleet, key: &InstanceKey| of(fleet, key).map(|protection| protection.until);
        let began = |fleet: &Fleet, key: &InstanceKey| of(fleet, key).map(|protection| protection.began);
        let shown = |fleet: &Fleet| fleet.state.groups[&all[0].service].snapshot().protection;
        let protection = shown(&fleet).unwrap();
        assert_eq!((protection.instances, Some(protection.ends)), (4, ends(&fleet, &all[3])));
        assert!(ends(&fleet, &all[0]) < ends(&fleet, &all[3]));
        assert_eq!(Some(protection.began), began(&fleet, &all[0]));
        assert!(began(&fleet, &all[0]) < began(&fleet, &all[3]));
        beat(&mut fleet, &all[3..]);
        let left = shown(&fleet).unwrap();
        assert_eq!((left.instances, Some(left.ends)), (3, ends(&fleet, &all[0])), "the last was heard");
        assert_eq!(left.began, protection.began);
        remove(&mut fleet.state, fleet.now, &all[0], 1);
        fleet.register(&all[1]);
        fleet.register(&all[2]);
        assert_eq!(shown(&fleet), None);
        live(&mut fleet, 30 * SECOND, &[]);
        let next = shown(&fleet).unwrap();
        assert_eq!(Some(next.began), all[1..].iter().filter_map(|key| began(&fleet, key)).min());
        assert!(next.began > protection.began, "another wave has a beginning of its own");
    }

    #[test]
    fn a_wave_reaches_back_in_pieces() {
        let all = keys("orders", 2000);
        let mut fleet = fleet_of(&all);
        let (early, late) = all.split_at(280);
        live(&mut fleet, 5 * SECOND, late);
        live(&mut fleet, 12 * SECOND, &late[20..]);
        assert_eq!((fleet.state.totals().lost, fleet.state.totals().protected), (280, 0), "14 %");
        // Twenty more are lost at once: the wave begins with the last of them.
        fleet.pass(4 * SECOND);
        beat(&mut fleet, &late[20..]);
        let mut turns = 0;
        loop {
            let before = fleet.state.revision();
            let more = fleet.state.tick(fleet.now, 10).more;
            assert!(fleet.state.revision() - before <= 20, "an instance and its service for each");
            turns += 1;
            if !more {
                break;
            }
        }
        assert!(turns > 28, "{turns}");
        assert_eq!(
            (fleet.state.totals().lost, fleet.state.totals().protected),
            (early.len() as u64 + 20, 300)
        );
    }

    proptest! {
        #[test]
        fn protection_and_waves_are_in_step_with_who_is_lost(
            steps in prop::collection::vec((0u8..8, 0usize..3, 0usize..4, 1u64..40), 1..120),
        ) {
            let mut fleet = Fleet::default();
            for (step, service, id, seconds) in steps {
                let key = key(&format!("s-{service}"), &format!("i-{id}"));
                let now = fleet.now;
                match (step, fleet.state.incarnation(&key)) {
                    (0, _) | (_, None) => drop(fleet.register(&key)),
                    (1, Some(incarnation)) => remove(&mut fleet.state, now, &key, incarnation),
                    (2, Some(incarnation)) => {
                        let leaves = Some(Lifecycle::LameDuck);
                        drop(fleet.state.report(now, &key, incarnation, vec![], leaves));
                    }
                    (3, Some(_)) => beat(&mut fleet, &[key]),
                    (4, Some(_)) => fleet.state.record_stall(now, SECOND),
                    (5, Some(_)) => fleet.pass(Duration::from_secs(seconds * 20)),
                    (_, Some(_)) => fleet.pass(Duration::from_secs(seconds)),
                }
                loop {
                    let turn = fleet.state.tick(fleet.now, 3);
                    for (key, _) in &turn.removals {
                        prop_assert!(!is_protected(&fleet, key), "{key} is protected, and removed");
                    }
                    if !turn.more {
                        break;
                    }
                }
                let mut protected = 0;
                for group in fleet.state.groups.values() {
                    let here = group.members.values().filter(|member| member.protection().is_some());
                    let here = here.inspect(|member| assert!(member.lost_since().is_some())).count();
                    prop_assert_eq!(group.counts().protected as usize, here);
                    let shown = group.snapshot().protection.map_or(0, |shown| shown.instances as usize);
                    prop_assert_eq!(shown, here);
                    let ends = group.members.values().filter_map(|member| Some(member.protection()?.until));
                    prop_assert_eq!(group.snapshot().protection.map(|shown| shown.ends), ends.max());
                    for member in group.members.values() {
                        let key = &member.registration.key;
                        let counts = fleet.state.waves.is_recent(key);
                        prop_assert!(!counts || member.lost_since().is_some(), "{} counts as lost", key);
                    }
                    protected += here as u64;
                }
                prop_assert_eq!(fleet.state.totals().protected, protected);
            }
            // All are heard, and nothing is left of it.
            let all: Vec<_> = (0..3).flat_map(|s| keys(&format!("s-{s}"), 4)).collect();
            beat(&mut fleet, &all);
            let news = fleet.state.take_wave_news();
            let begun = news.iter().filter(|news| matches!(news, News::Began(_))).count();
            prop_assert_eq!(begun * 2, news.len(), "what began has ended: {:?}", news);
        }
    }
}
