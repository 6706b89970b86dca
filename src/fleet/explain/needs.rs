//! What a service needs and that is not well, followed down to the root. Pure.
//!
//! A dependency changes nobody's health by itself: what is found here is at most a likely cause.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use super::{
    cause::{About, Cause, Role},
    words::{at, cut},
};
use crate::{
    fleet::{
        names::ServiceName,
        spec::{Need, Spec},
    },
    health::{State, Verdict, rollup::severity},
};

/// How far down dependencies are followed.
pub(super) const DEEPEST: u32 = 6;
/// Most services that are looked at.
pub(super) const MOST: usize = 128;

/// A service, as far as those that need it care.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) health: Verdict,
    pub(super) since: SystemTime,
    pub(super) total: u32,
    pub(super) spec: Arc<Spec>,
}

impl View {
    /// Whether it does not work: the need for it is not met.
    pub(super) fn is_down(&self) -> bool {
        self.health.state == State::Unhealthy || self.total == 0
    }
}

/// The services that were looked at; None: nobody of that name is known.
pub(super) type Known = BTreeMap<ServiceName, Option<View>>;

/// Whose needs are explained.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needing<'a> {
    pub(super) name: &'a ServiceName,
    pub(super) spec: &'a Spec,
    pub(super) state: State,
    pub(super) since: SystemTime,
}

/// What a service needs and that is not well, at depth 1 and below.
pub(super) fn chain(needing: Needing<'_>, known: &Known, now: SystemTime) -> Vec<Cause> {
    let mut walk = Walk { needing, known, now, path: vec![needing.name], told: BTreeSet::new() };
    walk.below(needing.name, needing.spec, Need::Hard)
}

struct Walk<'a> {
    needing: Needing<'a>,
    known: &'a Known,
    now: SystemTime,
    path: Vec<&'a ServiceName>,
    told: BTreeSet<&'a ServiceName>,
}

impl<'a> Walk<'a> {
    /// `so_far`: hard only if every need on the way is.
    fn below(&mut self, by: &ServiceName, spec: &'a Spec, so_far: Need) -> Vec<Cause> {
        let mut needs: Vec<(&'a ServiceName, Need)> =
            spec.depends_on.iter().map(|(name, need)| (name, *need)).collect();
        needs.sort_by_key(|(name, need)| (*need != Need::Hard, Reverse(self.severity(name)), *name));
        let mut found = Vec::new();
        for (name, need) in needs {
            let whole = if so_far == Need::Hard { need } else { Need::Soft };
            found.extend(self.one(by, name, need, whole));
        }
        found
    }

    fn severity(&self, name: &ServiceName) -> u8 {
        match self.known.get(name) {
            Some(Some(view)) => severity(view.health.state),
            Some(None) => u8::MAX,
            None => 0,
        }
    }

    /// One that is needed, and what is below it. Empty: there is nothing to tell.
    fn one(&mut self, by: &ServiceName, name: &'a ServiceName, need: Need, whole: Need) -> Vec<Cause> {
        let depth = u32::try_from(self.path.len()).unwrap_or(u32::MAX);
        let kind = match need {
            Need::Hard => "hard",
            Need::Soft => "soft",
        };
        let mut told = Cause { depth, ..Cause::context(About::Service(name.clone()), "") };
        let Some(view) = self.known.get(name) else { return Vec::new() };
        let Some(view) = view else {
            told.role = self.role(whole, true);
            told.root = told.role != Role::Context;
            told.text = format!("{by} needs it ({kind}), and nobody of that name is known");
            told.step = Some(format!(
                "see why {name} is not registered: {by} needs it; or correct the name in its specification"
            ));
            return vec![told];
        };
        if self.path.contains(&name) {
            let circle: Vec<_> = self.path.iter().map(|name| name.as_str()).collect();
            told.text = format!("needed again, a circle that is cut here: {} → {name}", circle.join(" → "));
            // It keeps nobody in the tree who is well otherwise.
            return vec![told];
        }
        let sick = view.health.state != State::Healthy;
        told.state = Some(view.health.state);
        told.since = Some(view.since);
        if !self.told.insert(name) {
            told.text = format!("{by} needs it ({kind}) as well, told above");
            return if sick { vec![told] } else { Vec::new() };
        }
        // What is well and only softly needed explains nothing, whatever is below it.
        let follow = depth < DEEPEST && (sick || need == Need::Hard);
        self.path.push(name);
        let below = if follow { self.below(name, &view.spec, whole) } else { Vec::new() };
        self.path.pop();
        let says = |cause: &Cause| cause.state.is_some_and(|state| state != State::Healthy) || cause.root;
        if !sick && !below.iter().any(says) {
            return Vec::new();
        }
        if sick {
            told.role = self.role(whole, view.is_down());
            told.root = told.role != Role::Context && !below.iter().any(|cause| cause.root);
            told.text = format!("{by} needs it ({kind}): {}{}", cut(&view.health.cause), self.order(view));
            told.step = told.root.then(|| format!("look at {name}: `seaworthy explain {name}`"));
        } else {
            told.text = format!("{by} needs it ({kind}); it is healthy by itself, what it needs is not");
        }
        let mut found = vec![told];
        found.extend(below);
        found
    }

    /// What a need that is not met has to do with the state that is explained.
    fn role(&self, need: Need, down: bool) -> Role {
        match (need, down, self.needing.state) {
            (_, false, _) => Role::Context,
            (Need::Hard, true, State::Healthy) => Role::NearlyWrong,
            (Need::Hard, true, _) | (Need::Soft, true, State::Degraded) => Role::Likely,
            (Need::Soft, true, _) => Role::Context,
        }
    }

    /// Which came first: what comes before is more likely to be behind what comes after.
    fn order(&self, view: &View) -> String {
        let (name, since) = (self.needing.name, at(self.needing.since, self.now));
        match self.needing.state {
            State::Healthy => String::new(),
            _ if view.since <= self.needing.since => format!("; so since before {name} ({since})"),
            _ => format!("; so only since after {name} ({since})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use State::{Degraded, Healthy, Unhealthy, Unknown};

    fn name(text: &str) -> ServiceName {
        ServiceName::parse(text).unwrap()
    }

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn spec(needs: &[(&str, Need)]) -> Spec {
        let depends_on = needs.iter().map(|(needed, need)| (name(needed), *need)).collect();
        Spec { depends_on, ..Spec::default() }
    }

    fn view(state: State, needs: &[(&str, Need)]) -> Option<View> {
        let health = if state == Healthy { Verdict::healthy() } else { Verdict::new(state, "broken") };
        Some(View { health, since: at(50), total: 1, spec: Arc::new(spec(needs)) })
    }

    fn told(
        state: State,
        needs: &[(&str, Need)],
        known: Vec<(&str, Option<View>)>,
    ) -> Vec<(u32, String, Role, bool)> {
        let known = known.into_iter().map(|(needed, view)| (name(needed), view)).collect();
        let (orders, spec) = (name("orders"), spec(needs));
        let needing = Needing { name: &orders, spec: &spec, state, since: at(100) };
        let found = chain(needing, &known, at(200));
        found
            .into_iter()
            .map(|cause| {
                let About::Service(of) = cause.about else { panic!("{cause:?}") };
                (cause.depth, of.to_string(), cause.role, cause.root)
            })
            .collect()
    }

    #[test]
    fn what_a_need_has_to_do_with_it_as_a_table() {
        use Need::{Hard, Soft};
        for (need, needed, state, role) in [
            (Hard, view(Unhealthy, &[]), Unhealthy, Some(Role::Likely)),
            (Hard, view(Unhealthy, &[]), Degraded, Some(Role::Likely)),
            (Hard, view(Unhealthy, &[]), Unknown, Some(Role::Likely)),
            (Hard, view(Unhealthy, &[]), Healthy, Some(Role::NearlyWrong)),
            (Hard, view(Degraded, &[]), Unhealthy, Some(Role::Context)),
            (Hard, view(Unknown, &[]), Unhealthy, Some(Role::Context)),
            (Hard, view(Healthy, &[]), Unhealthy, None),
            (Hard, None, Unhealthy, Some(Role::Likely)),
            (Hard, None, Healthy, Some(Role::NearlyWrong)),
            (Soft, view(Unhealthy, &[]), Unhealthy, Some(Role::Context)),
            (Soft, view(Unhealthy, &[]), Degraded, Some(Role::Likely)),
            (Soft, None, Healthy, Some(Role::Context)),
        ] {
            let found = told(state, &[("payments", need)], vec![("payments", needed.clone())]);
            assert_eq!(found.first().map(|cause| cause.2), role, "{need:?} {needed:?} while {state}");
        }
        let nobody = Some(View { total: 0, ..view(Unknown, &[]).unwrap() });
        assert_eq!(told(Unhealthy, &[("a", Hard)], vec![("a", nobody)])[0].2, Role::Likely);
    }

    #[test]
    fn needs_are_followed_down_to_the_root() {
        use Need::Hard;
        let known = vec![
            ("payments", view(Unhealthy, &[("gateway", Hard), ("ledger", Hard)])),
            // Healthy by itself, and named only for what is below it.
            ("gateway", view(Healthy, &[("bank", Hard), ("clock", Hard)])),
            ("ledger", view(Healthy, &[])),
            ("clock", view(Healthy, &[])),
            ("bank", view(Unhealthy, &[])),
        ];
        let found = told(Unhealthy, &[("payments", Hard)], known);
        let expected = [
            (1, "payments", Role::Likely, false),
            (2, "gateway", Role::Context, false),
            (3, "bank", Role::Likely, true),
        ];
        assert_eq!(found, expected.map(|(depth, of, role, root)| (depth, of.to_owned(), role, root)));
    }

    #[test]
    fn circles_are_named_and_cut_and_nothing_is_told_twice() {
        use Need::Hard;
        let known = vec![
            ("a", view(Unhealthy, &[("b", Hard), ("orders", Hard)])),
            ("b", view(Unhealthy, &[("a", Hard)])),
            ("orders", view(Unhealthy, &[("a", Hard), ("b", Hard)])),
        ];
        let found = told(Unhealthy, &[("a", Hard), ("b", Hard)], known);
        let places: Vec<_> = found.iter().map(|cause| (cause.0, cause.1.as_str(), cause.3)).collect();
        assert_eq!(
            places,
            [(1, "a", false), (2, "b", true), (3, "a", false), (2, "orders", false), (1, "b", false)]
        );
        let healthy =
            vec![("a", view(Healthy, &[("orders", Hard)])), ("orders", view(Unhealthy, &[("a", Hard)]))];
        assert_eq!(told(Unhealthy, &[("a", Hard)], healthy), []);
    }

    #[test]
    fn depth_is_bounded() {
        let names: Vec<String> = (0..20).map(|number| format!("s{number:02}")).collect();
        let known = (0..20).map(|number| {
            let next = names.get(number + 1).map(|next| (next.as_str(), Need::Hard));
            (names[number].as_str(), view(Unhealthy, next.as_slice()))
        });
        let found = told(Unhealthy, &[("s00", Need::Hard)], known.collect());
        assert_eq!(found.len(), DEEPEST as usize);
        assert!(found.last().unwrap().3, "the deepest that is told is where to look next");
    }
}
