//! Why a call was not let through, and when it is worth to try again.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    breaker,
    permit::Full,
    policy::{PermitScope, Scope},
    resources::Exhausted,
};
use crate::rules::errors::try_again_in;

/// A call was not let through. Nothing was done.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// A rate limit is used up.
    Limited {
        /// The policy that says so.
        policy: Arc<str>,
        /// What it counts together.
        scope: Scope,
        /// What it says: `100 in 1s, token bucket, burst 100`.
        limit: Arc<str>,
        /// When the call is let through, if nobody else comes before. None: never, it asks for too much at once.
        retry_after: Option<Duration>,
    },
    /// As much is under way as may be.
    Full {
        /// The policy that says so.
        policy: Arc<str>,
        /// What it counts together.
        scope: PermitScope,
        /// How full it is.
        full: Full,
    },
    /// Memory or processor time is lacking.
    Exhausted {
        /// The policy that says so.
        policy: Arc<str>,
        /// What is lacking.
        exhausted: Exhausted,
    },
    /// The circuit breaker is open.
    Broken {
        /// What it protects: the operation of a service, or what the control plane depends on.
        protects: Arc<str>,
        /// How it stands.
        refused: breaker::Refused,
    },
    /// The service takes no work: it is shutting down, or in a mode that does not take this.
    TurnedAway {
        /// Why, for people.
        message: String,
    },
}

/// What kind of refusal it is, as programs tell them apart.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum RefusalKind {
    /// A rate limit is used up.
    Limited,
    /// As much is under way as may be.
    Full,
    /// Memory or processor time is lacking.
    Exhausted,
    /// The circuit breaker is open.
    Broken,
    /// The service takes no work.
    TurnedAway,
}

impl RefusalKind {
    /// All of them.
    pub const ALL: [RefusalKind; 5] = [
        RefusalKind::Limited,
        RefusalKind::Full,
        RefusalKind::Exhausted,
        RefusalKind::Broken,
        RefusalKind::TurnedAway,
    ];

    /// Its name in metrics: `limited`.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalKind::Limited => "limited",
            RefusalKind::Full => "full",
            RefusalKind::Exhausted => "exhausted",
            RefusalKind::Broken => "broken",
            RefusalKind::TurnedAway => "turned_away",
        }
    }

    /// The reason on the wire (`google.rpc.ErrorInfo.reason`): `RATE_LIMITED`.
    pub fn reason(self) -> &'static str {
        match self {
            RefusalKind::Limited => "RATE_LIMITED",
            RefusalKind::Full => "TOO_MANY_IN_FLIGHT",
            RefusalKind::Exhausted => "RESOURCES_LOW",
            RefusalKind::Broken => "CIRCUIT_OPEN",
            RefusalKind::TurnedAway => "NOT_TAKING_WORK",
        }
    }
}

impl Refusal {
    /// What kind of refusal it is.
    pub fn kind(&self) -> RefusalKind {
        match self {
            Refusal::Limited { .. } => RefusalKind::Limited,
            Refusal::Full { .. } => RefusalKind::Full,
            Refusal::Exhausted { .. } => RefusalKind::Exhausted,
            Refusal::Broken { .. } => RefusalKind::Broken,
            Refusal::TurnedAway { .. } => RefusalKind::TurnedAway,
        }
    }

    /// When it is worth to try again. None: nobody knows, or it is not.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Refusal::Limited { retry_after, .. } => *retry_after,
            Refusal::Full { full, .. } => Some(full.retry_after),
            Refusal::Exhausted { exhausted, .. } => Some(exhausted.retry_after),
            Refusal::Broken { refused, .. } => refused.retry_after,
            Refusal::TurnedAway { .. } => None,
        }
    }

    /// The policy that says so. None: no policy does by itself.
    pub fn policy(&self) -> Option<&str> {
        match self {
            Refusal::Limited { policy, .. }
            | Refusal::Full { policy, .. }
            | Refusal::Exhausted { policy, .. } => Some(policy),
            Refusal::Broken { .. } | Refusal::TurnedAway { .. } => None,
        }
    }
}

impl Refusal {
    /// What of it programs may want to know, by the names of the wire (`google.rpc.ErrorInfo.metadata`): the policy, the scope
    /// and its limit, how many may be under way, how a breaker stands.
    pub fn details(&self) -> Vec<(&'static str, String)> {
        let policy = self.policy().map(|policy| ("policy", policy.to_owned()));
        let mut details: Vec<_> = policy.into_iter().collect();
        match self {
            Refusal::Limited { scope, limit, .. } => {
                details.extend([("scope", scope.as_str().to_owned()), ("limit", limit.to_string())]);
            }
            Refusal::Full { scope, full, .. } => {
                let max = full.max.to_string();
                details.extend([("scope", scope.as_str().to_owned()), ("max_in_flight", max)]);
            }
            Refusal::Broken { refused, .. } => {
                details.push(("state", refused.state.as_str().to_ascii_uppercase()));
            }
            Refusal::Exhausted { .. } | Refusal::TurnedAway { .. } => {}
        }
        details
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |scope: Scope| match scope {
            Scope::Global => "everything together",
            Scope::Operation => "this operation",
            Scope::Caller => "this caller",
        };
        match self {
            Refusal::Limited { policy, scope, limit, retry_after: Some(after) } => {
                write!(f, "policy {policy} allows {} {limit}; {}", of(*scope), try_again_in(*after))
            }
            Refusal::Limited { policy, scope, limit, retry_after: None } => {
                write!(f, "policy {policy} allows {} {limit}, and never so much at once", of(*scope))
            }
            Refusal::Full { policy, full, .. } => write!(f, "policy {policy}: {full}"),
            Refusal::Exhausted { policy, exhausted } => write!(f, "policy {policy}: {exhausted}"),
            Refusal::Broken { protects, refused } => write!(f, "{protects}: {refused}"),
            Refusal::TurnedAway { message } => f.write_str(message),
        }
    }
}

impl std::error::Error for Refusal {}
