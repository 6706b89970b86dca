//! Which of several policies decides: one rule, for each part of what protects a call by itself.
//!
//! Of all policies whose target covers the call, the most specific one that has the part. A named RPC or operation counts
//! more than none, then a named service, then RPCs or operations before everything, then a named caller; of two that are
//! equally specific the one of the later [`Origin`], then the one whose name comes first. Parts are not mixed. Policies in
//! shadow are chosen among themselves.

use std::{cmp::Reverse, collections::BTreeSet};

use super::{Origin, PermitScope, Policy, Scope, Target};

/// A call that is to be protected, without who makes it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Call<'a> {
    /// An RPC of the control plane: `seaworthy.v1.FleetService/ListInstances`.
    Rpc(&'a str),
    /// An operation of a service.
    Operation {
        /// Name of the service.
        service: &'a str,
        /// Name of the operation.
        operation: &'a str,
    },
}

/// One part of what protects a call; the order is that in which a call meets them.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Part<'a> {
    /// Rate limits of a scope.
    Limits(Scope),
    /// What the process must have left.
    Resources,
    /// How much may be under way.
    Permits(PermitScope),
    /// A pool of this name.
    Pool(&'a str),
    /// When calls stop for a while because they fail.
    Breaker,
    /// How what fails is tried again.
    Retry,
}

/// A policy and where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Ranked<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// Where it comes from.
    pub origin: Origin,
}

/// How specific a policy is, the more the greater.
type Rank<'a> = (bool, bool, bool, bool, Origin, Reverse<&'a str>);

impl Target {
    /// Whether it covers a call.
    pub fn covers(&self, call: Call<'_>) -> bool {
        let or_all = |named: &Option<String>, this: &str| named.as_deref().is_none_or(|named| named == this);
        match (self, call) {
            (Target::Everything, _) => true,
            (Target::Rpcs { method }, Call::Rpc(this)) => or_all(method, this),
            (
                Target::Operations { service: of, operation: named },
                Call::Operation { service, operation },
            ) => or_all(of, service) && or_all(named, operation),
            (Target::Rpcs { .. }, Call::Operation { .. }) | (Target::Operations { .. }, Call::Rpc(_)) => {
                false
            }
        }
    }
}

impl Policy {
    /// The parts that it says something of.
    pub fn parts(&self) -> BTreeSet<Part<'_>> {
        let limits = self.limits.iter().map(|limit| Part::Limits(limit.scope));
        let permits = self.permits.iter().map(|permits| Part::Permits(permits.scope));
        let pools = self.pools.iter().map(|pool| Part::Pool(&pool.name));
        let once = [
            self.resources.as_ref().map(|_| Part::Resources),
            self.breaker.as_ref().map(|_| Part::Breaker),
            self.retry.as_ref().map(|_| Part::Retry),
        ];
        limits.chain(permits).chain(pools).chain(once.into_iter().flatten()).collect()
    }

    /// Whether it says something of a part of a call of this kind.
    fn has_of(&self, part: Part<'_>, call: Call<'_>) -> bool {
        match (call, part) {
            (Call::Operation { .. }, _) | (Call::Rpc(_), Part::Permits(_) | Part::Breaker) => self.has(part),
            // What only services have says nothing of RPCs, where a policy is about both.
            (Call::Rpc(_), Part::Limits(scope)) => {
                self.limits.iter().any(|limit| limit.scope == scope && limit.fleet_wide.is_none())
            }
            (Call::Rpc(_), Part::Resources | Part::Pool(_) | Part::Retry) => false,
        }
    }

    /// Whether it says something of a part.
    pub fn has(&self, part: Part<'_>) -> bool {
        match part {
            Part::Limits(scope) => self.limits.iter().any(|limit| limit.scope == scope),
            Part::Permits(scope) => self.permits.iter().any(|permits| permits.scope == scope),
            Part::Resources => self.resources.is_some(),
            Part::Pool(name) => self.pools.iter().any(|pool| pool.name == name),
            Part::Breaker => self.breaker.is_some(),
            Part::Retry => self.retry.is_some(),
        }
    }
}

impl<'a> Ranked<'a> {
    fn rank(&self) -> Rank<'a> {
        let (operation, service, kind) = match &self.policy.target {
            Target::Everything => (false, false, false),
            Target::Rpcs { method } => (method.is_some(), false, true),
            Target::Operations { service, operation } => (operation.is_some(), service.is_some(), true),
        };
        let caller = self.policy.caller.is_some();
        (operation, service, kind, caller, self.origin, Reverse(self.policy.name.as_str()))
    }
}

/// Policies in the order in which they are asked, the most specific one first.
pub fn ordered<'a>(policies: impl IntoIterator<Item = Ranked<'a>>) -> Vec<Ranked<'a>> {
    let mut ordered: Vec<_> = policies.into_iter().collect();
    ordered.sort_by_key(|ranked| Reverse(ranked.rank()));
    ordered
}

/// Of policies in that order those that have a part and cover a call, whoever makes it: in shadow or not.
pub fn candidates<'a>(
    ordered: &[Ranked<'a>],
    call: Call<'_>,
    part: Part<'_>,
    shadow: bool,
) -> impl Iterator<Item = Ranked<'a>> {
    ordered.iter().copied().filter(move |ranked| {
        let policy = ranked.policy;
        policy.shadow == shadow && policy.has_of(part, call) && policy.target.covers(call)
    })
}

/// Of policies in that order the one that decides of a part of a call, for a caller.
pub fn deciding<'a>(
    ordered: &[Ranked<'a>],
    call: Call<'_>,
    caller: &str,
    part: Part<'_>,
    shadow: bool,
) -> Option<Ranked<'a>> {
    candidates(ordered, call, part, shadow)
        .find(|ranked| ranked.policy.caller.as_deref().is_none_or(|named| named == caller))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protect::policy::Retry;
    use crate::protect::retry;

    fn policy(name: &str, target: Target, caller: Option<&str>) -> Policy {
        let retry = Retry { settings: retry::Settings::default(), safety: retry::Safety::Unsafe };
        Policy { target, caller: caller.map(str::to_owned), retry: Some(retry), ..Policy::named(name) }
    }

    fn operations(service: Option<&str>, operation: Option<&str>) -> Target {
        Target::Operations { service: service.map(str::to_owned), operation: operation.map(str::to_owned) }
    }

    #[test]
    fn the_more_specific_one_decides_as_a_table() {
        // In the order in which they decide of `orders/charge` by `shop`.
        let all = [
            policy("a", operations(Some("orders"), Some("charge")), Some("shop")),
            policy("b", operations(Some("orders"), Some("charge")), None),
            policy("c", operations(None, Some("charge")), Some("shop")),
            policy("d", operations(None, Some("charge")), None),
            policy("e", operations(Some("orders"), None), Some("shop")),
            policy("f", operations(Some("orders"), None), None),
            policy("g", operations(None, None), Some("shop")),
            policy("h", operations(None, None), None),
            policy("i", Target::Everything, Some("shop")),
            policy("j", Target::Everything, None),
        ];
        let call = Call::Operation { service: "orders", operation: "charge" };
        for first in 0..all.len() {
            // Whatever the order in which they come.
            let left = all[first..].iter().rev().map(|policy| Ranked { policy, origin: Origin::Put });
            let left = ordered(left);
            let decides = deciding(&left, call, "shop", Part::Retry, false).unwrap();
            assert_eq!(decides.policy.name, all[first].name);
            // For whom no policy was made, those of others do not count.
            let other = deciding(&left, call, "bank", Part::Retry, false).unwrap();
            let expected = all[first..].iter().find(|policy| policy.caller.is_none()).unwrap();
            assert_eq!(other.policy.name, expected.name);
        }
        let others = ordered(all.iter().map(|policy| Ranked { policy, origin: Origin::Put }));
        let rpc = Call::Rpc("seaworthy.v1.FleetService/Register");
        assert!(deciding(&others, rpc, "shop", Part::Retry, false).is_none(), "which services alone have");
        let elsewhere = Call::Operation { service: "payments", operation: "refund" };
        assert_eq!(deciding(&others, elsewhere, "bank", Part::Retry, false).unwrap().policy.name, "h");
    }

    #[test]
    fn of_two_that_are_equally_specific_the_origin_decides_and_then_the_name() {
        let (early, late) = (policy("a", Target::Everything, None), policy("b", Target::Everything, None));
        let call = Call::Operation { service: "orders", operation: "charge" };
        for (origins, expected) in [
            ([Origin::Put, Origin::Put], "a"),
            ([Origin::File, Origin::Put], "b"),
            ([Origin::BuiltIn, Origin::File], "b"),
            ([Origin::Put, Origin::File], "a"),
        ] {
            let both = [(&late, origins[1]), (&early, origins[0])];
            let both = ordered(both.map(|(policy, origin)| Ranked { policy, origin }));
            let decides = deciding(&both, call, "", Part::Retry, false).unwrap();
            assert_eq!(decides.policy.name, expected, "{origins:?}");
        }
    }

    #[test]
    fn each_part_is_decided_by_itself_and_shadow_apart() {
        let mut general = policy("general", Target::Everything, None);
        general.breaker = Some(crate::protect::breaker::Settings::default());
        let special = policy("special", operations(None, Some("charge")), None);
        let shadow =
            Policy { shadow: true, ..policy("shadow", operations(Some("orders"), Some("charge")), None) };
        let all = ordered([&general, &special, &shadow].map(|policy| Ranked { policy, origin: Origin::Put }));
        let call = Call::Operation { service: "orders", operation: "charge" };
        let name = |part, shadow| deciding(&all, call, "", part, shadow).map(|it| it.policy.name.as_str());
        assert_eq!(name(Part::Retry, false), Some("special"));
        assert_eq!(name(Part::Breaker, false), Some("general"));
        assert_eq!(name(Part::Retry, true), Some("shadow"));
        assert_eq!(name(Part::Resources, false), None);
    }
    #[test]
    fn of_rpcs_only_what_the_control_plane_has_holds() {
        let mut both = policy("both", Target::Everything, None);
        both.breaker = Some(crate::protect::breaker::Settings::default());
        both.resources = Some(crate::protect::resources::Ceiling::default());
        let rate = crate::protect::limit::Rate::new(1, std::time::Duration::from_secs(1)).unwrap();
        let settings = crate::protect::limit::Settings::token_bucket(rate);
        let away = Some(crate::protect::policy::OnUnavailable::Deny);
        both.limits =
            vec![crate::protect::policy::RateLimit { scope: Scope::Global, settings, fleet_wide: away }];
        let parts = [Part::Limits(Scope::Global), Part::Resources, Part::Breaker, Part::Retry];
        for (fleet_wide, expected) in
            [(away, [false, false, true, false]), (None, [true, false, true, false])]
        {
            both.limits[0].fleet_wide = fleet_wide;
            let all = ordered([Ranked { policy: &both, origin: Origin::Put }]);
            let holds = |call: Call<'_>| parts.map(|part| deciding(&all, call, "", part, false).is_some());
            assert_eq!(holds(Call::Rpc("x")), expected);
            assert_eq!(holds(Call::Operation { service: "orders", operation: "charge" }), [true; 4]);
        }
    }
}
