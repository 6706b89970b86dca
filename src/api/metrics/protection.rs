//! Figures of policies: what they decided, how much of permits is used, and how breakers are.

use std::collections::BTreeMap;

use seaworthy_client::protect::{PartKind, PartUsage, breaker::State};

use super::{number, one};
use crate::{
    api::overview::Overview,
    telemetry::exposition::{Family, Labels},
};

/// What tells the figures of a part apart: policy, scope, whether it is in shadow, and whether it is permits.
type Row = (String, &'static str, bool, bool);

/// The sums of a part, over all that it is counted for by itself.
#[derive(Default)]
struct Sums {
    allowed: u64,
    near: u64,
    refused: u64,
    in_use: u64,
    peak: u64,
}

/// Every figure of it.
pub(super) fn families(overview: &Overview) -> Vec<Family> {
    let rules = overview.guard.protection.rules();
    let mut rows: BTreeMap<Row, Sums> = BTreeMap::new();
    for part in rules.usage() {
        add(rows.entry(row(&part)).or_default(), &part);
    }
    let mut families = decisions(&rows);
    families.extend(breakers(overview));
    families.extend(ruled(overview));
    families
}

fn row(part: &PartUsage) -> Row {
    let is_permits = matches!(part.kind, PartKind::Permits { .. });
    (part.policy.to_string(), part.scope.as_str(), part.shadow, is_permits)
}

fn add(sums: &mut Sums, part: &PartUsage) {
    sums.allowed += part.allowed;
    sums.near += part.near;
    sums.refused += part.refused;
    match part.kind {
        PartKind::Permits { in_use, peak, .. } => {
            sums.in_use += u64::from(in_use);
            sums.peak = sums.peak.max(u64::from(peak));
        }
        PartKind::Limit { keys } => sums.in_use = sums.in_use.max(keys),
    }
}

fn labels((policy, scope, shadow, is_permits): &Row) -> Labels {
    Labels::none()
        .with("policy", policy.clone())
        .with("part", if *is_permits { "permits" } else { "limits" })
        .with("scope", scope.to_ascii_lowercase())
        .with("shadow", shadow.to_string())
}

fn decisions(rows: &BTreeMap<Row, Sums>) -> Vec<Family> {
    let outcomes = rows.iter().flat_map(|(row, sums)| {
        let far = sums.allowed.saturating_sub(sums.near);
        [("allowed", far), ("near_limit", sums.near), ("refused", sums.refused)]
            .map(|(outcome, count)| (labels(row).with("outcome", outcome), number(count)))
    });
    let permits = || rows.iter().filter(|((.., is_permits), _)| *is_permits);
    vec![
        Family::counter(
            "seaworthy_policy_decisions",
            "What limits and permits of policies decided of RPCs; near_limit was let through with at least 0.8 of a limit used.",
            outcomes.collect::<Vec<_>>(),
        ),
        Family::gauge(
            "seaworthy_permits_in_use",
            "RPCs under way that hold a permit.",
            permits().map(|(row, sums)| (labels(row), number(sums.in_use))).collect::<Vec<_>>(),
        ),
        Family::gauge(
            "seaworthy_permits_peak",
            "The most of these at once.",
            permits().map(|(row, sums)| (labels(row), number(sums.peak))).collect::<Vec<_>>(),
        ),
    ]
}

fn breakers(overview: &Overview) -> Vec<Family> {
    let seen: Vec<_> = overview
        .guard
        .protection
        .rules()
        .breakers()
        .into_iter()
        .map(|(name, breaker)| (name.to_string(), breaker.snapshot()))
        .collect();
    let of = |name: &String| Labels::none().with("depends_on", name.clone());
    let states = seen.iter().flat_map(|(name, seen)| {
        State::ALL
            .map(|state| (of(name).with("state", state.as_str()), number(u64::from(seen.state == state))))
    });
    let transitions = seen.iter().flat_map(|(name, seen)| {
        State::ALL.map(|to| (of(name).with("to", to.as_str()), number(seen.totals.entered(to))))
    });
    let refused = seen.iter().map(|(name, seen)| (of(name), number(seen.refused)));
    vec![
        Family::gauge(
            "seaworthy_breaker_state",
            "1 for the state that the breaker of what RPCs depend on is in.",
            states.collect::<Vec<_>>(),
        ),
        Family::counter(
            "seaworthy_breaker_transitions",
            "How often it went to a state.",
            transitions.collect::<Vec<_>>(),
        ),
        Family::counter("seaworthy_breaker_refused", "RPCs that it refused.", refused.collect::<Vec<_>>()),
    ]
}

fn ruled(overview: &Overview) -> Vec<Family> {
    let (policies, book) = (&overview.policies, overview.policies.book());
    let count = |count: usize| one(count as u64);
    vec![
        Family::gauge("seaworthy_policies", "Policies that count.", count(book.policies().count())),
        Family::gauge("seaworthy_flags", "Feature flags.", count(book.flags().count())),
        Family::gauge(
            "seaworthy_breaker_overrides",
            "Breakers that are forced by hand.",
            count(book.overrides().count()),
        ),
        Family::gauge(
            "seaworthy_protecting_instances",
            "Instances that report what they protect.",
            count(policies.observed().count()),
        ),
        Family::counter(
            "seaworthy_operation_reports_dropped",
            "Reports of protected operations that were not kept for want of room.",
            one(policies.observed().dropped()),
        ),
        Family::gauge(
            "seaworthy_shared_limits",
            "Limits of which instances hold slices.",
            count(policies.quotas().count()),
        ),
    ]
}
