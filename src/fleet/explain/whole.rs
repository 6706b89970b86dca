//! What is worst in the whole fleet, and where to begin: with a service that is not well, and needs no
//! other one that is not. Pure.

use std::{cmp::Reverse, collections::BTreeMap, time::SystemTime};

use super::{
    cause::{About, Cause, Explanation, Role, explanation},
    needs::{Known, View},
    words::{at, cut, names},
};
use crate::{
    fleet::names::ServiceName,
    health::{State, rollup::severity},
    text::counted,
};

/// Most services that are told.
const TOLD: usize = 10;

/// Services, counted by state.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Census {
    pub(super) total: u64,
    pub(super) unhealthy: u64,
    pub(super) unknown: u64,
    pub(super) degraded: u64,
}

/// The explanation. `known`: those that are not well, the worst of them at least, and what these need.
pub(super) fn explain(census: Census, known: &Known, now: SystemTime) -> Explanation {
    let Census { total, unhealthy, unknown, degraded } = census;
    let sick = unhealthy + unknown + degraded;
    let state = match (unhealthy, unknown, degraded) {
        (0, 0, 0) => State::Healthy,
        (0, 0, _) => State::Degraded,
        (0, _, _) => State::Unknown,
        _ => State::Unhealthy,
    };
    let total = counted(total, "service");
    let summary =
        format!("{sick} of {total} not well: {unhealthy} unhealthy, {unknown} unknown, {degraded} degraded");
    let worst = Worst::new(known);
    let begin = worst.order.iter().find(|name| worst.is_root(name)).or_else(|| worst.order.first());
    let headline = match (begin.and_then(|name| Some((name, known.get(*name)?.as_ref()?))), sick) {
        (_, 0) if census.total == 0 => "no services are known; nothing to explain".to_owned(),
        (_, 0) => format!("all of {total} healthy; nothing to explain"),
        (None, _) => summary.clone(),
        (Some((name, view)), _) => format!(
            "{summary}; begin with {name}, {} since {}: {}{}",
            view.health.state,
            at(view.since, now),
            cut(&view.health.cause),
            worst.needed_by(name).map(|by| format!("; {by}")).unwrap_or_default(),
        ),
    };
    let mut causes = vec![Cause {
        depth: 0,
        state: Some(state),
        role: if sick == 0 { Role::Context } else { Role::Cause },
        ..Cause::context(About::Fleet, if sick == 0 { headline.clone() } else { summary })
    }];
    // Where to begin comes first, then by how bad it is.
    let told = begin.into_iter().chain(worst.order.iter().filter(|name| Some(*name) != begin)).take(TOLD);
    causes.extend(told.filter_map(|name| Some(worst.told(name, known.get(*name)?.as_ref()?))));
    let more = sick.saturating_sub(worst.order.len().min(TOLD) as u64);
    if more > 0 {
        causes.push(Cause::context(
            About::Fleet,
            format!("and {} not well; `seaworthy health` lists all", counted(more, "more service")),
        ));
    }
    explanation(headline, state, None, causes)
}

struct Worst<'a> {
    known: &'a Known,
    /// Who needs a service, and is not well either.
    needed_by: BTreeMap<&'a ServiceName, Vec<&'a ServiceName>>,
    order: Vec<&'a ServiceName>,
}

impl<'a> Worst<'a> {
    fn new(known: &'a Known) -> Self {
        let sick: Vec<(&ServiceName, &View)> = known
            .iter()
            .filter_map(|(name, view)| Some((name, view.as_ref()?)))
            .filter(|(_, view)| view.health.state != State::Healthy)
            .collect();
        let mut needed_by: BTreeMap<&ServiceName, Vec<&ServiceName>> = BTreeMap::new();
        for (name, view) in &sick {
            for needed in view.spec.hard() {
                needed_by.entry(needed).or_default().push(name);
            }
        }
        let mut order = sick;
        order.sort_by_key(|(name, view)| {
            let wanted = needed_by.get(name).map_or(0, Vec::len);
            (Reverse(severity(view.health.state)), Reverse(wanted), view.since, *name)
        });
        let order = order.into_iter().map(|(name, _)| name).collect();
        Self { known, needed_by, order }
    }

    /// The services that it cannot do without and that are not well, or not known at all.
    fn lacks(&self, name: &ServiceName) -> Vec<&'a ServiceName> {
        let Some(Some(view)) = self.known.get(name) else { return Vec::new() };
        let missing = |needed: &&ServiceName| match self.known.get(*needed) {
            Some(Some(view)) => view.is_down(),
            Some(None) => true,
            None => false,
        };
        view.spec.hard().filter(missing).collect()
    }

    fn is_root(&self, name: &ServiceName) -> bool {
        self.lacks(name).is_empty()
    }

    /// `needed by orders and shop, which are not well either`.
    fn needed_by(&self, name: &ServiceName) -> Option<String> {
        let by = self.needed_by.get(name)?;
        let shown = by.iter().take(3).map(|name| name.as_str());
        let are = if by.len() == 1 { "is" } else { "are" };
        Some(format!("needed by {}, which {are} not well either", names(shown, by.len().saturating_sub(3))))
    }

    fn told(&self, name: &ServiceName, view: &View) -> Cause {
        let lacks = self.lacks(name);
        let root = lacks.is_empty();
        let mut text = cut(&view.health.cause);
        if let Some(by) = self.needed_by(name) {
            text = format!("{text}; {by}");
        }
        if !root {
            let shown = lacks.iter().take(3).map(|name| name.as_str());
            let lacks = names(shown, lacks.len().saturating_sub(3));
            text = format!("{text}; likely because it needs {lacks}");
        }
        Cause {
            role: Role::Cause,
            state: Some(view.health.state),
            since: Some(view.since),
            root,
            instances: view.total,
            step: root.then(|| format!("look at {name}: `seaworthy explain {name}`")),
            ..Cause::context(About::Service(name.clone()), text)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        fleet::spec::{Need, Spec},
        health::Verdict,
    };

    fn name(text: &str) -> ServiceName {
        ServiceName::parse(text).unwrap()
    }

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn view(state: State, since: u64, needs: &[&str]) -> Option<View> {
        let depends_on = needs.iter().map(|needed| (name(needed), Need::Hard)).collect();
        let spec = Arc::new(Spec { depends_on, ..Spec::default() });
        Some(View { health: Verdict::new(state, "broken"), since: at(since), total: 2, spec })
    }

    #[test]
    fn it_says_where_to_begin() {
        let known = Known::from([
            (name("orders"), view(State::Unhealthy, 10, &["payments"])),
            (name("shop"), view(State::Degraded, 5, &["orders", "payments"])),
            (name("payments"), view(State::Unhealthy, 20, &[])),
        ]);
        let census = Census { total: 40, unhealthy: 2, unknown: 0, degraded: 1 };
        let found = explain(census, &known, at(60));
        assert_eq!(
            found.headline,
            "3 of 40 services not well: 2 unhealthy, 0 unknown, 1 degraded; begin with payments, unhealthy \
             since 00:00:20Z: broken; needed by orders and shop, which are not well either"
        );
        let told: Vec<_> =
            found.causes.iter().map(|cause| (cause.text.as_str(), cause.root)).skip(1).collect();
        assert_eq!(
            told,
            [
                ("broken; needed by orders and shop, which are not well either", true),
                ("broken; needed by shop, which is not well either; likely because it needs payments", false),
                ("broken; likely because it needs orders and payments", false),
            ]
        );
        assert_eq!(found.next_steps, ["look at payments: `seaworthy explain payments`"]);
    }

    #[test]
    fn what_is_well_has_nothing_to_explain() {
        for (total, headline) in [
            (0, "no services are known; nothing to explain"),
            (1, "all of 1 service healthy; nothing to explain"),
        ] {
            let found = explain(Census { total, ..Census::default() }, &Known::new(), at(0));
            assert_eq!((found.headline.as_str(), found.state), (headline, State::Healthy));
        }
    }

    #[test]
    fn ten_are_told_and_the_others_counted() {
        let known = (0..30).map(|number| (name(&format!("s{number}")), view(State::Unhealthy, 5, &[])));
        let census = Census { total: 500, unhealthy: 300, ..Census::default() };
        let found = explain(census, &known.collect(), at(60));
        assert_eq!(found.causes.len(), 12);
        assert_eq!(found.causes[11].text, "and 290 more services not well; `seaworthy health` lists all");
    }
}
