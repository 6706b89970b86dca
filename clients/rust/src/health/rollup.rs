//! How components add up to the health of the process. The cause names the component at the root: one
//! with a problem that needs no other one with a problem.

use std::cmp::Reverse;

use super::{ComponentHealth, Verdict};
use crate::report::HealthState;

pub(super) fn verdict(components: &[ComponentHealth]) -> Verdict {
    use HealthState::{Degraded, Healthy, Unhealthy, Unknown};
    let essential = |state| components.iter().any(|one| one.essential && one.state() == state);
    let state = if essential(Unhealthy) {
        Unhealthy
    } else if essential(Unknown) {
        Unknown
    } else if components.iter().any(|one| one.state() != Healthy) {
        Degraded
    } else {
        return Verdict { state: Healthy, cause: String::new() };
    };
    let blamed = components
        .iter()
        .enumerate()
        .filter(|(_, one)| match state {
            Unhealthy | Unknown => one.essential && one.state() == state,
            Healthy | Degraded => one.state() != Healthy,
        })
        // The first of the worst.
        .max_by_key(|(at, one)| (severity(one.state()), Reverse(*at)));
    let cause = blamed.map(|(at, _)| blame(components, at)).unwrap_or_default();
    Verdict { state, cause }
}

fn blame(components: &[ComponentHealth], at: usize) -> String {
    let why = |one: &ComponentHealth| match one.cause() {
        "" => one.state().to_string(),
        cause => cause.to_owned(),
    };
    let root = root(components, at);
    let (blamed, root_one) = (&components[at], &components[root]);
    match root == at {
        true => format!("component {}: {}", blamed.name, why(blamed)),
        false => format!("component {}, which needs {}: {}", blamed.name, root_one.name, why(root_one)),
    }
}

/// Follows dependencies with problems down to one that has none. The builder refuses circles; the
/// bound keeps even a wrong one finite.
fn root(components: &[ComponentHealth], from: usize) -> usize {
    let mut at = from;
    for _ in 0..components.len() {
        let deeper = components[at]
            .depends_on
            .iter()
            .copied()
            .filter(|next| severity(components[*next].state()) >= severity(HealthState::Unknown))
            .max_by_key(|next| (severity(components[*next].state()), Reverse(*next)));
        match deeper {
            Some(next) => at = next,
            None => break,
        }
    }
    at
}

fn severity(state: HealthState) -> u8 {
    match state {
        HealthState::Healthy => 0,
        HealthState::Degraded => 1,
        HealthState::Unknown => 2,
        HealthState::Unhealthy => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    fn component(name: &str, essential: bool, state: HealthState) -> ComponentHealth {
        let mut tracker = Tracker::new(Thresholds { fail: 3, pass: 1 });
        let report = match state {
            HealthState::Unknown => None,
            HealthState::Healthy => Some(Report::healthy()),
            HealthState::Degraded => Some(Report::degraded("slow")),
            HealthState::Unhealthy => Some(Report::unhealthy("gone")),
        };
        if let Some(report) = &report {
            tracker.report(report);
        }
        ComponentHealth {
            name: name.to_owned(),
            kind: String::new(),
            essential,
            depends_on: Vec::new(),
            tracker,
            report,
            pushed_at: None,
            revision: 0,
        }
    }

    /// Components, essential or not and in a state, and what follows.
    type Row<'a> = (&'a [(bool, HealthState)], HealthState, &'a str);

    #[test]
    fn components_add_up_as_a_table() {
        use HealthState::{Degraded, Healthy, Unhealthy, Unknown};
        let rows: &[Row<'_>] = &[
            (&[], Healthy, ""),
            (&[(true, Healthy), (false, Healthy)], Healthy, ""),
            (&[(true, Healthy), (false, Degraded)], Degraded, "component c1: slow"),
            (&[(true, Healthy), (false, Unhealthy)], Degraded, "component c1: gone"),
            (&[(true, Healthy), (false, Unknown)], Degraded, "component c1: no report yet"),
            (&[(true, Degraded), (false, Unhealthy)], Degraded, "component c1: gone"),
            (&[(true, Unknown), (false, Unhealthy)], Unknown, "component c0: no report yet"),
            (&[(true, Unknown), (true, Unhealthy)], Unhealthy, "component c1: gone"),
            (&[(true, Unhealthy), (true, Unhealthy)], Unhealthy, "component c0: gone"),
        ];
        for (parts, state, cause) in rows {
            let components: Vec<_> = parts
                .iter()
                .enumerate()
                .map(|(at, (essential, state))| component(&format!("c{at}"), *essential, *state))
                .collect();
            let expected = Verdict { state: *state, cause: (*cause).to_owned() };
            assert_eq!(verdict(&components), expected, "{parts:?}");
        }
    }

    #[test]
    fn the_cause_is_the_component_at_the_root() {
        let mut cache = component("cache", true, HealthState::Unhealthy);
        cache.depends_on = vec![1, 2];
        let healthy = component("network", false, HealthState::Healthy);
        let disk = component("disk", false, HealthState::Unhealthy);
        let verdict = verdict(&[cache, healthy, disk]);
        assert_eq!(verdict.cause, "component cache, which needs disk: gone");
    }
}
