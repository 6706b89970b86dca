//! How much is used: of limits of the control plane, of operations of instances, of pools.

mod latency;

use seaworthy_client::proto::seaworthy::v1::{InstanceUsage, LimitUsage, OperationStats, PoolUsage};

use self::latency::quantile;
use super::{instance::dash, policy::scope, when};
use crate::cli::output::{Text, table::Table};

/// Limits and permits of the control plane.
pub(crate) fn limits(limits: &[LimitUsage]) -> Table {
    let heading =
        ["POLICY", "SCOPE", "SAYS", "SHADOW", "ALLOWED", "NEAR", "REFUSED", "IN USE", "LAST REFUSED"];
    let mut table = Table::new(heading);
    limits.iter().for_each(|limit| table.row(limit_row(limit)));
    table
}

/// One of them in columns.
pub(crate) fn limit_row(limit: &LimitUsage) -> [Text; 9] {
    [
        limit.policy.as_str().into(),
        scope(limit.scope()).into(),
        limit.summary.as_str().into(),
        if limit.shadow { "yes" } else { "-" }.into(),
        limit.allowed.to_string().into(),
        limit.near_limit.to_string().into(),
        limit.refused.to_string().into(),
        peaked(limit.in_use, limit.peak).into(),
        dash(&limit.last_refused.join(", ")).into(),
    ]
}

/// Limits and permits of policies in instances.
pub(crate) fn decided(instances: &[InstanceUsage]) -> Table {
    let heading = [
        "INSTANCE",
        "POLICY",
        "SCOPE",
        "SAYS",
        "SHADOW",
        "ALLOWED",
        "NEAR",
        "REFUSED",
        "IN USE",
        "LAST REFUSED",
    ];
    let mut table = Table::new(heading);
    for instance in instances {
        for limit in &instance.limits {
            table.row(std::iter::once(name(instance).into()).chain(limit_row(limit)).collect::<Vec<Text>>());
        }
    }
    table
}

/// Operations of instances.
pub(crate) fn operations(instances: &[InstanceUsage], wide: bool) -> Table {
    let mut heading = vec!["INSTANCE", "OPERATION", "CALLS", "SUCCEEDED", "RETRIES", "P50", "P99", "IN USE"];
    if wide {
        heading.extend(["MOST", "LONGEST", "FAILED", "CANCELLED", "NEAR", "SHADOW"]);
    }
    heading.push("REFUSED");
    let mut table = Table::new(heading);
    for instance in instances {
        instance.operations.iter().for_each(|it| table.row(operation_row(&name(instance), it, wide)));
    }
    table
}

/// One of them in columns.
pub(crate) fn operation_row(instance: &str, it: &OperationStats, wide: bool) -> Vec<Text> {
    let mut row: Vec<Text> = vec![
        instance.into(),
        it.operation.as_str().into(),
        it.calls.to_string().into(),
        share(it.successes, it.calls).into(),
        it.retries.to_string().into(),
        quantile(it, 50).into(),
        quantile(it, 99).into(),
        peaked(it.in_flight.into(), it.peak_in_flight.into()).into(),
    ];
    if wide {
        row.push(if it.max_in_flight == 0 { "-".to_owned() } else { it.max_in_flight.to_string() }.into());
        row.push(when::measured(it.max_latency.as_ref()).as_deref().unwrap_or("-").into());
        row.extend(
            [it.failures, it.cancelled, it.near_limit, it.shadow_refused].map(|it| it.to_string().into()),
        );
    }
    row.push(refused(it).into());
    row
}

/// Pools of instances.
pub(crate) fn pools(instances: &[InstanceUsage]) -> Table {
    let mut table = Table::new(["INSTANCE", "POOL", "SIZE", "IN USE", "WAITING", "REFUSED"]);
    for instance in instances {
        instance.pools.iter().for_each(|pool| table.row(pool_row(&name(instance), pool)));
    }
    table
}

/// One of them in columns.
pub(crate) fn pool_row(instance: &str, pool: &PoolUsage) -> [Text; 6] {
    [
        instance.into(),
        pool.name.as_str().into(),
        pool.size.to_string().into(),
        peaked(pool.in_use.into(), pool.peak.into()).into(),
        pool.waiting.to_string().into(),
        pool.refused.to_string().into(),
    ]
}

/// `orders/i-1`.
pub(crate) fn name(instance: &InstanceUsage) -> String {
    format!("{}/{}", instance.service, instance.instance_id)
}

/// `3 (peak 8)`.
fn peaked(now: u64, peak: u64) -> String {
    if peak == 0 { now.to_string() } else { format!("{now} (peak {peak})") }
}

/// By what calls were refused: `12 limited, 3 full`; a dash where none was.
fn refused(it: &OperationStats) -> String {
    let kinds = [
        (it.limited, "limited"),
        (it.full, "full"),
        (it.exhausted, "exhausted"),
        (it.broken, "broken"),
        (it.turned_away, "turned away"),
    ];
    let some = kinds.into_iter().filter(|(count, _)| *count > 0);
    let each: Vec<_> = some.map(|(count, kind)| format!("{count} {kind}")).collect();
    dash(&each.join(", ")).to_owned()
}

/// A share: `12.5%`.
pub(crate) fn percent(share: f64) -> String {
    format!("{}%", (share * 1000.0).round() / 10.0)
}

/// Of no calls there is no share.
fn share(part: u64, all: u64) -> String {
    if all == 0 {
        return "-".to_owned();
    }
    // A share of people's numbers is exact enough.
    #[allow(clippy::cast_precision_loss)]
    percent(part as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use seaworthy_client::proto::seaworthy::v1::PolicyScope;

    use super::*;
    use crate::cli::output::Looks;

    const PLAIN: Looks = Looks { colour: false, unicode: false };

    #[test]
    fn limits_are_told_with_who_was_refused_last() {
        let limit = LimitUsage {
            policy: "own-lists".into(),
            scope: PolicyScope::Caller.into(),
            summary: "100 in 1s, token bucket, burst 100".into(),
            shadow: true,
            allowed: 1000,
            near_limit: 20,
            refused: 7,
            in_use: 3,
            peak: 0,
            permits: false,
            last_refused: vec!["token:ci".into(), "10.0.0.7".into()],
        };
        let permits = LimitUsage {
            policy: "own-calls".into(),
            scope: PolicyScope::Global.into(),
            summary: "64 under way".into(),
            in_use: 5,
            peak: 60,
            ..LimitUsage::default()
        };
        assert_eq!(
            limits(&[limit, permits]).lines(PLAIN),
            [
                "POLICY     SCOPE   SAYS                                SHADOW  ALLOWED  NEAR  REFUSED  IN USE       LAST REFUSED",
                "own-lists  caller  100 in 1s, token bucket, burst 100  yes     1000     20    7        3            token:ci, 10.0.0.7",
                "own-calls  global  64 under way                        -       0        0     0        5 (peak 60)  -",
            ]
        );
    }

    fn orders() -> InstanceUsage {
        InstanceUsage {
            limits: Vec::new(),
            service: "orders".into(),
            instance_id: "i-1".into(),
            operations: vec![
                OperationStats {
                    operation: "charge-card".into(),
                    calls: 200,
                    successes: 175,
                    failures: 3,
                    limited: 12,
                    broken: 9,
                    cancelled: 1,
                    retries: 4,
                    latency_buckets: vec![0, 100, 70, 8],
                    in_flight: 2,
                    peak_in_flight: 8,
                    max_in_flight: 16,
                    ..OperationStats::default()
                },
                OperationStats { operation: "list-orders".into(), ..OperationStats::default() },
            ],
            pools: vec![PoolUsage {
                name: "database".into(),
                size: 10,
                in_use: 9,
                peak: 10,
                waiting: 3,
                refused: 1,
            }],
            policy_revision: 7,
        }
    }

    #[test]
    fn operations_are_told_with_what_became_of_their_calls() {
        assert_eq!(
            operations(&[orders()], false).lines(PLAIN),
            [
                "INSTANCE    OPERATION    CALLS  SUCCEEDED  RETRIES  P50    P99    IN USE      REFUSED",
                "orders/i-1  charge-card  200    87.5%      4        ≤10ms  ≤50ms  2 (peak 8)  12 limited, 9 broken",
                "orders/i-1  list-orders  0      -          0        -      -      0           -",
            ]
        );
        let wide = operations(&[orders()], true).lines(PLAIN);
        assert!(wide[0].ends_with("MOST  LONGEST  FAILED  CANCELLED  NEAR  SHADOW  REFUSED"), "{wide:?}");
        assert!(
            wide[1].ends_with("16    -        3       1          0     0       12 limited, 9 broken"),
            "{wide:?}"
        );
    }

    #[test]
    fn every_kind_of_refusal_has_a_word() {
        let all = OperationStats {
            limited: 1,
            full: 2,
            exhausted: 3,
            broken: 4,
            turned_away: 5,
            ..OperationStats::default()
        };
        assert_eq!(refused(&all), "1 limited, 2 full, 3 exhausted, 4 broken, 5 turned away");
    }

    #[test]
    fn pools_are_told_with_who_waits() {
        assert_eq!(
            pools(&[orders()]).lines(PLAIN),
            [
                "INSTANCE    POOL      SIZE  IN USE       WAITING  REFUSED",
                "orders/i-1  database  10    9 (peak 10)  3        1",
            ]
        );
    }
}
