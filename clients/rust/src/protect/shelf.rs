//! Keeps what counts, so that a change of one policy forgets nothing of the others: a limit that says the same goes on
//! where it was.
//!
//! It holds them weakly: what no plan is made of any more is gone. Breakers alone stay, out of sight, until a policy asks for
//! them again.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::{self, Display, Write as _},
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{
        Arc, LazyLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::{
    Time,
    breaker::{self, Breaker, Force, Override},
    limits::Limits,
    places::Places,
    policy::{PermitScope, Policy, RateLimit, Scope},
    retrying::Retrying,
};

/// What counts.
#[derive(Debug)]
pub(crate) struct Shelf {
    time: Time,
    kept: Mutex<Kept>,
    seeds: AtomicU64,
}

/// What a call is. Fleet-wide limits and adaptive permits are of services alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// An RPC of the control plane.
    Rpc,
    /// An operation of a service.
    Operation,
}

#[derive(Debug, Default)]
struct Kept {
    limits: HashMap<Key<Scope>, Weak<Limits>>,
    places: HashMap<Key<PermitScope>, Weak<Places>>,
    /// By policy and operation.
    retries: HashMap<(String, String), Weak<Retrying>>,
    /// By what they protect. Those stay: what is known of a dependency outlives the policy.
    breakers: HashMap<Arc<str>, KeptBreaker>,
    /// Those that are forced, whether or not there is one yet.
    forced: Forced,
}

/// Breakers that are forced, by what they protect, each until a moment of the clock.
pub(crate) type Forced = BTreeMap<String, (Force, Duration)>;

#[derive(Debug)]
struct KeptBreaker {
    breaker: Breaker,
    settings: breaker::Settings,
    /// What plans hold of it: while there is none, it decides of nothing.
    asked: Weak<Breaker>,
}

#[derive(Debug, Eq, Hash, PartialEq)]
struct Key<S> {
    policy: String,
    scope: S,
    of: String,
    shadow: bool,
}

impl Shelf {
    pub(crate) fn new(time: Time) -> Self {
        Self { time, kept: Mutex::default(), seeds: AtomicU64::new(0) }
    }

    /// The limits of a scope of a policy.
    pub(crate) fn limits(&self, policy: &Policy, scope: Scope, of: &str, kind: Kind) -> Option<Arc<Limits>> {
        let holds =
            |rule: &RateLimit| rule.scope == scope && (kind == Kind::Operation || rule.fleet_wide.is_none());
        let rules: Vec<(usize, RateLimit)> =
            policy.limits.iter().cloned().enumerate().filter(|(_, rule)| holds(rule)).collect();
        if rules.is_empty() {
            return None;
        }
        let key = Key { policy: policy.name.clone(), scope, of: of.to_owned(), shadow: policy.shadow };
        let mut kept = self.kept.lock();
        let known = kept.limits.get(&key).and_then(Weak::upgrade);
        if let Some(known) = known.as_ref().filter(|limits| limits.are(&rules)) {
            return Some(Arc::clone(known));
        }
        let made = Arc::new(Limits::new(&policy.name, scope, of, policy.shadow, &rules, self.time));
        if let Some(before) = known {
            made.go_on_from(&before);
        }
        kept.limits.insert(key, Arc::downgrade(&made));
        Some(made)
    }

    /// The places of a scope of a policy.
    pub(crate) fn places(
        &self,
        policy: &Policy,
        scope: PermitScope,
        of: &str,
        kind: Kind,
    ) -> Option<Arc<Places>> {
        let mut rule = policy.permits.iter().find(|rule| rule.scope == scope)?.clone();
        rule.adaptive &= kind == Kind::Operation;
        let key = Key { policy: policy.name.clone(), scope, of: of.to_owned(), shadow: policy.shadow };
        let mut kept = self.kept.lock();
        let known = kept.places.get(&key).and_then(Weak::upgrade);
        if let Some(known) = known.as_ref().filter(|places| places.rule == rule) {
            return Some(Arc::clone(known));
        }
        let made = match known {
            // What is under way stays so, and is counted.
            Some(before) if !before.rule.adaptive && !rule.adaptive => before.ruled_by(rule),
            _ => {
                let seed = self.seeds.fetch_add(1, Ordering::Relaxed);
                Places::new(&policy.name, of, policy.shadow, rule, self.time, seed)
            }
        };
        let made = Arc::new(made);
        kept.places.insert(key, Arc::downgrade(&made));
        Some(made)
    }

    /// The retries of an operation that a policy rules.
    pub(crate) fn retrying(&self, policy: &Policy, of: &str) -> Option<Arc<Retrying>> {
        let rule = policy.retry.clone()?;
        let key = (policy.name.clone(), of.to_owned());
        let mut kept = self.kept.lock();
        let known = kept.retries.get(&key).and_then(Weak::upgrade).filter(|retrying| retrying.rule == rule);
        Some(known.unwrap_or_else(|| {
            let made = Arc::new(Retrying::new(rule, self.time));
            kept.retries.retain(|_, retrying| retrying.strong_count() > 0);
            kept.retries.insert(key, Arc::downgrade(&made));
            made
        }))
    }

    /// The breaker of what it protects, with these settings from now on. It is in use until the last one of what this answers
    /// is dropped.
    pub(crate) fn breaker(&self, protects: &str, settings: breaker::Settings) -> Arc<Breaker> {
        let mut kept = self.kept.lock();
        let Kept { breakers, forced, .. } = &mut *kept;
        let Some(known) = breakers.get_mut(protects) else {
            let breaker = Breaker::new(settings, self.time);
            force(&breaker, forced.get(protects));
            let asked = Arc::new(breaker.clone());
            let kept = KeptBreaker { breaker, settings, asked: Arc::downgrade(&asked) };
            breakers.insert(protects.into(), kept);
            return asked;
        };
        if known.settings != settings {
            known.breaker.reconfigure(settings);
            known.settings = settings;
        }
        known.asked.upgrade().unwrap_or_else(|| {
            let asked = Arc::new(known.breaker.clone());
            known.asked = Arc::downgrade(&asked);
            asked
        })
    }

    /// Forces these breakers and no others, those too that are yet to come.
    pub(crate) fn force(&self, forced: Forced) {
        let mut kept = self.kept.lock();
        for (protects, one) in &kept.breakers {
            force(&one.breaker, forced.get(&**protects));
        }
        kept.forced = forced;
    }

    /// Whether the breaker of this is forced, or was.
    #[cfg(any(feature = "axum", feature = "server"))]
    pub(crate) fn is_forced(&self, protects: &str) -> bool {
        self.kept.lock().forced.contains_key(protects)
    }

    /// All limits that are in use, by policy, scope and what they are of.
    pub(crate) fn all_limits(&self) -> Vec<Arc<Limits>> {
        let mut kept = self.kept.lock();
        kept.limits.retain(|_, limits| limits.strong_count() > 0);
        let mut all: Vec<_> = kept.limits.values().filter_map(Weak::upgrade).collect();
        all.sort_by(|a, b| (&a.policy, a.scope, &a.of, a.shadow).cmp(&(&b.policy, b.scope, &b.of, b.shadow)));
        all
    }

    /// All places that are in use, by policy, scope and what they are of.
    pub(crate) fn all_places(&self) -> Vec<Arc<Places>> {
        let mut kept = self.kept.lock();
        kept.places.retain(|_, places| places.strong_count() > 0);
        let mut all: Vec<_> = kept.places.values().filter_map(Weak::upgrade).collect();
        let place = |it: &Places| (Arc::clone(&it.policy), it.scope(), Arc::clone(&it.of), it.shadow);
        all.sort_by_key(|it| place(it));
        all
    }

    /// All breakers that are in use, by what they protect.
    pub(crate) fn all_breakers(&self) -> Vec<(Arc<str>, Breaker)> {
        let kept = self.kept.lock();
        let in_use = kept.breakers.iter().filter(|(_, kept)| kept.asked.strong_count() > 0);
        let mut all: Vec<_> = in_use.map(|(name, kept)| (Arc::clone(name), kept.breaker.clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

fn force(breaker: &Breaker, forced: Option<&(Force, Duration)>) {
    breaker.override_with(forced.map(|(force, until)| Override { force: *force, until: *until }));
}

/// The number by which a caller is told apart: from its name, and different in each process, so that nobody can choose
/// names that share one.
pub fn caller_key(name: impl Display) -> u64 {
    static RANDOM: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    struct Into<H>(H);
    impl<H: std::hash::Hasher> fmt::Write for Into<H> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    let mut hasher = Into(RANDOM.build_hasher());
    // Writing into it cannot fail.
    write!(hasher, "{name}").ok();
    hasher.0.finish()
}
