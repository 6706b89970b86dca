//! Taking the fleet back from the store. Nothing is published and nothing is worked out until all is there:
//! nobody watches yet, and what follows from a part of a fleet is not so.

use super::{Grave, State, history::SetBack};
use crate::{
    fleet::{
        group::{Group, OperatorSpec},
        member::Birth,
        names::ServiceName,
    },
    time::Now,
};

impl State {
    /// Takes back a grave.
    pub(in crate::fleet) fn restore_grave(&mut self, grave: Grave) {
        self.graves.insert(grave);
    }

    /// Takes back an operator's specification.
    pub(in crate::fleet) fn restore_spec(&mut self, now: Now, name: &ServiceName, operator: OperatorSpec) {
        let group = self.groups.entry(name.clone()).or_insert_with(|| Group::new(name.clone(), now.wall));
        // Circles are looked for once, when all is there.
        let _needs = group.set_operator(Some(operator));
    }

    /// Takes back an instance: READY, unconfirmed, with a whole lease ahead.
    pub(in crate::fleet) fn restore_instance(&mut self, now: Now, birth: Birth) {
        let _needs = self.take_in(now, birth);
    }

    /// Works out circles, health and counts of all services, once specifications and instances are there.
    pub(in crate::fleet) fn restored(&mut self, now: Now) {
        self.settle_all_circles();
        let names: Vec<ServiceName> = self.groups.keys().cloned().collect();
        for name in names {
            // One for all of a service: that at which the service is published.
            let revision = self.changes.revision() + 1;
            if let Some(group) = self.groups.get_mut(&name) {
                group.members.values_mut().for_each(|member| member.revision = revision);
            }
            self.settle_group(now, &name);
        }
        // What happened meanwhile is no news.
        self.unsaved.clear();
        self.history.clear();
        self.set_back = SetBack::new();
        for group in self.groups.values_mut() {
            group.transitions.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{
        fleet::{
            group::OperatorSpec,
            names::ServiceName,
            snapshot::Service,
            spec::{Need, Spec},
            state::State,
            testing::{birth, key, limits, registration, start},
        },
        health::State as Health,
    };

    fn name(text: &str) -> ServiceName {
        ServiceName::parse(text).unwrap()
    }

    fn needs(service: &str) -> Arc<Spec> {
        Arc::new(Spec { depends_on: [(name(service), Need::Hard)].into(), ..Spec::default() })
    }

    fn services(state: &State) -> Vec<String> {
        let shown = |service: Service| {
            let Service { name, health, counts, circle, spec_source, .. } = service;
            format!("{name} {health:?} {counts:?} {circle:?} {spec_source:?}")
        };
        state.groups().values().map(|group| shown(group.snapshot())).collect()
    }

    #[test]
    fn what_is_taken_back_is_what_comes_of_one_after_the_other() {
        let now = start();
        let (mut one_by_one, mut restored) = (State::new(limits()), State::new(limits()));
        let operator = OperatorSpec { spec: needs("b"), revision: 3, updated: now.wall };
        one_by_one.set_spec(now, &name("a"), Some(operator.clone()));
        restored.restore_spec(now, &name("a"), operator);
        for (service, id, declares) in [
            ("a", "i-1", None),
            ("b", "i-1", Some("c")),
            ("b", "i-2", None),
            ("c", "i-1", Some("a")),
            ("d", "i-1", None),
        ] {
            let mut registration = registration(&key(service, id));
            registration.declared_spec = declares.map(needs);
            let mut birth = birth(registration, 1, now.wall);
            birth.confirmed = false;
            one_by_one.admit(now, birth.clone());
            restored.restore_instance(now, birth);
        }
        restored.restored(now);
        assert_eq!(services(&restored), services(&one_by_one));
        assert_eq!(restored.totals(), one_by_one.totals());
        assert_eq!(restored.groups()[&name("b")].circle.len(), 3, "a, b and c need each other");
        assert_eq!(restored.groups()[&name("d")].health().state, Health::Unknown);
        let members = restored.groups().values().flat_map(|group| group.members.values());
        for member in members {
            let known = 1..=restored.revision();
            assert!(known.contains(&member.revision), "{} of {known:?}", member.revision);
        }
        assert!(restored.history().is_empty() && restored.take_unsaved(1).is_empty());
    }
}
