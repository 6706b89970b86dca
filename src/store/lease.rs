//! Leases: promises to be heard from within a time, and the keys that end with them.
//!
//! This file holds what is true for every engine, and the table in memory by which the embedded engine
//! knows when a lease runs out. Deadlines are in memory only: after a restart every lease has its whole
//! TTL again, as its holder could not have renewed it meanwhile.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;

use crate::{
    error::{Error, Result},
    time::Mono,
};

/// Shortest TTL.
pub const TTL_MIN: Duration = Duration::from_secs(1);
/// Longest TTL.
pub const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Names a lease.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LeaseId(pub(super) u64);

/// Refuses a TTL that not every engine can keep.
pub(super) fn check_ttl(ttl: Duration) -> Result<()> {
    if (TTL_MIN..=TTL_MAX).contains(&ttl) {
        return Ok(());
    }
    Err(Error::field("ttl", format!("is {ttl:?}; {TTL_MIN:?} to {TTL_MAX:?} are allowed")))
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    ttl: Duration,
    deadline: Mono,
}

/// The living leases and when each runs out.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<HashMap<LeaseId, Lease>>);

impl Leases {
    /// Starts a lease's time; one that is known keeps its deadline.
    pub(super) fn insert(&self, id: LeaseId, ttl: Duration, now: Mono) {
        self.0.lock().entry(id).or_insert(Lease { ttl, deadline: now + ttl });
    }

    /// Renews a lease, unless it is gone.
    pub(super) fn renew(&self, id: LeaseId, now: Mono) -> Option<Duration> {
        let mut leases = self.0.lock();
        let lease = leases.get_mut(&id)?;
        lease.deadline = now + lease.ttl;
        Some(lease.ttl)
    }

    /// Forgets a lease: from here on nobody can renew it.
    pub(super) fn remove(&self, id: LeaseId) {
        self.0.lock().remove(&id);
    }

    /// Forgets a lease if it has run out, and says whether it had.
    pub(super) fn remove_if_due(&self, id: LeaseId, now: Mono) -> bool {
        let mut leases = self.0.lock();
        let due = leases.get(&id).is_some_and(|lease| lease.deadline <= now);
        if due {
            leases.remove(&id);
        }
        due
    }

    /// The leases that have run out.
    pub(super) fn due(&self, now: Mono) -> Vec<LeaseId> {
        self.0.lock().iter().filter(|(_, lease)| lease.deadline <= now).map(|(id, _)| *id).collect()
    }

    /// When the next lease runs out.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.0.lock().values().map(|lease| lease.deadline).min()
    }

    /// Gives every lease more time: the holders could not renew while this process stood still.
    pub(super) fn extend(&self, by: Duration) {
        for lease in self.0.lock().values_mut() {
            lease.deadline = lease.deadline + by;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_lease_is_not_due_and_a_due_one_cannot_be_renewed() {
        let (leases, at) = (Leases::default(), Mono::from_millis);
        leases.insert(LeaseId(1), Duration::from_secs(1), at(0));
        leases.insert(LeaseId(2), Duration::from_secs(1), at(0));
        assert_eq!(leases.renew(LeaseId(2), at(900)), Some(Duration::from_secs(1)));
        assert_eq!(leases.due(at(1000)), [LeaseId(1)]);
        assert!(leases.remove_if_due(LeaseId(1), at(1000)));
        assert!(!leases.remove_if_due(LeaseId(2), at(1000)));
        assert_eq!(leases.renew(LeaseId(1), at(1000)), None);
        assert_eq!(leases.next_deadline(), Some(at(1900)));
    }
}
