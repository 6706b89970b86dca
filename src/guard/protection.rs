//! Policies in force for RPCs: limits, permits, and the breakers of what RPCs depend on.
//!
//! What protects each RPC is put together when policies change ([`Service`]), and looked up for each call. Which policy decides
//! is the client crate's to say, which services use as well. What must be heard even in an overload is exempt by the table of
//! RPCs.

use std::{fmt, future::Future, net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use seaworthy_client::protect::{
    Refusal, Rules, Sourced, caller_key,
    gate::{Entrance, Gate},
    policy::{Policy, choose::Call},
};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    caller::Caller,
    rpc::{Protected, RPCS, Rpc, RpcId},
};
use crate::{
    error::{Error, Kind, Reason},
    identity::{Identity, Principal},
    policy::{self, book::Book, own::Behaviour},
    task::drain,
};

/// How often callers of whom nothing counts any more are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(5);

/// What protects RPCs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Protection {
    rules: Rules,
    /// Read for each call, by all threads at once, and written when policies change.
    gates: Arc<ArcSwap<Gates>>,
}

/// What protects each RPC, by its place in the table. None: nothing does.
#[derive(Debug)]
struct Gates(Vec<Option<Gate>>);

impl Protection {
    /// Nothing is protected before policies are known.
    pub fn new() -> Self {
        let gates = Gates(RPCS.iter().map(|_| None).collect());
        Self { rules: Rules::new(), gates: Arc::new(ArcSwap::from_pointee(gates)) }
    }

    /// The rules in force.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Lets a call of somebody in, who is told apart by the key. None: nothing protects this RPC.
    pub(super) fn enter(&self, rpc: RpcId, caller: &Caller, keys: &CallerKeys) -> Option<Entrance> {
        let gates = self.gates.load();
        let gate = gates.0.get(rpc.0)?.as_ref()?;
        Some(gate.enter(keys.of(caller), &CallerName(caller)))
    }

    /// Puts in force what is ruled.
    fn follow(&self, book: &Book) {
        let on = Behaviour::ALL.map(|behaviour| (behaviour, behaviour.is_on(book)));
        let is_on = |wanted| on.iter().any(|(behaviour, on)| *behaviour == wanted && *on);
        let policies = book.policies().filter(|placed| placed.policy.concerns_rpcs());
        let ruled: Vec<Sourced> = policies
            .map(|placed| (Arc::new(without_what_is_off(&placed.policy, is_on)), placed.origin))
            .collect();
        self.rules.replace(ruled);
        let gate = |rpc: &Rpc| match rpc.protected {
            Protected::Exempt => None,
            Protected::ByPolicies => Gate::new(&self.rules, Call::Rpc(rpc.method()), rpc.depends_on.name()),
        };
        self.gates.store(Arc::new(Gates(RPCS.iter().map(gate).collect())));
    }
}

impl Default for Protection {
    fn default() -> Self {
        Self::new()
    }
}

fn without_what_is_off(policy: &Policy, is_on: impl Fn(Behaviour) -> bool) -> Policy {
    let mut policy = policy.clone();
    if !is_on(Behaviour::RateLimits) {
        policy.limits.clear();
    }
    if !is_on(Behaviour::Permits) {
        policy.permits.clear();
    }
    if !is_on(Behaviour::CircuitBreakers) {
        policy.breaker = None;
    }
    policy
}

/// Keeps what protects RPCs in step with what is ruled.
#[derive(Debug)]
pub struct Service {
    protection: Protection,
    policies: policy::Handle,
}

impl Service {
    /// Puts in force what is ruled now, before anybody is let in.
    pub fn new(protection: Protection, policies: policy::Handle) -> Self {
        protection.follow(&policies.book());
        Self { protection, policies }
    }

    /// Runs until the drain begins.
    pub fn run(self, mut drain: drain::Watch) -> impl Future<Output = ()> {
        let Self { protection, policies } = self;
        let mut book = policies.watch();
        async move {
            let mut forget = interval(FORGET_EVERY);
            forget.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = drain.begun() => return,
                    changed = book.changed() => match changed {
                        Ok(()) => {
                            let newest = Arc::clone(&book.borrow_and_update());
                            protection.follow(&newest);
                        }
                        Err(_) => return,
                    },
                    _ = forget.tick() => protection.rules.evict_idle(),
                }
            }
        }
    }
}

/// The number by which limits tell callers apart, remembered for a connection: most have one caller.
#[derive(Debug, Default)]
pub(super) struct CallerKeys(Mutex<Option<(Arc<Identity>, u64)>>);

impl CallerKeys {
    pub(super) fn of(&self, caller: &Caller) -> u64 {
        let mut known = self.0.lock();
        if let Some((identity, key)) = &*known
            && Arc::ptr_eq(identity, &caller.identity)
        {
            return *key;
        }
        let key = caller_key(CallerName(caller));
        *known = Some((Arc::clone(&caller.identity), key));
        key
    }
}

/// How policies call who calls: as it has proved to be, or by its address where nobody has to prove anything.
pub(super) struct CallerName<'a>(pub(super) &'a Caller);

impl fmt::Display for CallerName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.identity.principal {
            Principal::Local | Principal::Nobody => {
                let ip: IpAddr = self.0.connection.peer.ip().to_canonical();
                ip.fmt(f)
            }
            proved => proved.fmt(f),
        }
    }
}

/// What a caller is told that is refused.
pub(super) fn refusal(refusal: &Refusal, caller: String) -> Error {
    let (kind, reason) = match refusal {
        Refusal::Limited { .. } => (Kind::ResourceExhausted, Reason::RateLimited),
        Refusal::Full { .. } => (Kind::ResourceExhausted, Reason::TooManyInFlight),
        Refusal::Exhausted { .. } => (Kind::ResourceExhausted, Reason::ResourcesLow),
        Refusal::Broken { .. } => (Kind::Unavailable, Reason::CircuitOpen),
        Refusal::TurnedAway { .. } => (Kind::Unavailable, Reason::ServerDraining),
    };
    let mut error = Error::new(kind, reason, refusal.to_string());
    for (name, value) in refusal.details() {
        error = error.with(name, value);
    }
    match refusal {
        Refusal::Broken { protects, .. } => error = error.with("depends_on", &**protects),
        Refusal::Limited { .. } | Refusal::Full { .. } | Refusal::Exhausted { .. } => {
            error = error.with("caller", caller);
        }
        Refusal::TurnedAway { .. } => {}
    }
    match refusal.retry_after() {
        Some(pause) => error.retry_after(pause),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use seaworthy_client::protect::{PartKind, RefusalKind};

    use super::*;
    use crate::{
        store::simulated::{Fate, Medium},
        task::{self, OnEnd},
        time::Clock,
    };

    #[tokio::test(start_paused = true)]
    async fn callers_of_whom_nothing_counts_are_forgotten_by_a_timer() {
        let clock = Clock::start_at(SystemTime::UNIX_EPOCH);
        let (store, _engine) = Medium::default().open(clock, Box::new(|| Fate::Written(Duration::ZERO)));
        let (policies, _ruling) = policy::open(policy::Options::default(), clock, store).await.unwrap();
        let protection = Protection::new();
        let service = Service::new(protection.clone(), policies);
        let call = Call::Rpc("seaworthy.v1.FleetService/ListServices");
        let gate = Gate::new(protection.rules(), call, None).unwrap();
        for caller in 0..100 {
            assert!(matches!(gate.enter(caller, &"caller"), Entrance::In(_)));
        }
        let remembered = || {
            protection.rules().usage().into_iter().find_map(|part| match part.kind {
                PartKind::Limit { keys } => Some(keys),
                PartKind::Permits { .. } => None,
            })
        };
        assert_eq!(remembered(), Some(100));
        let (_drain, watch) = drain::channel();
        let _running = task::spawn("protection", OnEnd::Fine, service.run(watch));
        tokio::time::sleep(2 * FORGET_EVERY).await;
        assert_eq!(remembered(), Some(0));
    }

    /// Who calls a service and who calls the control plane are told the same, and the retries of both read it.
    #[test]
    fn refusals_have_the_reasons_that_services_give() {
        for (kind, reason) in [
            (RefusalKind::Limited, Reason::RateLimited),
            (RefusalKind::Full, Reason::TooManyInFlight),
            (RefusalKind::Exhausted, Reason::ResourcesLow),
            (RefusalKind::Broken, Reason::CircuitOpen),
        ] {
            assert_eq!(kind.reason(), reason.as_str());
        }
    }
}
