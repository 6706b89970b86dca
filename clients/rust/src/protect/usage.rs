//! What limits and permits have decided, and how much of them is used, for whoever shows it.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use super::{
    limits::Limits,
    places::Places,
    policy::Scope,
    stats::{PartName, PartStats},
};

/// Names that are shown of who was refused last.
const LAST_REFUSED: usize = 8;

/// One part of a policy, as far as it is in use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PartUsage {
    /// Name of the policy.
    pub policy: Arc<str>,
    /// What is counted together.
    pub scope: Scope,
    /// The RPC or operation that it is of, where each has its own. Empty: of all.
    pub of: Arc<str>,
    /// Whether it only counts.
    pub shadow: bool,
    /// What it says, for people.
    pub summary: String,
    /// Whether it is a limit or permits.
    pub kind: PartKind,
    /// What was let through.
    pub allowed: u64,
    /// What was let through with the limit nearly used up.
    pub near: u64,
    /// What was refused, or would have been.
    pub refused: u64,
    /// Who was refused last, the last one first.
    pub last_refused: Vec<Arc<str>>,
}

/// What a part is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PartKind {
    /// Rate limits.
    Limit {
        /// Callers that are told apart now.
        keys: u64,
    },
    /// Permits.
    Permits {
        /// How many are under way.
        in_use: u32,
        /// How many were at the most.
        peak: u32,
        /// How many may be.
        max: u32,
        /// How many wait.
        waiting: u32,
    },
}

pub(super) fn limits_usage(limits: &Limits) -> PartUsage {
    let (allowed, near, refused) = limits.counted.sums();
    PartUsage {
        policy: Arc::clone(&limits.policy),
        scope: limits.scope,
        of: Arc::clone(&limits.of),
        shadow: limits.shadow,
        summary: limits.summary(),
        kind: PartKind::Limit { keys: limits.keys() as u64 },
        allowed,
        near,
        refused,
        last_refused: limits.counted.last_refused(),
    }
}

pub(super) fn places_usage(places: &Places) -> PartUsage {
    let (allowed, near, refused) = places.counted.sums();
    let used = places.usage();
    PartUsage {
        policy: Arc::clone(&places.policy),
        scope: places.scope().into(),
        of: Arc::clone(&places.of),
        shadow: places.shadow,
        summary: places.summary(),
        kind: PartKind::Permits {
            in_use: used.in_use,
            peak: used.peak,
            max: used.max,
            waiting: used.waiting,
        },
        allowed,
        near,
        refused,
        last_refused: places.counted.last_refused(),
    }
}

/// The same by policy, kind and scope, in this order: what operations or RPCs have each for themselves is added up. Peaks too:
/// they had theirs at different times, but in use there was never more than that.
pub fn by_policy(parts: Vec<PartUsage>) -> Vec<PartStats> {
    let mut rows: BTreeMap<PartName, PartStats> = BTreeMap::new();
    for row in parts.into_iter().map(of_part) {
        match rows.entry(row.part.clone()) {
            Entry::Vacant(vacant) => drop(vacant.insert(row)),
            Entry::Occupied(mut there) => add(there.get_mut(), row),
        }
    }
    rows.into_values().collect()
}

fn of_part(value: PartUsage) -> PartStats {
    let PartUsage { policy, scope, of: _, shadow, summary, kind, allowed, near, refused, last_refused } =
        value;
    let (permits, in_use, peak) = match kind {
        PartKind::Limit { keys } => (false, keys, 0),
        PartKind::Permits { in_use, peak, max: _, waiting: _ } => (true, in_use.into(), peak.into()),
    };
    let last_refused = last_refused.iter().map(ToString::to_string).collect();
    let part = PartName { policy: policy.to_string(), permits, scope, shadow };
    PartStats { part, summary, allowed, near, refused, in_use, peak, last_refused }
}

fn add(there: &mut PartStats, more: PartStats) {
    let PartStats { part: _, summary: _, allowed, near, refused, in_use, peak, last_refused } = more;
    there.allowed += allowed;
    there.near += near;
    there.refused += refused;
    there.in_use += in_use;
    there.peak += peak;
    for who in last_refused {
        if there.last_refused.len() < LAST_REFUSED && !there.last_refused.contains(&who) {
            there.last_refused.push(who);
        }
    }
}
