//! How the instances of a service add up to its health. How components add up to an instance is a rule that
//! the client library shares.

pub use seaworthy_client::rules::{Part, instance, severity};

use super::{State, Verdict};
use crate::text::counted;

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
    /// Of the lost: under protection, because many were lost at once.
    pub protected: u32,
    /// In lifecycle STARTING.
    pub starting: u32,
    /// Leaving on purpose.
    pub leaving: u32,
    /// READY, of state UNKNOWN, and not yet heard since a restart: it may well be available.
    pub unconfirmed: u32,
}

/// The health of a service, from its counts and the number of available instances it needs; with nobody
/// available it is never healthy, even if it needs nobody.
/// `worst` names the instance with the worst problem and its cause.
pub fn service(counts: &Counts, required: u32, worst: Option<(&str, &str)>) -> Verdict {
    let because = || match worst {
        Some((id, cause)) if !cause.is_empty() => format!("; {id}: {cause}"),
        _ => String::new(),
    };
    if counts.total == 0 {
        return Verdict::new(State::Unknown, "no instances are registered");
    }
    // Whatever the budget puts up with: with nobody available there is no service.
    let needed = required.max(1);
    if counts.available < needed {
        let short = match required {
            0 => format!("none of {} available", counted(counts.total.into(), "instance")),
            _ => {
                format!("{} of {} available", counts.available, counted(required.into(), "required instance"))
            }
        };
        // Right after a restart nobody has been heard yet: that is no outage.
        if counts.available + counts.unconfirmed >= needed {
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
            // A budget that asks for nobody: who has nobody available works for nobody all the same.
            (Counts::default(), 0, Unknown),
            (base, 0, Healthy),
            (Counts { available: 1, healthy: 1, unhealthy: 2, ..base }, 0, Degraded),
            (Counts { available: 0, healthy: 0, unhealthy: 3, ..base }, 0, Unhealthy),
            (Counts { available: 0, healthy: 0, unknown: 3, lost: 3, ..base }, 0, Unhealthy),
            (Counts { available: 0, healthy: 3, leaving: 3, ..base }, 0, Unhealthy),
            (Counts { available: 0, healthy: 0, unknown: 3, unconfirmed: 3, ..base }, 0, Unknown),
            (
                Counts { available: 0, healthy: 0, unhealthy: 2, unknown: 1, unconfirmed: 1, ..base },
                0,
                Unknown,
            ),
            (Counts { available: 0, healthy: 0, unknown: 3, starting: 3, ..base }, 0, Unknown),
            (Counts { available: 0, healthy: 0, unknown: 3, starting: 2, lost: 1, ..base }, 0, Unhealthy),
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
        let verdict = service(&counts, 0, Some(("i-1", "component database: file is gone")));
        assert_eq!(verdict.cause, "none of 1 instance available; i-1: component database: file is gone");
    }
}
