//! Figures of the operations that services protect: what became of their calls, and how their breakers are.

use std::{collections::BTreeMap, time::Duration};

use seaworthy_client::protect::{
    breaker::State,
    stats::{BOUNDS_MS, OperationStats, Report},
};

use super::{number, one};
use crate::{
    api::overview::Overview,
    fleet::names::ServiceName,
    policy::observed::Observed,
    telemetry::{
        exposition::{Family, Labels},
        histogram::Snapshot,
    },
};

/// Instances that are looked at at once, so that nobody who reports waits for a scrape.
const AT_ONCE: usize = 1_000;
/// Pools that are shown, of all services.
const MOST_POOLS: usize = 500;

/// What is so at this moment, over all instances of a service.
#[derive(Default)]
struct Moment {
    in_flight: u64,
    peak_in_flight: u64,
    /// How many breakers are in each state, as in [`State::ALL`].
    breakers: [u64; State::ALL.len()],
}

/// What is so of a pool at this moment, over all instances of a service.
#[derive(Default)]
struct PoolMoment {
    size: u64,
    in_use: u64,
    waiting: u64,
    peak: u64,
}

/// Every figure of it.
pub(super) fn families(overview: &Overview) -> Vec<Family> {
    let observed = overview.policies.observed();
    let totals = observed.totals();
    let all = totals.all();
    let moments = Moments::of(&all, observed);
    let of = |figure: fn(&OperationStats) -> u64| {
        let samples =
            all.iter().map(|(service, name, total)| (labels(service.as_str(), name), number(figure(total))));
        samples.collect::<Vec<_>>()
    };
    let calls = all.iter().flat_map(|(service, name, total)| {
        outcomes(total)
            .map(|(outcome, count)| (labels(service.as_str(), name).with("outcome", outcome), number(count)))
    });
    let durations =
        all.iter().map(|(service, name, total)| (labels(service.as_str(), name), snapshot(total)));
    let now = |figure: fn(&Moment) -> u64| {
        let samples = moments.all().map(|(service, name, now)| (labels(service, name), number(figure(now))));
        samples.collect::<Vec<_>>()
    };
    let breakers = moments.all().filter(|(_, _, now)| now.breakers.iter().any(|count| *count > 0));
    let breakers = breakers.flat_map(|(service, name, now)| {
        State::ALL
            .into_iter()
            .zip(now.breakers)
            .map(move |(state, count)| (labels(service, name).with("state", state.as_str()), number(count)))
    });
    let decisions = totals.decided().into_iter().flat_map(|(service, part, sum)| {
        let far = sum.allowed.saturating_sub(sum.near);
        [("allowed", far), ("near_limit", sum.near), ("refused", sum.refused)].map(|(outcome, count)| {
            let of = Labels::none().with("service", service.to_string()).with("policy", part.policy.clone());
            let of = of.with("part", if part.permits { "permits" } else { "limits" });
            let of = of.with("scope", part.scope.as_str().to_ascii_lowercase());
            (of.with("shadow", part.shadow.to_string()).with("outcome", outcome), number(count))
        })
    });
    let decisions: Vec<_> = decisions.collect();
    let pools = |figure: fn(&PoolMoment) -> u64| {
        let samples = moments.pools.iter().map(|((service, pool), now)| {
            let of = Labels::none().with("service", service.to_string()).with("pool", pool.clone());
            (of, number(figure(now)))
        });
        samples.collect::<Vec<_>>()
    };
    vec![
        Family::counter(
            "seaworthy_operation_policy_decisions",
            "What limits and permits of policies decided of calls of operations, over all instances of a service; near_limit was let through with at least 0.8 of a limit used.",
            decisions,
        ),
        Family::gauge(
            "seaworthy_operation_pool_size",
            "What the pools of a service have, over all its instances.",
            pools(|it| it.size),
        ),
        Family::gauge("seaworthy_operation_pool_in_use", "How much of it is held.", pools(|it| it.in_use)),
        Family::gauge("seaworthy_operation_pool_waiting", "How many wait for one.", pools(|it| it.waiting)),
        Family::gauge(
            "seaworthy_operation_pool_peak",
            "The most that were held at once in any one instance.",
            pools(|it| it.peak),
        ),
        Family::counter(
            "seaworthy_operation_calls",
            "Calls of operations that services protect, over all their instances, by what became of them; of 500 operations, and 50 of a service.",
            calls.collect::<Vec<_>>(),
        ),
        Family::counter(
            "seaworthy_operation_retries",
            "Tries of these beyond the first.",
            of(|it| it.retries),
        ),
        Family::counter(
            "seaworthy_operation_near_limit",
            "Calls of these that were let through with at least 0.8 of a limit used.",
            of(|it| it.near_limit),
        ),
        Family::counter(
            "seaworthy_operation_shadow_refused",
            "Calls of these that a policy in shadow would have refused.",
            of(|it| it.shadow_refused),
        ),
        Family::histogram(
            "seaworthy_operation_duration",
            "How long those that were let through took.",
            durations.collect::<Vec<_>>(),
        ),
        Family::gauge("seaworthy_operation_in_flight", "Calls that are under way.", now(|it| it.in_flight)),
        Family::gauge(
            "seaworthy_operation_in_flight_peak",
            "The most of these at once in any one instance.",
            now(|it| it.peak_in_flight),
        ),
        Family::gauge(
            "seaworthy_operation_breakers",
            "Instances whose breaker of the operation is in this state.",
            breakers.collect::<Vec<_>>(),
        ),
        Family::counter(
            "seaworthy_operation_left_out",
            "Reports of operations that have no figures, because there are too many.",
            one(totals.left_out()),
        ),
    ]
}

fn labels(service: &str, operation: &str) -> Labels {
    Labels::none().with("service", service.to_owned()).with("operation", operation.to_owned())
}

fn outcomes(total: &OperationStats) -> [(&'static str, u64); 8] {
    [
        ("success", total.successes),
        ("failure", total.failures),
        ("limited", total.limited),
        ("full", total.full),
        ("exhausted", total.exhausted),
        ("broken", total.broken),
        ("turned_away", total.turned_away),
        ("cancelled", total.cancelled),
    ]
}

fn snapshot(total: &OperationStats) -> Snapshot {
    // Whoever reports may say anything.
    let mut count = 0_u64;
    let cumulative = BOUNDS_MS.iter().zip(total.buckets).map(|(bound, more)| {
        count = count.saturating_add(more);
        (Duration::from_millis(*bound).as_secs_f64(), count)
    });
    let cumulative: Vec<_> = cumulative.collect();
    let [.., longer] = total.buckets;
    Snapshot { cumulative, count: count.saturating_add(longer), sum: total.total_latency.as_secs_f64() }
}

/// What there is of operations that have totals, by service and name.
#[derive(Default)]
struct Moments {
    by_service: BTreeMap<ServiceName, BTreeMap<String, Moment>>,
    pools: BTreeMap<(ServiceName, String), PoolMoment>,
}

impl Moments {
    /// What instances report of these.
    fn of(all: &[(ServiceName, String, OperationStats)], observed: &Observed) -> Self {
        let mut moments = Self::default();
        for (service, name, _) in all {
            let of_service = moments.by_service.entry(service.clone()).or_default();
            of_service.insert(name.clone(), Moment::default());
        }
        let mut after = None;
        loop {
            let (found, more) = observed.after(after.as_ref(), None, AT_ONCE);
            for (key, seen) in &found {
                if let Some(of_service) = moments.by_service.get_mut(&key.service) {
                    add(of_service, &seen.report);
                }
                moments.add_pools(&key.service, &seen.report);
            }
            after = found.into_iter().next_back().map(|(key, _)| key);
            if !more {
                return moments;
            }
        }
    }

    fn add_pools(&mut self, service: &ServiceName, report: &Report) {
        for pool in &report.pools {
            let name = (service.clone(), pool.name.clone());
            if self.pools.len() >= MOST_POOLS && !self.pools.contains_key(&name) {
                continue;
            }
            let now = self.pools.entry(name).or_default();
            now.size += u64::from(pool.size);
            now.in_use += u64::from(pool.in_use);
            now.waiting += u64::from(pool.waiting);
            now.peak = now.peak.max(u64::from(pool.peak));
        }
    }

    fn all(&self) -> impl Iterator<Item = (&str, &str, &Moment)> {
        self.by_service.iter().flat_map(|(service, operations)| {
            operations.iter().map(|(name, now)| (service.as_str(), name.as_str(), now))
        })
    }
}

fn add(of_service: &mut BTreeMap<String, Moment>, report: &Report) {
    for stats in &report.operations {
        if let Some(moment) = of_service.get_mut(&stats.operation) {
            moment.in_flight += u64::from(stats.in_flight);
            moment.peak_in_flight = moment.peak_in_flight.max(u64::from(stats.peak_in_flight));
        }
    }
    for stats in &report.breakers {
        let state = State::ALL.iter().position(|state| *state == stats.state);
        if let (Some(state), Some(moment)) = (state, of_service.get_mut(&stats.operation)) {
            moment.breakers[state] += 1;
        }
    }
}
