//! Policies in force: what protects each call, and what has been counted.
//!
//! The guard holds one set of rules, and so does each service; both put a [`Plan`] together for what they protect and ask it
//! for each call. Policies are replaced as a whole while calls go on.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::RwLock;

use super::{
    Time,
    breaker::Breaker,
    clock::{Clock as _, Monotonic},
    limits::Limits,
    operations::breaker_stats,
    places::Places,
    plan::Plan,
    policy::{
        Origin, Policy,
        choose::{Call, Ranked, ordered},
    },
    resources::Meter,
    share::Share,
    shelf::{Forced, Shelf},
    stats::BreakerStats,
    usage::{PartUsage, limits_usage, places_usage},
};

/// A policy, and where it comes from.
pub type Sourced = (Arc<Policy>, Origin);

/// Policies in force. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub struct Rules(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    time: Time,
    shelf: Shelf,
    meter: Meter,
    policies: RwLock<Arc<[Sourced]>>,
    version: AtomicU64,
}

impl Rules {
    /// No policies yet.
    pub fn new() -> Self {
        let time = Monotonic::start();
        Self(Arc::new(Inner {
            time,
            shelf: Shelf::new(time),
            meter: Meter::new(),
            policies: RwLock::new(Arc::from([])),
            version: AtomicU64::new(1),
        }))
    }

    /// Takes these policies in place of those before. What says the same goes on counting where it was.
    pub fn replace(&self, policies: impl IntoIterator<Item = Sourced>) {
        let policies = policies.into_iter().collect();
        let mut now = self.0.policies.write();
        *now = policies;
        // After them: who sees the new version makes its plan of the new policies.
        self.0.version.fetch_add(1, Ordering::Release);
    }

    /// Rises with each change.
    pub(crate) fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    /// What protects a call now. `protects`: what its breaker is of, where it has one.
    pub(crate) fn plan(&self, call: Call<'_>, protects: Option<&str>) -> Arc<Plan> {
        // Held until the plan is made: an older one would put what it is made of in the place of the newer.
        let policies = self.0.policies.read();
        let ranked = policies.iter().map(|(policy, origin)| Ranked { policy, origin: *origin });
        Arc::new(Plan::make(&ordered(ranked), call, protects, &self.0.shelf))
    }

    /// Whether a policy names this operation.
    #[cfg(any(feature = "axum", feature = "server"))]
    pub(crate) fn names(&self, operation: &str) -> bool {
        use super::policy::Target;
        self.0.policies.read().iter().any(|(policy, _)| match &policy.target {
            Target::Operations { operation: Some(named), .. } => named == operation,
            Target::Operations { operation: None, .. } | Target::Rpcs { .. } | Target::Everything => false,
        })
    }

    /// The policies in force.
    #[cfg(test)]
    pub(crate) fn policies(&self) -> Arc<[Sourced]> {
        Arc::clone(&self.0.policies.read())
    }

    pub(crate) fn time(&self) -> Time {
        self.0.time
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.0.meter
    }

    pub(crate) fn shares(&self) -> Vec<Arc<Share>> {
        self.0
            .shelf
            .all_limits()
            .iter()
            .flat_map(|limits| limits.shares().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// Forces these breakers and no others, each until a moment of the clock.
    pub(crate) fn force(&self, forced: Forced) {
        self.0.shelf.force(forced);
    }

    /// Whether the breaker of this is forced.
    #[cfg(any(feature = "axum", feature = "server"))]
    pub(crate) fn is_forced(&self, protects: &str) -> bool {
        self.0.shelf.is_forced(protects)
    }

    /// All breakers that policies ask for, by what they protect.
    pub fn breakers(&self) -> Vec<(Arc<str>, Breaker)> {
        self.0.shelf.all_breakers()
    }

    /// How all breakers are now, by what they protect.
    pub fn breaker_stats(&self) -> Vec<BreakerStats> {
        let now = self.0.time.now();
        self.breakers().iter().map(|(name, breaker)| breaker_stats(name, breaker, now)).collect()
    }

    /// What limits and permits have decided, and how much of them is used.
    pub fn usage(&self) -> Vec<PartUsage> {
        let limits = self.0.shelf.all_limits();
        let places = self.0.shelf.all_places();
        let limits = limits.iter().map(|it: &Arc<Limits>| limits_usage(it));
        limits.chain(places.iter().map(|it: &Arc<Places>| places_usage(it))).collect()
    }

    /// Forgets callers of whom nothing counts any more, and gives their memory back. To be called every few seconds.
    pub fn evict_idle(&self) {
        self.0.shelf.all_limits().iter().for_each(|limits| limits.evict_idle());
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::new()
    }
}
