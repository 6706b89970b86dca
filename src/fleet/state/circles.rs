//! Circles of hard dependencies, shown where versions that register declare one: who is in which.
//!
//! What has to be walked for that is bounded under the lock. Where it is more, it is left open until `graph`
//! has worked all of them out on a copy; until then they are shown as they were.

use std::{collections::BTreeMap, mem, sync::Arc};

use super::State;
use crate::fleet::{
    changes::Change,
    circles::{circles, circles_within},
    names::ServiceName,
    spec::Spec,
};

/// Steps of a walk that is made under the fleet's lock, and with it the most services of a circle that are
/// published under one hold: well below a millisecond.
const WALKED: usize = 512;

/// Services that are in a circle with each other, by name. None: empty.
pub(in crate::fleet) type Circle = Arc<[ServiceName]>;

/// What is known of circles besides who is in which.
#[derive(Debug)]
pub(super) struct Circles {
    /// Most steps of one walk.
    most: usize,
    /// Whose hard dependencies have changed since the copy was last told of them, and what counts for each.
    changed: BTreeMap<ServiceName, Arc<Spec>>,
    /// Some are yet to be worked out, on the copy.
    open: bool,
    /// There was a walk since it was last asked.
    walked: bool,
}

impl Default for Circles {
    fn default() -> Self {
        Self { most: WALKED, changed: BTreeMap::new(), open: false, walked: false }
    }
}

/// Changes of hard dependencies for the copy of them.
#[derive(Debug)]
pub(in crate::fleet) struct NeedsChanged {
    /// What counts now for those that need others than before.
    pub(in crate::fleet) specs: BTreeMap<ServiceName, Arc<Spec>>,
    /// Whether circles have to be worked out on the copy.
    pub(in crate::fleet) open: bool,
}

impl State {
    /// Works out anew who is in a circle, after the hard dependencies of a service have changed.
    /// `before`: the circle that it was in. Publishes the others whose circle is another one now.
    pub(super) fn settle_circles(&mut self, name: &ServiceName, before: &Circle) {
        let Some(group) = self.groups.get(name) else { return };
        self.circles.changed.insert(name.clone(), Arc::clone(group.spec()));
        if self.circles.open {
            return;
        }
        self.circles.walked = true;
        // Only through this service can a circle have come about, and only its own can have broken.
        let roots = before.iter().chain([name]);
        let needs = |service: &ServiceName| self.hard_needs(service).collect();
        let Some(found) = circles_within(self.circles.most, roots.clone(), needs) else {
            self.circles.open = true;
            return;
        };
        let mut circled: BTreeMap<ServiceName, Circle> =
            roots.map(|name| (name.clone(), Arc::default())).collect();
        for circle in found {
            if !circle.iter().any(|member| circled.contains_key(*member)) {
                continue;
            }
            let whole = circle.iter().copied().eq(before.iter());
            let shared: Circle =
                if whole { Arc::clone(before) } else { circle.iter().copied().cloned().collect() };
            circled.extend(circle.into_iter().map(|member| (member.clone(), Arc::clone(&shared))));
        }
        // The service itself is published by whoever changes it.
        self.set_circles(circled, Some(name));
    }

    /// Whether `graph` has something to do.
    pub(in crate::fleet) fn has_changed_needs(&self) -> bool {
        self.circles.open || !self.circles.changed.is_empty()
    }

    /// What has changed since this was last asked.
    pub(in crate::fleet) fn take_changed_needs(&mut self) -> NeedsChanged {
        NeedsChanged { specs: mem::take(&mut self.circles.changed), open: self.circles.open }
    }

    /// Takes who is in which circle now, and publishes those that were in another one; not `but`.
    pub(in crate::fleet) fn set_circles(
        &mut self,
        circled: impl IntoIterator<Item = (ServiceName, Circle)>,
        but: Option<&ServiceName>,
    ) {
        for (member, circle) in circled {
            let Some(group) = self.groups.get_mut(&member) else { continue };
            if is_same(&group.circle, &circle) {
                continue;
            }
            group.circle = circle;
            if but != Some(&member) {
                let changed = Change::Service(Arc::new(group.snapshot()));
                self.changes.push(changed);
            }
        }
    }

    /// All that was worked out on the copy is there: that settles it, unless needs have changed meanwhile.
    pub(in crate::fleet) fn circles_are_set(&mut self) {
        self.circles.open = !self.circles.changed.is_empty();
    }

    /// Whether there was a walk since this was last asked.
    pub(in crate::fleet) fn take_walked(&mut self) -> bool {
        mem::take(&mut self.circles.walked)
    }

    /// Works out from nothing who is in a circle, and publishes nothing.
    pub(super) fn settle_all_circles(&mut self) {
        let needs = |service: &ServiceName| self.hard_needs(service).collect();
        let found: Vec<Circle> = circles(self.groups.keys(), needs)
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
        let needing = self.groups.iter().filter(|(_, group)| group.spec().hard().next().is_some());
        self.circles.changed =
            needing.map(|(name, group)| (name.clone(), Arc::clone(group.spec()))).collect();
    }

    /// The services that one cannot do without.
    pub(in crate::fleet) fn hard_needs(&self, service: &ServiceName) -> impl Iterator<Item = &ServiceName> {
        self.groups.get(service).into_iter().flat_map(|group| group.spec().hard())
    }
}

/// Whether these are one circle. Others of the same services are made the same where they are worked out:
/// comparing each of many with each of many names would take too long here.
pub(in crate::fleet) fn is_same(one: &Circle, other: &Circle) -> bool {
    Arc::ptr_eq(one, other) || one.is_empty() && other.is_empty()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        fleet::{graph, group::OperatorSpec, spec::Need, state::Limits},
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

    /// What happens next.
    #[derive(Clone, Debug)]
    enum Step {
        /// A specification with these needs, hard or not, is put; None: it is deleted.
        Change(usize, Option<Vec<(usize, bool)>>),
        /// The copy is told of what has changed, and begins to work circles out.
        Take,
        /// What it has worked out is set.
        Set,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let needs = proptest::option::of(proptest::collection::vec((0..NAMES, any::<bool>()), 0..4));
        let change = (0..NAMES, needs).prop_map(|(number, needs)| Step::Change(number, needs));
        proptest::collection::vec(
            prop_oneof![3 => change, 1 => Just(Step::Take), 1 => Just(Step::Set)],
            1..40,
        )
    }

    fn change(state: &mut State, number: usize, needs: Option<Vec<(usize, bool)>>) {
        let now = Now { mono: Mono::default(), wall: SystemTime::UNIX_EPOCH };
        let operator = needs.map(|needs| {
            let needs = needs.into_iter().filter(|(needed, _)| *needed != number);
            let need = |hard| if hard { Need::Hard } else { Need::Soft };
            let depends_on = needs.map(|(needed, hard)| (name(needed), need(hard))).collect();
            let spec = Arc::new(Spec { depends_on, ..Spec::default() });
            OperatorSpec { spec, revision: 1, updated: now.wall }
        });
        state.set_spec(now, &name(number), operator);
    }

    /// The copy as it is worked on, and the circles that are shown as that begins.
    type Work = (graph::Graph, BTreeMap<ServiceName, Circle>);

    /// Tells the copy of what has changed. None: there is nothing to work out on it.
    fn take(state: &mut State, copy: &mut graph::Graph) -> Option<Work> {
        let NeedsChanged { specs, open } = state.take_changed_needs();
        copy.take(specs);
        let shown = state.groups.iter().map(|(name, group)| (name.clone(), Arc::clone(&group.circle)));
        open.then(|| (copy.clone(), shown.collect()))
    }

    fn set(state: &mut State, (copy, shown): Work) {
        state.set_circles(graph::changed(&copy.circles(), shown), None);
        state.circles_are_set();
    }

    /// Whether each service is shown in the circle that would be found from nothing.
    fn assert_shown(state: &State) -> Result<(), TestCaseError> {
        let fresh = circles(state.groups.keys(), |service| state.hard_needs(service).collect());
        for (service, group) in &state.groups {
            let expected: Vec<_> = fresh
                .iter()
                .find(|circle| circle.contains(service))
                .map(|circle| circle.iter().copied().cloned().collect())
                .unwrap_or_default();
            prop_assert_eq!(&group.circle[..], &expected[..], "{}", service);
        }
        Ok(())
    }

    proptest! {
        /// Where a walk may not be long they are worked out on the copy, and needs change meanwhile as well.
        #[test]
        fn what_is_kept_up_is_what_would_be_found_from_nothing(
            steps in steps(),
            most in prop_oneof![1_usize..10, Just(WALKED)],
        ) {
            let mut state = empty();
            state.circles.most = most;
            let mut copy = graph::Graph::default();
            let mut work = None;
            for step in steps {
                match step {
                    Step::Change(number, needs) => change(&mut state, number, needs),
                    Step::Take if work.is_none() => work = take(&mut state, &mut copy),
                    Step::Take => {}
                    Step::Set => if let Some(work) = work.take() {
                        let meanwhile = !state.circles.changed.is_empty();
                        set(&mut state, work);
                        prop_assert_eq!(state.has_changed_needs(), meanwhile);
                    }
                }
                if !state.circles.open {
                    assert_shown(&state)?;
                }
            }
            // What is left open is worked out in the end.
            if let Some(work) = work {
                set(&mut state, work);
            }
            if let Some(work) = take(&mut state, &mut copy) {
                set(&mut state, work);
            }
            prop_assert!(!state.has_changed_needs());
            assert_shown(&state)?;
        }
    }
}
