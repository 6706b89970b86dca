//! Changes of health: remembered for each service, and waiting to be written down.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use super::State;
use crate::{
    fleet::{
        record,
        snapshot::{Subject, Transition},
    },
    health::{State as Health, Verdict},
    time::Now,
};

/// Most changes of health that wait to be written down: those of the largest fleet that is lost at once,
/// about 60 MB. While the store is away for longer the oldest go first.
const MAX_UNSAVED: usize = 250_000;
/// Most records of changes that wait to be deleted. Past that they wait for the next start, which finds
/// them again.
const MAX_FORGOTTEN: usize = 250_000;

/// Changes of health are in the order of their times, except where the clock was set back. This is what
/// there is to know of those: how late it had been already.
#[derive(Debug)]
pub(super) struct SetBack {
    latest: SystemTime,
    behind: BTreeMap<u64, SystemTime>,
}

impl SetBack {
    pub(super) fn new() -> Self {
        Self { latest: SystemTime::UNIX_EPOCH, behind: BTreeMap::new() }
    }

    fn take(&mut self, newest: &Transition) {
        if newest.time < self.latest {
            self.behind.insert(newest.sequence, self.latest);
        }
        self.latest = self.latest.max(newest.time);
    }

    /// A change is kept no longer.
    pub(super) fn forget(&mut self, sequence: u64) {
        self.behind.remove(&sequence);
    }
}

impl State {
    /// The latest time of a change and all before it: none of those happened later.
    pub(in crate::fleet) fn latest_until(&self, change: &Transition) -> SystemTime {
        self.set_back.behind.get(&change.sequence).copied().unwrap_or(change.time)
    }

    /// Takes back a change of health from the store. Oldest first.
    pub(in crate::fleet) fn restore_transition(&mut self, transition: Transition) {
        self.next_transition = self.next_transition.max(transition.sequence + 1);
        match self.groups.get_mut(transition.subject.service()) {
            Some(group) => {
                let transition = Arc::new(transition);
                let forgotten = group.remember(Arc::clone(&transition));
                self.keep(transition, forgotten);
            }
            // Its service is gone, and so is the interest in its past.
            None => self.forget_record(&transition),
        }
    }

    /// Numbers below this may have been used by an earlier run, and are not used again.
    pub(in crate::fleet) fn skip_sequences(&mut self, below: u64) {
        self.next_transition = self.next_transition.max(below);
        self.reserved_transitions = below;
    }

    /// Up to where numbers are to be reserved, in blocks of so many. None: enough are.
    pub(in crate::fleet) fn sequences_wanted(&self, block: u64) -> Option<u64> {
        let left = self.reserved_transitions.saturating_sub(self.next_transition);
        (left < block / 2).then_some(self.next_transition + block)
    }

    /// Whether the next number is reserved in the store.
    pub(in crate::fleet) fn has_reserved_sequences(&self) -> bool {
        self.next_transition < self.reserved_transitions
    }

    /// Numbers below this are reserved in the store.
    pub(in crate::fleet) fn sequences_reserved(&mut self, below: u64) {
        self.reserved_transitions = below;
    }

    /// Changes of health that are not yet written down, oldest first.
    pub(in crate::fleet) fn take_unsaved(&mut self, limit: usize) -> Vec<Arc<Transition>> {
        let count = self.unsaved.len().min(limit);
        self.unsaved.drain(..count).collect()
    }

    /// They could not be written down now.
    pub(in crate::fleet) fn put_back_unsaved(&mut self, unsaved: Vec<Arc<Transition>>) {
        for transition in unsaved.into_iter().rev() {
            self.unsaved.push_front(transition);
        }
        self.bound_unsaved();
    }

    fn bound_unsaved(&mut self) {
        while self.unsaved.len() > MAX_UNSAVED {
            self.unsaved.pop_front();
        }
    }

    /// Keys of changes of health that are kept no longer.
    pub(in crate::fleet) fn take_forgotten(&mut self, limit: usize) -> Vec<String> {
        let count = self.forgotten.len().min(limit);
        self.forgotten.drain(..count).collect()
    }

    /// They could not be deleted now.
    pub(in crate::fleet) fn put_back_forgotten(&mut self, keys: Vec<String>) {
        self.forgotten.extend(keys);
        self.forgotten.truncate(MAX_FORGOTTEN);
    }

    pub(in crate::fleet) fn remember(&mut self, now: Now, subject: Subject, from: Health, to: Verdict) {
        let transition =
            Arc::new(Transition { sequence: self.next_transition, time: now.wall, subject, from, to });
        self.next_transition += 1;
        if let Some(group) = self.groups.get_mut(transition.subject.service()) {
            let forgotten = group.remember(Arc::clone(&transition));
            self.unsaved.push_back(Arc::clone(&transition));
            self.bound_unsaved();
            self.keep(transition, forgotten);
        }
    }

    /// Takes a change of health into the fleet's history, and the one that it displaced out of it.
    fn keep(&mut self, transition: Arc<Transition>, displaced: Option<Arc<Transition>>) {
        self.set_back.take(&transition);
        self.history.insert(transition.sequence, transition);
        if let Some(old) = displaced {
            self.history.remove(&old.sequence);
            self.set_back.forget(old.sequence);
            self.forget_record(&old);
        }
    }

    /// A record that is to be deleted.
    pub(in crate::fleet) fn forget_record(&mut self, of: &Transition) {
        if self.forgotten.len() < MAX_FORGOTTEN {
            self.forgotten.push(record::transition_key(of));
        }
    }
}

/// What is remembered of a change of an instance: from what, to what, and why. `lost`: whether it was lost
/// before, and is now; `from`: its health before, where that changed. That one is lost or heard again is told
/// even where nothing was known of it before, and nothing is now.
pub(super) fn of_instance(
    lost: (bool, bool),
    from: Option<Health>,
    after: Verdict,
) -> Option<(Health, Verdict)> {
    match lost {
        (false, true) => Some((from.unwrap_or(Health::Unknown), after)),
        (true, false) => {
            let mut cause = "heard again after it was lost".to_owned();
            if !after.cause.is_empty() {
                cause = format!("{cause}; {}", after.cause);
            }
            Some((Health::Unknown, Verdict::new(after.state, cause)))
        }
        _ => from.map(|from| (from, after)),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use crate::{
        fleet::{
            snapshot::{Subject, Transition},
            testing::{Fleet, key, remove, report},
        },
        health::component::Reported,
    };

    #[test]
    fn a_whole_fleet_that_is_lost_at_once_waits_to_be_written_down_whole() {
        const COUNT: usize = 12_000;
        let mut fleet = Fleet::default();
        for at in 0..COUNT {
            let key = key(&format!("s-{at}"), "i-1");
            fleet.register(&key);
            fleet.state.report(fleet.now, &key, 1, report(Reported::Healthy), None).unwrap();
        }
        while !fleet.state.take_unsaved(1000).is_empty() {}
        fleet.pass(Duration::from_secs(60));
        while fleet.state.tick(fleet.now, 256).more {}
        let mut sequences = Vec::new();
        loop {
            let taken = fleet.state.take_unsaved(400);
            if taken.is_empty() {
                break;
            }
            sequences.extend(taken.iter().map(|transition| transition.sequence));
        }
        assert_eq!(sequences.len(), 2 * COUNT, "each instance and its service");
        assert!(sequences.is_sorted_by(|older, newer| *newer == older + 1));
    }

    /// What is remembered of an instance: from, to and why, oldest first.
    fn told(fleet: &Fleet) -> Vec<String> {
        let of_instance = |transition: &&Arc<Transition>| matches!(transition.subject, Subject::Instance(..));
        let kept = fleet.state.history().values().filter(of_instance);
        kept.map(|kept| format!("{} to {}: {}", kept.from, kept.to.state, kept.to.cause)).collect()
    }

    #[test]
    fn that_one_was_lost_heard_again_and_removed_is_told_whatever_its_health() {
        let mut fleet = Fleet::default();
        let (key, other) = (key("orders", "i-1"), key("orders", "i-2"));
        fleet.register(&other);
        fleet.register(&key);
        let lose = |fleet: &mut Fleet| {
            fleet.pass(Duration::from_secs(60));
            fleet.state.groups()[&other.service].members[&other.id].lease.touch(fleet.now.mono);
            while fleet.state.tick(fleet.now, 8).more {}
        };
        // Nothing was reported yet: its health is unknown before and after.
        lose(&mut fleet);
        fleet.state.hear(fleet.now, &key, 1);
        fleet.state.report(fleet.now, &key, 1, report(Reported::Healthy), None).unwrap();
        lose(&mut fleet);
        fleet.state.report(fleet.now, &key, 1, report(Reported::Healthy), None).unwrap();
        remove(&mut fleet.state, fleet.now, &key, 1);
        assert_eq!(
            told(&fleet),
            [
                "unknown to unknown: lost: not heard within its lease of 15s",
                "unknown to unknown: heard again after it was lost; component database: no report yet",
                "unknown to healthy: ",
                "healthy to unknown: lost: not heard within its lease of 15s",
                "unknown to healthy: heard again after it was lost",
                "healthy to unknown: removed: an operator removed it",
            ]
        );
    }
}
