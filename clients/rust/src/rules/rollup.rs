//! How components add up to the health of their instance. The cause names the component at the root: one
//! with a problem that needs no other one with a problem.

use std::cmp::Reverse;

use super::{HealthState, Verdict};

/// A component, as far as the roll-up needs it.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether the instance is useless without it.
    pub essential: bool,
    /// Its state after thresholds and staleness.
    pub state: HealthState,
    /// Why it is not healthy.
    pub cause: &'a str,
    /// Positions of the components that it needs.
    pub depends_on: &'a [usize],
}

/// The health of an instance that is heard, from its components.
///
/// An UNHEALTHY essential component makes it UNHEALTHY. An essential component of which nothing is
/// known makes it UNKNOWN: it must not be shown as serving before it said so. Any other problem makes
/// it DEGRADED. The cause names the component at the root: one with a problem that needs no other one
/// with a problem.
pub fn instance(parts: &[Part<'_>]) -> Verdict {
    let any_essential = |state| parts.iter().any(|part| part.essential && part.state == state);
    let state = if any_essential(HealthState::Unhealthy) {
        HealthState::Unhealthy
    } else if any_essential(HealthState::Unknown) {
        HealthState::Unknown
    } else if parts.iter().any(|part| part.state != HealthState::Healthy) {
        HealthState::Degraded
    } else {
        return Verdict::healthy();
    };
    let blamed = parts
        .iter()
        .enumerate()
        .filter(|(_, part)| match state {
            HealthState::Unhealthy | HealthState::Unknown => part.essential && part.state == state,
            HealthState::Healthy | HealthState::Degraded => part.state != HealthState::Healthy,
        })
        .max_by_key(|(at, part)| (severity(part.state), Reverse(*at)));
    match blamed {
        None => Verdict::new(state, "unknown"),
        Some((at, part)) => Verdict::new(state, blame(parts, at, part)),
    }
}

fn blame(parts: &[Part<'_>], at: usize, part: &Part<'_>) -> String {
    let root = root(parts, at);
    let root_part = &parts[root];
    let why = |part: &Part<'_>| match part.cause {
        "" => part.state.as_str().to_owned(),
        cause => cause.to_owned(),
    };
    if root == at {
        format!("component {}: {}", part.name, why(part))
    } else {
        format!("component {}, which needs {}: {}", part.name, root_part.name, why(root_part))
    }
}

/// Follows dependencies with problems down to one that has none. Registration refuses circles; the
/// bound keeps even a wrong one finite.
fn root(parts: &[Part<'_>], from: usize) -> usize {
    let mut at = from;
    for _ in 0..parts.len() {
        let deeper = parts[at]
            .depends_on
            .iter()
            .copied()
            .filter(|next| parts.get(*next).is_some_and(|part| part.state != HealthState::Healthy))
            .max_by_key(|next| (severity(parts[*next].state), Reverse(*next)));
        match deeper {
            Some(next) => at = next,
            None => break,
        }
    }
    at
}

/// Order of seriousness, for choosing what to name.
pub fn severity(state: HealthState) -> u8 {
    match state {
        HealthState::Healthy => 0,
        HealthState::Degraded => 1,
        HealthState::Unknown => 2,
        HealthState::Unhealthy => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        HealthState::{Degraded, Healthy, Unhealthy, Unknown},
        *,
    };

    fn part(name: &'static str, essential: bool, state: HealthState) -> Part<'static> {
        Part { name, essential, state, cause: if state == Healthy { "" } else { "broken" }, depends_on: &[] }
    }

    #[test]
    fn components_to_instance_as_a_table() {
        for (parts, state, cause) in [
            (vec![], Healthy, ""),
            (vec![part("db", true, Healthy)], Healthy, ""),
            (vec![part("db", true, Unhealthy)], Unhealthy, "component db: broken"),
            (vec![part("db", true, Degraded)], Degraded, "component db: broken"),
            (vec![part("db", true, Unknown)], Unknown, "component db: broken"),
            (vec![part("cache", false, Unhealthy)], Degraded, "component cache: broken"),
            (vec![part("cache", false, Unknown)], Degraded, "component cache: broken"),
            (
                vec![part("db", true, Healthy), part("cache", false, Degraded)],
                Degraded,
                "component cache: broken",
            ),
            (
                vec![part("cache", false, Unhealthy), part("db", true, Unhealthy)],
                Unhealthy,
                "component db: broken",
            ),
            // The first of the worst is blamed.
            (
                vec![part("db", true, Unhealthy), part("disk", true, Unhealthy)],
                Unhealthy,
                "component db: broken",
            ),
            (
                vec![part("cache", false, Degraded), part("queue", false, Unhealthy)],
                Degraded,
                "component queue: broken",
            ),
            (
                vec![part("db", true, Unknown), part("disk", true, Unhealthy)],
                Unhealthy,
                "component disk: broken",
            ),
        ] {
            let verdict = instance(&parts);
            assert_eq!((verdict.state, verdict.cause.as_str()), (state, cause), "{parts:?}");
        }
    }

    #[test]
    fn the_cause_is_the_component_at_the_root() {
        let api = Part { depends_on: &[1], ..part("api", true, Unhealthy) };
        let database = Part { depends_on: &[2], ..part("database", true, Unhealthy) };
        let disk = Part { cause: "no space left", ..part("disk", false, Unhealthy) };
        assert_eq!(instance(&[api, database, disk]).cause, "component api, which needs disk: no space left");
        for (needed, cause) in [
            (Healthy, "component api: broken"),
            (Degraded, "component api, which needs disk: no space left"),
            (Unknown, "component api, which needs disk: no space left"),
            (Unhealthy, "component api, which needs disk: no space left"),
        ] {
            let api = Part { depends_on: &[1], ..api };
            let disk = Part { state: needed, ..disk };
            assert_eq!(instance(&[api, disk]).cause, cause, "it needs what is {needed}");
        }
        let both = Part { depends_on: &[1, 2], ..api };
        let slow = Part { cause: "slow", ..part("cache", false, Degraded) };
        assert_eq!(instance(&[both, slow, disk]).cause, "component api, which needs disk: no space left");
        let circle = [Part { depends_on: &[1], ..api }, Part { depends_on: &[0], ..database }];
        assert_eq!(instance(&circle).state, Unhealthy);
    }
}
