//! What the control plane rules while the service runs: policies, breakers that it forces, and flags. It comes by the
//! session, and goes to what asks it: [`Operations`] and [`Flags`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tracing::{info, warn};

use crate::{
    flags::{self, Flag, Flags},
    protect::{
        Operations,
        breaker::Force,
        policy::{Origin, Policy},
        wire,
    },
    proto::{self, seaworthy::v1 as pb},
};

/// Problems that the control plane is told of one directive.
const TOLD: usize = 16;

/// Where what is ruled goes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Ruled {
    pub(crate) operations: Operations,
    pub(crate) flags: Flags,
    instance_id: Arc<str>,
}

impl Ruled {
    pub(crate) fn new(service: &str, instance_id: &str) -> Self {
        Self {
            operations: Operations::new(service),
            flags: Flags::new(service, instance_id),
            instance_id: instance_id.into(),
        }
    }

    /// Puts a directive in force, as far as this library knows what it says; and answers what it does not.
    pub(crate) fn take(&self, directive: pb::PolicyDirective) -> pb::PoliciesTaken {
        let pb::PolicyDirective { revision, policies, flags, overrides } = directive;
        let mut problems = Vec::new();
        let mut note = |wrong: Vec<wire::Wrong>| {
            problems.extend(wrong.into_iter().map(|(field, what)| format!("{field} {what}")));
        };
        let mut ruled: Vec<(Arc<Policy>, Origin)> = Vec::new();
        for (n, policy) in policies.into_iter().enumerate() {
            let origin = origin(policy.origin());
            match wire::policy(&format!("policies[{n}]"), policy) {
                Ok(policy) => ruled.push((Arc::new(policy), origin)),
                Err(wrong) => note(wrong),
            }
        }
        let mut known: Vec<Flag> = Vec::new();
        for (n, flag) in flags.into_iter().enumerate() {
            match flags::wire::from_wire(&format!("flags[{n}]"), flag) {
                Ok(flag) => known.push(flag),
                Err(wrong) => note(wrong),
            }
        }
        let forced = self.forced(overrides);
        info!(revision, policies = ruled.len(), flags = known.len(), forced = forced.len(), "policies taken");
        self.operations.rule(ruled, forced);
        self.flags.replace(known);
        if let Some(first) = problems.first() {
            let count = problems.len();
            warn!(revision, count, "the control plane rules what this library does not know: {first}");
        }
        problems.truncate(TOLD);
        pb::PoliciesTaken { revision, problems }
    }

    /// Breakers that are forced here: an override of this instance comes before one of all.
    fn forced(&self, overrides: Vec<pb::BreakerOverride>) -> BTreeMap<String, (Force, Duration)> {
        let mut forced = BTreeMap::new();
        let (of_all, own): (Vec<_>, Vec<_>) = overrides.into_iter().partition(|it| it.instance_id.is_empty());
        let own = own.into_iter().filter(|it| *it.instance_id == *self.instance_id);
        for one in of_all.into_iter().chain(own) {
            let force = match one.state() {
                pb::BreakerState::ForcedOpen => Force::Open,
                pb::BreakerState::ForcedClosed => Force::Closed,
                _ => continue,
            };
            let ttl = proto::time(one.ttl).unwrap_or_default();
            forced.insert(one.operation, (force, ttl));
        }
        forced
    }
}

fn origin(wire: pb::PolicyOrigin) -> Origin {
    match wire {
        pb::PolicyOrigin::BuiltIn => Origin::BuiltIn,
        pb::PolicyOrigin::File => Origin::File,
        pb::PolicyOrigin::Put | pb::PolicyOrigin::Unspecified => Origin::Put,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forced(operation: &str, instance_id: &str, state: pb::BreakerState) -> pb::BreakerOverride {
        pb::BreakerOverride {
            operation: operation.into(),
            instance_id: instance_id.into(),
            state: state.into(),
            ttl: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            ..pb::BreakerOverride::default()
        }
    }

    #[tokio::test]
    async fn what_is_known_is_taken_and_the_rest_is_told() {
        let ruled = Ruled::new("orders", "i-1");
        let broken = pb::Policy { name: "Not a label".into(), ..pb::Policy::default() };
        let good = pb::Policy { name: "good".into(), ..pb::Policy::default() };
        let taken = ruled.take(pb::PolicyDirective {
            revision: 7,
            policies: vec![broken, good],
            flags: vec![pb::Flag::default()],
            ..pb::PolicyDirective::default()
        });
        assert_eq!(taken.revision, 7);
        assert!(taken.problems[0].starts_with("policies[0].name "), "{:?}", taken.problems);
        assert!(taken.problems.iter().any(|it| it.starts_with("flags[0].")), "{:?}", taken.problems);
        let policies = ruled.operations.rules().policies();
        assert!(policies.iter().any(|(policy, origin)| policy.name == "good" && *origin == Origin::Put));
    }

    #[test]
    fn an_override_of_this_instance_comes_before_one_of_all_and_those_of_others_do_not_count() {
        let ruled = Ruled::new("orders", "i-1");
        let forced = ruled.forced(vec![
            forced("charge", "i-1", pb::BreakerState::ForcedClosed),
            forced("charge", "", pb::BreakerState::ForcedOpen),
            forced("refund", "i-2", pb::BreakerState::ForcedOpen),
            forced("stock", "", pb::BreakerState::Unspecified),
        ]);
        let minute = Duration::from_secs(60);
        assert_eq!(forced.into_iter().collect::<Vec<_>>(), [("charge".into(), (Force::Closed, minute))]);
    }
}
