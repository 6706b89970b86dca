//! Reading the whole state while it changes, for watchers: piece by piece, and exact at the end.
//!
//! A reading moves through the fleet by name. What it has passed is kept up to date: before it reads
//! on, under the same hold of the lock, it is given the changes of what lies behind it. So everything
//! up to its place is always as it was at one revision, and when the place is the end, that is the
//! whole state at that revision. What lies ahead needs no changes: it is read as it is by then.

use super::{
    Handle,
    changes::{Change, TooFarBehind},
    names::ServiceName,
    scan::{Found, HOLD, Place, walk},
    snapshot::{Instance, Revision, Service},
    state::State,
};
use crate::time::Now;

/// How far a reading has come.
#[derive(Clone, Debug)]
pub struct Reading {
    only: Option<ServiceName>,
    place: Option<Place>,
    revision: Revision,
}

/// What follows in a reading: changes of what was read before, then what is read for the first time.
#[derive(Debug)]
pub struct Part {
    /// Changes of what lies behind, in their order.
    pub changes: Vec<Change>,
    /// Services that follow.
    pub services: Vec<Service>,
    /// Instances that follow.
    pub instances: Vec<Instance>,
    /// Set when this was the last part: the revision at which the whole is as it was read.
    pub complete: Option<Revision>,
}

impl Handle {
    /// A reading of everything, or of everything of one service, that begins now.
    pub fn reading(&self, only: Option<ServiceName>) -> Reading {
        Reading { only, place: None, revision: self.revision() }
    }

    /// Reads on.
    ///
    /// # Errors
    /// The reader was away for so long that changes of what it has read are no longer known.
    pub fn read_on(&self, reading: &mut Reading) -> Result<Part, TooFarBehind> {
        reading.read_on(&self.shared.state.read(), self.shared.clock.now(), HOLD)
    }
}

impl Reading {
    pub(super) fn read_on(&mut self, state: &State, now: Now, hold: usize) -> Result<Part, TooFarBehind> {
        let mut part =
            Part { changes: Vec::new(), services: Vec::new(), instances: Vec::new(), complete: None };
        let mut left = hold;
        for (revision, change) in state.changes.after(self.revision)? {
            if left == 0 {
                // What lies behind is not up to date yet: it must not move on.
                return Ok(part);
            }
            left -= 1;
            self.revision = revision;
            if self.has_passed(change) {
                part.changes.push(change.clone());
            }
        }
        let (mut last, mut more) = (None, false);
        for found in walk(state, self.only.as_ref(), self.place.as_ref()) {
            if left == 0 {
                more = true;
                break;
            }
            match found {
                Found::Service(group) => {
                    left -= 1;
                    part.services.push(group.snapshot());
                }
                Found::Instance(_, member) => {
                    left = left.saturating_sub(member.cost());
                    part.instances.push(member.snapshot(now));
                }
            }
            last = Some(found);
        }
        if let Some(place) = last.map(Found::place) {
            self.place = Some(place);
        }
        part.complete = (!more).then_some(self.revision);
        Ok(part)
    }

    /// Whether a change is of something that was read already.
    fn has_passed(&self, change: &Change) -> bool {
        let service = change.service();
        let wanted = self.only.as_ref().is_none_or(|only| only == service);
        wanted && self.place.as_ref().is_some_and(|place| place.covers(service, change.instance()))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        time::{Duration, SystemTime},
    };

    use proptest::prelude::*;

    use super::*;
    use crate::{
        fleet::{
            lifecycle::Lifecycle,
            names::{ComponentName, InstanceKey},
            registration::Component,
            snapshot::ComponentHealth,
            testing::{Fleet, key, register_as, registration, remove, report},
        },
        health::{State as Health, Verdict, component::Reported},
    };

    /// What a watcher knows of an instance: all of it but figures that each report moves.
    #[derive(Debug, PartialEq)]
    struct Known {
        incarnation: u64,
        revision: Revision,
        lifecycle: Lifecycle,
        health: Verdict,
        confirmed: bool,
        attached: bool,
        components: Vec<(Verdict, SystemTime)>,
    }

    /// What a watcher knows: what it was told, applied in order.
    #[derive(Debug, Default, PartialEq)]
    struct Mirror {
        instances: BTreeMap<InstanceKey, Known>,
        services: BTreeMap<ServiceName, (Health, String, u32, u32)>,
    }

    impl Mirror {
        fn instance(&mut self, it: &Instance) {
            let part = |part: &ComponentHealth| (part.health.clone(), part.changed);
            let known = Known {
                incarnation: it.incarnation,
                revision: it.revision,
                lifecycle: it.lifecycle,
                health: it.health.clone(),
                confirmed: it.confirmed,
                attached: it.attached,
                components: it.components.iter().map(part).collect(),
            };
            let before = self.instances.insert(it.registration.key.clone(), known);
            assert!(
                before.as_ref().is_none_or(|before| before.revision <= it.revision),
                "went back: {before:?} {it:?}"
            );
        }

        fn service(&mut self, it: &Service) {
            let known = (it.health.state, it.health.cause.clone(), it.counts.total, it.counts.available);
            self.services.insert(it.name.clone(), known);
        }

        fn apply(&mut self, change: &Change) {
            match change {
                Change::Instance(it) => self.instance(it),
                Change::Service(it) => self.service(it),
                Change::Removed(it) => {
                    assert!(self.instances.remove(&it.key).is_some(), "{} was not there", it.key);
                }
                Change::ServiceRemoved(name) => {
                    assert!(self.services.remove(name).is_some(), "{name} was not there");
                }
            }
        }

        fn of(state: &State, now: Now, only: Option<&ServiceName>) -> Self {
            let mut mirror = Self::default();
            for found in walk(state, only, None) {
                match found {
                    Found::Service(group) => mirror.service(&group.snapshot()),
                    Found::Instance(_, member) => mirror.instance(&member.snapshot(now)),
                }
            }
            mirror
        }
    }

    /// An instance with two components, the first of which is blamed where both have a problem.
    fn register(fleet: &mut Fleet, key: &InstanceKey) {
        let mut registration = registration(key);
        let database = registration.components[0].clone();
        let disk = Component { name: ComponentName::parse("disk").unwrap(), ..database };
        registration.components = registration.components.iter().cloned().chain([disk]).collect();
        register_as(&mut fleet.state, fleet.now, registration);
    }

    /// A component says something, each time for another cause.
    fn says(fleet: &mut Fleet, key: &InstanceKey, incarnation: u64, component: usize, what: Reported) {
        fleet.pass(Duration::from_millis(1));
        let mut reports = report(what);
        reports[0].component = component;
        reports[0].message = format!("as of {:?}", fleet.now.mono);
        drop(fleet.state.report(fleet.now, key, incarnation, reports, None));
    }

    /// Something happens to one of a few instances of a few services.
    fn happens(fleet: &mut Fleet, what: u8, service: u8, id: u8) {
        let key = key(["a", "b", "c"][usize::from(service % 3)], &format!("i-{}", id % 12));
        let group = fleet.state.groups().get(&key.service);
        let known = group.and_then(|group| group.members.get(&key.id)).map(|member| member.incarnation);
        let now = fleet.now;
        match (what % 10, known) {
            (0 | 1, _) | (_, None) => register(fleet, &key),
            (2, Some(incarnation)) => remove(&mut fleet.state, now, &key, incarnation),
            (3, Some(incarnation)) => {
                says(fleet, &key, incarnation, usize::from(id % 2), Reported::Healthy);
            }
            (4 | 8 | 9, Some(incarnation)) => {
                says(fleet, &key, incarnation, usize::from(what % 2), Reported::Unhealthy);
            }
            (5, Some(incarnation)) => drop(fleet.state.open_session(now, &key, incarnation, false)),
            (6, Some(incarnation)) => {
                drop(fleet.state.report(now, &key, incarnation, vec![], Some(Lifecycle::Draining)));
            }
            (_, Some(_)) => {
                fleet.pass(Duration::from_secs(9));
                while fleet.state.tick(fleet.now, 64).more {}
            }
        }
    }

    proptest! {
        // A watcher that takes its time while everything changes knows in the end what a Get answers,
        // and no instance ever went back in time on the way.
        #[test]
        fn a_slow_reading_of_a_busy_fleet_is_exact_in_the_end(
            before in proptest::collection::vec(any::<(u8, u8, u8)>(), 0..60),
            between in proptest::collection::vec(
                proptest::collection::vec(any::<(u8, u8, u8)>(), 0..4), 1..40),
            after in proptest::collection::vec(any::<(u8, u8, u8)>(), 0..10),
            hold in 1_usize..24,
            only in proptest::option::of(0_usize..3),
        ) {
            let mut fleet = Fleet::default();
            for (what, service, id) in before {
                happens(&mut fleet, what, service, id);
            }
            let only = only.map(|at| ServiceName::parse(["a", "b", "c"][at]).unwrap());
            let mut reading =
                Reading { only: only.clone(), place: None, revision: fleet.state.revision() };
            let mut mirror = Mirror::default();
            let mut between = between.into_iter();
            let at = loop {
                for (what, service, id) in between.next().into_iter().flatten() {
                    happens(&mut fleet, what, service, id);
                }
                let part = reading.read_on(&fleet.state, fleet.now, hold).unwrap();
                prop_assert!(part.changes.len() + part.services.len() + part.instances.len() <= hold);
                part.changes.iter().for_each(|change| mirror.apply(change));
                part.services.iter().for_each(|service| mirror.service(service));
                part.instances.iter().for_each(|instance| mirror.instance(instance));
                if let Some(revision) = part.complete {
                    break revision;
                }
            };
            prop_assert_eq!(at, fleet.state.revision());
            prop_assert_eq!(&mirror, &Mirror::of(&fleet.state, fleet.now, only.as_ref()));
            // And from that place on, changes alone keep it exact.
            for (what, service, id) in after {
                happens(&mut fleet, what, service, id);
            }
            for (_, change) in fleet.state.changes.after(at).unwrap() {
                if only.as_ref().is_none_or(|only| only == change.service()) {
                    mirror.apply(change);
                }
            }
            prop_assert_eq!(&mirror, &Mirror::of(&fleet.state, fleet.now, only.as_ref()));
        }
    }

    #[test]
    fn a_cause_that_changes_while_another_part_is_blamed_is_told() {
        let mut fleet = Fleet::default();
        let key = key("a", "i-0");
        register(&mut fleet, &key);
        says(&mut fleet, &key, 1, 0, Reported::Unhealthy);
        says(&mut fleet, &key, 1, 1, Reported::Unhealthy);
        let (before, remembered) = (fleet.state.revision(), fleet.state.history().len());
        let causes = |state: &State| {
            state.changes.after(before).unwrap().fold(Vec::new(), |mut causes, (_, change)| {
                if let Change::Instance(it) = change {
                    causes.push(it.components[1].health.cause.clone());
                }
                causes
            })
        };
        says(&mut fleet, &key, 1, 1, Reported::Unhealthy);
        let told = format!("as of {:?}", fleet.now.mono);
        assert_eq!(causes(&fleet.state), [told], "the change of a cause");
        assert_eq!(fleet.state.history().len(), remembered, "its health is the same as before");
        // Said again, it is no news.
        let now = fleet.state.revision();
        let mut again = report(Reported::Unhealthy);
        (again[0].component, again[0].message) = (1, format!("as of {:?}", fleet.now.mono));
        fleet.state.report(fleet.now, &key, 1, again, None).unwrap();
        assert_eq!(fleet.state.revision(), now);
    }

    #[test]
    fn who_is_away_for_too_long_is_told() {
        let mut fleet = Fleet::default();
        fleet.register(&key("a", "i-0"));
        let mut reading = Reading { only: None, place: None, revision: fleet.state.revision() };
        for number in 0..5000 {
            fleet.register(&key("a", &format!("i-{number}")));
        }
        assert_eq!(reading.read_on(&fleet.state, fleet.now, 8).unwrap_err(), TooFarBehind);
    }
}
