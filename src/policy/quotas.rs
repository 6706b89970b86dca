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
use crate::{fleet::names::InstanceKey, time::Mono};

/// Limits that are shared at once, at the most.
const MOST: usize = 10_000;
/// Of these, of one service.
const MOST_OF_SERVICE: usize = 500;

/// The limits that are shared.
#[derive(Debug, Default)]
pub struct Quotas(Mutex<HashMap<Which, Quota<InstanceKey>>>);

/// One limit that is shared.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Which {
    policy: String,
    limit: usize,
    /// Services share nothing with each other.
    service: String,
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
        let which = Which { policy, limit, service: holder.service.to_string(), operation };
        let mut quotas = self.0.lock();
        if !quotas.contains_key(&which) {
            if quotas.len() >= MOST {
                return Err(format!("{MOST} limits are shared already, which is the most"));
            }
            // Names of operations are whatever an instance says: it is not to use up what others need.
            if quotas.keys().filter(|shared| shared.service == which.service).count() >= MOST_OF_SERVICE {
                let service = &which.service;
                return Err(format!("{service} shares {MOST_OF_SERVICE} limits already, which is the most"));
            }
        }
        let amount = f64::from(shared.settings.rate().amount().get());
        let demand = demand.map(|demand| demand as f64);
        Ok(quotas.entry(which).or_default().acquire(holder, amount, demand, expected, now))
    }

    /// Forgets the limits of which nobody holds a slice.
    pub fn sweep(&self, now: Mono) {
        self.0.lock().retain(|_, quota| !quota.sweep(now));
    }

    /// How many limits are shared now.
    pub fn count(&self) -> usize {
        self.0.lock().len()
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
