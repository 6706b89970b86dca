//! What protects operations, as values: limits, permits, resources, pools, a breaker and retries, and what they are about.
//!
//! Here is what a policy says and which of several decides ([`choose`]); what follows from that for a call is decided by
//! [`Rules`](super::Rules). It comes from the wire by [`wire`](super::wire), and this knows nothing of where it is kept.

pub mod choose;
pub mod defaults;
pub mod summary;
mod together;

use std::{num::NonZeroU32, time::Duration};

pub use self::together::Contradiction;
use super::{breaker, limit, resources::Ceiling, retry};

/// Longest name of an operation, in bytes.
pub const MAX_OPERATION: usize = 128;
/// Longest name of a caller, in bytes.
pub const MAX_CALLER: usize = 256;
/// Most rate limits of one policy.
pub const MAX_LIMITS: usize = 16;
/// Most pools of one policy.
pub const MAX_POOLS: usize = 32;
/// Longest description, in characters.
pub const MAX_DESCRIPTION: usize = 1024;

/// One policy: parts, and the calls that they are about.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its name: a DNS label.
    pub name: String,
    /// What it is about.
    pub target: Target,
    /// Only what this caller asks for. None: whatever anybody does.
    pub caller: Option<String>,
    /// Whether it only counts what it would have refused.
    pub shadow: bool,
    /// Rate limits.
    pub limits: Vec<RateLimit>,
    /// How much may be under way, at most one of each scope.
    pub permits: Vec<PermitLimit>,
    /// What the process must have left.
    pub resources: Option<Ceiling>,
    /// Pools, by name.
    pub pools: Vec<PoolLimit>,
    /// When calls stop for a while because they fail.
    pub breaker: Option<breaker::Settings>,
    /// How what fails is tried again.
    pub retry: Option<Retry>,
    /// For people.
    pub description: String,
}

/// What a policy is about.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Target {
    /// All RPCs and all operations.
    Everything,
    /// RPCs of the control plane.
    Rpcs {
        /// `seaworthy.v1.FleetService/ListInstances`. None: all that are not exempt.
        method: Option<String>,
    },
    /// Operations of services.
    Operations {
        /// Of this service. None: of all.
        service: Option<String>,
        /// Of this name. None: all.
        operation: Option<String>,
    },
}

/// What is counted together.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Scope {
    /// Everything that the policy covers, in one process.
    Global,
    /// Each RPC or operation by itself.
    Operation,
    /// Each caller by itself.
    Caller,
}

/// A rate that is not to be exceeded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RateLimit {
    /// What is counted together.
    pub scope: Scope,
    /// The rate, and how it is measured.
    pub settings: limit::Settings,
    /// Whether all instances of a service share it, and what holds while the control plane is away. Then it is a token
    /// bucket whose scope is not that of callers.
    pub fleet_wide: Option<OnUnavailable>,
}

/// What holds of a limit over the whole fleet while the control plane is away.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum OnUnavailable {
    /// Everything is let through.
    Allow,
    /// Everything is refused.
    Deny,
    /// The slice that the instance had last goes on.
    #[default]
    LastSlice,
}

/// What is counted together of what is under way.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PermitScope {
    /// Everything that the policy covers, in one process.
    Global,
    /// Each RPC or operation by itself.
    Operation,
}

/// How much may be under way at once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PermitLimit {
    /// What is counted together.
    pub scope: PermitScope,
    /// How many.
    pub max: NonZeroU32,
    /// How long to wait for a place; zero does not.
    pub wait: Duration,
    /// How many may wait.
    pub max_waiting: u32,
    /// Whether the number follows the latency, up to `max`. Only with the scope of operations.
    pub adaptive: bool,
}

/// A pool of things that are held for a while.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolLimit {
    /// Its name: a DNS label.
    pub name: String,
    /// How many there are.
    pub size: NonZeroU32,
    /// How long to wait for one; zero does not.
    pub wait: Duration,
}

/// How what fails is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// How often, and when.
    pub settings: retry::Settings,
    /// Whether an operation may be done twice.
    pub safety: retry::Safety,
}

/// Where a policy comes from. The later one counts more.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Origin {
    /// It comes with the control plane.
    BuiltIn,
    /// The service's own code says so.
    Code,
    /// From the configuration file.
    File,
    /// It was put while running.
    #[default]
    Put,
}

impl Policy {
    /// A policy without any part, about everything.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            target: Target::Everything,
            caller: None,
            shadow: false,
            limits: Vec::new(),
            permits: Vec::new(),
            resources: None,
            pools: Vec::new(),
            breaker: None,
            retry: None,
            description: String::new(),
        }
    }

    /// The service that it names.
    pub fn service(&self) -> Option<&str> {
        match &self.target {
            Target::Operations { service, .. } => service.as_deref(),
            Target::Everything | Target::Rpcs { .. } => None,
        }
    }

    /// Whether it can concern an operation of this service.
    pub fn concerns(&self, service: &str) -> bool {
        match &self.target {
            Target::Everything => true,
            Target::Rpcs { .. } => false,
            Target::Operations { service: named, .. } => {
                named.as_deref().is_none_or(|named| named == service)
            }
        }
    }

    /// Whether it can concern an RPC of the control plane.
    pub fn concerns_rpcs(&self) -> bool {
        matches!(self.target, Target::Everything | Target::Rpcs { .. })
    }
}

impl Scope {
    /// Its name on the wire, without the prefix.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Global => "GLOBAL",
            Scope::Operation => "OPERATION",
            Scope::Caller => "CALLER",
        }
    }
}

impl PermitScope {
    /// Its name on the wire, without the prefix.
    pub fn as_str(self) -> &'static str {
        match self {
            PermitScope::Global => "GLOBAL",
            PermitScope::Operation => "OPERATION",
        }
    }
}

impl From<PermitScope> for Scope {
    fn from(scope: PermitScope) -> Self {
        match scope {
            PermitScope::Global => Scope::Global,
            PermitScope::Operation => Scope::Operation,
        }
    }
}

/// Judges the name of an operation.
///
/// # Errors
/// It is empty, too long, or has something else than visible ASCII characters.
pub fn operation(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > MAX_OPERATION || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("is not 1 to {MAX_OPERATION} visible ASCII characters"));
    }
    Ok(())
}

/// Judges the name of a caller.
///
/// # Errors
/// It is too long, or has control characters.
pub fn caller(name: &str) -> Result<(), String> {
    if name.len() > MAX_CALLER || name.chars().any(char::is_control) {
        return Err(format!("is longer than {MAX_CALLER} bytes, or has control characters"));
    }
    Ok(())
}
