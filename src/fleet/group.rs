//! One service inside the registry: its instances, counted as they change, its specification and the
//! history of its health. Every change of one instance costs the same, however many there are.

use std::{
    collections::{BTreeSet, VecDeque},
    ops::Bound,
    sync::Arc,
    time::SystemTime,
};

use super::{
    declared::Declarations,
    lifecycle::Lifecycle,
    member::{Member, Protection},
    members::Members,
    names::{InstanceId, ServiceName},
    registration::{Component, Registration},
    snapshot::{Service, ServiceProtection, SpecSource, Transition},
    spec::Spec,
};
use crate::health::{
    State, Verdict,
    rollup::{self, Counts},
};

/// Changes of health that are kept for each service.
pub const TRANSITIONS_KEPT: usize = 256;

/// Different components of the instances of a service that are known at once, to be shared: a few versions.
const SHARED: usize = 4;

/// A place among the instances that are not healthy: how serious it is, and who.
pub(super) type Trouble = (u8, InstanceId);

/// An operator's specification.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OperatorSpec {
    pub(super) spec: Arc<Spec>,
    /// The store's revision at which it was put: it never comes back, not even after a deletion and a
    /// restart.
    pub(super) revision: u64,
    pub(super) updated: SystemTime,
}

/// A service that has instances, a specification, or both.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: ServiceName,
    pub(super) members: Members,
    pub(super) operator: Option<OperatorSpec>,
    pub(super) transitions: VecDeque<Arc<Transition>>,
    /// The services that are in a circle of hard dependencies with it, itself among them; none: empty.
    pub(super) circle: Arc<[ServiceName]>,
    /// The health as which the whole fleet's counts have it; None while they do not.
    pub(super) tallied: Option<State>,
    declared: Declarations,
    // What its last instances declared as their components, the newest last: the instances of a service
    // mostly declare the same, and share it.
    components: Vec<Arc<[Component]>>,
    effective: (Arc<Spec>, SpecSource),
    counts: Counts,
    // Instances that are not healthy, by seriousness: the worst one names the service's cause.
    troubled: BTreeSet<Trouble>,
    health: Verdict,
    health_changed: SystemTime,
    // Since when some of its instances are under protection; None: none is.
    protected_since: Option<SystemTime>,
    // Each of them, by when that ends.
    protection_ends: BTreeSet<(SystemTime, InstanceId)>,
}

/// Whether a service needs others now than before, as far as it cannot do without them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Needs {
    Same,
    Changed,
}

/// What an instance adds to the counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Standing {
    lifecycle: Lifecycle,
    state: State,
    confirmed: bool,
    protection: Option<Protection>,
}

impl Standing {
    pub(super) fn of(member: &Member) -> Self {
        Self {
            lifecycle: member.lifecycle(),
            state: member.health().state,
            confirmed: member.confirmed(),
            protection: member.protection().copied(),
        }
    }

    /// The names of its lifecycle and its health.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        (self.lifecycle.as_str(), self.state.as_str())
    }

    pub(super) fn tally(self, counts: &mut Counts, step: impl Fn(&mut u32)) {
        step(&mut counts.total);
        if self.lifecycle.is_alive() {
            step(&mut counts.alive);
        }
        match self.state {
            State::Healthy => step(&mut counts.healthy),
            State::Degraded => step(&mut counts.degraded),
            State::Unhealthy => step(&mut counts.unhealthy),
            State::Unknown => step(&mut counts.unknown),
        }
        if self.protection.is_some() {
            step(&mut counts.protected);
        }
        match self.lifecycle {
            Lifecycle::Ready if self.state.serves() => step(&mut counts.available),
            Lifecycle::Ready if !self.confirmed => step(&mut counts.unconfirmed),
            Lifecycle::Lost => step(&mut counts.lost),
            Lifecycle::Starting => step(&mut counts.starting),
            leaving if leaving.is_leaving() => step(&mut counts.leaving),
            _ => {}
        }
    }
}

impl Group {
    pub(super) fn new(name: ServiceName, now: SystemTime) -> Self {
        Self {
            name,
            members: Members::default(),
            operator: None,
            transitions: VecDeque::new(),
            circle: Arc::default(),
            tallied: None,
            declared: Declarations::default(),
            components: Vec::new(),
            effective: (Arc::default(), SpecSource::Default),
            counts: Counts::default(),
            troubled: BTreeSet::new(),
            health: rollup::service(&Counts::default(), 1, None),
            health_changed: now,
            protected_since: None,
            protection_ends: BTreeSet::new(),
        }
    }

    /// Whether nothing holds it any more.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.operator.is_none()
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn health(&self) -> &Verdict {
        &self.health
    }

    /// Moves an instance in the counts and orders: from what it was, to what it is.
    pub(super) fn recount(&mut self, id: &InstanceId, before: Option<Standing>, after: Option<Standing>) {
        if before == after {
            return;
        }
        if let Some(standing) = before {
            standing.tally(&mut self.counts, |count| *count -= 1);
            self.troubled.remove(&(rollup::severity(standing.state), id.clone()));
            if let Some(Protection { until, .. }) = standing.protection {
                self.protection_ends.remove(&(until, id.clone()));
            }
        }
        if let Some(standing) = after {
            standing.tally(&mut self.counts, |count| *count += 1);
            if standing.state != State::Healthy {
                self.troubled.insert((rollup::severity(standing.state), id.clone()));
            }
            if let Some(Protection { began, until, .. }) = standing.protection {
                self.protection_ends.insert((until, id.clone()));
                self.protected_since.get_or_insert(began);
            }
        }
        if self.protection_ends.is_empty() {
            self.protected_since = None;
        }
    }

    /// The protection of some of its instances, until the last of them ends. None: none is under any.
    fn protection(&self) -> Option<ServiceProtection> {
        let ((ends, _), began) = (self.protection_ends.last()?, self.protected_since?);
        Some(ServiceProtection { instances: self.counts.protected, began, ends: *ends })
    }

    /// Works out the service's health anew; answers what it was if the state changed.
    pub(super) fn settle(&mut self, now: SystemTime) -> Option<State> {
        let worst = self.troubled.iter().next_back().and_then(|(_, id)| {
            let member = self.members.get(id)?;
            Some((id.as_str(), member.health().cause.as_str()))
        });
        let verdict = rollup::service(&self.counts, self.required(), worst);
        let from = self.health.state;
        let changed = verdict.state != from;
        if changed {
            self.health_changed = now;
        }
        self.health = verdict;
        changed.then_some(from)
    }

    /// When its health last changed.
    pub(super) fn health_changed(&self) -> SystemTime {
        self.health_changed
    }

    /// How many instances are not healthy.
    pub(super) fn troubled(&self) -> usize {
        self.troubled.len()
    }

    /// Instances that are not healthy after a place among them, the worst first, each with its own place.
    pub(super) fn worst_after<'a>(
        &'a self,
        after: Option<&'a Trouble>,
    ) -> impl Iterator<Item = (&'a Trouble, &'a Member)> {
        let to = after.map_or(Bound::Unbounded, Bound::Excluded);
        let worst_first = self.troubled.range((Bound::Unbounded, to)).rev();
        worst_first.filter_map(|trouble| Some((trouble, self.members.get(&trouble.1)?)))
    }

    /// How many available instances the budget asks for now.
    pub(super) fn required(&self) -> u32 {
        self.effective.0.budget.required(self.counts.total)
    }

    /// The specification that counts.
    pub(super) fn spec(&self) -> &Arc<Spec> {
        &self.effective.0
    }

    /// The same registration, which shares what others of the service registered alike.
    pub(super) fn share(&mut self, mut registration: Arc<Registration>) -> Arc<Registration> {
        let own = Arc::make_mut(&mut registration);
        own.key.service = self.name.clone();
        match self.components.iter().find(|known| **known == own.components) {
            Some(known) => own.components = Arc::clone(known),
            None => {
                if self.components.len() == SHARED {
                    self.components.remove(0);
                }
                self.components.push(Arc::clone(&own.components));
            }
        }
        registration
    }

    /// Puts a member in its place, and what it declares with it; answers whom it replaces.
    pub(super) fn put(&mut self, member: Member) -> (Option<Member>, Needs) {
        let id = member.registration.key.id.clone();
        let before = self.members.remove(&id);
        // First out, then in: of one moment and one version they are the same to the order.
        let mut moved = before.as_ref().is_some_and(|before| self.declared.remove(before));
        moved |= self.declared.add(&member);
        self.members.insert(member);
        (before, if moved { self.choose_spec() } else { Needs::Same })
    }

    /// Takes a member out, and what it declares.
    pub(super) fn take(&mut self, id: &InstanceId) -> Option<(Member, Needs)> {
        let member = self.members.remove(id)?;
        let needs = if self.declared.remove(&member) { self.choose_spec() } else { Needs::Same };
        Some((member, needs))
    }

    /// Takes what the operator put, or that it was deleted.
    pub(super) fn set_operator(&mut self, operator: Option<OperatorSpec>) -> Needs {
        self.operator = operator;
        self.choose_spec()
    }

    /// The operator's specification wins; without one the newest declaration counts.
    fn choose_spec(&mut self) -> Needs {
        let chosen = match (&self.operator, self.declared.newest()) {
            (Some(operator), _) => (Arc::clone(&operator.spec), SpecSource::Operator),
            (None, Some(declared)) => (Arc::clone(declared), SpecSource::Declared),
            (None, None) => (Arc::default(), SpecSource::Default),
        };
        let before = std::mem::replace(&mut self.effective, chosen);
        if before.0.hard().eq(self.effective.0.hard()) { Needs::Same } else { Needs::Changed }
    }

    /// Takes note of a change of health, and answers the oldest one when there are too many.
    pub(super) fn remember(&mut self, transition: Arc<Transition>) -> Option<Arc<Transition>> {
        self.transitions.push_back(transition);
        if self.transitions.len() > TRANSITIONS_KEPT { self.transitions.pop_front() } else { None }
    }

    pub(super) fn snapshot(&self) -> Service {
        let declared = self.declared.newest();
        let disagreements = match (&self.operator, declared) {
            (Some(operator), Some(declared)) => operator.spec.disagreements(declared),
            _ => Vec::new(),
        };
        Service {
            name: self.name.clone(),
            spec: Arc::clone(&self.effective.0),
            spec_source: self.effective.1,
            declared_spec: declared.cloned(),
            disagreements,
            circle: Arc::clone(&self.circle),
            health: self.health.clone(),
            counts: self.counts,
            required_available: self.required(),
            spec_revision: self.operator.as_ref().map_or(0, |operator| operator.revision),
            spec_updated: self.operator.as_ref().map(|operator| operator.updated),
            health_changed: self.health_changed,
            protection: self.protection(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::testing::{key, registration, start};

    #[test]
    fn instances_share_the_components_that_they_registered_alike() {
        let one = registration(&key("orders", "i-1"));
        let mut group = Group::new(one.key.service, start().wall);
        let of_version = |version: usize| {
            let mut registration = registration(&key("orders", &format!("i-{version}")));
            Arc::make_mut(&mut registration.components)[0].kind = format!("kind-{version}");
            Arc::new(registration)
        };
        for version in 0..10 * SHARED {
            let (first, second) =
                (Arc::clone(&group.share(of_version(version)).components), group.share(of_version(version)));
            assert!(Arc::ptr_eq(&first, &second.components));
            assert_eq!(second.components, of_version(version).components, "its own, and no other's");
            assert!(group.components.len() <= SHARED);
        }
    }
}
