//! What became of the operations of services, over all their instances, since the control plane began.
//!
//! Instances report sums since their process began. Added up as they are, the figures of a service would fall whenever one of
//! them goes; here each report adds what it says more than the one before, so that they only grow. What an instance did
//! before its first report is not in them, as nobody can say whether that was counted before. Operations are bounded, in all
//! and of each service; those that come later are counted as left out. A service is forgotten some time after its last instance.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use seaworthy_client::protect::stats::{OperationStats, PartName, PartStats, Report};

use crate::fleet::names::ServiceName;

/// Operations of services that have totals of their own: some twenty figures each are what a scrape can bear.
const MOST: usize = 500;
/// Of these, of one service: names of operations are whatever its instances say, and are not to be in the way of others.
const MOST_OF_SERVICE: usize = 50;

/// Parts of policies that have totals, in all and of one service, as of operations.
const MOST_PARTS: usize = 500;
const MOST_PARTS_OF_SERVICE: usize = 50;

/// What a part of a policy decided in all instances of a service.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Decided {
    /// Let through.
    pub allowed: u64,
    /// Of these: with at least 0.8 of a limit used.
    pub near: u64,
    /// Refused, or only counted as such.
    pub refused: u64,
}

/// The totals of all operations.
#[derive(Debug, Default)]
pub struct Totals {
    table: Mutex<Table>,
    left_out: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    by_service: BTreeMap<ServiceName, BTreeMap<String, OperationStats>>,
    operations: usize,
    decided: BTreeMap<ServiceName, BTreeMap<PartName, Decided>>,
    parts: usize,
}

impl Totals {
    /// Adds what an instance of a service reports more than before.
    pub(super) fn add(&self, service: &ServiceName, before: &Report, report: &Report) {
        if report.operations.is_empty() && report.parts.is_empty() {
            return;
        }
        let mut table = self.table.lock();
        table.decide(service, before, report);
        let Table { by_service, operations, .. } = &mut *table;
        let of_service = by_service.entry(service.clone()).or_default();
        for (at, now) in report.operations.iter().enumerate() {
            let is_it = |before: &&OperationStats| before.operation == now.operation;
            // Mostly at the same place.
            let same = before.operations.get(at).filter(is_it);
            let before = same.or_else(|| before.operations.iter().find(is_it));
            let full = *operations >= MOST || of_service.len() >= MOST_OF_SERVICE;
            match of_service.get_mut(&now.operation) {
                Some(total) => grow(total, before, now),
                None if full => {
                    self.left_out.fetch_add(1, Ordering::Relaxed);
                }
                None => {
                    *operations += 1;
                    grow(of_service.entry(now.operation.clone()).or_default(), before, now);
                }
            }
        }
    }

    /// Those of each operation, by service and name. What is a figure of one moment is 0.
    pub fn all(&self) -> Vec<(ServiceName, String, OperationStats)> {
        let table = self.table.lock();
        let all = table.by_service.iter().flat_map(|(service, operations)| {
            operations.iter().map(|(name, total)| (service.clone(), name.clone(), total.clone()))
        });
        all.collect()
    }

    /// What each part of a policy decided, by service and part.
    pub fn decided(&self) -> Vec<(ServiceName, PartName, Decided)> {
        let table = self.table.lock();
        let all = table.decided.iter().flat_map(|(service, parts)| {
            parts.iter().map(|(part, decided)| (service.clone(), part.clone(), *decided))
        });
        all.collect()
    }

    /// Forgets services of which nobody is there any more.
    pub(super) fn keep(&self, is_there: impl Fn(&ServiceName) -> bool) {
        let mut table = self.table.lock();
        table.by_service.retain(|service, _| is_there(service));
        table.operations = table.by_service.values().map(BTreeMap::len).sum();
        table.decided.retain(|service, _| is_there(service));
        table.parts = table.decided.values().map(BTreeMap::len).sum();
    }

    /// Reports of operations that have no totals, because there are too many.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}

impl Table {
    /// Adds what parts of policies decided more than before.
    fn decide(&mut self, service: &ServiceName, before: &Report, report: &Report) {
        let of_service = self.decided.entry(service.clone()).or_default();
        for (at, now) in report.parts.iter().enumerate() {
            let is_it = |before: &&PartStats| before.part == now.part;
            let same = before.parts.get(at).filter(is_it);
            let before = same.or_else(|| before.parts.iter().find(is_it));
            if !of_service.contains_key(&now.part) {
                if self.parts >= MOST_PARTS || of_service.len() >= MOST_PARTS_OF_SERVICE {
                    continue;
                }
                self.parts += 1;
            }
            // A part that was put anew, or a process that began anew, counts from 0 again.
            let decided = |part: &PartStats| part.allowed.saturating_add(part.refused);
            let before = before.filter(|before| decided(before) <= decided(now));
            let more = |figure: fn(&PartStats) -> u64| figure(now).saturating_sub(before.map_or(0, figure));
            let sum = of_service.entry(now.part.clone()).or_default();
            sum.allowed = sum.allowed.saturating_add(more(|part| part.allowed));
            sum.near = sum.near.saturating_add(more(|part| part.near));
            sum.refused = sum.refused.saturating_add(more(|part| part.refused));
        }
    }
}

/// Adds what there is more now than before. A process that began anew counts from 0 again, which its fewer calls tell.
fn grow(total: &mut OperationStats, before: Option<&OperationStats>, now: &OperationStats) {
    let none = OperationStats::default();
    let before = before.filter(|before| before.calls <= now.calls).unwrap_or(&none);
    let figures = [
        (&mut total.calls, now.calls, before.calls),
        (&mut total.successes, now.successes, before.successes),
        (&mut total.failures, now.failures, before.failures),
        (&mut total.limited, now.limited, before.limited),
        (&mut total.full, now.full, before.full),
        (&mut total.exhausted, now.exhausted, before.exhausted),
        (&mut total.broken, now.broken, before.broken),
        (&mut total.turned_away, now.turned_away, before.turned_away),
        (&mut total.cancelled, now.cancelled, before.cancelled),
        (&mut total.retries, now.retries, before.retries),
        (&mut total.shadow_refused, now.shadow_refused, before.shadow_refused),
        (&mut total.near_limit, now.near_limit, before.near_limit),
    ];
    let buckets = total.buckets.iter_mut().zip(now.buckets).zip(before.buckets);
    for (sum, now, before) in
        figures.into_iter().chain(buckets.map(|((sum, now), before)| (sum, now, before)))
    {
        // Whoever reports may say anything: what falls adds nothing.
        *sum = sum.saturating_add(now.saturating_sub(before));
    }
    let more = now.total_latency.saturating_sub(before.total_latency);
    total.total_latency = total.total_latency.saturating_add(more);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use seaworthy_client::protect::policy::Scope;

    use super::*;

    fn orders() -> ServiceName {
        ServiceName::parse("orders").unwrap()
    }

    /// So many calls of one operation, of which a tenth failed.
    fn calls(operation: &str, calls: u64) -> Report {
        let mut stats =
            OperationStats { operation: operation.to_owned(), calls, ..OperationStats::default() };
        (stats.failures, stats.successes) = (calls / 10, calls - calls / 10);
        stats.buckets[0] = calls;
        stats.total_latency = Duration::from_millis(calls);
        Report { operations: vec![stats], ..Report::default() }
    }

    fn total(totals: &Totals) -> (u64, u64, u64, u64, Duration) {
        let (_, _, sum) = totals.all().pop().unwrap();
        (sum.calls, sum.successes, sum.failures, sum.buckets[0], sum.total_latency)
    }

    #[test]
    fn they_grow_by_what_is_new_of_each_instance() {
        let totals = Totals::default();
        let (none, steps) = (Report::default(), [0, 10, 10, 50]);
        for pair in steps.windows(2) {
            totals.add(&orders(), &calls("charge", pair[0]), &calls("charge", pair[1]));
        }
        assert_eq!(total(&totals), (50, 45, 5, 50, Duration::from_millis(50)));
        // Another instance, which had never done it before.
        totals.add(&orders(), &none, &calls("charge", 30));
        assert_eq!(total(&totals), (80, 72, 8, 80, Duration::from_millis(80)));
        // The first one began anew.
        totals.add(&orders(), &calls("charge", 50), &calls("charge", 20));
        assert_eq!(total(&totals), (100, 90, 10, 100, Duration::from_millis(100)));
    }

    #[test]
    fn what_parts_of_policies_decided_grows_by_what_is_new_and_is_bounded() {
        let part = |policy: &str, allowed, refused| PartStats {
            part: PartName { policy: policy.into(), permits: false, scope: Scope::Caller, shadow: false },
            summary: String::new(),
            allowed,
            near: allowed / 2,
            refused,
            in_use: 0,
            peak: 0,
            last_refused: Vec::new(),
        };
        let report = |parts: Vec<PartStats>| Report { parts, ..Report::default() };
        let totals = Totals::default();
        totals.add(&orders(), &Report::default(), &report(vec![part("a", 10, 2)]));
        // Another one came before it, and then the process began anew.
        totals.add(
            &orders(),
            &report(vec![part("a", 10, 2)]),
            &report(vec![part("0", 1, 0), part("a", 30, 7)]),
        );
        totals.add(&orders(), &report(vec![part("a", 30, 7)]), &report(vec![part("a", 4, 1)]));
        let sums = |totals: &Totals| -> Vec<_> {
            let decided = totals.decided().into_iter();
            decided.map(|(_, part, sum)| (part.policy, sum.allowed, sum.near, sum.refused)).collect()
        };
        assert_eq!(sums(&totals), [("0".to_owned(), 1, 0, 0), ("a".to_owned(), 34, 17, 8)]);
        let many = (0..2 * MOST_PARTS_OF_SERVICE).map(|n| part(&format!("p-{n}"), 1, 0)).collect();
        totals.add(&orders(), &Report::default(), &report(many));
        assert_eq!(totals.decided().len(), MOST_PARTS_OF_SERVICE);
        totals.keep(|_| false);
        assert_eq!(totals.decided(), []);
    }

    #[test]
    fn nobody_makes_them_fall_or_overflow() {
        let totals = Totals::default();
        totals.add(&orders(), &Report::default(), &calls("charge", 100));
        let mut lies = calls("charge", 200);
        lies.operations[0].failures = 0;
        lies.operations[0].buckets[0] = u64::MAX;
        totals.add(&orders(), &calls("charge", 100), &lies);
        let (calls, _, failures, bucket, _) = total(&totals);
        assert_eq!((calls, failures, bucket), (200, 10, u64::MAX));
    }

    #[test]
    fn operations_are_bounded_of_a_service_and_in_all_and_forgotten_with_it() {
        let totals = Totals::default();
        let many = (0..MOST_OF_SERVICE + 3).map(|n| OperationStats {
            operation: format!("op-{n}"),
            calls: 1,
            ..OperationStats::default()
        });
        let many = Report { operations: many.collect(), ..Report::default() };
        let service = |n: usize| ServiceName::parse(&format!("s-{n}")).unwrap();
        totals.add(&service(0), &Report::default(), &many);
        assert_eq!((totals.all().len(), totals.left_out()), (MOST_OF_SERVICE, 3));
        // Those that are known go on.
        totals.add(&service(0), &Report::default(), &calls("op-0", 9));
        assert_eq!(totals.all()[0].2.calls, 10);
        for n in 1..=MOST / MOST_OF_SERVICE {
            totals.add(&service(n), &Report::default(), &many);
        }
        assert_eq!(totals.all().len(), MOST);
        totals.keep(|name| *name != service(1));
        totals.add(&orders(), &Report::default(), &calls("charge", 1));
        assert_eq!(totals.all().len(), MOST - MOST_OF_SERVICE + 1);
    }
}
