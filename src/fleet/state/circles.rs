//! Circles of hard dependencies: refused where an operator would close one, shown where versions that
//! register declare one.

use std::{collections::BTreeMap, sync::Arc};

use super::State;
use crate::fleet::{
    changes::Change,
    circles::circles,
    names::ServiceName,
    spec::{self, Spec},
};

impl State {
    /// The circle that a specification would close, beginning and ending with its service.
    pub(super) fn would_close<'a>(
        &'a self,
        name: &'a ServiceName,
        spec: &'a Spec,
    ) -> Option<Vec<&'a ServiceName>> {
        spec::cycle(
            name,
            |service| {
                if service == name { spec.hard().collect() } else { self.hard_needs(service) }
            },
        )
    }

    /// Works out anew who is in a circle, after the hard dependencies of a service have changed or it is
    /// gone. `before`: the circle that it was in. Publishes the others whose circle is another one now.
    pub(super) fn settle_circles(&mut self, name: &ServiceName, before: &[ServiceName]) {
        // Only through this service can a circle have come about, and only its own can have broken.
        let roots = before.iter().chain([name]);
        let mut circled: BTreeMap<ServiceName, Arc<[ServiceName]>> =
            roots.clone().map(|name| (name.clone(), Arc::default())).collect();
        for circle in circles(roots, |service| self.hard_needs(service)) {
            let shared: Arc<[ServiceName]> = circle.iter().copied().cloned().collect();
            circled.extend(circle.into_iter().map(|member| (member.clone(), Arc::clone(&shared))));
        }
        for (member, circle) in circled {
            let Some(group) = self.groups.get_mut(&member) else { continue };
            if group.circle == circle {
                continue;
            }
            group.circle = circle;
            // The service itself is published by whoever changes it.
            if member != *name {
                let changed = Change::Service(Arc::new(group.snapshot()));
                self.changes.push(changed);
            }
        }
    }

    /// Works out from nothing who is in a circle, and publishes nothing.
    pub(super) fn settle_all_circles(&mut self) {
        let found: Vec<Arc<[ServiceName]>> = circles(self.groups.keys(), |service| self.hard_needs(service))
            .into_iter()
            .map(|circle| circle.into_iter().cloned().collect())
            .collect();
        for circle in found {
            for member in circle.iter() {
                if let Some(group) = self.groups.get_mut(member) {
                    group.circle = Arc::clone(&circle);
                }
            }
        }
    }

    fn hard_needs(&self, service: &ServiceName) -> Vec<&ServiceName> {
        self.groups.get(service).map(|group| group.spec().hard().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        fleet::{group::OperatorSpec, spec::Need, state::Limits},
        time::{Mono, Now},
    };

    const NAMES: usize = 6;

    fn name(number: usize) -> ServiceName {
        ServiceName::parse(&format!("s{number}")).unwrap()
    }

    fn empty() -> State {
        State::new(Limits {
            max_instances: 100,
            max_services: 100,
            change_history: 100,
            lost_removal: Duration::from_secs(300),
            tombstone_retention: Duration::from_secs(300),
        })
    }

    proptest! {
        /// Puts and deletes specifications at random; None deletes.
        #[test]
        fn what_is_kept_up_is_what_would_be_found_from_nothing(
            changes in proptest::collection::vec(
                (0..NAMES, proptest::option::of(proptest::collection::vec((0..NAMES, any::<bool>()), 0..4))),
                1..20,
            ),
        ) {
            let mut state = empty();
            let now = Now { mono: Mono::default(), wall: SystemTime::UNIX_EPOCH };
            for (number, needs) in changes {
                let operator = needs.map(|needs| {
                    let needs = needs.into_iter().filter(|(needed, _)| *needed != number);
                    let need = |hard| if hard { Need::Hard } else { Need::Soft };
                    let depends_on = needs.map(|(needed, hard)| (name(needed), need(hard))).collect();
                    let spec = Arc::new(Spec { depends_on, ..Spec::default() });
                    OperatorSpec { spec, revision: 1, updated: now.wall }
                });
                state.set_spec(now, &name(number), operator);
                let fresh = circles(state.groups.keys(), |service| state.hard_needs(service));
                for (service, group) in &state.groups {
                    let expected: Vec<_> = fresh
                        .iter()
                        .find(|circle| circle.contains(service))
                        .map(|circle| circle.iter().copied().cloned().collect())
                        .unwrap_or_default();
                    prop_assert_eq!(&group.circle[..], &expected[..], "{}", service);
                }
            }
        }
    }
}
