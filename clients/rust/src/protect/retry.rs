//! Tries a failed call again: whether, when, and how often.
//!
//! One engine for every outbound call, of the control plane and of its clients. A [`Retry`] runs an operation until it
//! succeeds or the [`Plan`] says stop, and then says [`Why`]. Three things bound it, and each alone is enough: the
//! attempts and the total time of one call, and the [`Budget`] that all calls of an operation share, without which an
//! outage is answered with as many times the load as there are attempts. What a failure allows is [`Advice`]; [`status`]
//! reads it from a gRPC status. What is not safe to repeat is repeated only where it certainly was not done.
//!
//! It does not hedge, does not limit how long one attempt takes (its caller does, within [`Attempt::time_left`]), does
//! not break circuits, and keeps no call for later.

mod budget;
mod counts;
mod plan;
mod run;
mod settings;
pub mod status;

pub use self::{
    budget::Budget,
    counts::{Counts, Totals},
    plan::{Advice, Attempt, Next, Plan, Safety, Why},
    run::{Failed, Retry},
    settings::{Invalid, Settings, Values},
};
pub use crate::rt::random;

#[cfg(test)]
mod tests;
