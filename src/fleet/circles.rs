//! Circles of dependencies: services that need each other, directly or through others, so that none of
//! them can be started last or stopped first. Plain graphs; what a service needs is the caller's to say.

use std::collections::{BTreeMap, BTreeSet};

use super::names::ServiceName;

/// Every circle that can be reached from `roots`, each as the services in it.
///
/// Kosaraju's algorithm, without recursion and in time linear in what is reached: the length of a chain
/// of services has no bound of ours.
pub(super) fn circles<'a>(
    roots: impl IntoIterator<Item = &'a ServiceName>,
    needs: impl Fn(&ServiceName) -> Vec<&'a ServiceName>,
) -> Vec<BTreeSet<&'a ServiceName>> {
    let mut needed_by: BTreeMap<&ServiceName, Vec<&'a ServiceName>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    // Those that a walk along the needs has come back from, in that order.
    let mut left = Vec::new();
    for root in roots {
        if !seen.insert(root) {
            continue;
        }
        let mut path = vec![(root, needs(root))];
        while let Some((name, branches)) = path.last_mut() {
            let name = *name;
            match branches.pop() {
                Some(next) => {
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
    found
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
