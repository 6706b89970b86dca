//! Circles of dependencies: services that need each other, directly or through others, so that none of
//! them can be started last or stopped first. Plain graphs; what a service needs is the caller's to say.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ops::ControlFlow,
};

use super::names::ServiceName;

/// Every circle that can be reached from `roots`, each as the services in it.
///
/// Kosaraju's algorithm, without recursion and in time linear in what is reached: the length of a chain
/// of services has no bound of ours.
pub(super) fn circles<'a>(
    roots: impl IntoIterator<Item = &'a ServiceName>,
    needs: impl Fn(&ServiceName) -> Vec<&'a ServiceName>,
) -> Vec<BTreeSet<&'a ServiceName>> {
    // There are never as many steps.
    circles_within(usize::MAX, roots, needs).unwrap_or_default()
}

/// The same, where it takes at most so many steps: each root is one, and each need. None: it takes more.
pub(super) fn circles_within<'a>(
    most: usize,
    roots: impl IntoIterator<Item = &'a ServiceName>,
    needs: impl Fn(&ServiceName) -> Vec<&'a ServiceName>,
) -> Option<Vec<BTreeSet<&'a ServiceName>>> {
    let mut steps = 0_usize;
    let mut needed_by: BTreeMap<&ServiceName, Vec<&'a ServiceName>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    // Those that a walk along the needs has come back from, in that order.
    let mut left = Vec::new();
    for root in roots {
        steps += 1;
        if steps > most {
            return None;
        }
        if !seen.insert(root) {
            continue;
        }
        let mut path = vec![(root, needs(root))];
        while let Some((name, branches)) = path.last_mut() {
            let name = *name;
            match branches.pop() {
                Some(next) => {
                    steps += 1;
                    if steps > most {
                        return None;
                    }
                    needed_by.entry(next).or_default().push(name);
                    if seen.insert(next) {
                        path.push((next, needs(next)));
                    }
                }
                None => {
                    left.push(name);
                    path.pop();
                }
            }
        }
    }
    // The last that was left is in a circle with all that lead back to it and are in none yet.
    let mut found = Vec::new();
    let mut taken = BTreeSet::new();
    for name in left.into_iter().rev() {
        if !taken.insert(name) {
            continue;
        }
        let mut circle = BTreeSet::from([name]);
        let mut open = vec![name];
        while let Some(next) = open.pop() {
            for back in needed_by.get(next).into_iter().flatten() {
                if taken.insert(back) {
                    circle.insert(*back);
                    open.push(back);
                }
            }
        }
        if circle.len() > 1 {
            found.push(circle);
        }
    }
    Some(found)
}

/// Looks for a circle through one service, a piece at a time, so that whoever has to lock what is looked at
/// can let go of it in between.
#[derive(Debug)]
pub(super) struct Search {
    /// From the service on, what was followed to where it is now, and what is to be followed from each.
    path: Vec<(ServiceName, Vec<ServiceName>)>,
    seen: HashSet<ServiceName>,
    start: ServiceName,
}

impl Search {
    /// A search for a circle through `start`, which would need these.
    pub(super) fn new(start: &ServiceName, needs: Vec<ServiceName>) -> Self {
        Self { path: vec![(start.clone(), needs)], seen: HashSet::new(), start: start.clone() }
    }

    /// Goes on by so many steps. Ends with the circle in order, beginning and ending with its service, or
    /// with none.
    pub(super) fn go_on(
        &mut self,
        steps: usize,
        needs: impl Fn(&ServiceName) -> Vec<ServiceName>,
    ) -> ControlFlow<Option<Vec<ServiceName>>> {
        // Depth first with a stack of its own: the length of a chain of services has no bound of ours.
        for _ in 0..steps {
            let Some((_, branches)) = self.path.last_mut() else { return ControlFlow::Break(None) };
            match branches.pop() {
                None => drop(self.path.pop()),
                Some(next) if next == self.start => {
                    let path = self.path.drain(..).map(|(name, _)| name);
                    return ControlFlow::Break(Some(path.chain([next]).collect()));
                }
                Some(next) => {
                    if self.seen.insert(next.clone()) {
                        let branches = needs(&next);
                        self.path.push((next, branches));
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: usize = 7;

    fn names() -> Vec<ServiceName> {
        (0..NAMES).map(|number| ServiceName::parse(&format!("s{number}")).unwrap()).collect()
    }

    fn position(names: &[ServiceName], name: &ServiceName) -> usize {
        names.iter().position(|other| other == name).unwrap()
    }

    /// Whether one leads to the other in at least one step, by trying all ways.
    fn leads(edges: &[(usize, usize)], from: usize, to: usize) -> bool {
        let mut reached = [false; NAMES];
        for _ in 0..NAMES {
            for (needing, needed) in edges {
                if *needing == from || reached[*needing] {
                    reached[*needed] = true;
                }
            }
        }
        reached[to]
    }

    #[test]
    fn two_circles_that_touch_are_one_and_a_lead_is_in_none() {
        let names = names();
        let edges = [(0, 1), (1, 0), (0, 2), (2, 0), (3, 0), (2, 4)];
        let needs = |name: &ServiceName| {
            let from = position(&names, name);
            edges.iter().filter(|edge| edge.0 == from).map(|edge| &names[edge.1]).collect()
        };
        let found = circles(&names, needs);
        assert_eq!(found, [BTreeSet::from([&names[0], &names[1], &names[2]])]);
    }

    #[test]
    fn a_walk_that_takes_more_steps_than_it_may_finds_nothing() {
        let names = names();
        let ring = |name: &ServiceName| vec![&names[(position(&names, name) + 1) % NAMES]];
        assert_eq!(circles_within(NAMES, [&names[0]], ring), None, "one root and a need of each");
        assert_eq!(circles_within(NAMES + 1, [&names[0]], ring).map(|found| found[0].len()), Some(NAMES));
        assert_eq!(circles_within(NAMES - 1, &names, |_| vec![]), None);
    }

    #[test]
    fn a_search_in_pieces_finds_a_circle_and_answers_it_in_order() {
        let names = names();
        let edges = [(0, 1), (0, 3), (1, 2), (2, 0), (3, 3), (4, 5)];
        let needs = |name: &ServiceName| -> Vec<ServiceName> {
            let from = position(&names, name);
            edges.iter().filter(|edge| edge.0 == from).map(|edge| names[edge.1].clone()).collect()
        };
        for (start, expected) in [(0, Some(vec![0, 1, 2, 0])), (3, Some(vec![3, 3])), (4, None), (6, None)] {
            let mut search = Search::new(&names[start], needs(&names[start]));
            let found = loop {
                if let ControlFlow::Break(found) = search.go_on(1, needs) {
                    break found;
                }
            };
            let found = found.map(|path| path.iter().map(|name| position(&names, name)).collect::<Vec<_>>());
            assert_eq!(found, expected, "from {start}");
        }
    }

    #[test]
    fn a_long_chain_and_a_long_circle_need_no_deep_stack() {
        let names: Vec<_> =
            (0..50_000).map(|number| ServiceName::parse(&format!("s{number:06}")).unwrap()).collect();
        let next = |name: &ServiceName| (name.as_str()[1..].parse::<usize>().unwrap() + 1) % names.len();
        assert_eq!(circles([&names[0]], |name| vec![&names[next(name)]])[0].len(), names.len());
        let chain = |name: &ServiceName| match next(name) {
            0 => vec![],
            next => vec![&names[next]],
        };
        assert!(circles([&names[0]], chain).is_empty());
    }

    proptest! {
        #[test]
        fn those_are_together_that_lead_to_each_other(
            edges in proptest::collection::vec((0..NAMES, 0..NAMES), 0..14),
        ) {
            let names = names();
            let edges: Vec<_> = edges.into_iter().filter(|(from, to)| from != to).collect();
            let needs = |name: &ServiceName| {
                let from = position(&names, name);
                edges.iter().filter(|edge| edge.0 == from).map(|edge| &names[edge.1]).collect()
            };
            let found = circles(&names, needs);
            for one in 0..NAMES {
                for other in 0..NAMES {
                    let together = found
                        .iter()
                        .any(|circle| circle.contains(&names[one]) && circle.contains(&names[other]));
                    prop_assert_eq!(together, leads(&edges, one, other) && leads(&edges, other, one));
                }
            }
        }
    }
}
