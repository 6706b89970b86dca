//! Protects operations: rate limits, permits, what a process must have left, circuit breakers and retries.
//!
//! A service runs what can hurt, or be hurt, through [`Operations::protect`]; the control plane's guard asks the same
//! [`Rules`] for each of its RPCs. Which policy decides of a call is said in [`policy::choose`]. Decisions are made here, in
//! the process and from memory; nothing here talks to a control plane.
//!
//! | room | what it is |
//! |---|---|
//! | [`limit`] | how many calls in a time: token bucket, leaky bucket, sliding and fixed window |
//! | [`permit`] | how many calls at once, pools, and a number that follows latency |
//! | [`resources`] | memory and processor time that must be left |
//! | [`breaker`] | stops calling what is broken, and finds out when it works again |
//! | [`retry`] | tries again what may be tried again, within a budget |
//! | [`policy`] | what is said of all that, and which of several policies decides |

pub mod breaker;
pub mod clock;
mod counted;
mod entry;
mod failure;
pub mod gate;
#[cfg(any(feature = "axum", feature = "server"))]
pub mod layer;
pub mod limit;
mod limits;
mod operation;
mod operations;
pub mod permit;
mod places;
mod plan;
pub mod policy;
mod refusal;
pub mod resources;
pub mod retry;
mod retrying;
mod rules;
pub(crate) mod share;
mod shelf;
pub mod stats;
pub mod status;
mod usage;
pub mod wire;

pub use self::{
    failure::{Failure, Fault, ProtectError},
    operation::Admitted,
    operations::{Operations, breaker_stats},
    refusal::{Refusal, RefusalKind},
    rules::{Rules, Sourced},
    shelf::caller_key,
    usage::{PartKind, PartUsage, by_policy},
};

/// The clock by which all of this decides.
pub(crate) type Time = clock::Monotonic;
