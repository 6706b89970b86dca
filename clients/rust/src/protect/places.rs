//! How much may be under way, of one scope of one policy, with what it has counted.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{
    Time,
    clock::Clock,
    counted::Counted,
    permit::{Adaptive, AdaptiveSettings, Full, InFlight, Outcome, Permit, Sample, Usage},
    policy::{PermitLimit, PermitScope, summary},
    refusal::Refusal,
};

/// The least that an adaptive number goes down to, and what it is at first (Netflix's concurrency-limits, Envoy).
const LEAST: u32 = 5;
const AT_FIRST: u32 = 20;

/// Places for operations that are under way.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) policy: Arc<str>,
    /// The RPC or operation that they are of, where each has its own. Empty: of all.
    pub(crate) of: Arc<str>,
    pub(crate) shadow: bool,
    pub(crate) counted: Arc<Counted>,
    pub(crate) rule: PermitLimit,
    permits: InFlight,
    adaptive: Option<Mutex<Adaptive>>,
}

/// A place that is held.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    permit: Permit,
    /// How many were under way when it began, where somebody learns from that.
    in_flight: u32,
}

impl Places {
    /// As many as a rule says.
    pub(crate) fn new(
        policy: &str,
        of: &str,
        shadow: bool,
        rule: PermitLimit,
        time: Time,
        seed: u64,
    ) -> Self {
        let settings = rule.adaptive.then(|| adaptive_up_to(rule.max));
        let adaptive = settings.map(|settings| Adaptive::new(settings, time.now(), seed));
        let max = adaptive.as_ref().map_or(rule.max, Adaptive::limit);
        Self {
            policy: policy.into(),
            of: of.into(),
            shadow,
            counted: Arc::default(),
            permits: InFlight::new(max, rule.max_waiting),
            adaptive: adaptive.map(Mutex::new),
            rule,
        }
    }

    /// The same places, of which there are as many as another rule says from now on. Neither rule is adaptive.
    pub(crate) fn ruled_by(&self, rule: PermitLimit) -> Self {
        self.permits.resize(rule.max);
        self.permits.set_max_waiting(rule.max_waiting);
        Self {
            policy: Arc::clone(&self.policy),
            of: Arc::clone(&self.of),
            shadow: self.shadow,
            counted: Arc::clone(&self.counted),
            permits: self.permits.clone(),
            adaptive: None,
            rule,
        }
    }

    /// Takes a place that is free now.
    pub(crate) fn try_take(self: &Arc<Self>) -> Result<Place, Full> {
        self.permits.try_acquire().map(|permit| self.took(permit))
    }

    /// Takes a place, and waits for one as long as the rule says. Cancel safe.
    pub(crate) async fn take(self: &Arc<Self>) -> Result<Place, Full> {
        self.permits.acquire(self.rule.wait).await.map(|permit| self.took(permit))
    }

    /// Whether it is worth to wait where none is free.
    pub(crate) fn waits(&self) -> bool {
        !self.rule.wait.is_zero() && !self.shadow
    }

    fn took(self: &Arc<Self>, permit: Permit) -> Place {
        self.counted.passed(false);
        let in_flight = if self.adaptive.is_some() { self.permits.usage().in_use } else { 0 };
        Place { places: Arc::clone(self), permit, in_flight }
    }

    /// Counts that there was no place.
    pub(crate) fn refuse(&self, full: Full) -> Refusal {
        self.counted.refused();
        Refusal::Full { policy: Arc::clone(&self.policy), scope: self.rule.scope, full }
    }

    /// How they are used.
    pub(crate) fn usage(&self) -> Usage {
        self.permits.usage()
    }

    /// What they say.
    pub(crate) fn summary(&self) -> String {
        summary::permits(&self.rule)
    }

    /// What they count together.
    pub(crate) fn scope(&self) -> PermitScope {
        self.rule.scope
    }

    fn learn(&self, now: Duration, sample: Sample) {
        let Some(adaptive) = &self.adaptive else { return };
        let changed = adaptive.lock().record(now, sample);
        if let Some(max) = changed {
            self.permits.resize(max);
        }
    }
}

impl Place {
    /// Gives it back, and says how long it was needed and how that ended: an adaptive number follows that.
    pub(crate) fn done(self, now: Duration, latency: Duration, outcome: Outcome) {
        self.places.learn(now, Sample { latency, in_flight: self.in_flight, outcome });
        drop(self.permit);
    }
}

/// How an adaptive number begins and how far it may go, where it may not go so far as it does by itself.
fn adaptive_up_to(max: NonZeroU32) -> AdaptiveSettings {
    let at_most = |n: u32| NonZeroU32::new(n.min(max.get())).unwrap_or(max);
    let settings = AdaptiveSettings::default();
    settings.bounds(at_most(LEAST), at_most(AT_FIRST), max).unwrap_or(settings)
}
