//! Policies that come with the control plane: what protects it where nobody says otherwise.
//!
//! They are wide: they stop what would push it over, and are not felt by a fleet that is merely large. Numbers are for one
//! caller, which may be a gateway with a thousand instances behind it.

use std::{num::NonZeroU32, time::Duration};

use seaworthy_client::protect::{
    breaker,
    limit::{Algorithm, Rate, Settings},
    policy::{PermitLimit, PermitScope, Policy, RateLimit, Scope, Target, defaults},
};

/// Calls of one caller in a second, of all RPCs together.
const CALLS: u32 = 20_000;
/// Calls under way, of all callers together.
const UNDER_WAY: u32 = 4_096;
/// How long a call waits for a place.
const WAIT: Duration = Duration::from_millis(250);
/// Calls under way of an RPC that looks at much.
const LOOKS_AT_MUCH: u32 = 32;
/// How long one of those waits for a place.
const PATIENCE: Duration = Duration::from_secs(2);

/// RPCs that look at much.
const HEAVY: [(&str, &str); 4] = [
    ("control-plane-audit", "seaworthy.v1.SystemService/ListAuditEntries"),
    ("control-plane-explain", "seaworthy.v1.HealthService/Explain"),
    ("control-plane-history", "seaworthy.v1.HealthService/ListTransitions"),
    ("control-plane-list", "seaworthy.v1.FleetService/ListInstances"),
];

/// All of them.
pub(super) fn policies() -> Vec<Policy> {
    let mut all = vec![defaults::operations(), control_plane()];
    all.extend(HEAVY.map(|(name, method)| heavy(name, method)));
    all
}

fn control_plane() -> Policy {
    Policy {
        target: Target::Rpcs { method: None },
        limits: calls().into_iter().collect(),
        permits: vec![permits(PermitScope::Global, UNDER_WAY, WAIT)],
        breaker: Some(breaker::Settings::default()),
        description: "what protects the control plane as a whole".to_owned(),
        ..Policy::named("control-plane")
    }
}

fn heavy(name: &str, method: &str) -> Policy {
    Policy {
        target: Target::Rpcs { method: Some(method.to_owned()) },
        permits: vec![permits(PermitScope::Operation, LOOKS_AT_MUCH, PATIENCE)],
        description: "an RPC that looks at much".to_owned(),
        ..Policy::named(name)
    }
}

/// None cannot be: the numbers are constants, and a test looks at them.
fn calls() -> Option<RateLimit> {
    let rate = Rate::new(CALLS, Duration::from_secs(1)).ok()?;
    let settings = Settings::new(rate, Algorithm::TokenBucket { burst: rate.default_burst() }).ok()?;
    Some(RateLimit { scope: Scope::Caller, settings, fleet_wide: None })
}

fn permits(scope: PermitScope, max: u32, wait: Duration) -> PermitLimit {
    let max = NonZeroU32::new(max).unwrap_or(NonZeroU32::MIN);
    PermitLimit { scope, max, wait, max_waiting: max.get(), adaptive: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_what_they_are_meant_to_be() {
        let all = policies();
        let control_plane = all.iter().find(|policy| policy.name == "control-plane").unwrap();
        assert_eq!(control_plane.limits[0].settings.rate().amount().get(), CALLS);
        assert_eq!(control_plane.permits[0].max.get(), UNDER_WAY);
        let mut names: Vec<_> = all.iter().map(|policy| &policy.name).collect();
        names.dedup();
        assert_eq!(names.len(), 6);
    }
}
