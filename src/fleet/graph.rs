//! Who needs whom, as a copy beside the registry, on which circles are worked out where that takes too long
//! to be done under the registry's lock: among twenty thousand services that need each other.
//!
//! The registry hands over what has changed of it and goes on; here all circles are worked out on a thread
//! that may be busy, and handed back in pieces. Until then they are shown as they were.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use parking_lot::RwLockWriteGuard;
use tokio::{task::yield_now, time::sleep};

use super::{
    Shared,
    circles::circles,
    names::ServiceName,
    reconciler::TICK,
    scan::HOLD,
    spec::Spec,
    state::{Circle, NeedsChanged, is_same},
};
use crate::task::{self, drain};

/// Services whose circle is set under one hold of the lock: each is published.
const SET_AT_ONCE: usize = 256;

/// The specifications that count, of the services that cannot do without others.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph(BTreeMap<ServiceName, Arc<Spec>>);

impl Graph {
    /// Takes what counts now.
    pub(super) fn take(&mut self, specs: BTreeMap<ServiceName, Arc<Spec>>) {
        for (name, spec) in specs {
            if spec.hard().next().is_some() {
                self.0.insert(name, spec);
            } else {
                self.0.remove(&name);
            }
        }
    }

    /// All circles.
    pub(super) fn circles(&self) -> Vec<Circle> {
        let needs =
            |service: &ServiceName| self.0.get(service).into_iter().flat_map(|spec| spec.hard()).collect();
        let found = circles(self.0.keys(), needs);
        found.into_iter().map(|circle| circle.into_iter().cloned().collect()).collect()
    }
}

/// Runs until the drain begins.
pub(super) async fn run(shared: &Shared, mut drain: drain::Watch) {
    tokio::select! {
        biased;
        () = drain.begun() => {}
        () = keep(shared) => {}
    }
}

async fn keep(shared: &Shared) {
    let mut graph = Arc::new(Graph::default());
    let mut pause = TICK;
    loop {
        sleep(pause).await;
        pause = TICK;
        if !shared.state.read().has_changed_needs() {
            continue;
        }
        let NeedsChanged { specs, open } = shared.state.write().take_changed_needs();
        Arc::make_mut(&mut graph).take(specs);
        if open {
            let began = shared.clock.mono();
            settle(shared, Arc::clone(&graph)).await;
            // Whoever changes needs all the time gets no more than half of a thread.
            pause = TICK.max(shared.clock.mono().since(began));
        }
    }
}

/// Works out all circles and hands them to the registry.
async fn settle(shared: &Shared, graph: Arc<Graph>) {
    // Nobody else sets circles until these are there. A service that comes back meanwhile, shown in none, has
    // changed its needs: they are worked out again.
    let shown = shown(shared).await;
    // One that ended early was logged, and is made again at the next turn.
    let circled = task::blocking("circles", move || changed(&graph.circles(), shown)).await;
    let Ok(circled) = circled else { return };
    let mut circled = circled.into_iter().peekable();
    while circled.peek().is_some() {
        set_some(shared, circled.by_ref());
        yield_now().await;
    }
    shared.state.write().circles_are_set();
}

fn set_some(shared: &Shared, circled: impl Iterator<Item = (ServiceName, Circle)>) {
    let mut state = shared.state.write();
    state.set_circles(circled.take(SET_AT_ONCE), None);
    RwLockWriteGuard::unlock_fair(state);
}

/// Which service is shown in which circle.
async fn shown(shared: &Shared) -> BTreeMap<ServiceName, Circle> {
    let mut shown = BTreeMap::new();
    let mut after: Option<ServiceName> = None;
    loop {
        let piece: Vec<_> = {
            let state = shared.state.read();
            let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let groups = state.groups().range::<ServiceName, _>((from, Bound::Unbounded)).take(HOLD);
            groups.map(|(name, group)| (name.clone(), Arc::clone(&group.circle))).collect()
        };
        let Some((last, _)) = piece.last() else { return shown };
        after = Some(last.clone());
        shown.extend(piece);
        yield_now().await;
    }
}

/// Those that are in another circle than they are shown in, and in which.
pub(super) fn changed(found: &[Circle], shown: BTreeMap<ServiceName, Circle>) -> Vec<(ServiceName, Circle)> {
    let mut circled: BTreeMap<ServiceName, Circle> = BTreeMap::new();
    for circle in found {
        // The same services are the same circle: it is shared, and told from others by that.
        let known = circle.first().and_then(|first| shown.get(first)).filter(|known| *known == circle);
        let circle = known.unwrap_or(circle);
        circled.extend(circle.iter().map(|member| (member.clone(), Arc::clone(circle))));
    }
    let now = |name: &ServiceName| circled.get(name).cloned().unwrap_or_default();
    let now = shown.into_iter().map(|(name, before)| (before, now(&name), name));
    now.filter(|(before, after, _)| !is_same(before, after)).map(|(_, after, name)| (name, after)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{
        spec::Need,
        testing::{Fleet, handle, key, register_as, registration},
    };

    /// More than are walked under the lock.
    const MANY: usize = 2_000;

    fn name(number: usize) -> String {
        format!("s{number:05}")
    }

    /// Registers a service that needs the next one.
    fn register(fleet: &mut Fleet, number: usize, needs: Option<usize>) {
        let mut registration = registration(&key(&name(number), "i-1"));
        let depends_on = needs.map(|needed| (ServiceName::parse(&name(needed)).unwrap(), Need::Hard));
        registration.declared_spec =
            Some(Arc::new(Spec { depends_on: depends_on.into_iter().collect(), ..Spec::default() }));
        register_as(&mut fleet.state, fleet.now, registration);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_circle_is_worked_out_without_the_lock() {
        let mut fleet = Fleet::default();
        for number in 0..MANY - 1 {
            register(&mut fleet, number, Some(number + 1));
        }
        register(&mut fleet, MANY - 1, None);
        let Fleet { state, now } = fleet;
        let handle = handle(state);
        let shared = &handle.shared;
        let circled = |number: usize| {
            let name = ServiceName::parse(&name(number)).unwrap();
            shared.state.read().groups()[&name].circle.len()
        };
        let mut keep = std::pin::pin!(keep(shared));
        let mut change = async |number: usize, needs: Option<usize>| {
            let before = {
                let mut state = shared.state.write();
                let before = state.revision();
                let mut fleet = Fleet { state: std::mem::replace(&mut *state, Fleet::default().state), now };
                register(&mut fleet, number, needs);
                *state = fleet.state;
                before
            };
            let at_once = shared.state.read().revision() - before;
            assert!(at_once <= 2, "the instance and its service: {at_once} changes under one hold");
            let _runs_on = tokio::time::timeout(4 * TICK, &mut keep).await;
            assert!(!shared.state.read().has_changed_needs());
            usize::try_from(shared.state.read().revision() - before - at_once).unwrap()
        };
        assert_eq!(change(MANY - 1, Some(0)).await, MANY, "each is told of the circle");
        assert!((0..MANY).all(|number| circled(number) == MANY));
        // A shorter one, and those that lead into it.
        assert_eq!(change(MANY - 1, Some(MANY / 2)).await, MANY);
        assert_eq!((circled(0), circled(MANY / 2), circled(MANY - 1)), (0, MANY / 2, MANY / 2));
        // What changes nothing is not told.
        assert_eq!(change(MANY / 2 - 1, Some(MANY - 1)).await, 0);
        assert_eq!(change(MANY - 1, None).await, MANY / 2);
        assert!((0..MANY).all(|number| circled(number) == 0));
    }
}
