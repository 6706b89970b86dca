//! How states add up: components to an instance, instances to a service. Pure functions, kept as
//! tables in their tests.

use super::{State, Verdict};
use crate::text::counted;

/// A component, as far as the roll-up needs it.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether the instance is useless without it.
    pub essential: bool,
    /// Its state after thresholds and staleness.
    pub state: State,
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
    let state = if any_essential(State::Unhealthy) {
        State::Unhealthy
    } else if any_essential(State::Unknown) {
        State::Unknown
    } else if parts.iter().any(|part| part.state != State::Healthy) {
        State::Degraded
    } else {
        return Verdict::healthy();
    };
    let blamed = parts
        .iter()
        .enumerate()
        .filter(|(_, part)| match state {
            State::Unhealthy | State::Unknown => part.essential && part.state == state,
            State::Healthy | State::Degraded => part.state != State::Healthy,
        })
        .max_by_key(|(at, part)| (severity(part.state), std::cmp::Reverse(*at)));
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
            .filter(|next| {
                parts.get(*next).is_some_and(|part| severity(part.state) >= severity(State::Unknown))
            })
            .max_by_key(|next| (severity(parts[*next].state), std::cmp::Reverse(*next)));
        match deeper {
            Some(next) => at = next,
            None => break,
        }
    }
    at
}

/// Order of seriousness, for choosing what to name.
pub fn severity(state: State) -> u8 {
    match state {
        State::Healthy => 0,
        State::Degraded => 1,
        State::Unknown => 2,
        State::Unhealthy => 3,
    }
}

/// The instances of a service, counted. Kept incrementally by `fleet`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Registered and not stopped, lost ones included.
    pub total: u32,
    /// In a lifecycle in which its process is believed to run.
    pub alive: u32,
    /// READY, and HEALTHY or DEGRADED.
    pub available: u32,
    /// In state HEALTHY.
    pub healthy: u32,
    /// In state DEGRADED.
    pub degraded: u32,
    /// In state UNHEALTHY.
    pub unhealthy: u32,
    /// In state UNKNOWN.
    pub unknown: u32,
    /// In lifecycle LOST.
    pub lost: u32,
    /// In lifecycle STARTING.
    pub starting: u32,
    /// Leaving on purpose.
    pub leaving: u32,
    /// READY, of state UNKNOWN, and not yet heard since a restart: it may well be available.
    pub unconfirmed: u32,
}

/// The health of a service, from its counts and the number of available instances it needs.
/// `worst` names the instance with the worst problem and its cause.
pub fn service(counts: &Counts, required: u32, worst: Option<(&str, &str)>) -> Verdict {
    let because = || match worst {
        Some((id, cause)) if !cause.is_empty() => format!("; {id}: {cause}"),
        _ => String::new(),
    };
    if counts.total == 0 {
        return Verdict::new(State::Unknown, "no instances are registered");
    }
    if counts.available < required {
        let short =
            format!("{} of {} available", counts.available, counted(required.into(), "required instance"));
        // Right after a restart nobody has been heard yet: that is no outage.
        if counts.available + counts.unconfirmed >= required {
            return Verdict::new(
                State::Unknown,
                format!("{short}, {} not yet heard since the control plane started", counts.unconfirmed),
            );
        }
        if counts.unknown == counts.total && counts.lost == 0 {
            return Verdict::new(State::Unknown, format!("{short}{}", because()));
        }
        return Verdict::new(State::Unhealthy, format!("{short}{}", because()));
    }
    // Those that are starting or leaving on purpose are no problem while enough are there.
    if counts.degraded == 0
        && counts.unhealthy == 0
        && counts.lost == 0
        && counts.unknown <= counts.unconfirmed + counts.starting
    {
        return Verdict::healthy();
    }
    Verdict::new(
        State::Degraded,
        format!(
            "{} of {} available{}",
            counts.available,
            counted(counts.total.into(), "instance"),
            because()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Degraded, Healthy, Unhealthy, Unknown};

    fn part(name: &'static str, essential: bool, state: State) -> Part<'static> {
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
        let circle = [Part { depends_on: &[1], ..api }, Part { depends_on: &[0], ..database }];
        assert_eq!(instance(&circle).state, Unhealthy);
    }

    #[test]
    fn instances_to_service_as_a_table() {
        let base = Counts { total: 3, available: 3, healthy: 3, ..Counts::default() };
        for (counts, required, state) in [
            (Counts::default(), 1, Unknown),
            (base, 1, Healthy),
            (base, 3, Healthy),
            (Counts { healthy: 2, degraded: 1, ..base }, 1, Degraded),
            (Counts { available: 2, healthy: 2, unhealthy: 1, ..base }, 2, Degraded),
            (Counts { available: 2, healthy: 2, unhealthy: 1, ..base }, 3, Unhealthy),
            (Counts { available: 0, healthy: 0, unhealthy: 3, ..base }, 1, Unhealthy),
            (Counts { available: 2, healthy: 2, unknown: 1, lost: 1, ..base }, 1, Degraded),
            (Counts { available: 0, healthy: 0, unknown: 3, lost: 3, ..base }, 1, Unhealthy),
            // Right after a restart.
            (Counts { available: 0, healthy: 0, unknown: 3, unconfirmed: 3, ..base }, 2, Unknown),
            (Counts { available: 1, healthy: 1, unknown: 2, unconfirmed: 2, ..base }, 1, Healthy),
            (
                Counts { available: 0, healthy: 0, unhealthy: 2, unknown: 1, unconfirmed: 1, ..base },
                2,
                Unhealthy,
            ),
            // Starting up and rolling over.
            (Counts { available: 0, healthy: 0, unknown: 3, starting: 3, ..base }, 1, Unknown),
            (Counts { available: 2, healthy: 3, leaving: 1, ..base }, 2, Healthy),
        ] {
            assert_eq!(service(&counts, required, None).state, state, "{counts:?}, required {required}");
        }
    }

    #[test]
    fn the_cause_of_a_service_names_the_worst_instance() {
        let counts = Counts { total: 1, unhealthy: 1, ..Counts::default() };
        let verdict = service(&counts, 1, Some(("i-1", "component database: file is gone")));
        assert_eq!(
            verdict.cause,
            "0 of 1 required instance available; i-1: component database: file is gone"
        );
    }
}
