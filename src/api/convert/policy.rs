//! Policies, flags and overrides, and what is told of how much is used.

use std::{collections::BTreeMap, time::SystemTime};

use seaworthy_client::{
    flags,
    protect::{PartUsage, by_policy, policy::Origin, stats::PartName, wire},
};

use super::{duration, timestamp};
use crate::{
    api::proto::v1 as pb,
    fleet::names::InstanceKey,
    policy::{
        book::{Force, Override, Placed, PlacedFlag},
        explain::Explained,
        observed::Seen,
        quota::Slice,
    },
};

/// A policy, and how it was put.
pub fn policy(value: &Placed) -> pb::Policy {
    let Placed { policy, origin, put } = value;
    let origin = match origin {
        Origin::BuiltIn => pb::PolicyOrigin::BuiltIn,
        Origin::File => pb::PolicyOrigin::File,
        Origin::Put => pb::PolicyOrigin::Put,
        // Said by a service of itself: it is never here.
        Origin::Code => pb::PolicyOrigin::Unspecified,
    };
    pb::Policy {
        origin: origin.into(),
        revision: put.as_ref().map_or(0, |put| put.revision),
        update_time: put.as_ref().map(|put| timestamp(put.at)),
        updater: put.as_ref().map(|put| put.by.clone()).unwrap_or_default(),
        ..wire::to_wire(policy)
    }
}

/// A policy as it is told to instances: without how it was put.
pub fn ruled(value: &Placed) -> pb::Policy {
    pb::Policy {
        revision: 0,
        update_time: None,
        updater: String::new(),
        description: String::new(),
        ..policy(value)
    }
}

/// A flag, and how it was put.
pub fn flag(value: &PlacedFlag) -> pb::Flag {
    let PlacedFlag { flag, put } = value;
    pb::Flag {
        revision: put.as_ref().map_or(0, |put| put.revision),
        update_time: put.as_ref().map(|put| timestamp(put.at)),
        updater: put.as_ref().map(|put| put.by.clone()).unwrap_or_default(),
        ..flags::wire::to_wire(flag)
    }
}

/// Breakers that are forced, as of now.
pub fn forced(value: &Override, now: SystemTime) -> pb::BreakerOverride {
    let Override { key, force, expires, by, message } = value;
    let state = match force {
        Force::Open => pb::BreakerState::ForcedOpen,
        Force::Closed => pb::BreakerState::ForcedClosed,
    };
    pb::BreakerOverride {
        service: key.service.to_string(),
        instance_id: key.instance.as_ref().map(ToString::to_string).unwrap_or_default(),
        operation: key.operation.clone(),
        state: state.into(),
        expire_time: Some(timestamp(*expires)),
        ttl: Some(duration(expires.duration_since(now).unwrap_or_default())),
        creator: by.clone(),
        message: message.clone(),
    }
}

/// One part of what decides of a call.
pub fn part(value: Explained) -> pb::PolicyPart {
    let Explained { part, policy, shadow, summary, hidden } = value;
    pb::PolicyPart { part, policy, shadow, summary, hidden }
}

/// A slice of a limit, or why there is none.
pub fn slice(value: Result<Slice, String>) -> pb::QuotaSlice {
    match value {
        Ok(Slice { amount, ttl, holders }) => pb::QuotaSlice {
            amount,
            ttl: Some(duration(ttl)),
            holders: u32::try_from(holders).unwrap_or(u32::MAX),
            problem: String::new(),
        },
        Err(problem) => pb::QuotaSlice { problem, ..pb::QuotaSlice::default() },
    }
}

/// What an instance reported last.
pub fn instance_usage(key: &InstanceKey, seen: &Seen) -> pb::InstanceUsage {
    pb::InstanceUsage {
        service: key.service.to_string(),
        instance_id: key.id.to_string(),
        operations: seen.report.operations.iter().map(wire::operation_to_wire).collect(),
        pools: seen.report.pools.iter().map(wire::pool_to_wire).collect(),
        policy_revision: seen.revision,
        limits: seen.report.parts.iter().map(wire::part_to_wire).collect(),
    }
}

/// How much of the control plane's own limits is used, each with its place: by policy, limits before permits. What RPCs
/// have each for themselves by one policy is one row.
pub fn own_usage(parts: Vec<PartUsage>) -> BTreeMap<String, pb::LimitUsage> {
    let place = |part: &PartName| {
        let kind = if part.permits { "permits" } else { "limits" };
        let shadow = if part.shadow { "shadow" } else { "" };
        format!("{}/{kind}/{}/{shadow}", part.policy, part.scope.as_str())
    };
    by_policy(parts).iter().map(|row| (place(&row.part), wire::part_to_wire(row))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use seaworthy_client::protect::{PartKind, policy::Scope};

    use super::*;

    fn part(policy: &str, kind: PartKind, of: &str, refused: &[&str]) -> PartUsage {
        PartUsage {
            policy: policy.into(),
            scope: Scope::Operation,
            of: of.into(),
            shadow: false,
            summary: format!("{policy} says"),
            kind,
            allowed: 10,
            near: 2,
            refused: refused.len() as u64,
            last_refused: refused.iter().map(|who| Arc::from(*who)).collect(),
        }
    }

    #[test]
    fn what_rpcs_have_each_for_themselves_is_one_row() {
        let permits = |in_use, peak| PartKind::Permits { in_use, peak, max: 32, waiting: 1 };
        let keys = |keys| PartKind::Limit { keys };
        let shadow = PartUsage { shadow: true, ..part("a", keys(1), "", &[]) };
        let global = PartUsage { scope: Scope::Global, ..part("a", keys(1), "", &[]) };
        let rows = own_usage(vec![
            part("b", keys(5), "Get", &[]),
            part("a", permits(1, 2), "Get", &["Get"]),
            part("a", keys(3), "Get", &["eve"]),
            part("a", permits(4, 8), "List", &["List", "Get"]),
            shadow,
            global,
        ]);
        let shown: Vec<_> = rows
            .iter()
            .map(|(place, row)| {
                (place.as_str(), row.allowed, row.near_limit, row.refused, row.in_use, row.peak)
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("a/limits/GLOBAL/", 10, 2, 0, 1, 0),
                ("a/limits/OPERATION/", 10, 2, 1, 3, 0),
                ("a/limits/OPERATION/shadow", 10, 2, 0, 1, 0),
                ("a/permits/OPERATION/", 20, 4, 3, 5, 10),
                ("b/limits/OPERATION/", 10, 2, 0, 5, 0),
            ]
        );
        assert_eq!(rows["a/permits/OPERATION/"].last_refused, ["Get", "List"]);
        assert_eq!(rows["a/permits/OPERATION/"].summary, "a says");
    }

    #[test]
    fn who_was_refused_last_is_bounded() {
        let many: Vec<String> = (0..8).map(|n| format!("c-{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let keys = PartKind::Limit { keys: 1 };
        let rows = own_usage(vec![part("a", keys, "Get", &many), part("a", keys, "List", &["late"])]);
        assert_eq!(rows["a/limits/OPERATION/"].last_refused, many);
    }
}
