//! What protects one call, put together from the policies: every part with the policy that decides of it.
//!
//! Made anew when policies change; what it is made of stays where it says the same (the shelf keeps it).

use super::{
    breaker::Breaker,
    limits::Limits,
    places::Places,
    policy::{
        PermitScope, Scope,
        choose::{Call, Part, Ranked, candidates},
    },
    resources::Ceiling,
    retrying::Retrying,
    shelf::{Kind, Shelf, caller_key},
};
use std::sync::Arc;

/// What protects a call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Rate limits in the order in which they are asked: global, operation, caller.
    pub(crate) limits: [Pick<Arc<Limits>>; 3],
    /// The same of policies in shadow.
    pub(crate) shadow_limits: [Pick<Arc<Limits>>; 3],
    /// Permits: global, operation.
    pub(crate) places: [Pick<Arc<Places>>; 2],
    /// The same of policies in shadow.
    pub(crate) shadow_places: [Pick<Arc<Places>>; 2],
    /// What the process must have left, and the policy that says so.
    pub(crate) resources: Option<(Arc<str>, Ceiling)>,
    /// The same of policies in shadow.
    pub(crate) shadow_resources: Option<Ceiling>,
    /// The breaker. None: no policy has one.
    pub(crate) breaker: Option<Arc<Breaker>>,
    /// How what fails is tried again.
    pub(crate) retry: Pick<Arc<Retrying>>,
}

/// A part that may differ from caller to caller.
#[derive(Clone, Debug)]
pub(crate) struct Pick<T> {
    by_caller: Vec<(u64, T)>,
    general: Option<T>,
}

impl<T> Default for Pick<T> {
    fn default() -> Self {
        Self { by_caller: Vec::new(), general: None }
    }
}

impl<T> Pick<T> {
    /// That of a caller.
    pub(crate) fn of(&self, caller: u64) -> Option<&T> {
        if self.by_caller.is_empty() {
            return self.general.as_ref();
        }
        let own = self.by_caller.iter().find(|(key, _)| *key == caller).map(|(_, part)| part);
        own.or(self.general.as_ref())
    }
}

impl<T> Pick<T> {
    fn is_none(&self) -> bool {
        self.general.is_none() && self.by_caller.is_empty()
    }
}

const SCOPES: [Scope; 3] = [Scope::Global, Scope::Operation, Scope::Caller];
const PERMIT_SCOPES: [PermitScope; 2] = [PermitScope::Global, PermitScope::Operation];

impl Plan {
    /// Whether there is anything that can refuse a call, or would in shadow.
    pub(crate) fn protects(&self) -> bool {
        let limits = self.limits.iter().chain(&self.shadow_limits);
        let places = self.places.iter().chain(&self.shadow_places);
        limits.into_iter().any(|pick| !pick.is_none())
            || places.into_iter().any(|pick| !pick.is_none())
            || self.resources.is_some()
            || self.shadow_resources.is_some()
            || self.breaker.is_some()
    }

    /// Puts together what protects `call`, from policies in the order in which they are asked. `protects`: what its
    /// breaker is of, where it has one.
    pub(crate) fn make(
        ordered: &[Ranked<'_>],
        call: Call<'_>,
        protects: Option<&str>,
        shelf: &Shelf,
    ) -> Self {
        let (of, kind) = match call {
            Call::Rpc(method) => (method, Kind::Rpc),
            Call::Operation { operation, .. } => (operation, Kind::Operation),
        };
        let limits = |shadow| {
            SCOPES.map(|scope| {
                pick(ordered, call, Part::Limits(scope), shadow, |ranked| {
                    shelf.limits(ranked.policy, scope, if scope == Scope::Operation { of } else { "" }, kind)
                })
            })
        };
        let places = |shadow| {
            PERMIT_SCOPES.map(|scope| {
                pick(ordered, call, Part::Permits(scope), shadow, |ranked| {
                    shelf.places(
                        ranked.policy,
                        scope,
                        if scope == PermitScope::Operation { of } else { "" },
                        kind,
                    )
                })
            })
        };
        let first = |part, shadow| candidates(ordered, call, part, shadow).next();
        let resources = |shadow| {
            let ranked = first(Part::Resources, shadow)?;
            Some((Arc::<str>::from(ranked.policy.name.as_str()), ranked.policy.resources?))
        };
        let breaker = protects.zip(first(Part::Breaker, false)).and_then(|(protects, ranked)| {
            ranked.policy.breaker.map(|settings| shelf.breaker(protects, settings))
        });
        Self {
            limits: limits(false),
            shadow_limits: limits(true),
            places: places(false),
            shadow_places: places(true),
            resources: resources(false),
            shadow_resources: resources(true).map(|(_, ceiling)| ceiling),
            breaker,
            retry: pick(ordered, call, Part::Retry, false, |ranked| shelf.retrying(ranked.policy, of)),
        }
    }
}

/// A part for each caller that a policy names, and for all others.
fn pick<T>(
    ordered: &[Ranked<'_>],
    call: Call<'_>,
    part: Part<'_>,
    shadow: bool,
    make: impl Fn(&Ranked<'_>) -> Option<T>,
) -> Pick<T> {
    let mut picked = Pick::default();
    for ranked in candidates(ordered, call, part, shadow) {
        let Some(caller) = &ranked.policy.caller else {
            picked.general = make(&ranked);
            break;
        };
        let key = caller_key(caller);
        if picked.by_caller.iter().all(|(known, _)| *known != key)
            && let Some(made) = make(&ranked)
        {
            picked.by_caller.push((key, made));
        }
    }
    picked
}
