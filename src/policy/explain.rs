//! Which policies decide of a call, part by part, and which others cover it too.

use std::collections::BTreeSet;

use seaworthy_client::protect::policy::{
    choose::{Call, Part, Ranked, candidates},
    summary,
};

use super::{book::Book, own::Behaviour};

/// One part of what protects a call, and what decides of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explained {
    /// The part: `limits GLOBAL`.
    pub part: String,
    /// Name of the policy that decides.
    pub policy: String,
    /// Whether it only counts.
    pub shadow: bool,
    /// What it says, for people.
    pub summary: String,
    /// Policies that would decide if it did not, the next one first.
    pub hidden: Vec<String>,
}

/// Explains a call of somebody. `breaks`: whether it depends on something that has a breaker.
pub fn explain(book: &Book, call: Call<'_>, caller: &str, breaks: bool) -> Vec<Explained> {
    let ordered = book.ordered();
    let parts: BTreeSet<Part<'_>> = ordered.iter().flat_map(|ranked| ranked.policy.parts()).collect();
    let mut explained = Vec::new();
    for shadow in [false, true] {
        for part in parts.iter().copied().filter(|part| can_hold(call, *part, breaks)) {
            let is_for =
                |ranked: &Ranked<'_>| ranked.policy.caller.as_deref().is_none_or(|named| named == caller);
            let mut found = candidates(&ordered, call, part, shadow).filter(is_for);
            let Some(Ranked { policy, .. }) = found.next() else { continue };
            explained.push(Explained {
                part: summary::part(part),
                policy: policy.name.clone(),
                shadow,
                summary: match turned_off(book, call, part) {
                    Some(flag) => format!("{}; turned off by the flag {flag}", summary::of(policy, part)),
                    None => summary::of(policy, part),
                },
                hidden: found.map(|ranked| ranked.policy.name.clone()).collect(),
            });
        }
    }
    explained
}

/// The flag by which a part of what protects the control plane's own RPCs is turned off now.
fn turned_off(book: &Book, call: Call<'_>, part: Part<'_>) -> Option<&'static str> {
    let behaviour = match (call, part) {
        (Call::Rpc(_), Part::Limits(_)) => Behaviour::RateLimits,
        (Call::Rpc(_), Part::Permits(_)) => Behaviour::Permits,
        (Call::Rpc(_), Part::Breaker) => Behaviour::CircuitBreakers,
        (Call::Rpc(_), Part::Resources | Part::Pool(_) | Part::Retry) | (Call::Operation { .. }, _) => {
            return None;
        }
    };
    (!behaviour.is_on(book)).then_some(behaviour.flag())
}

/// Whether a part can hold of a call at all.
fn can_hold(call: Call<'_>, part: Part<'_>, breaks: bool) -> bool {
    match (call, part) {
        (Call::Operation { .. }, _) | (Call::Rpc(_), Part::Limits(_) | Part::Permits(_)) => true,
        (Call::Rpc(_), Part::Breaker) => breaks,
        (Call::Rpc(_), Part::Resources | Part::Pool(_) | Part::Retry) => false,
    }
}
