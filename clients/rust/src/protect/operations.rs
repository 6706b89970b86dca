//! The operations that a service protects, and the pools that they hold things of.
//!
//! It works by itself, with the policies that the service's own code gives and a sensible one for all others; an agent that
//! is attached brings those of the control plane, and takes what became of the operations there.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};

use super::{
    breaker::{Breaker, Force},
    clock::Clock,
    failure::{Failure, ProtectError},
    operation::{Admitted, Operation},
    permit::{Full, Held, PoolSettings, Pools},
    policy::{
        self, Contradiction, Origin, Policy,
        choose::{Call, Part, Ranked, deciding, ordered},
        defaults,
    },
    refusal::Refusal,
    retry::Safety,
    rules::{Rules, Sourced},
    stats::{BreakerStats, PoolStats, Report},
    usage,
};
use crate::{
    Lifecycle,
    shutdown::{Active, Counted, Counting},
};

/// Operations that are told apart at the most.
const MOST_OPERATIONS: usize = 256;
/// The one as which all beyond that are counted.
const OTHERS: &str = "_others";
/// Pools at the most.
const MOST_POOLS: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(31);

/// What a service protects. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub struct Operations(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    service: Arc<str>,
    rules: Rules,
    operations: RwLock<BTreeMap<Arc<str>, Arc<Operation>>>,
    pools: Pools,
    said: Mutex<Said>,
    /// Calls that are under way, and whether new ones are taken.
    active: Active,
    /// Whether its agent has left, for good.
    left: AtomicBool,
}

/// What was said of what protects the operations.
#[derive(Debug, Default)]
struct Said {
    /// By the service's own code.
    code: BTreeMap<String, Arc<Policy>>,
    /// By the control plane.
    ruled: Vec<Sourced>,
}

impl Operations {
    /// Those of a service; none yet. They stand alone: no control plane is asked.
    pub fn new(service: impl Into<Arc<str>>) -> Self {
        let operations = Self(Arc::new(Inner {
            service: service.into(),
            rules: Rules::new(),
            operations: RwLock::default(),
            pools: Pools::new(MOST_POOLS),
            said: Mutex::default(),
            active: Active::new(),
            left: AtomicBool::new(false),
        }));
        operations.put_in_force(&operations.0.said.lock());
        operations
    }

    /// Runs a protected call: it is turned away while the service shuts down, then meets limits, resources, permits and the
    /// breaker, is tried again where that is allowed, and its end is counted. `caller` is who it is done for, as limits tell
    /// callers apart: a user, a tenant, a service.
    ///
    /// Cancel safe: dropped, what it holds comes back, and it counts as cancelled.
    ///
    /// # Errors
    /// It was refused, failed, or did not end in time.
    pub async fn protect<T, E, F>(
        &self,
        operation: &str,
        caller: &str,
        op: impl FnMut() -> F,
    ) -> Result<T, ProtectError<E>>
    where
        E: Failure,
        F: Future<Output = Result<T, E>>,
    {
        self.operation(operation).run(caller, self.open(), None, op).await
    }

    /// The same of what may be done twice, whatever the policy says of that.
    ///
    /// # Errors
    /// As [`protect`](Self::protect).
    pub async fn protect_idempotent<T, E, F>(
        &self,
        operation: &str,
        caller: &str,
        op: impl FnMut() -> F,
    ) -> Result<T, ProtectError<E>>
    where
        E: Failure,
        F: Future<Output = Result<T, E>>,
    {
        self.operation(operation).run(caller, self.open(), Some(Safety::Idempotent), op).await
    }

    /// Lets a call through that is run by who asks, without tries: for layers and for what is no closure.
    ///
    /// # Errors
    /// It is refused.
    pub async fn admit(&self, operation: &str, caller: &str) -> Result<Admitted, Refusal> {
        self.operation(operation).admit(caller, self.open()).await
    }

    /// Lets a request through whose operation anybody may name. One that nobody knows yet is one of the others: neither the
    /// code nor a policy names it, and nothing of that name was ever answered ([`know`](Self::know)). So nobody can fill the
    /// table by names that he makes up.
    #[cfg(any(feature = "axum", feature = "server"))]
    pub(crate) async fn admit_named_by_anybody(
        &self,
        operation: &str,
        caller: &str,
    ) -> Result<Admitted, Refusal> {
        let known = self.0.operations.read().get(operation).cloned();
        let is_known = || self.0.rules.names(operation) || self.0.rules.is_forced(operation);
        let operation = known.unwrap_or_else(|| self.operation(if is_known() { operation } else { OTHERS }));
        operation.admit(caller, self.open()).await
    }

    /// There is an operation of this name.
    #[cfg(any(feature = "axum", feature = "server"))]
    pub(crate) fn know(&self, operation: &str) {
        let _made = self.operation(operation);
    }

    /// Holds one of a pool until it is dropped.
    ///
    /// # Errors
    /// None came back in time; or no policy has a pool of this name, which is one of nothing.
    pub async fn acquire(&self, pool: &str) -> Result<Held, Full> {
        match self.0.pools.get(pool) {
            Some(pool) => pool.acquire().await,
            None => {
                Err(Full { max: 0, waited: Duration::ZERO, waiting: 0, retry_after: Duration::from_secs(1) })
            }
        }
    }

    /// Says by code what protects operations of this service; a policy of the control plane that is as specific comes
    /// before it. One of the same name takes the place of the one before.
    ///
    /// # Errors
    /// It says what nothing could come of, which a control plane would not take either; the one before stays.
    pub fn set_policy(&self, policy: Policy) -> Result<(), Contradiction> {
        policy.check()?;
        let mut said = self.0.said.lock();
        said.code.insert(policy.name.clone(), Arc::new(policy));
        self.put_in_force(&said);
        Ok(())
    }

    /// Takes what the control plane rules, in place of what it ruled before.
    pub(crate) fn rule(&self, policies: Vec<Sourced>, forced: BTreeMap<String, (Force, Duration)>) {
        let now = self.0.rules.time().now();
        let mut said = self.0.said.lock();
        said.ruled = policies;
        self.put_in_force(&said);
        let forced = forced.into_iter().map(|(name, (force, ttl))| (name, (force, now + ttl)));
        self.0.rules.force(forced.collect());
    }

    /// Where the service is in its life: what is draining takes no more work.
    pub(crate) fn set_lifecycle(&self, lifecycle: Lifecycle) {
        match lifecycle {
            Lifecycle::Starting | Lifecycle::Ready | Lifecycle::LameDuck => self.0.active.open(),
            Lifecycle::Draining | Lifecycle::Stopping | Lifecycle::Failed => self.0.active.shut(),
        }
    }

    /// The agent has left: nobody is sent here any more, and nothing is taken.
    pub(crate) fn leave(&self) {
        self.0.left.store(true, Ordering::Release);
    }

    /// Forgets callers of whom no limit counts anything any more, and gives their memory back. An agent does so every few
    /// seconds; whoever protects operations without one calls this by a timer.
    pub fn evict_idle(&self) {
        self.0.rules.evict_idle();
    }

    /// The rules in force.
    pub(crate) fn rules(&self) -> &Rules {
        &self.0.rules
    }

    /// The calls that are under way.
    pub(crate) fn active(&self) -> &Active {
        &self.0.active
    }

    fn open(&self) -> Result<Counted, Refusal> {
        if self.0.left.load(Ordering::Acquire) {
            let message = "this instance has left the fleet; ask another one".to_owned();
            return Err(Refusal::TurnedAway { message });
        }
        let counted = self.0.active.enter(Counting::Request);
        counted.map_err(|shutting_down| Refusal::TurnedAway { message: shutting_down.to_string() })
    }

    fn operation(&self, name: &str) -> Arc<Operation> {
        if let Some(known) = self.0.operations.read().get(name) {
            return Arc::clone(known);
        }
        let mut operations = self.0.operations.write();
        let full = operations.len() >= MOST_OPERATIONS;
        let name = if full || policy::operation(name).is_err() { OTHERS } else { name };
        // What they are nobody can say, so that one of them fails says nothing of another: they have no breaker.
        let Inner { service, rules, .. } = &*self.0;
        let made =
            || (Arc::<str>::from(name), Arc::new(Operation::new(service, name, rules, name != OTHERS)));
        let known = operations.get(name).cloned();
        known.unwrap_or_else(|| {
            let (name, operation) = made();
            operations.insert(name, Arc::clone(&operation));
            operation
        })
    }

    fn put_in_force(&self, said: &Said) {
        let built_in = (Arc::new(defaults::operations()), Origin::BuiltIn);
        let code = said.code.values().map(|policy| (Arc::clone(policy), Origin::Code));
        // What comes with the control plane stands in for what comes with this library.
        let own = (!said.ruled.iter().any(|(policy, _)| policy.name == built_in.0.name)).then_some(built_in);
        let all: Vec<Sourced> = own.into_iter().chain(code).chain(said.ruled.iter().cloned()).collect();
        self.size_pools(&all);
        self.0.rules.replace(all);
    }

    /// Pools are those that a policy has; one that is in use keeps what is held.
    fn size_pools(&self, policies: &[Sourced]) {
        let ranked = ordered(policies.iter().map(|(policy, origin)| Ranked { policy, origin: *origin }));
        let call = Call::Operation { service: &self.0.service, operation: "" };
        let names: std::collections::BTreeSet<&str> = policies
            .iter()
            .flat_map(|(policy, _)| policy.pools.iter().map(|pool| pool.name.as_str()))
            .collect();
        for gone in self.0.pools.usage().iter().filter(|pool| !names.contains(pool.name.as_str())) {
            self.0.pools.remove(&gone.name);
        }
        for name in names {
            let decides = deciding(&ranked, call, "", Part::Pool(name), false);
            let rule = decides.and_then(|ranked| ranked.policy.pools.iter().find(|pool| pool.name == name));
            if let Some(rule) = rule {
                let settings = PoolSettings { wait: rule.wait, ..PoolSettings::new(rule.size) };
                if self.0.pools.put(name, settings).is_err() {
                    tracing::warn!(
                        pool = name,
                        "there are more pools than {MOST_POOLS}: this one has nothing to lend"
                    );
                }
            }
        }
    }

    /// What became of all operations, how breakers are and pools are used.
    pub fn report(&self) -> Report {
        let operations: Vec<Arc<Operation>> = self.0.operations.read().values().cloned().collect();
        let now = self.0.rules.time().now();
        // What policies say now, also of operations that were not called since they changed: which breakers there are
        // follows from that.
        operations.iter().for_each(|operation| drop(operation.plan()));
        let breakers = self.0.rules.breakers();
        let pools = self.0.pools.usage();
        Report {
            operations: operations.iter().map(|operation| operation.stats()).collect(),
            breakers: breakers.iter().map(|(name, breaker)| breaker_stats(name, breaker, now)).collect(),
            pools: pools
                .iter()
                .map(|pool| PoolStats {
                    name: pool.name.clone(),
                    size: pool.permits.max,
                    in_use: pool.permits.in_use,
                    peak: pool.permits.peak,
                    waiting: pool.permits.waiting,
                    refused: pool.permits.refused,
                })
                .collect(),
            parts: usage::by_policy(self.0.rules.usage()),
        }
    }
}

/// A breaker as it is shown.
pub fn breaker_stats(name: &str, breaker: &Breaker, now: Duration) -> BreakerStats {
    let seen = breaker.snapshot();
    BreakerStats {
        operation: name.to_owned(),
        state: seen.state,
        age: now.saturating_sub(seen.since),
        cause: seen
            .transitions
            .last()
            .map(|last| last.cause.as_str().to_ascii_uppercase())
            .unwrap_or_default(),
        calls: seen.calls,
        failure_rate: seen.failure_rate.unwrap_or_default(),
        slow_call_rate: seen.slow_call_rate.unwrap_or_default(),
        consecutive_failures: seen.consecutive_failures,
        opened: seen.opened,
        refused: seen.refused + seen.would_have_refused,
        retry_after: seen.retry_after,
        override_ttl: seen.overridden.map(|over| over.until.saturating_sub(now)),
    }
}

#[cfg(test)]
mod tests;
