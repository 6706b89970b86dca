//! The limits that whole fleets share, each with who holds which slice of it.
//!
//! They come to be when the first instance asks, and are forgotten when nobody holds a slice any more.

use std::collections::HashMap;

use parking_lot::Mutex;
use seaworthy_client::protect::policy::{RateLimit, Scope, choose::Call};

use super::{
    book::Book,
    quota::{Quota, Slice},
};
use crate::{
    fleet::names::{InstanceKey, ServiceName},
    time::Mono,
};

/// Limits that are shared at once, at the most.
const MOST: usize = 10_000;
/// Of these, of one service.
const MOST_OF_SERVICE: usize = 500;

/// The limits that are shared.
#[derive(Debug, Default)]
pub struct Quotas(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// Services share nothing with each other.
    by_service: HashMap<ServiceName, HashMap<Which, Quota<InstanceKey>>>,
    shared: usize,
}

/// One limit that a service shares.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Which {
    policy: String,
    limit: usize,
    /// Empty: all operations together.
    operation: String,
}

/// What an instance wants of a limit.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// Name of the policy.
    pub policy: &'a str,
    /// Which of its limits.
    pub limit: usize,
    /// Of which operation, where each has its own.
    pub operation: &'a str,
    /// How much it asked itself for in the last period; None where it does not know yet.
    pub demand: Option<u64>,
}

impl Quotas {
    /// Gives an instance a slice. `expected`: how many instances of its service are attached.
    ///
    /// # Errors
    /// Why there is none.
    #[allow(clippy::cast_precision_loss)] // a demand of 2^53 is met by no limit
    pub fn acquire(
        &self,
        book: &Book,
        holder: &InstanceKey,
        want: Want<'_>,
        expected: usize,
        now: Mono,
    ) -> Result<Slice, String> {
        let Want { policy, limit, operation, demand } = want;
        let shared = shared(book, holder, want)?;
        let operation = if shared.scope == Scope::Operation { operation } else { "" };
        let (policy, operation) = (policy.to_owned(), operation.to_owned());
        let which = Which { policy, limit, operation };
        let mut table = self.0.lock();
        let Table { by_service, shared: count } = &mut *table;
        let of_service = by_service.entry(holder.service.clone()).or_default();
        if !of_service.contains_key(&which) {
            if *count >= MOST {
                return Err(format!("{MOST} limits are shared already, which is the most"));
            }
            // Names of operations are whatever an instance says: it is not to use up what others need.
            if of_service.len() >= MOST_OF_SERVICE {
                let service = &holder.service;
                return Err(format!("{service} shares {MOST_OF_SERVICE} limits already, which is the most"));
            }
            *count += 1;
        }
        let amount = f64::from(shared.settings.rate().amount().get());
        let demand = demand.map(|demand| demand as f64);
        Ok(of_service.entry(which).or_default().acquire(holder, amount, demand, expected, now))
    }

    /// Forgets the limits of which nobody holds a slice.
    pub fn sweep(&self, now: Mono) {
        let mut table = self.0.lock();
        table.by_service.retain(|_, of_service| {
            of_service.retain(|_, quota| !quota.sweep(now));
            !of_service.is_empty()
        });
        table.shared = table.by_service.values().map(HashMap::len).sum();
    }

    /// How many limits are shared now.
    pub fn count(&self) -> usize {
        self.0.lock().shared
    }
}

/// The limit that is wanted, if it is shared.
fn shared<'a>(book: &'a Book, holder: &InstanceKey, want: Want<'_>) -> Result<&'a RateLimit, String> {
    let Want { policy, limit, operation, .. } = want;
    let placed = book.policy(policy).ok_or_else(|| format!("there is no policy {policy:?}"))?;
    let call = Call::Operation { service: holder.service.as_str(), operation };
    let found = placed.policy.limits.get(limit);
    let found = found.ok_or_else(|| format!("policy {policy} has no limit {limit}"))?;
    let covers = match found.scope {
        Scope::Operation => placed.policy.target.covers(call),
        Scope::Global | Scope::Caller => placed.policy.concerns(holder.service.as_str()),
    };
    match found.fleet_wide {
        Some(_) if covers => Ok(found),
        Some(_) => Err(format!("policy {policy} does not cover that")),
        None => Err(format!("limit {limit} of policy {policy} is not over the whole fleet")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use seaworthy_client::protect::{
        limit::{Rate, Settings},
        policy::{OnUnavailable, Policy, Target},
    };

    use super::*;
    use crate::fleet::names::InstanceId;

    fn book() -> Book {
        let settings = Settings::token_bucket(Rate::new(100, Duration::from_secs(1)).unwrap());
        let away = Some(OnUnavailable::LastSlice);
        let limits = vec![RateLimit { scope: Scope::Operation, settings, fleet_wide: away }];
        let target = Target::Operations { service: None, operation: None };
        let mut book = Book::default();
        book.declare(vec![Policy { target, limits, ..Policy::named("shared") }]);
        book
    }

    #[test]
    fn no_service_uses_up_what_others_share() {
        let (book, quotas) = (book(), Quotas::default());
        let ask = |service: &str, operation: usize| {
            let service = ServiceName::parse(service).unwrap();
            let holder = InstanceKey { service, id: InstanceId::parse("i-1").unwrap() };
            let operation = format!("op-{operation}");
            let want = Want { policy: "shared", limit: 0, operation: &operation, demand: None };
            quotas.acquire(&book, &holder, want, 1, Mono::default())
        };
        for operation in 0..MOST_OF_SERVICE {
            ask("orders", operation).unwrap();
        }
        assert_eq!(
            ask("orders", MOST_OF_SERVICE).unwrap_err(),
            "orders shares 500 limits already, which is the most"
        );
        ask("orders", 0).expect("it is shared already");
        ask("payments", 0).expect("another service");
        assert_eq!(quotas.count(), MOST_OF_SERVICE + 1);
        quotas.sweep(Mono::from_millis(60_000));
        assert_eq!(quotas.count(), 0);
        ask("orders", MOST_OF_SERVICE).expect("there is room again");
    }
}
