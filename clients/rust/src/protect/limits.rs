//! The limits of one scope of one policy, with what they have counted.
//!
//! Each of them has to let a call through; of several the first that does not is what the caller is told. What those
//! before it have counted by then is given back: a call that is refused uses up nothing of what others may have.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use super::{
    Time,
    clock::whole_nanos,
    counted::Counted,
    limit::{Decision, KeyedLimiter, Limiter},
    policy::{RateLimit, Scope, summary},
    refusal::Refusal,
    share::{Share, Which},
};

/// Callers that one limit tells apart at the most: about 4 MiB.
const MOST_CALLERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99_999);

/// Limits that are held together.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) policy: Arc<str>,
    pub(crate) scope: Scope,
    /// The RPC or operation that it is of, where each has its own. Empty: of all.
    pub(crate) of: Arc<str>,
    pub(crate) shadow: bool,
    pub(crate) counted: Counted,
    held: Vec<Held>,
}

/// One limit.
#[derive(Debug)]
struct Held {
    rule: RateLimit,
    summary: Arc<str>,
    cell: Cell,
}

#[derive(Debug)]
enum Cell {
    One(Limiter<Time>),
    Callers(KeyedLimiter<u64, Time>),
    Fleet(Arc<Share>),
}

/// What limits let through, and how.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Passed {
    /// A limit is nearly used up.
    pub(crate) near: bool,
    /// How long to wait before going on.
    pub(crate) pause: Duration,
}

impl Limits {
    /// `rules` are those of the scope, each with its place in the policy. Shared ones come from `share`.
    pub(crate) fn new(
        policy: &str,
        scope: Scope,
        of: &str,
        shadow: bool,
        rules: &[(usize, RateLimit)],
        time: Time,
    ) -> Self {
        let cell = |at: usize, rule: &RateLimit| match (rule.fleet_wide, scope) {
            (Some(away), _) => {
                let which = Which { policy: policy.to_owned(), limit: at, operation: of.to_owned() };
                Cell::Fleet(Arc::new(Share::new(which, rule.settings, away, time)))
            }
            (None, Scope::Caller) => Cell::Callers(KeyedLimiter::new(&rule.settings, MOST_CALLERS, time)),
            (None, Scope::Global | Scope::Operation) => Cell::One(Limiter::new(&rule.settings, time)),
        };
        let held = rules.iter().map(|(at, rule)| Held {
            rule: rule.clone(),
            summary: summary::limit(rule).into(),
            cell: cell(*at, rule),
        });
        Self {
            policy: policy.into(),
            scope,
            of: of.into(),
            shadow,
            counted: Counted::default(),
            held: held.collect(),
        }
    }

    /// Takes over the slices of those before.
    pub(crate) fn go_on_from(&self, before: &Limits) {
        for share in self.shares() {
            if let Some(old) = before.shares().find(|old| old.which() == share.which()) {
                share.go_on_from(old);
            }
        }
    }

    /// Decides of a call of this caller, at this reading of the clock. One that passes is counted by
    /// [`passed`](Self::passed), once nobody else refuses it.
    pub(crate) fn decide(&self, caller: u64, now: Duration) -> Result<Passed, Refusal> {
        let nanos = whole_nanos(now);
        let mut passed = Passed::default();
        for (n, held) in self.held.iter().enumerate() {
            let decision = match &held.cell {
                Cell::One(limiter) => limiter.decide_at(nanos),
                Cell::Callers(limiter) => limiter.decide_at(&caller, nanos),
                Cell::Fleet(share) => share.decide_at(now),
            };
            let retry_after = match decision {
                Decision::Allowed { near } => {
                    passed.near |= near;
                    continue;
                }
                Decision::Queued { after, near } => {
                    passed.near |= near;
                    passed.pause = passed.pause.max(after);
                    continue;
                }
                Decision::Refused { retry_after } => Some(retry_after),
                Decision::TooMany { .. } => None,
            };
            give_back(self.held.iter().take(n), caller, now);
            return Err(self.refuse(held, retry_after));
        }
        Ok(passed)
    }

    /// One was let through by all.
    pub(crate) fn passed(&self, near: bool) {
        self.counted.passed(near);
    }

    /// Takes back what a call of this caller used up that passed at this reading of the clock, and that somebody else refuses.
    pub(crate) fn give_back(&self, caller: u64, now: Duration) {
        give_back(self.held.iter(), caller, now);
    }

    fn refuse(&self, held: &Held, retry_after: Option<Duration>) -> Refusal {
        self.counted.refused();
        Refusal::Limited {
            policy: Arc::clone(&self.policy),
            scope: self.scope,
            limit: Arc::clone(&held.summary),
            retry_after,
        }
    }

    /// What they say.
    pub(crate) fn summary(&self) -> String {
        self.held.iter().map(|held| &*held.summary).collect::<Vec<_>>().join("; ")
    }

    /// How many callers are told apart now; 1 where nobody is.
    pub(crate) fn keys(&self) -> usize {
        self.held
            .iter()
            .map(|held| match &held.cell {
                Cell::Callers(limiter) => limiter.len(),
                Cell::One(_) | Cell::Fleet(_) => 1,
            })
            .max()
            .unwrap_or_default()
    }

    /// Forgets callers of whom nothing counts any more.
    pub(crate) fn evict_idle(&self) {
        for held in &self.held {
            if let Cell::Callers(limiter) = &held.cell {
                limiter.evict_idle();
            }
        }
    }

    /// Those that all instances of a service share.
    pub(crate) fn shares(&self) -> impl Iterator<Item = &Arc<Share>> {
        self.held.iter().filter_map(|held| match &held.cell {
            Cell::Fleet(share) => Some(share),
            Cell::One(_) | Cell::Callers(_) => None,
        })
    }

    /// Whether they are held as these rules say.
    pub(crate) fn are(&self, rules: &[(usize, RateLimit)]) -> bool {
        self.held.len() == rules.len()
            && self.held.iter().zip(rules).all(|(held, (_, rule))| held.rule == *rule)
    }
}

fn give_back<'a>(held: impl Iterator<Item = &'a Held>, caller: u64, now: Duration) {
    let nanos = whole_nanos(now);
    for held in held {
        match &held.cell {
            Cell::One(limiter) => limiter.give_back_at(nanos),
            Cell::Callers(limiter) => limiter.give_back_at(&caller, nanos),
            Cell::Fleet(share) => share.give_back(),
        }
    }
}
